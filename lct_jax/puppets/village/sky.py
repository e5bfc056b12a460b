"""Draws what is far away: the sky with its clouds or stars, sun or moon, and the land or sea on the horizon."""

from __future__ import annotations

import numpy as np

from lct_jax.puppets.village import palette
from lct_jax.puppets.village.paint import Layer, ellipse, length, mix, waves

DISC_X, DISC_Y, DISC = 0.50, -0.44, 0.075  # the sun or moon: its place, and its radius
_PUFFS = (
    # x, y, and the half axes of each puff of cloud, for a sun on the left.
    *((0.22, -0.45, 0.15, 0.040), (0.29, -0.485, 0.075, 0.048), (0.17, -0.475, 0.06, 0.04)),
    *((-0.12, -0.30, 0.13, 0.028), (-0.09, -0.325, 0.06, 0.032), (-0.30, -0.26, 0.09, 0.018)),
    *((0.62, -0.28, 0.16, 0.032), (0.57, -0.31, 0.07, 0.038), (0.70, -0.305, 0.05, 0.03)),
    *((-0.75, -0.40, 0.16, 0.03), (1.05, -0.42, 0.15, 0.035), (-1.0, -0.27, 0.14, 0.03)),
)


def draw_sky(layer: Layer, sky: str, side: float) -> None:
    """Paints the sky; `side` is where its light comes from, -1 or 1."""
    x, y = -side * layer.x, layer.y
    top, low = palette.SKY[sky]
    blend = np.clip((y + 0.6) / 0.6, 0.0, 1.0) ** 1.2
    layer.spread(np.float32(1.0), mix(top, low, blend + 0.0 * x))
    disc = length(x + DISC_X, y - DISC_Y) - DISC
    bright = {"blue": 0.65, "golden": 0.75, "starry": 0.35, "cloudy": 0.35}[sky]
    layer.glow(np.maximum(disc, 0.0), 0.34, palette.DISC[sky], opacity=bright)
    if sky == "starry":
        _draw_stars(layer, x, y)
    layer.paint(disc, palette.DISC[sky], opacity=0.75 if sky == "cloudy" else 1.0)
    if sky == "starry":
        for cx, cy, r in ((-0.02, -0.02, 0.016), (0.025, 0.015, 0.020), (-0.015, 0.03, 0.010)):
            crater = length(x + DISC_X - cx, y - DISC_Y - cy) - r
            layer.paint(crater, (0.83, 0.82, 0.76), opacity=0.8)
    _draw_clouds(layer, x, y, sky)


def _draw_stars(layer: Layer, x: np.ndarray, y: np.ndarray) -> None:
    rng = np.random.default_rng(5)
    for _ in range(46):
        sx, sy, r = rng.uniform(-1.2, 1.2), rng.uniform(-0.62, -0.12), rng.uniform(0.004, 0.011)
        layer.paint(length(x - sx, y - sy) - r, (0.95, 0.95, 0.85), opacity=rng.uniform(0.5, 1.0))


def _draw_clouds(layer: Layer, x: np.ndarray, y: np.ndarray, sky: str) -> None:
    heavy = {"blue": 0.9, "golden": 0.75, "starry": 0.6, "cloudy": 0.85}[sky]
    swell = 1.55 if sky == "cloudy" else 1.0
    puffs = [ellipse(x - a, y - b, swell * w, swell * h) for a, b, w, h in _PUFFS]
    near = np.minimum.reduce(puffs) + 0.006 * waves(5 * x, 7 * y, 3)
    body = np.clip(0.5 - near / 0.022, 0.0, 1.0)
    # Clouds are darker beneath.
    beneath = np.clip(waves(2 * x, 9 * y, 11) * 0.25 + 0.35, 0.0, 1.0)
    low = palette.SKY[sky][0] if sky != "cloudy" else np.float32([0.42, 0.47, 0.53])
    layer.spread(body * np.float32(heavy), mix(palette.CLOUD[sky], low, 0.55 * beneath))


def draw_distance(layer: Layer, distance: str, sky: str, side: float) -> None:
    """Paints what lies on the horizon, paler the farther it is away."""
    x, y = layer.x, layer.y
    haze, ambient = palette.SKY[sky][1], palette.AMBIENT[sky]
    if distance == "mountains":
        for height, seed, far in ((0.27, 21, 0.45), (0.19, 23, 0.15)):
            rock = mix((0.42, 0.46, 0.62) * ambient, haze, far)
            _draw_ridge(layer, x, y, height, seed, rock, ambient, side)
    elif distance == "hills":
        for height, phase, far in ((0.155, 0.4, 0.50), (0.11, 2.6, 0.28), (0.07, 4.4, 0.08)):
            roll = height * (0.62 + 0.38 * np.sin(3.1 * x + phase) * np.cos(1.3 * x + phase))
            lit = 0.94 + 0.16 * side * np.cos(3.1 * x + phase)
            green = mix((0.36, 0.60, 0.32) * ambient, haze, far)
            layer.paint(-(y + roll), green * lit[..., None])
    elif distance == "sea":
        deep, pale = (0.09, 0.33, 0.58) * ambient, (0.35, 0.66, 0.80) * ambient
        level = np.clip((y + 0.115) / 0.115, 0.0, 1.0)
        water = mix(deep, pale, level + 0.0 * x)
        glint = np.clip(waves(9 * x, 60 * y, 31) - 0.55, 0.0, 1.0) * 1.2
        path = np.exp(-(((x - side * DISC_X) / 0.16) ** 2))
        water = mix(water, palette.DISC[sky], np.clip(glint * (0.35 + path) + 0.30 * path, 0, 0.8))
        layer.paint(-(y + 0.115), water)
        _draw_sail(layer, x - 0.17 * side, y + 0.10, ambient)
    else:
        for base, seed, far in ((0.13, 41, 0.38), (0.085, 43, 0.08)):
            _draw_firs(layer, x, y, base, seed, mix((0.10, 0.30, 0.22) * ambient, haze, far))


def _draw_ridge(
    layer: Layer,
    x: np.ndarray,
    y: np.ndarray,
    height: float,
    seed: int,
    colour: np.ndarray,
    snowy: np.ndarray,
    side: float,
) -> None:
    """Paints a row of peaks with snow on them, bright on the side that the light comes from."""
    rng = np.random.default_rng(seed)
    peaks = [(-1.5 + 0.4 * n + rng.uniform(-0.1, 0.1), rng.uniform(0.6, 1.0)) for n in range(8)]
    rock, lit = np.full(layer.cover.shape, 9.0, np.float32), np.zeros(layer.cover.shape, np.float32)
    jag = 0.008 * np.sin(47 * x) + 0.006 * np.sin(83 * x + 1.0)
    for at, tall in peaks:
        slope = 0.64 * (np.abs(x - at) - 1.20 * (y + height * tall) + jag)
        ridge = (x - at + 0.02 * np.sin(70 * y + seed)) * side
        lit = np.where(slope < rock, np.clip(ridge / 0.01, -1.0, 1.0), lit)
        rock = np.minimum(rock, slope)
    stone = colour * (1.0 + 0.12 * lit)[..., None]
    white = mix(colour, snowy, 0.65) * (0.93 + 0.09 * lit)[..., None]
    snow = np.clip((-y - 0.60 * height + 0.022 * np.sin(60 * x)) / 0.012, 0.0, 1.0)
    layer.paint(rock, np.clip(mix_each(stone, white, snow), 0.0, 1.0))


def mix_each(one: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Returns colours between two pictures [H W 3] by a share of every pixel [H W]."""
    return one + share[..., None] * (other - one)


def _draw_sail(layer: Layer, x: np.ndarray, y: np.ndarray, ambient: np.ndarray) -> None:
    sail = np.maximum(np.maximum(-x, y), (x * 1.6 - (y + 0.085) * 0.9) * 0.6)
    layer.paint(sail, np.float32([0.98, 0.96, 0.90]) * ambient)
    hull = np.maximum(np.abs(x - 0.008) - 0.045 + 0.8 * (y - 0.008), np.abs(y - 0.014) - 0.012)
    layer.paint(hull, np.float32([0.62, 0.24, 0.18]) * ambient)


def _draw_firs(
    layer: Layer, x: np.ndarray, y: np.ndarray, base: float, seed: int, colour: np.ndarray
) -> None:
    rng, step = np.random.default_rng(seed), 0.085
    heights = rng.uniform(0.65, 1.25, 40) * base * 1.35
    column = np.floor(x / step + 0.5)
    across = np.abs(x - column * step)
    tall = heights[(column.astype(int) + 20) % 40]
    jag = 0.010 * np.abs(((y * 38) % 1.0) - 0.5)
    firs = (across - 0.34 * (y + tall) - jag) * 0.94
    layer.paint(firs, colour)
    layer.paint(-(y + 0.45 * base), 0.92 * colour)
