"""Writes what sampling makes.

Finished shots are written as an mp4 a shot, the scene cut together, a
storyboard, and the latents themselves.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lct_jax.config import SamplingConfig
from lct_jax.directing.prompts import render_global, render_shot
from lct_jax.directing.script import Script
from lct_jax.errors import InputError
from lct_jax.files import replace_atomically
from lct_jax.media.storyboard import StoryboardRow, draw_storyboard
from lct_jax.media.video import fit_inside, write_video
from lct_jax.scene_files.conditions import Given
from lct_jax.tensors import save_tensors

# Small videos are enlarged by a whole factor to about this height, so that players show them well.
PLAYER_HEIGHT = 480


class SceneWriter:
    """Writes shots as they are finished, then the scene and its storyboard.

    Args:
        folder: the folder to write to.
        script: the script of the scene.
        given: the given shots.
        fps: frames a second.
        credit: the credit that is shown on everything.
    """

    def __init__(
        self,
        folder: Path,
        script: Script,
        *,
        given: Mapping[int, Given],
        fps: float,
        credit: str,
    ) -> None:
        self.folder, self.script, self.fps, self.credit = folder, script, fps, credit
        # Pictures of the cast come behind the shots of the script.
        own = {number: shot for number, shot in given.items() if number < len(script.shots)}
        self._frames = {number: shot.frames for number, shot in own.items()}
        self._latents = {number: shot.latent for number, shot in own.items()}
        self._given = frozenset(own)
        # A folder that cannot be made is an error now, and not after all is sampled.
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, number: int, *, latent: np.ndarray, frames: np.ndarray) -> Path:
        """Writes one finished shot; it stays when a later one fails."""
        self._latents[number], self._frames[number] = latent, frames
        path = self.folder / "shots" / f"shot_{number + 1:02d}.mp4"
        self._write(path, self._frames[number])
        return path

    def finish(self, *, mode: str, sampling: SamplingConfig) -> list[Path]:
        """Writes the scene, the storyboard, the latents and how they were made; returns the paths."""
        scene, board, latents, made = (
            self.folder / name
            for name in ("scene.mp4", "storyboard.png", "latents.safetensors", "sample.json")
        )
        self._write(scene, self._cut_together())
        draw_storyboard(board, self._title(mode), self._rows(), self.credit, self.script.prompt)
        save_tensors(latents, {f"shot_{n + 1:02d}": x for n, x in self._latents.items()})
        self._remove_older_shots()
        settings = {"mode": mode, "sampling": dataclasses.asdict(sampling), "credit": self.credit}
        prompt = self.script.prompt
        settings["script"] = [
            *([render_global(prompt)] if prompt else []),
            *(render_shot(shot) for shot in self.script.shots),
        ]
        with replace_atomically(made) as unfinished:
            unfinished.write_text(json.dumps(settings, indent=1) + "\n")
        return [scene, board, latents, made]

    def _cut_together(self) -> np.ndarray:
        """Returns the film: all shots in order, at the size of the first.

        Given stills are conditions and are left out, as are shots that are not to be shown, and the frames that a shot
        takes over from the one before.
        """
        shots = [
            self._frames[number][shot.overlap :]
            for number, shot in enumerate(self.script.shots)
            if shot.shown and (number not in self._given or len(self._frames[number]) > 1)
        ]
        if not shots:
            raise InputError("script: no shot is shown, expected at least one for the film")
        height, width = shots[0].shape[1:3]
        return np.concatenate([fit_inside(shot, height, width) for shot in shots])

    def _remove_older_shots(self) -> None:
        """Removes shots of a longer scene that was sampled into this folder before."""
        for path in (self.folder / "shots").glob("shot_*.mp4"):
            number = path.stem.removeprefix("shot_")
            if number.isdigit() and int(number) - 1 not in self._frames.keys() - self._given:
                path.unlink()

    def _rows(self) -> list[StoryboardRow]:
        return [
            StoryboardRow(
                frames=self._frames[number],
                prompt=shot.text,
                fps=self.fps,
                label="given" if number in self._given else "generated",
                cut=shot.cut,
            )
            for number, shot in enumerate(self.script.shots)
        ]

    def _title(self, mode: str) -> str:
        return f"{len(self.script.shots)} shots, sampled {mode}"

    def _write(self, path: Path, frames: np.ndarray) -> None:
        scale = max(1, round(PLAYER_HEIGHT / frames.shape[1]))
        write_video(path, frames, self.fps, credit=self.credit, scale=scale)
