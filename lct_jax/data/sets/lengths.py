"""Holds the sizes of everything in a prepared set, which is all that planning needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from lct_jax.errors import InputError
from lct_jax.tensors import load_tensors_of

SPLITS = ("train", "held_out")
# This value in `shot_alone` says that a prompt names characters and no caption describes them.
NAMES_PEOPLE = -1
MAKE_AGAIN = "the preparation did not finish or the set is damaged, prepare it again"


@dataclass(frozen=True)
class LengthTable:
    """Holds the sizes of everything in a set, as flat int32 columns; shots of a scene are consecutive.

    Attributes:
        scene_split: [scenes] position in `SPLITS`. scene_start: [scenes + 1] first shot of each scene.
        scene_full, scene_brief: [scenes] text tokens of the global prompt with and without its story.
        shot_alone: [shots] text tokens of the caption that stands alone, for a single shot without a global prompt;
            0 where the prompt itself stands alone, `NAMES_PEOPLE` where it names people and there is no such caption.
        shot_text: [shots] text tokens. shot_still: [shots] number of stills. shot_cut: [shots] 0 where the shot
            continues without a cut.
        clip_start: [shots + 1] first clip of each shot. clip_grid: [clips, 3] latent grid.
        empty_text: [1] tokens of the empty prompt.
    """

    scene_split: np.ndarray
    scene_start: np.ndarray
    scene_full: np.ndarray
    scene_brief: np.ndarray
    shot_text: np.ndarray
    shot_still: np.ndarray
    shot_cut: np.ndarray
    clip_start: np.ndarray
    clip_grid: np.ndarray
    empty_text: np.ndarray
    shot_alone: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.shot_alone is None:
            object.__setattr__(self, "shot_alone", np.zeros_like(self.shot_text))

    @classmethod
    def load(cls, path: Path) -> LengthTable:
        """Reads a table; raises InputError where it is damaged or missing.

        Tables of earlier versions have no lengths of captions that stand alone: their prompts are taken to stand alone.
        """
        names = [field.name for field in fields(cls) if field.name != "shot_alone"]
        try:
            return cls(**load_tensors_of(path, names, optional=["shot_alone"]))
        except InputError as error:
            raise InputError(f"{error}: {MAKE_AGAIN}") from None

    @classmethod
    def join(cls, tables: Sequence[LengthTable]) -> LengthTable:
        """Returns one table of several sets, in order; they share the empty prompt."""
        columns = {}
        for name in (field.name for field in fields(cls)):
            parts = [getattr(table, name) for table in tables]
            if name in ("scene_start", "clip_start"):
                ends = np.cumsum([0, *(part[-1] for part in parts)])
                parts = [part[1:] + end for part, end in zip(parts, ends[:-1], strict=True)]
                parts = [np.zeros(1), *parts]
            columns[name] = np.concatenate(parts).astype(np.int32)
        return cls(**columns | {"empty_text": tables[0].empty_text})

    def shots_of(self, scene: int) -> range:
        """Returns the numbers of a scene's shots."""
        return range(int(self.scene_start[scene]), int(self.scene_start[scene + 1]))

    def scenes_of(self, split: str) -> np.ndarray:
        """Returns the numbers of a split's scenes; raises InputError if there are none."""
        scenes = np.flatnonzero(self.scene_split == SPLITS.index(split))
        if not len(scenes):
            raise InputError(f"prepared set: found no {split} scene, expected at least one")
        return scenes
