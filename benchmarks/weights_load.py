"""Host memory that reading trained weights into a mesh takes, against the size of the parameters.

    python -m benchmarks.weights_load --config=configs/lct_3b.py --folder=runs/weights_load
    python -m benchmarks.weights_load --config=configs/lct_3b.py --folder=runs/weights_load --config.backbone.depth=4 \
        --kind=run
    python -m benchmarks.weights_load --config=configs/wan_14b.py --folder=runs/weights_load --config.backbone.depth=2 \
        --kind=base --dtype=float32

Writes random weights of the config's network as a file (bfloat16, float16 or float32), as a run with a checkpoint in
float32, or as a folder in the published layout, and reads them in a process of its own that simulates eight CPU
devices, whose memory is the host's. Prints how far that process rises above what it held before, at its peak and
afterwards, over the bytes of the float32 parameters; and how many of the largest tensors the peak is above these. A
whole copy on the host beside the devices would make it 2. The first command takes 5.8 GB of disk and
12 GB of memory; the folder is removed.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from absl import flags

from benchmarks.memory import forget_peak, read_status
from lct_jax.cli import define_config, run
from lct_jax.config import Config, freeze

CONFIG = define_config()
FOLDER = flags.DEFINE_string("folder", None, "Where to write; must not be there.", required=True)
KIND = flags.DEFINE_enum("kind", "file", ["file", "run", "base"], "What the weights are read from.")
NAMES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
DTYPE = flags.DEFINE_enum("dtype", "bfloat16", list(NAMES), "Of the numbers in a file.")
WORKER = flags.DEFINE_bool("worker", False, "Read and measure (internal).")
SIMULATED = "--xla_force_host_platform_device_count=8"


def list_shapes(config: Config) -> Any:
    """Returns the abstract parameters of a config's network."""
    # JAX is imported here and below, so that the process that measures is the one that simulates devices.
    from lct_jax.backbones.registry import build_abstract

    return build_abstract(config.network).params


def make_meta(config: Config) -> Any:
    """Returns what the weights are said to be made with."""
    from lct_jax.training.checkpoint.weights import Meta

    return Meta(config, codec="", encoder="", fps=12.0, credit="")


def write_file(path: Path, config: Config) -> None:
    """Writes a file of ours."""
    from lct_jax.tensors import name_leaves

    shapes = {name: leaf.shape for name, leaf in name_leaves(list_shapes(config)).items()}
    write_noise(path, shapes, {"meta": json.dumps(make_meta(config).to_json())})


def write_base(folder: Path, config: Config) -> None:
    """Writes a folder in the published layout."""
    from lct_jax.backbones.load import find_published, list_places

    folder.mkdir()
    published = find_published(config.network)
    (folder / "config.json").write_text(json.dumps(published.write_config(config.backbone)))
    shapes = {name: place.shape for name, place in list_places(config.network).items()}
    write_noise(folder / f"{published.stem}.safetensors", shapes, {"format": "pt"})


def write_noise(
    path: Path, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]
) -> None:
    """Writes a safetensors file of repeated noise, as it is made: it is never in memory."""
    dtype = np.dtype(getattr(ml_dtypes, DTYPE.value, DTYPE.value))
    text = json.dumps({"__metadata__": metadata, **make_header(shapes, dtype)})
    noise = np.random.default_rng(0).normal(0, 0.02, 2**22).astype(dtype).tobytes()
    with path.open("wb") as file:
        file.write(len(text.encode()).to_bytes(8, "little") + text.encode())
        for block in cut(noise, sum(map(math.prod, shapes.values())) * dtype.itemsize):
            file.write(block)


def make_header(shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype) -> dict[str, Any]:
    """Returns where every tensor stands in a file that holds them one after another."""
    header, start = {}, 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape) * dtype.itemsize
        header[name] = {
            "dtype": NAMES[DTYPE.value],
            "shape": shape,
            "data_offsets": [start, stop],
        }
        start = stop
    return header


def cut(noise: bytes, size: int) -> Iterator[bytes]:
    """Yields `size` bytes of repeated noise."""
    for start in range(0, size, len(noise)):
        yield noise[: size - start]


def write_run(folder: Path, config: Config) -> None:
    """Writes the work folder of a run with one checkpoint, of step 0."""
    import jax
    import jax.numpy as jnp

    from lct_jax.training.checkpoint.checkpoints import Checkpoints
    from lct_jax.training.guard import init_guard
    from lct_jax.training.state import TrainState

    shapes, keys = list_shapes(config), iter(range(2**31))
    draw = lambda x: jax.random.normal(jax.random.key(next(keys)), x.shape, x.dtype)
    params = jax.tree.map(draw, shapes)
    # The moments of the optimiser are not read, so a checkpoint without them does here.
    state = TrainState(jnp.int32(0), params, params, {}, init_guard())
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.save(state, make_meta(config))
    checkpoints.close()


def read(path: Path, config: Config) -> None:
    """Reads the weights into a mesh of eight devices, and prints a line of JSON."""
    import jax

    from lct_jax.backbones.load import load_published
    from lct_jax.distributed.sharding import make_mesh, with_sharding
    from lct_jax.training.checkpoint.start import TrainedWeights

    mesh, shapes = make_mesh(), list_shapes(config)
    # What JAX itself takes, and the libraries that read, are not the weights'.
    jax.numpy.zeros(1).block_until_ready()
    if KIND.value == "base":
        make = lambda: load_published(path, config.network, with_sharding(shapes, mesh))
    else:
        trained = TrainedWeights(path)
        make = lambda: trained.read(with_sharding(shapes, mesh))
    before, began = forget_peak(), time.perf_counter()
    params = jax.block_until_ready(make())
    answer = {
        "seconds": time.perf_counter() - began,
        "before": before,
        "peak": read_status("VmHWM") - before,
        "held": read_status("VmRSS") - before,
        "bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(params)),
        "largest": measure_largest(config),
        "devices": mesh.size,
    }
    print(json.dumps(answer))


def measure_largest(config: Config) -> int:
    """Returns the float32 bytes of the largest tensor that is read in one piece."""
    from lct_jax.backbones.load import list_places
    from lct_jax.tensors import name_leaves

    if KIND.value == "base":
        return max(4 * math.prod(place.shape) for place in list_places(config.network).values())
    return max(4 * leaf.size for leaf in name_leaves(list_shapes(config)).values())


def main(argv: Sequence[str]) -> None:
    del argv
    config, folder = freeze(CONFIG.value), Path(FOLDER.value)
    path = folder / {"file": "weights.safetensors"}.get(KIND.value, KIND.value)
    if WORKER.value:
        return read(path, config)
    folder.mkdir(parents=True)
    try:
        {"file": write_file, "run": write_run, "base": write_base}[KIND.value](path, config)
        command = [sys.executable, "-m", "benchmarks.weights_load", *sys.argv[1:], "--worker"]
        environment = {**os.environ, "XLA_FLAGS": SIMULATED, "JAX_PLATFORMS": "cpu"}
        process = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, env=environment
        )
    finally:
        shutil.rmtree(folder)
    answer = json.loads(process.stdout.splitlines()[-1])
    print(json.dumps(answer))
    for what in ("peak", "held"):
        print(
            f"{what} {answer[what] / 2**30:7.2f} GiB, {answer[what] / answer['bytes']:.3f} copies"
        )
    above = answer["peak"] - answer["bytes"]
    print(f"above {above / 2**30:6.2f} GiB, {above / answer['largest']:.2f} of the largest tensor")


if __name__ == "__main__":
    run(main)
