"""Renders shots of the village: a backdrop in layers that move with the camera, shadows, and villagers before it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lct_jax.puppets.scene import PuppetScene, PuppetShot
from lct_jax.puppets.village import palette
from lct_jax.puppets.village.camera import HORIZON, Camera, open_layer
from lct_jax.puppets.village.figures import ABOVE, BELOW, REACH, Light, Pose, draw_figure
from lct_jax.puppets.village.ground import draw_ground
from lct_jax.puppets.village.labels import Place, Villager
from lct_jax.puppets.village.landmarks import NEARNESS, draw_landmark
from lct_jax.puppets.village.paint import Layer, ellipse
from lct_jax.puppets.village.sky import draw_distance, draw_sky

# Heights of a villager, and places of the feet, in heights of a frame.
BODY = {"wide": 0.54, "medium": 0.84, "close": 1.28}
FEET = {"wide": 0.90, "medium": 1.03, "close": 1.47}
# How much larger a framing shows what is behind a villager.
BEHIND = {"wide": 1.0, "medium": 1.16, "close": 1.36}
JUMP = 0.16  # height of a jump, in heights of a frame
ZOOM = {"zooms in": 1.28, "zooms out": 1 / 1.28}
PAIR = (0.30, 0.70)  # where two villagers stand, in widths
SIDE = {"left": -1.0, "right": 1.0}  # the side of the light


@dataclass(frozen=True)
class Figure:
    """Says where a villager stands in a frame, in pixels, how tall it is, and how.

    Attributes:
        x, feet: the place of its feet. ground: where its shadow lies. tall: its height.
    """

    x: float
    feet: float
    ground: float
    tall: float
    pose: Pose


def render_shot(scene: PuppetScene, shot: PuppetShot) -> np.ndarray:
    """Returns uint8 [frames, height, width, 3], one shot of a scene."""
    light = Light(scene.environment.sky, SIDE[scene.environment.light])
    frames = []
    for done in np.linspace(0.0, 1.0, shot.frames) if shot.frames > 1 else [0.0]:
        camera, figures = follow(shot, scene.size, float(done))
        frame = draw_backdrop(scene.environment, camera, scene.size)
        for number, figure in zip(shot.subjects, figures, strict=True):
            add_figure(frame, scene.characters[number - 1], figure, shot.expression, light)
        frames.append(to_bytes(frame))
    return np.stack(frames)


def follow(
    shot: PuppetShot, size: tuple[int, int], done: float
) -> tuple[Camera, tuple[Figure, ...]]:
    """Returns the camera and every subject when a share of a shot is done: even motion, and a parabola for a jump."""
    height, width = size
    turned = shot.camera + (shot.camera_end - shot.camera) * done
    zoom = ZOOM.get(shot.action, 1.0) ** done
    camera = Camera(round(turned * width / height, 6), round(BEHIND[shot.framing] * zoom, 6))
    at = shot.start + (shot.end - shot.start) * done
    rise = 4.0 * JUMP * done * (1.0 - done) if shot.action == "jumps" else 0.0
    feet = HORIZON + (FEET[shot.framing] - HORIZON) * zoom
    figures = []
    for x in PAIR if len(shot.subjects) > 1 else [at] * len(shot.subjects):
        figures.append(
            Figure(
                x=(0.5 + (x - 0.5) * zoom - turned) * width,
                feet=(feet - rise) * height,
                ground=feet * height,
                tall=BODY[shot.framing] * zoom * height,
                pose=find_pose(shot.action, done),
            )
        )
    return camera, tuple(figures)


def find_pose(action: str, done: float) -> Pose:
    """Returns how a villager stands when a share of an action is done; actions begin and end in the same pose."""
    if action in ("walks left", "walks right"):
        return Pose(float(np.cos(2 * np.pi * done)), -1.0 if action == "walks left" else 1.0)
    if action == "waves":
        return Pose(wave=float(0.55 + 0.3 * np.sin(2 * np.pi * done)))
    return Pose()


def draw_backdrop(place: Place, camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """Returns a frame without villagers, float32 [H W 3] in 0..1."""
    side = SIDE[place.light]
    frame = _sky(place.sky, side, camera, size)[0].copy()
    for colour, cover in (
        _distance(place.distance, place.sky, side, camera, size),
        _ground(place.ground, place.sky, camera, size),
        _landmark(place.landmark, place.sky, side, camera, size),
    ):
        frame *= 1.0 - cover[..., None]
        frame += colour
    return frame


# Cameras stand in few ways, so layers are drawn once for many frames.
@functools.lru_cache(maxsize=400)
def _sky(sky: str, side: float, camera: Camera, size: tuple[int, int]) -> tuple[Any, Any]:
    layer = open_layer(camera, size, 0.12)
    draw_sky(layer, sky, side)
    return layer.colour, layer.cover


@functools.lru_cache(maxsize=600)
def _distance(
    distance: str, sky: str, side: float, camera: Camera, size: tuple[int, int]
) -> tuple[Any, Any]:
    layer = open_layer(camera, size, 0.35)
    draw_distance(layer, distance, sky, side)
    return layer.colour, layer.cover


@functools.lru_cache(maxsize=600)
def _ground(ground: str, sky: str, camera: Camera, size: tuple[int, int]) -> tuple[Any, Any]:
    layer = open_layer(camera, size, 1.0)
    draw_ground(layer, ground, sky)
    return layer.colour, layer.cover


@functools.lru_cache(maxsize=800)
def _landmark(
    landmark: str, sky: str, side: float, camera: Camera, size: tuple[int, int]
) -> tuple[Any, Any]:
    layer = open_layer(camera, size, NEARNESS)
    draw_landmark(layer, landmark, sky, side)
    return layer.colour, layer.cover


def add_figure(
    frame: np.ndarray, who: Villager, figure: Figure, expression: str, light: Light
) -> None:
    """Paints a villager and its shadow onto a frame, float32 [H W 3] in 0..1."""
    _add_shadow(frame, figure, light)
    drawn = draw_cut_out(who, figure, expression, light, frame.shape[:2])
    if drawn is not None:
        part = frame[drawn.rows, drawn.columns]
        part *= 1.0 - drawn.cover[..., None]
        part += drawn.colour


class CutOut(NamedTuple):
    """Holds a villager as it covers a part of a frame: premultiplied colours [h w 3] and cover [h w], in 0..1."""

    rows: slice
    columns: slice
    colour: np.ndarray
    cover: np.ndarray


# A villager who stands still is drawn once.
@functools.lru_cache(maxsize=64)
def draw_cut_out(
    who: Villager, figure: Figure, expression: str, light: Light, size: tuple[int, int]
) -> CutOut | None:
    """Returns a villager as a frame of this size shows it; None if it is outside."""
    where = find_crop(figure.x, figure.feet, figure.tall, size)
    if where is None:
        return None
    layer = open_crop(figure.x, figure.feet, figure.tall, *where)
    draw_figure(layer, who, figure.pose, expression, light)
    return CutOut(*where, layer.colour, layer.cover)


def find_crop(
    x: float, feet: float, tall: float, size: tuple[int, ...]
) -> tuple[slice, slice] | None:
    """Returns the rows and columns of a frame that a villager may cover; None if it is outside."""
    top, bottom = int(feet - ABOVE * tall), int(np.ceil(feet + BELOW * tall))
    left, right = int(x - REACH * tall), int(np.ceil(x + REACH * tall))
    rows = slice(max(top, 0), min(bottom, size[0]))
    columns = slice(max(left, 0), min(right, size[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    return rows, columns


def open_crop(x: float, feet: float, tall: float, rows: slice, columns: slice) -> Layer:
    """Returns an empty layer for a part of a frame, in the units of `figures.py`."""
    across = (np.arange(columns.start, columns.stop, dtype=np.float32)[None] + 0.5 - x) / tall
    down = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + 0.5 - feet) / tall
    return Layer(across.astype(np.float32), down.astype(np.float32), tall)


def _add_shadow(frame: np.ndarray, figure: Figure, light: Light) -> None:
    height, width = frame.shape[:2]
    x = (np.arange(width, dtype=np.float32)[None] + 0.5 - figure.x) / figure.tall
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5 - figure.ground) / figure.tall
    long = ellipse(x + 0.27 * light.side, y - 0.005 + 0.05 * x * light.side, 0.36, 0.040)
    contact = ellipse(x, y, 0.15, 0.032)
    dark = np.clip(1.0 - np.maximum(long, 0.0) / 0.05, 0.0, 1.0) * (long < 0.05)
    dark = np.maximum(dark, 0.9 * np.clip(1.0 - np.maximum(contact, 0.0) / 0.03, 0.0, 1.0))
    frame *= 1.0 - (palette.SHADOW[light.sky] * dark * (y > -0.5))[..., None]


def to_bytes(frame: np.ndarray) -> np.ndarray:
    """Returns a frame in 0..1 as uint8."""
    return np.clip(np.rint(frame * 255.0), 0, 255).astype(np.uint8)
