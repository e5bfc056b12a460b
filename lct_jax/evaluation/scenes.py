"""Reads the scenes that a model is evaluated on: their scripts and, where there are some, the shots that were filmed.

A path is one of these:

- a scene file (`lct_jax.scenes/1`): the scenes of one split, with the film's own shots. Scenes that the model's config
  held out (`data.hold_out`) are held out, too;
- a script (`lct_jax.script/1`);
- a folder of scripts, `NAME.json`, where a folder `NAME` beside a script may hold its filmed shots as `shot_01`,
  `shot_02`, .. (videos or animated images).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lct_jax.data.scene_file import SCENE_FORMAT, SceneFile, load_scene_file
from lct_jax.data.sources import iter_footage
from lct_jax.directing.script import Script, load_script
from lct_jax.errors import InputError
from lct_jax.media.frames import VIDEO_SUFFIXES, fit_size, iter_at_rate, read_shape
from lct_jax.media.images import read_moments
from lct_jax.media.video import resize


@dataclass(frozen=True)
class EvaluatedScene:
    """A scene to sample.

    Attributes:
        id: its name, which is also that of folders.
        filmed: the shots that were filmed for its prompts, uint8 [T, X, Y, 3] in order; empty where there are none.
    """

    id: str
    script: Script
    filmed: tuple[np.ndarray, ...] = ()

    def begin(self, shots: int | None) -> EvaluatedScene:
        """Returns the scene with so many shots at most, its first ones; None keeps all."""
        script = dataclasses.replace(self.script, shots=self.script.shots[:shots])
        return EvaluatedScene(self.id, script, self.filmed[:shots])


@dataclass(frozen=True)
class Pictures:
    """Says how filmed shots are brought to the size and the length of sampled ones.

    Attributes:
        fps: frames a second. longest: the most frames of a shot. area: the pixels of a frame.
        multiple: what height and width must be multiples of.
    """

    fps: float
    longest: int
    area: int
    multiple: tuple[int, int]

    def fit(self, height: int, width: int) -> tuple[int, int]:
        """Returns height and width of about `area` pixels in the aspect ratio of a picture."""
        return fit_size(height, width, area=self.area, multiple=self.multiple)

    def clip(self, shot: np.ndarray, *, at_end: bool) -> np.ndarray:
        """Returns the first frames of a shot, or its last ones, which the next shot goes on from."""
        return shot[-self.longest :] if at_end else shot[: self.longest]


def load_scenes(
    path: Path, pictures: Pictures, *, split: str, hold_out: Sequence[str] = ()
) -> list[EvaluatedScene]:
    """Returns the scenes of a path.

    Args:
        split: the scenes of a scene file that are taken, "held_out" or "train". hold_out: names of scenes that are held
            out besides those that a scene file holds out.

    Raises:
        InputError: nothing of the kinds above is there, a file is wrong, or a script has given shots.
    """
    if path.is_dir():
        scenes = [_load_script(file, pictures) for file in sorted(path.glob("*.json"))]
    elif _read_format(path) == SCENE_FORMAT:
        annotated = _hold_out(load_scene_file(path), hold_out)
        scenes = list(_iter_film(annotated, pictures, split=split))
    else:
        scenes = [_load_script(path, pictures)]
    if not scenes:
        what = "scripts" if path.is_dir() else f"scenes of the split {split!r} (--split)"
        raise InputError(f"{path}: found nothing to sample, expected {what}")
    return scenes


def _read_format(path: Path) -> object:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return None  # the reader of scripts says what is wrong with it
    return values.get("format") if isinstance(values, dict) else None


def _hold_out(annotated: SceneFile, names: Sequence[str]) -> SceneFile:
    """Returns a scene file in which the scenes of some names are held out, too; it need not have them all."""
    scenes = tuple(
        dataclasses.replace(scene, split="held_out") if scene.id in names else scene
        for scene in annotated.scenes
    )
    return dataclasses.replace(annotated, scenes=scenes)


def _iter_film(annotated: SceneFile, pictures: Pictures, *, split: str) -> Iterator[EvaluatedScene]:
    chosen = tuple(scene for scene in annotated.scenes if scene.split == split)
    if not chosen:
        return
    shape = read_shape(annotated.film.file)
    shots: dict[tuple[str, int], np.ndarray] = {}
    film = dataclasses.replace(annotated, scenes=chosen)
    for part in iter_footage(film, fps=pictures.fps, size=pictures.fit(shape.height, shape.width)):
        at_end = _is_continued(part.scene.script, part.shot)
        # A copy, so that the rest of a long shot is freed.
        shots[part.scene.id, part.shot] = pictures.clip(part.frames, at_end=at_end).copy()
    for scene in chosen:
        filmed = tuple(shots[scene.id, i] for i in range(len(scene.ranges)))
        yield EvaluatedScene(scene.id, scene.script, filmed)


def _load_script(path: Path, pictures: Pictures) -> EvaluatedScene:
    script = load_script(path)
    for number, shot in enumerate(script.shots):
        if shot.given:
            raise InputError(
                f"{path}: shots[{number}].given: found {shot.given.file!r}, expected scripts without given shots"
            )
    folder = path.with_suffix("")
    if not folder.is_dir():
        return EvaluatedScene(path.stem, script)
    filmed = tuple(
        _read_filmed(folder, number, pictures, at_end=_is_continued(script, number))
        for number in range(len(script.shots))
    )
    return EvaluatedScene(path.stem, script, filmed)


def _read_filmed(folder: Path, number: int, pictures: Pictures, *, at_end: bool) -> np.ndarray:
    found = sorted(folder.glob(f"shot_{number + 1:02d}.*"))
    if len(found) != 1:
        raise InputError(
            f"{folder}: found {len(found)} files shot_{number + 1:02d}.*, expected one for every shot"
        )
    path = found[0]
    if path.suffix.lower() in VIDEO_SUFFIXES:
        frames = np.stack(list(iter_at_rate(path, pictures.fps)))
    else:
        frames = read_moments(path, pictures.fps, longest=10**6)
    return pictures.clip(resize(frames, *pictures.fit(*frames.shape[1:3])), at_end=at_end)


def _is_continued(script: Script, number: int) -> bool:
    return any(not shot.cut for shot in script.shots[number + 1 : number + 2])
