"""Compares the Wan 2.1 VAE of this project with that of diffusers, on the CPU, with the same random weights, in turn.

    python -m benchmarks.codecs --frames=5 --height=64 --width=96

The program needs `make install-parity`. Each implementation runs in a process of its own, which encodes or decodes when
it is its turn, so that both run under the same load. It reports the seconds of its fastest turn and how much its peak
of memory exceeds its memory with the weights loaded. CPU seconds include all threads; they are more reliable on a busy
machine. `--convolution=xla` measures this project with XLA's own 3D convolution instead of 2D ones.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks.memory import forget_peak, read_status
from benchmarks.turns import Worker, ask, start_worker, stop_worker

FRAMES = flags.DEFINE_integer("frames", 5, "Frames of the video, 4n + 1.")
HEIGHT = flags.DEFINE_integer("height", 64, "Rows of pixels.")
WIDTH = flags.DEFINE_integer("width", 96, "Columns of pixels.")
BASE = flags.DEFINE_integer("base", 96, "Features at full resolution; 96 is the published model.")
TURNS = flags.DEFINE_integer("turns", 3, "Turns of each, after one that warms up.")
CONVOLUTION = flags.DEFINE_enum("convolution", "ours", ["ours", "xla"], "Of ours, see above.")
WORKER = flags.DEFINE_enum("worker", None, ["ours", "diffusers"], "Serve turns (internal).")
FOLDER = flags.DEFINE_string("folder", None, "Weights for a worker (internal).")

Turn = Callable[[np.ndarray], np.ndarray]


def load_ours(folder: Path) -> tuple[Turn, Turn]:
    """Returns encode and decode of this project, as functions of frames and of latents as numpy arrays."""
    from lct_jax.codecs import causal_conv
    from lct_jax.codecs.wan_vae import WanVAE

    if CONVOLUTION.value == "xla":
        causal_conv.convolve = convolve_xla
    vae = WanVAE.load(folder, channels=16)
    return vae.encode_floats, vae.decode_floats


def convolve_xla(x, kernel, *, stride=1):
    """Computes the same as `causal_conv.convolve`, by one 3D convolution."""
    import jax

    sides = [(side // 2, side // 2) for side in kernel.shape[1:3]]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, 1, 1),
        [(0, 0), *sides],
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )


def load_diffusers(folder: Path) -> tuple[Turn, Turn]:
    """Returns encode and decode of diffusers."""
    import torch
    from diffusers import AutoencoderKLWan

    vae = AutoencoderKLWan.from_pretrained(folder).eval()

    def encode(video: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            x = torch.from_numpy(np.moveaxis(video, -1, 0)[None].copy())
            return np.moveaxis(vae.encode(x).latent_dist.mode()[0].numpy(), 0, -1)

    def decode(latent: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            x = torch.from_numpy(np.moveaxis(latent, -1, 0)[None].copy())
            return np.moveaxis(vae.decode(x).sample[0].numpy(), 0, -1)

    return encode, decode


def serve(name: str, folder: Path) -> None:
    """Answers each "encode" and "decode" on stdin with a line of JSON."""
    encode, decode = {"ours": load_ours, "diffusers": load_diffusers}[name](folder)
    video = np.random.default_rng(0).uniform(-1, 1, (FRAMES.value, HEIGHT.value, WIDTH.value, 3))
    video = video.astype(np.float32)
    loaded, latent = forget_peak(), None
    for line in sys.stdin:
        began, worked = time.perf_counter(), time.process_time()
        if line.strip() == "encode":
            latent = result = encode(video)
        else:
            result = decode(latent)
        seconds = time.perf_counter() - began
        answer = {
            "seconds": seconds,
            "cpu": time.process_time() - worked,
            "peak": read_status("VmHWM") - loaded,
            "sum": float(result.sum()),
        }
        print("answer " + json.dumps(answer), flush=True)


def save_weights(folder: Path) -> None:
    """Writes random weights in diffusers' layout."""
    import torch
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    AutoencoderKLWan(base_dim=BASE.value).save_pretrained(folder)


def main(argv: Sequence[str]) -> None:
    del argv
    if WORKER.value:
        return serve(WORKER.value, Path(FOLDER.value))
    with tempfile.TemporaryDirectory() as name:
        save_weights(Path(name))
        start = [sys.executable, "-m", "benchmarks.codecs", *sys.argv[1:]]
        workers = {
            kind: start_worker([*start, f"--worker={kind}", f"--folder={name}"])
            for kind in ("ours", "diffusers")
        }
        for what in ("encode", "decode"):
            report(what, workers)
        for worker in workers.values():
            stop_worker(worker)


def report(what: str, workers: dict[str, Worker]) -> None:
    """Lets the workers take turns, and prints the fastest of each."""
    first = {kind: ask(worker, what)["sum"] for kind, worker in workers.items()}
    turns = [{k: ask(worker, what) for k, worker in workers.items()} for _ in range(TURNS.value)]
    best = {kind: min(turn[kind]["seconds"] for turn in turns) for kind in workers}
    ratios = sorted(turn["diffusers"]["seconds"] / turn["ours"]["seconds"] for turn in turns)
    for kind in workers:
        print(
            f"{what} {FRAMES.value}x{HEIGHT.value}x{WIDTH.value} {kind:10s} "
            f"{FRAMES.value / best[kind]:7.2f} frames/s, "
            f"{min(turn[kind]['cpu'] for turn in turns):7.2f} s of CPU, "
            f"peak {turns[-1][kind]['peak'] / 2**20:7.0f} MiB above loaded, sum {first[kind]:.3f}"
        )
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(
        f"{what}: ours is {ratios[len(ratios) // 2]:.2f} times as fast (turns: {shown})", flush=True
    )


if __name__ == "__main__":
    app.run(main)
