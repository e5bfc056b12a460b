"""The pictures that go into sampling and come out of it.

Given images and videos are read and encoded; finished shots are written as an mp4 a shot, the scene cut together, a
storyboard, and the latents themselves.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from lct_jax.codecs.protocol import VideoCodec
from lct_jax.config import SamplingConfig
from lct_jax.directing.script import Script
from lct_jax.files import replace_atomically
from lct_jax.media.frames import VIDEO_SUFFIXES, fit_size, iter_at_rate
from lct_jax.media.storyboard import StoryboardRow, draw_storyboard
from lct_jax.media.video import read_moments, resize, write_video
from lct_jax.tensors import save_tensors

PLAYER_HEIGHT = (
    480  # small videos are enlarged by a whole factor towards it, so that players show them well
)


@dataclass(frozen=True)
class Given:
    """A given shot: its frames uint8 [T, height, width, 3] and its latent float32 [T X Y c]."""

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
    """Reads and encodes the given images and videos of a script, by 0-based shot number.

    Pictures keep their aspect ratio at the pixel area of the sampling config; a video is read at `fps` by its
    timestamps and cut to 4n + 1 frames, at most `sampling.frames`.

    Args:
        multiple: what frames - 1, height and width must be multiples of, from codec and patch.

    Raises:
        InputError: a file that cannot be read as what its name says.
    """
    given = {}
    for number, shot in enumerate(script.shots):
        if not shot.given:
            continue
        frames = _read_pictures(
            Path(shot.given), fps=fps, longest=sampling.frames, step=multiple[0]
        )
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
        folder: where to. script: of the scene.
        given: given shots. fps: frames a second. credit: shown on everything.
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
        folder.mkdir(parents=True, exist_ok=True)  # refused now, and not when all is sampled

    def add(self, number: int, *, latent: np.ndarray, frames: np.ndarray) -> Path:
        """Writes one finished shot; what is written stays when a later one fails."""
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
        with replace_atomically(made) as unfinished:
            unfinished.write_text(json.dumps(settings, indent=1) + "\n")
        return [scene, board, latents, made]

    def _cut_together(self) -> np.ndarray:
        """Shots in order, each at the size of the first; given stills lead the scene but are no part of it."""
        shots = [x for n, x in sorted(self._frames.items()) if n not in self._given or len(x) > 1]
        height, width = shots[0].shape[1:3]
        return np.concatenate([resize(shot, height, width) for shot in shots])

    def _remove_older_shots(self) -> None:
        """Files of a scene sampled into this folder before, which had more shots."""
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


def _read_pictures(path: Path, *, fps: float, longest: int, step: int) -> np.ndarray:
    """uint8 frames of an image (one frame), or of a video or an animated image at `fps`, step * n + 1 of them."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        frames = np.stack(list(islice(iter_at_rate(path, fps), longest)))
    else:
        frames = read_moments(path, fps, longest=longest)
    return frames[: (len(frames) - 1) // step * step + 1]
