"""Compares the memory that loading a text encoder takes with the size of its weights: random ones of UMT5-XXL's size.

    python -m benchmarks.encoder_load --folder=runs/umt5_xxl

The program writes weights in bfloat16 (or float32, twice as large) in five parts, as UMT5-XXL is published, and loads
them in a process of its own in bfloat16. It prints by how much the peak of that process exceeds its memory before,
after loading and after one prompt, over the bytes of the weights in bfloat16. UMT5-XXL takes 11.4 GB of disk and as
much memory; the folder is removed. `--layers`, `--width` and `--vocabulary` make a smaller one.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from absl import app, flags
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from benchmarks.memory import forget_peak, read_status

FOLDER = flags.DEFINE_string("folder", None, "Where to write; must not be there.", required=True)
LAYERS = flags.DEFINE_integer("layers", 24, "Layers; the defaults are UMT5-XXL's.")
WIDTH = flags.DEFINE_integer("width", 4_096, "Width, a multiple of 128.")
VOCABULARY = flags.DEFINE_integer("vocabulary", 256_384, "Words.")
DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["bfloat16", "float32"], "Of the file.")
WORKER = flags.DEFINE_bool("worker", False, "Load and measure (internal).")
HEAD, PARTS = 64, 5
PROMPT = "a dog runs through the rain"


def make_config() -> dict[str, Any]:
    """Returns the content of `config.json`."""
    return {
        "model_type": "umt5",
        "vocab_size": VOCABULARY.value,
        "d_model": WIDTH.value,
        "d_kv": HEAD,
        "d_ff": WIDTH.value * 5 // 2,
        "num_layers": LAYERS.value,
        "num_heads": WIDTH.value // HEAD,
        "feed_forward_proj": "gated-gelu",
    }


def name_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of the published tensors, the table of words first."""
    width, hidden = config["d_model"], config["d_ff"]
    shapes: dict[str, tuple[int, ...]] = {"shared.weight": (config["vocab_size"], width)}
    for layer in range(config["num_layers"]):
        first, second = (f"encoder.block.{layer}.layer.{part}" for part in (0, 1))
        shapes |= {f"{first}.SelfAttention.{name}.weight": (width, width) for name in "qkvo"}
        table = f"{first}.SelfAttention.relative_attention_bias.weight"
        shapes[table] = (32, config["num_heads"])
        shapes[f"{first}.layer_norm.weight"] = shapes[f"{second}.layer_norm.weight"] = (width,)
        shapes |= {f"{second}.DenseReluDense.wi_{i}.weight": (hidden, width) for i in (0, 1)}
        shapes[f"{second}.DenseReluDense.wo.weight"] = (width, hidden)
    return shapes | {"encoder.final_layer_norm.weight": (width,)}


def write_folder(folder: Path) -> int:
    """Writes weights, config and a tokenizer of a few words; returns the bytes of the weights."""
    config, dtype = make_config(), np.dtype(DTYPE.value)
    shapes = name_shapes(config)
    sizes = {name: math.prod(shape) * dtype.itemsize for name, shape in shapes.items()}
    parts: list[list[str]] = [[] for _ in range(PARTS)]
    before = 0
    for name, size in sizes.items():
        parts[before * PARTS // sum(sizes.values())].append(name)
        before += size
    noise = np.random.default_rng(0).normal(0, 0.02, 2**22).astype(dtype).tobytes()
    weight_map = {}
    for number, names in enumerate(parts):
        file = f"model-{number + 1:05d}-of-{PARTS:05d}.safetensors"
        weight_map |= dict.fromkeys(names, file)
        write_part(folder / file, {name: shapes[name] for name in names}, noise)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(config))
    words = {word: i for i, word in enumerate(("<pad>", "</s>", "<unk>", *PROMPT.split()))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return sum(sizes.values())


def write_part(path: Path, shapes: dict[str, tuple[int, ...]], noise: bytes) -> None:
    """Writes a safetensors file of repeated noise piece by piece, so that it is never in memory."""
    kind = {"bfloat16": "BF16", "float32": "F32"}[DTYPE.value]
    header, start = {}, 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape) * np.dtype(DTYPE.value).itemsize
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for block in _cut(noise, start):
            file.write(block)


def _cut(noise: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, size, len(noise)):
        yield noise[: size - start]


def load(folder: Path) -> None:
    """Loads and encodes, and prints a line of JSON."""
    import jax

    from lct_jax.encoders.umt5 import UMT5Encoder

    # The memory of JAX itself does not count as the encoder's.
    jax.numpy.zeros(1).block_until_ready()
    before, began = forget_peak(), time.perf_counter()
    encoder = UMT5Encoder(folder)
    seconds, loaded = time.perf_counter() - began, read_status("VmHWM") - before
    held = read_status("VmRSS") - before
    (tokens,) = encoder.encode([PROMPT])
    encoded = read_status("VmHWM") - before
    finite = bool(np.isfinite(tokens).all())
    answer = {"seconds": seconds, "loaded": loaded, "held": held, "encoded": encoded}
    print(json.dumps(answer | {"tokens": tokens.shape, "finite": finite}))


def main(argv: Sequence[str]) -> None:
    del argv
    folder = Path(FOLDER.value)
    if WORKER.value:
        return load(folder)
    folder.mkdir(parents=True)
    try:
        size = write_folder(folder)
        half = size // np.dtype(DTYPE.value).itemsize * np.dtype(ml_dtypes.bfloat16).itemsize
        command = [sys.executable, "-m", "benchmarks.encoder_load", *sys.argv[1:], "--worker"]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    finally:
        shutil.rmtree(folder)
    answer = json.loads(run.stdout.splitlines()[-1])
    print(f"files {size:,} bytes of {DTYPE.value}, in bfloat16 {half:,}; {json.dumps(answer)}")
    for what in ("loaded", "held", "encoded"):
        print(f"{what:8s} {answer[what] / 2**30:7.2f} GiB, {answer[what] / half:.3f} copies")


if __name__ == "__main__":
    app.run(main)
