"""Draws a villager's head: hair, eyes, brows, cheeks, a mouth, and a hat; units are those of `figures.py`."""

from __future__ import annotations

import numpy as np

from lct_jax.puppets.village import palette
from lct_jax.puppets.village.labels import Villager
from lct_jax.puppets.village.paint import Layer, box, capsule, ellipse, length, mix

HEAD, WIDE, HIGH = -0.775, 0.192, 0.198  # the middle of a head, and its half axes
TURN = 0.035  # how far a face moves when it looks to a side


def head_distance(x: np.ndarray, y: np.ndarray, look: float) -> np.ndarray:
    """Returns the distance to a head with its ears."""
    del look
    head = ellipse(x, y - HEAD, WIDE, HIGH)
    ears = ellipse(np.abs(x) - WIDE, y - HEAD - 0.02, 0.034, 0.042)
    return np.minimum(head, ears)


def hair_behind(x: np.ndarray, y: np.ndarray, look: float) -> np.ndarray:
    """Returns the distance to the hair that is seen around the head."""
    around = ellipse(x + 0.01 * look, y - HEAD + 0.025, WIDE + 0.03, HIGH + 0.028)
    locks = box(x, y - HEAD - 0.07, WIDE + 0.018, 0.13, 0.06)
    return np.minimum(around, locks)


def draw_face(layer: Layer, who: Villager, look: float, expression: str, side: float) -> None:
    """Paints the head and its face, with the hair before it."""
    x, y = layer.x, layer.y
    skin, hair = palette.SKIN[who.skin], palette.HAIR[who.hair]
    across, down = x / WIDE, (y - HEAD) / HIGH
    bright = 0.97 + 0.13 * side * across - 0.10 * down - 0.09 * (across**2 + down**2)
    layer.paint(head_distance(x, y, look), skin * bright[..., None])
    turn = TURN * look
    fx = x - turn
    for sign in (-1.0, 1.0):
        cheek = ellipse(fx - 0.115 * sign, y - HEAD - 0.065, 0.045, 0.032)
        layer.glow(cheek, 0.03, mix(skin, (0.95, 0.3, 0.3), 0.5), opacity=0.55)
    _draw_eyes(layer, fx, look, expression, skin)
    nose = ellipse(fx - 0.012 * look, y - HEAD - 0.035, 0.017, 0.014)
    layer.paint(nose, 0.78 * skin, opacity=0.8)
    _draw_mouth(layer, fx, expression)
    # The fringe falls from a parting on the side away from the light.
    edge = HEAD - 0.085 + 0.55 * (fx + 0.07) ** 2 - 0.03 * np.cos(30 * (fx + 0.07))
    cap = ellipse(x, y - HEAD + 0.012, WIDE + 0.014, HIGH + 0.014)
    fringe = np.maximum(cap, (y - edge) * 0.9)
    shine = np.clip(1.0 - np.abs((y - HEAD) / HIGH + 0.78 - 0.2 * across * side) / 0.16, 0.0, 1.0)
    strands = 1.0 + 0.05 * np.sin(70 * fx + 14 * y)
    gloss = np.clip(hair * strands[..., None] + 0.22 * shine[..., None], 0.0, 1.0)
    layer.paint(fringe, gloss * (0.95 + 0.10 * side * across)[..., None])


def _draw_eyes(
    layer: Layer, fx: np.ndarray, look: float, expression: str, skin: np.ndarray
) -> None:
    y = layer.y - HEAD
    high = {"smiling": 0.048, "sad": 0.040, "surprised": 0.062}[expression]
    for sign in (-1.0, 1.0):
        ex = fx - 0.078 * sign
        layer.paint(ellipse(ex, y + 0.005, 0.043, high + 0.008), 0.5 * skin, opacity=0.7)
        layer.paint(ellipse(ex, y + 0.005, 0.038, high), (1.0, 1.0, 1.0))
        pupil = ellipse(ex - 0.012 * look, y + 0.003, 0.023, 0.030)
        layer.paint(pupil, (0.10, 0.07, 0.12))
        layer.paint(ellipse(ex - 0.012 * look + 0.008, y + 0.013, 0.008, 0.009), (1.0, 1.0, 1.0))
        lift = {"smiling": 0.014, "sad": 0.012, "surprised": 0.035}[expression]
        slope = {"smiling": -0.008, "sad": -0.030, "surprised": 0.004}[expression]
        inner, outer = (-0.034 * sign, -0.072 - lift + slope), (0.034 * sign, -0.072 - lift - slope)
        layer.paint(capsule(ex, y, inner, outer, 0.011), palette.INK, opacity=0.9)


def _draw_mouth(layer: Layer, fx: np.ndarray, expression: str) -> None:
    y = layer.y - HEAD - 0.105
    dark, lip = np.array([0.45, 0.10, 0.13], np.float32), (0.90, 0.36, 0.36)
    if expression == "surprised":
        layer.paint(ellipse(fx, y - 0.006, 0.034, 0.044), dark)
        layer.paint(ellipse(fx, y - 0.026, 0.020, 0.016), lip)
    elif expression == "smiling":
        # A half moon, with teeth above and a tongue below.
        moon = np.maximum(ellipse(fx, y + 0.026, 0.083, 0.088), -(y + 0.026 - 1.2 * fx * fx))
        layer.paint(moon - 0.008, dark)
        layer.paint(np.maximum(moon, y + 0.004), (1.0, 1.0, 1.0))
        layer.paint(np.maximum(moon + 0.004, ellipse(fx, y - 0.052, 0.05, 0.032)), lip)
    else:
        arc = np.abs(length(fx, (y - 0.055) * 1.15) - 0.066) - 0.012
        layer.paint(np.maximum(arc, y - 0.022), dark)


def draw_hat(layer: Layer, hat: str, look: float, side: float) -> None:
    """Paints a hat on the head."""
    if hat == "none":
        return
    x, y = layer.x, layer.y
    colour, band = palette.HAT[hat], palette.BAND[hat]
    lit = (0.92 + 0.22 * side * np.clip(x / 0.2, -1.0, 1.0))[..., None]
    ink = palette.INK
    if hat == "top hat":
        block = box(x / (1.0 - 0.35 * (y + 1.0)), y + 1.065, 0.135, 0.125, 0.02)
        brim = ellipse(x, y + 0.925, 0.235, 0.034)
        layer.paint(np.minimum(block, brim) - 0.012, ink, opacity=0.7)
        layer.paint(block, colour * lit + 0.05)
        layer.paint(np.maximum(block, np.abs(y + 0.972) - 0.026), band * lit)
        layer.paint(brim, colour * lit + 0.10)
    elif hat == "beanie":
        dome = np.maximum(ellipse(x, y + 0.87, WIDE + 0.022, 0.19), y + 0.865)
        cuff = box(x, y + 0.868, WIDE + 0.026, 0.036, 0.03)
        pompom = ellipse(x, y + 1.075, 0.052, 0.050)
        layer.paint(np.minimum.reduce([dome, cuff, pompom]) - 0.012, ink, opacity=0.7)
        ribs = 1.0 + 0.10 * np.sin(x * 90)
        layer.paint(dome, colour * lit * ribs[..., None])
        layer.paint(cuff, band * (0.9 + 0.1 * ribs)[..., None])
        layer.paint(pompom, band)
    else:
        dome = np.maximum(ellipse(x, y + 0.925, 0.15, 0.155), y + 0.915)
        brim = ellipse(x, y + 0.912, 0.345, 0.048)
        layer.paint(np.minimum(dome, brim) - 0.012, ink, opacity=0.7)
        weave = 1.0 + 0.06 * np.sin(x * 80) * np.sin(y * 110)
        layer.paint(brim, 0.88 * colour * lit * weave[..., None])
        layer.paint(dome, colour * lit * weave[..., None])
        layer.paint(np.maximum(dome, np.abs(y + 0.948) - 0.022), band * lit)
