"""Reads a whole shot of the village: what its first frame shows, and what villagers and camera do after it."""

from __future__ import annotations

import dataclasses

import numpy as np

from lct_jax.puppets.motion import SeenShot
from lct_jax.puppets.scene import STEP, TURN
from lct_jax.puppets.village.camera import Camera
from lct_jax.puppets.village.compare import find_nearest
from lct_jax.puppets.village.find import RIGHT, STAND, WAVE, Found, slide
from lct_jax.puppets.village.read import SeenFrame, SeenVillager, read_frame
from lct_jax.puppets.village.render import JUMP, SIDE, ZOOM, Light, draw_backdrop

# Half of a pan and of a zoom (its logarithm), of a walk (in widths) and of a jump (in heights).
TURNED, GROWN = 0.5 * TURN["pans right"], 0.5 * float(np.log(ZOOM["zooms in"]))
WALKED, ROSE = 0.5 * STEP["walks right"], 0.5 * JUMP
UNSURE = 0.02  # a way this near to half of one is undecided


def read_shot(frames: np.ndarray) -> SeenShot:
    """Reads a shot, uint8 [frames, height, width, 3]."""
    first = read_frame(frames[0])
    if len(frames) == 1 or not first.known:
        return SeenShot(first, first, None)
    pictures = [frame.astype(np.float32) / 255 for frame in (frames[len(frames) // 2], frames[-1])]
    camera = _follow_camera(pictures[1], first)
    halfway = Camera(
        (first.camera.pan + camera.pan) / 2, float(np.sqrt(first.camera.zoom * camera.zoom))
    )
    middle, last = (
        _follow(picture, first, camera)
        for picture, camera in zip(pictures, (halfway, camera), strict=True)
    )
    return SeenShot(first, last, _tell_action(first, middle, last))


def _follow_camera(frame: np.ndarray, first: SeenFrame) -> Camera:
    """Returns the camera of a later frame of the same place."""
    pan, zoom = first.camera
    cameras = [Camera(pan + 0.05 * step, zoom) for step in range(-7, 8)]
    grown = float(np.log(ZOOM["zooms in"]))
    cameras += [Camera(pan, zoom * float(np.exp(grown * s))) for s in (-1.0, -0.5, 0.5, 1.0)]
    return find_nearest(
        frame, cameras, lambda camera: draw_backdrop(first.place, camera, frame.shape[:2])
    )


def _follow(frame: np.ndarray, first: SeenFrame, camera: Camera) -> SeenFrame:
    """Returns a later frame with the villagers of the first one where they are then."""
    light = Light(first.place.sky, SIDE[first.place.light])
    behind = draw_backdrop(first.place, camera, frame.shape[:2])
    grown = camera.zoom / first.camera.zoom
    there = tuple(_find_again(frame, behind, who, grown, light) for who in first.characters)
    return dataclasses.replace(first, camera=camera, characters=there)


def _find_again(
    frame: np.ndarray, behind: np.ndarray, who: SeenVillager, grown: float, light: Light
) -> SeenVillager:
    height, width = frame.shape[:2]
    figure = who.found.figure
    horizon = 0.6 * height
    ground = horizon + (figure.feet - horizon) * grown
    size = figure.tall * grown
    middle = who.found.move(x=width / 2, feet=ground, ground=ground, tall=size)
    places = [
        (dx, dy) for dx in range(-width // 2, width // 2 + 1, 2) for dy in (0, -3, -6, -9, -12)
    ]
    tries: list[Found] = [middle.move(pose=pose) for pose in (STAND, RIGHT, WAVE)]
    best = max(
        (slide(frame, behind, found, light, places) for found in tries), key=lambda s: s.gain
    )
    at = best.found.figure
    return dataclasses.replace(
        who, x=at.x / width, feet=at.feet / height, size=size / height, found=best.found
    )


def _tell_action(first: SeenFrame, middle: SeenFrame, last: SeenFrame) -> str | None:
    turn = (last.camera.pan - first.camera.pan) / 1.5
    grown = float(np.log(last.camera.zoom / first.camera.zoom))
    if min(abs(abs(turn) - TURNED), abs(abs(grown) - GROWN)) < UNSURE / 2:
        return None
    if abs(turn) > TURNED:
        return "pans right" if turn > 0 else "pans left"
    if abs(grown) > GROWN:
        return "zooms in" if grown > 0 else "zooms out"
    if len(first.characters) != 1:
        return "stands"
    before, between, after = (frame.characters[0] for frame in (first, middle, last))
    way, rise = after.x - before.x, before.feet - between.feet
    if min(abs(abs(way) - WALKED), abs(rise - ROSE)) < UNSURE / 2:
        return None
    if abs(way) > WALKED:
        return "walks right" if way > 0 else "walks left"
    if rise > ROSE:
        return "jumps"
    waving = [frame.found.figure.pose.wave > 0 for frame in (before, after)]
    return None if waving[0] != waving[1] else "waves" if waving[0] else "stands"
