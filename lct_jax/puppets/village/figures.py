"""Draws a villager: legs, a coat with its pattern, arms, and the head of `faces.py`, shaded from the side of the light.

Lengths are shares of the villager's height; x grows to the right, y downwards, and the feet stand on y = 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lct_jax.puppets.village import palette
from lct_jax.puppets.village.faces import draw_face, draw_hat, hair_behind, head_distance
from lct_jax.puppets.village.labels import Villager
from lct_jax.puppets.village.paint import Layer, box, capsule, ellipse, length, mix

# What a figure may cover around its feet: left and right, above, and below.
REACH, ABOVE, BELOW = 0.44, 1.34, 0.08
HIP, SHOULDER = -0.27, -0.545


class Pose(NamedTuple):
    """Says how a villager stands: the swing of the legs, the side that the face looks to, and the right arm's height.

    `swing` and `look` are in -1..1; `wave` is 0 for a hanging arm, and otherwise the angle at which it is raised.
    """

    swing: float = 0.0
    look: float = 0.0
    wave: float = 0.0


class Light(NamedTuple):
    """Says how a scene is lit: by which sky, and from which side (-1 left, 1 right)."""

    sky: str
    side: float


def draw_figure(layer: Layer, who: Villager, pose: Pose, expression: str, light: Light) -> None:
    """Paints a villager onto an empty layer."""
    x, y, side = layer.x, layer.y, light.side
    coat, skin = palette.COAT[who.colour], palette.SKIN[who.skin]
    legs, feet = _legs(x, y, pose)
    arms, hands = _arms(x, y, pose)
    body = _body(x, y)
    head = head_distance(x, y, pose.look)
    behind = hair_behind(x, y, pose.look)
    outline = np.minimum.reduce([*legs, *feet, *arms, *hands, body, head, behind])
    layer.paint(outline - 0.014, palette.INK, opacity=0.8)
    for leg, foot in zip(legs, feet, strict=True):
        layer.paint(leg, _shade(palette.LEGS[who.legs], (x + 0.02 * side) / 0.17, side))
        layer.paint(foot, palette.SHOE)
    layer.paint(behind, 0.8 * palette.HAIR[who.hair])
    round_ = np.clip(x / 0.19, -1.0, 1.0)
    layer.paint(body, _shade(_cloth(who, x, y), round_, side))
    # A fold where the coat ends, and a collar.
    layer.paint(np.maximum(body, np.abs(y + 0.235) - 0.014), 0.66 * coat, opacity=0.75)
    for arm, hand, sign in zip(arms, hands, (-1.0, 1.0), strict=True):
        layer.paint(arm - 0.012, 0.5 * coat, opacity=0.55)
        layer.paint(arm, _shade(coat, np.full_like(round_, 0.75 * sign), side))
        layer.paint(hand, _shade(skin, np.full_like(round_, 0.5 * sign), side))
    layer.paint(ellipse(x, y + 0.585, 0.105, 0.035), palette.TRIM)
    draw_face(layer, who, pose.look, expression, side)
    draw_hat(layer, who.hat, pose.look, side)
    layer.colour *= palette.AMBIENT[light.sky]
    np.minimum(layer.colour, layer.cover[..., None], out=layer.colour)


def _legs(x: np.ndarray, y: np.ndarray, pose: Pose) -> tuple[list[np.ndarray], list[np.ndarray]]:
    legs, feet = [], []
    for sign in (-1.0, 1.0):
        step = sign * 0.075 + 0.085 * sign * pose.swing
        lift = 0.03 * abs(pose.swing) * (sign * pose.swing * (pose.look or 1.0) < 0)
        legs.append(capsule(x, y, (sign * 0.068, HIP), (step, -0.06 - lift), 0.052))
        toe = step + (0.02 * sign if not pose.look else 0.03 * pose.look)
        feet.append(ellipse(x - toe, y + 0.027 + lift, 0.075, 0.034))
    return legs, feet


def _arms(x: np.ndarray, y: np.ndarray, pose: Pose) -> tuple[list[np.ndarray], list[np.ndarray]]:
    arms, hands = [], []
    for sign in (-1.0, 1.0):
        shoulder = (sign * 0.125, SHOULDER + 0.045)
        hand = (sign * 0.225 - 0.07 * sign * pose.swing, -0.315)
        if sign > 0 and pose.wave:
            hand = (0.125 + 0.25 * np.cos(pose.wave), SHOULDER + 0.045 - 0.26 * np.sin(pose.wave))
        arms.append(capsule(x, y, shoulder, hand, 0.046))
        hands.append(ellipse(x - hand[0], y - hand[1], 0.046, 0.046))
    return arms, hands


def _body(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the distance to a coat that widens downwards."""
    widened = x / (1.0 + 1.05 * np.clip(y + 0.60, 0.0, 0.42))
    return box(widened, y + 0.405, 0.132, 0.19, 0.07)


def _cloth(who: Villager, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the colours of the coat, [H W 3]."""
    coat = np.broadcast_to(palette.COAT[who.colour], (*np.broadcast_shapes(x.shape, y.shape), 3))
    if who.pattern == "plain":
        # A row of buttons.
        dots = ellipse(x, (y + 0.29 + 0.1) % 0.1 - 0.05, 0.017, 0.017)
        return mix(coat, 0.45 * coat, np.clip(-dots / 0.012, 0.0, 1.0))
    if who.pattern == "striped":
        stripes = np.clip(np.sin((y + 0.59) * 2 * np.pi / 0.125) * 2.2 + 0.5, 0.0, 1.0)
        return mix(coat, palette.TRIM, stripes + 0 * x)
    step = 0.12
    row = np.floor((y + 0.6) / step)
    across = (x + 0.5 * step * (row % 2) + 10 * step + 0.5 * step) % step - 0.5 * step
    down = (y + 0.6) % step - 0.5 * step
    spots = np.clip(0.5 - (length(across, down) - 0.036) / 0.016, 0.0, 1.0)
    return mix(coat, palette.TRIM, spots)


def _shade(colour: np.ndarray, round_: np.ndarray, side: float) -> np.ndarray:
    """Returns colours [H W 3] of something round, -1 at its left edge and 1 at its right one, lit from a side."""
    bright = 0.93 + 0.17 * side * round_ - 0.10 * round_ * round_
    return np.asarray(colour, np.float32) * bright[..., None].astype(np.float32)
