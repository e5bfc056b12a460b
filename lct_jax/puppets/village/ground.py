"""Draws the ground in perspective: a meadow with flowers, sand with ripples, snow, or cobbles."""

from __future__ import annotations

import numpy as np

from lct_jax.puppets.village import palette
from lct_jax.puppets.village.paint import Layer, ellipse, mix, waves
from lct_jax.puppets.village.sky import mix_each

_FLOWERS = ((0.98, 0.95, 0.90), (0.98, 0.80, 0.25), (0.95, 0.45, 0.55))
_EYE = (
    0.13  # how high the eye is above the ground; it decides how fast things grow towards the viewer
)


def draw_ground(layer: Layer, ground: str, sky: str) -> None:
    """Paints everything below the horizon."""
    x, y = layer.x, layer.y
    depth = np.maximum(y, 0.004)
    # On the ground, across and along, in units of the eye's height.
    across, along = x / (depth + _EYE), 1.0 / (depth + _EYE)
    far, near = palette.GROUND[ground]
    colours = mix(far, near, np.clip(y / 0.36, 0.0, 1.0) + 0.0 * x)
    detail = np.clip(y / 0.10, 0.15, 1.0)  # fine things are lost far away
    bright = 1.0 + _texture(ground, across, along, detail)
    colours = np.clip(colours * bright[..., None], 0.0, 1.0)
    if ground == "cobbles":
        colours = _lay_stones(colours, across, along, detail)
    # Haze on the horizon.
    haze = 0.35 * np.exp(-np.maximum(y, 0.0) / 0.05)
    colours = mix_each(
        colours,
        np.broadcast_to(palette.SKY[sky][1] / palette.AMBIENT[sky], colours.shape),
        haze + 0.0 * x,
    )
    layer.paint(-y + 0.0 * x, np.clip(colours * palette.AMBIENT[sky], 0.0, 1.0))
    if ground == "meadow":
        _draw_flowers(layer, palette.AMBIENT[sky])
    elif ground in ("sand", "snow"):
        _draw_stones(layer, ground, palette.AMBIENT[sky])


def _texture(ground: str, across: np.ndarray, along: np.ndarray, detail: np.ndarray) -> np.ndarray:
    if ground == "meadow":
        blades = np.sin(46 * across + 5 * waves(3 * across, 2 * along, 51)) * np.sin(23 * along)
        return detail * (0.085 * blades + 0.075 * waves(2.2 * across, 2.0 * along, 53))
    if ground == "sand":
        ripples = np.sin(11 * along + 1.6 * waves(1.3 * across, 0.8 * along, 55) + 1.2 * across)
        return detail * (0.060 * ripples + 0.03 * waves(4 * across, 3 * along, 57))
    if ground == "snow":
        return detail * (0.035 * waves(1.6 * across, 1.5 * along, 59) - 0.035)
    return detail * 0.05 * waves(1.2 * across, 1.2 * along, 61)


def _lay_stones(
    colours: np.ndarray, across: np.ndarray, along: np.ndarray, detail: np.ndarray
) -> np.ndarray:
    row = np.floor(along * 2.1)
    shifted = across * 2.6 + 0.5 * (row % 2)
    a, b = shifted % 1.0 - 0.5, (along * 2.1) % 1.0 - 0.5
    rounded = np.maximum(np.abs(a), np.abs(b))
    joint = np.clip((rounded - 0.36) / 0.12, 0.0, 1.0) * detail
    tone = np.sin(np.floor(shifted) * 12.9 + row * 78.2) * 0.07 - 0.10 * b
    stones = np.clip(colours * (1.0 + detail * tone)[..., None], 0.0, 1.0)
    return mix_each(stones, 0.62 * stones, joint)


def _draw_flowers(layer: Layer, ambient: np.ndarray) -> None:
    rng = np.random.default_rng(63)
    for number in range(36):
        along = rng.uniform(0.0, 1.0)
        y = 0.03 + 0.42 * along**1.4
        x, r = rng.uniform(-1.35, 1.35), 0.006 + 0.028 * y
        flower = ellipse(layer.x - x, layer.y - y, r, 0.8 * r)
        layer.paint(flower, np.float32(_FLOWERS[number % 3]) * ambient, opacity=0.95)


def _draw_stones(layer: Layer, ground: str, ambient: np.ndarray) -> None:
    rng = np.random.default_rng(65)
    for _ in range(12):
        y = 0.05 + 0.36 * rng.uniform() ** 1.3
        x, r = rng.uniform(-1.2, 1.2), 0.008 + 0.04 * y * rng.uniform(0.6, 1.2)
        tone = np.float32([0.72, 0.62, 0.46] if ground == "sand" else [0.70, 0.77, 0.88]) * ambient
        layer.paint(ellipse(layer.x - x, layer.y - y, 1.5 * r, 0.7 * r), tone, opacity=0.8)
        layer.paint(
            ellipse(layer.x - x, layer.y - y + 0.25 * r, 1.1 * r, 0.4 * r), 1.18 * tone, opacity=0.7
        )
