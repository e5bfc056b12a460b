"""Reads the pictures that are given to sampling, and writes what it makes.

Given images and videos are read and encoded. Finished shots are written as an mp4 a shot, the scene cut together, a
storyboard, and the latents themselves.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from lct_jax.codecs.protocol import VideoCodec
from lct_jax.config import SamplingConfig
from lct_jax.directing.prompts import render_global, render_shot
from lct_jax.directing.script import Script
from lct_jax.files import replace_atomically
from lct_jax.media.frames import VIDEO_SUFFIXES, fit_size, iter_at_rate
from lct_jax.media.storyboard import StoryboardRow, draw_storyboard
from lct_jax.media.video import read_moments, resize, write_video
from lct_jax.tensors import save_tensors

# Small videos are enlarged by a whole factor to about this height, so that players show them well.
PLAYER_HEIGHT = 480


@dataclass(frozen=True)
class Given:
    """A given shot as its frames, uint8 [T, height, width, 3], and its latent, float32 [T X Y c]."""

    frames: np.ndarray
    latent: np.ndarray


def read_given(
    script: Script,
    *,
    codec: VideoCodec,
    sampling: SamplingConfig,
    multiple: tuple[int, int, int],
    fps: float,
) -> dict[int, Given]:
    """Returns the given images and videos of a script, read and encoded, by 0-based shot number.

    Pictures keep their aspect ratio at the pixel area of the sampling config. A video is read at `fps` by its
    timestamps and cut to 4n + 1 frames, at most `sampling.frames`: to its last frames where the next shot goes on from
    it without a cut, else to its first ones.

    Args:
        script: the script.
        codec: the video codec.
        sampling: the config's sampling section.
        multiple: what frames - 1, height and width must be multiples of, from codec and patch.
        fps: frames a second.

    Raises:
        InputError: a file cannot be read as what its name says.
    """
    given = {}
    for number, shot in enumerate(script.shots):
        if not shot.given:
            continue
        following = script.shots[number + 1 : number + 2]
        frames = _read_pictures(
            Path(shot.given), fps=fps, longest=sampling.frames, step=multiple[0],
            at_end=any(not after.cut for after in following),
        )  # fmt: skip
        height, width = fit_size(
            *frames.shape[1:3], area=sampling.height * sampling.width, multiple=multiple[1:]
        )
        frames = resize(frames, height, width)
        given[number] = encode_given(frames, codec=codec)
    return given


def encode_given(frames: np.ndarray, *, codec: VideoCodec) -> Given:
    """Returns frames, uint8 [T, height, width, 3] of a size that the codec takes, as a given shot."""
    return Given(frames=frames, latent=codec.encode(frames))


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
        self._frames = {number: shot.frames for number, shot in given.items()}
        self._latents = {number: shot.latent for number, shot in given.items()}
        self._given = frozenset(given)
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
        """Returns all shots in order, at the size of the first; given stills are conditions and are left out."""
        shots = [x for n, x in sorted(self._frames.items()) if n not in self._given or len(x) > 1]
        height, width = shots[0].shape[1:3]
        return np.concatenate([resize(shot, height, width) for shot in shots])

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


def _read_pictures(path: Path, *, fps: float, longest: int, step: int, at_end: bool) -> np.ndarray:
    """Returns step * n + 1 frames of an image, or of a video or an animated image at `fps`: uint8 [T, X, Y, 3].

    Of a longer video these are the first frames, or with `at_end` the last ones.
    """
    if path.suffix.lower() in VIDEO_SUFFIXES:
        stream = iter_at_rate(path, fps)
        frames = list(deque(stream, maxlen=longest) if at_end else islice(stream, longest))
    else:
        frames = read_moments(path, fps, longest=longest)
    count = (len(frames) - 1) // step * step + 1
    return np.stack(frames[-count:] if at_end else frames[:count])
