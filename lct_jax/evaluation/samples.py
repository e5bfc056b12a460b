"""What is judged: the shots of a scene as pictures, and the views of them that measures share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from lct_jax.directing.prompts import find_characters
from lct_jax.directing.script import Script
from lct_jax.evaluation.features.protocol import ImageFeatures
from lct_jax.media.video import resize

# Frames of a shot that features are computed of, evenly spaced; more of them hardly differ.
SEEN_FRAMES = 8
_THUMB = (16, 9)  # columns and rows
# Cases of every measure by its name: one number for each shot, pair of shots or boundary that it judges.
Cases = dict[str, list[float]]


@dataclass(frozen=True)
class SampledShots:
    """A scene as it was sampled with one seed, or as it was filmed.

    Attributes:
        scene: the name of the scene. seed: the seed of its noise.
        frames: the shots in order, uint8 [T, X, Y, 3]; sizes may differ.
    """

    scene: str
    seed: int
    script: Script
    frames: tuple[np.ndarray, ...]

    def join(self) -> np.ndarray:
        """Returns all shots as one film, at the size of the first."""
        size = self.frames[0].shape[1:3]
        return np.concatenate([resize(shot, *size) for shot in self.frames])

    def find_boundaries(self) -> dict[int, bool]:
        """Returns the frame of the joined film at which each shot but the first begins, and whether that is a cut."""
        starts = np.cumsum([len(shot) for shot in self.frames])
        cuts = [shot.cut for shot in self.script.shots[1:]]
        return dict(zip(starts[:-1].tolist(), cuts, strict=True))

    def find_who_and_where(self, number: int) -> tuple[str, ...]:
        """Returns the characters that a shot's prompt names, and its place where the script says it."""
        shot = self.script.shots[number]
        place = (f"place {shot.place}",) if shot.place else ()
        return (*find_characters(shot.text), *place)


@dataclass(frozen=True)
class SeenShots:
    """Holds views of shots, in order.

    Attributes:
        units: unit vectors of features, float32 [frames, D]. thumbs: small pictures, float32 [frames, 9, 16, 3] in
            0..255.
    """

    units: tuple[np.ndarray, ...]
    thumbs: tuple[np.ndarray, ...]

    def agree(self, one: int, other: int) -> float:
        """Returns how alike two shots are: the mean cosine over all pairs of their frames."""
        return float(self.units[one].mean(axis=0) @ self.units[other].mean(axis=0))


def see_shots(frames: tuple[np.ndarray, ...], features: ImageFeatures) -> SeenShots:
    """Returns the views of shots; features are computed of `SEEN_FRAMES` frames at most."""
    chosen = [choose_frames(shot) for shot in frames]
    units = [to_units(features.embed(shot)) for shot in chosen]
    thumbs = [np.stack([_shrink(frame) for frame in shot]) for shot in chosen]
    return SeenShots(tuple(units), tuple(thumbs))


def choose_frames(shot: np.ndarray) -> np.ndarray:
    """Returns at most `SEEN_FRAMES` frames of a shot, evenly spaced, the first and the last among them."""
    count = min(len(shot), SEEN_FRAMES)
    return shot[np.linspace(0, len(shot) - 1, count).round().astype(int)]


def add_cases(into: Cases, found: Mapping[str, list[float]]) -> None:
    """Adds the cases of a scene to those of the same scene with other seeds or of other measures."""
    for name, values in found.items():
        into.setdefault(name, []).extend(values)


def to_units(features: np.ndarray) -> np.ndarray:
    """Returns vectors [.., D] at length 1, float32."""
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return (features / np.maximum(length, 1e-12)).astype(np.float32)


def _shrink(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame, _THUMB, interpolation=cv2.INTER_AREA).astype(np.float32)
