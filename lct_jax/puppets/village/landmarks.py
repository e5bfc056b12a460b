"""Draws the landmarks of the village: a tree, a house, a windmill or a lighthouse, with the shadow that each casts.

Lengths are heights of a frame around the foot of the landmark; y grows downwards.
"""

from __future__ import annotations

import numpy as np

from lct_jax.puppets.village import palette
from lct_jax.puppets.village.paint import Layer, box, capsule, ellipse, length, waves

AT, FOOT, NEARNESS = (
    0.47,
    0.035,
    0.75,
)  # its place beside the middle, below the horizon, and how near it is
_Area = np.ndarray


def draw_landmark(layer: Layer, landmark: str, sky: str, side: float) -> None:
    """Paints a landmark on the side that the light does not come from, with its shadow."""
    x, y = layer.x + side * AT, layer.y - FOOT
    dark = 0.55 * np.float32([0.20, 0.22, 0.35])
    shadow = ellipse(x + 0.16 * side, y - 0.012, 0.25, 0.026)
    layer.glow(shadow + 0.02, 0.045, dark, opacity=palette.SHADOW[sky])
    ambient = palette.AMBIENT[sky]
    _DRAW[landmark](layer, x, y, side, ambient)
    if sky in ("starry", "golden"):
        _light_windows(layer, landmark, x, y)


def _lit(x: _Area, wide: float, side: float) -> _Area:
    round_ = np.clip(x / wide, -1.0, 1.0)
    return 0.92 + 0.20 * side * round_ - 0.08 * round_ * round_


def _fill(
    layer: Layer, distance: _Area, colour: tuple[float, ...], bright: _Area, ambient: _Area
) -> None:
    layer.paint(distance, np.clip(np.float32(colour) * ambient * bright[..., None], 0.0, 1.0))


def _draw_tree(layer: Layer, x: _Area, y: _Area, side: float, ambient: _Area) -> None:
    bend = x + 0.02 * np.sin(9 * y)
    trunk = np.maximum(
        np.abs(bend) - 0.030 - 0.25 * np.maximum(y + 0.05, 0.0), np.maximum(y, -y - 0.24)
    )
    _fill(layer, trunk, (0.42, 0.27, 0.17), _lit(x, 0.04, side), ambient)
    puffs = ((0.0, -0.33, 0.145), (-0.11, -0.26, 0.10), (0.115, -0.27, 0.105), (0.02, -0.43, 0.10))
    crown = np.minimum.reduce([length(x - a, y - b) - r for a, b, r in puffs])
    leaves = waves(13 * x, 13 * y, 71)
    crown = crown + 0.010 * leaves
    across, down = x / 0.22, (y + 0.33) / 0.2
    bright = 0.92 + 0.20 * side * across - 0.22 * down + 0.13 * leaves
    _fill(layer, crown - 0.010, (0.10, 0.24, 0.12), np.ones_like(bright), ambient)
    _fill(layer, crown, (0.22, 0.52, 0.20), bright, ambient)


def _draw_house(layer: Layer, x: _Area, y: _Area, side: float, ambient: _Area) -> None:
    wall = box(x, y + 0.10, 0.155, 0.105)
    rows = 0.05 * np.sign(np.sin(y * 2 * np.pi / 0.035))
    _fill(layer, wall - 0.008, (0.30, 0.20, 0.18), np.ones_like(wall), ambient)
    _fill(layer, wall, (0.96, 0.89, 0.76), _lit(x, 0.2, side) + 0.4 * rows, ambient)
    chimney = box(x - 0.085 * side, y + 0.33, 0.024, 0.065)
    _fill(layer, chimney, (0.55, 0.30, 0.25), _lit(x - 0.085 * side, 0.03, side), ambient)
    roof = np.maximum((np.abs(x) - 1.12 * (y + 0.36)) * 0.66, y + 0.185)
    tiles = (
        0.09
        * np.sin(y * 2 * np.pi / 0.032)
        * np.sin(x * 2 * np.pi / 0.05 + np.floor(y / 0.032) * np.pi)
    )
    _fill(layer, roof - 0.008, (0.32, 0.12, 0.10), np.ones_like(roof), ambient)
    _fill(layer, roof, (0.79, 0.31, 0.20), _lit(x, 0.2, side) + tiles, ambient)
    door = np.minimum(box(x, y + 0.055, 0.034, 0.055), length(x, y + 0.11) - 0.034)
    _fill(layer, door, (0.25, 0.42, 0.47), _lit(x, 0.05, side), ambient)
    for sign in (-1.0, 1.0):
        pane = box(x - 0.098 * sign, y + 0.115, 0.030, 0.032)
        _fill(layer, pane - 0.008, (0.98, 0.97, 0.92), np.ones_like(pane), ambient)
        _fill(layer, pane, (0.35, 0.52, 0.66), np.ones_like(pane), ambient)


def _draw_windmill(layer: Layer, x: _Area, y: _Area, side: float, ambient: _Area) -> None:
    tower = np.maximum(np.abs(x) - 0.105 - 0.16 * y - 0.0, np.maximum(y, -y - 0.31))
    bands = 0.035 * np.sign(np.sin(y * 2 * np.pi / 0.05))
    _fill(layer, tower - 0.008, (0.28, 0.22, 0.22), np.ones_like(tower), ambient)
    _fill(layer, tower, (0.93, 0.90, 0.84), _lit(x, 0.11, side) + bands, ambient)
    cap = np.maximum(ellipse(x, y + 0.305, 0.072, 0.075), y + 0.305)
    _fill(layer, cap, (0.46, 0.26, 0.22), _lit(x, 0.08, side), ambient)
    door = np.minimum(box(x, y + 0.035, 0.024, 0.035), length(x, y + 0.07) - 0.024)
    _fill(layer, door, (0.40, 0.26, 0.17), np.ones_like(door), ambient)
    for turn in np.arange(4) * np.pi / 2 + 0.5:
        along = x * np.cos(turn) + (y + 0.315) * np.sin(turn)
        beside = -x * np.sin(turn) + (y + 0.315) * np.cos(turn)
        cloth = box(along - 0.14, beside - 0.026, 0.095, 0.030)
        weave = 1.0 + 0.12 * np.sign(np.sin(along * 2 * np.pi / 0.045))
        _fill(layer, cloth - 0.006, (0.35, 0.22, 0.16), np.ones_like(cloth), ambient)
        _fill(layer, cloth, (0.97, 0.94, 0.86), weave, ambient)
        spar = capsule(along, beside, (0.0, 0.0), (0.24, 0.0), 0.010)
        _fill(layer, spar, (0.35, 0.22, 0.16), np.ones_like(spar), ambient)


def _draw_lighthouse(layer: Layer, x: _Area, y: _Area, side: float, ambient: _Area) -> None:
    tower = np.maximum(np.abs(x) - 0.075 - 0.10 * y, np.maximum(y, -y - 0.36))
    _fill(layer, tower - 0.008, (0.25, 0.15, 0.17), np.ones_like(tower), ambient)
    _fill(layer, tower, (0.97, 0.96, 0.93), _lit(x, 0.08, side), ambient)
    for low in (-0.03, -0.15, -0.27):
        red = np.maximum(tower, np.abs(y - low) - 0.030)
        _fill(layer, red, (0.83, 0.20, 0.19), _lit(x, 0.08, side), ambient)
    rail = box(x, y + 0.365, 0.062, 0.012)
    _fill(layer, rail, (0.22, 0.20, 0.25), np.ones_like(rail), ambient)
    lamp = box(x, y + 0.405, 0.034, 0.034)
    layer.glow(np.maximum(length(x, y + 0.405) - 0.03, 0.0), 0.13, (1.0, 0.93, 0.6), opacity=0.7)
    layer.paint(lamp, (1.0, 0.93, 0.62))
    roof = np.maximum((np.abs(x) - 0.85 * (y + 0.50)) * 0.76, y + 0.435)
    _fill(layer, roof, (0.70, 0.16, 0.17), _lit(x, 0.05, side), ambient)


def _light_windows(layer: Layer, landmark: str, x: _Area, y: _Area) -> None:
    if landmark == "house":
        for sign in (-1.0, 1.0):
            pane = box(x - 0.098 * sign, y + 0.115, 0.030, 0.032)
            layer.glow(np.maximum(pane, 0.0), 0.05, (1.0, 0.80, 0.35), opacity=0.5)
            layer.paint(pane, (1.0, 0.86, 0.45))
    elif landmark == "windmill":
        layer.paint(length(x, y + 0.19) - 0.020, (1.0, 0.86, 0.45))


_DRAW = {
    "tree": _draw_tree,
    "house": _draw_house,
    "windmill": _draw_windmill,
    "lighthouse": _draw_lighthouse,
}
