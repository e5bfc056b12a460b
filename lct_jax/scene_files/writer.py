"""Writes what sampling makes.

Finished shots are written as an mp4 a shot, the scene cut together, a storyboard, a page on which all of it plays, and
the latents themselves.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lct_jax.directing.script import Script
from lct_jax.errors import make_folder
from lct_jax.files import replace_atomically
from lct_jax.media.seams import go_on
from lct_jax.media.storyboard import CastImage, StoryboardRow, draw_storyboard
from lct_jax.media.video import fit_inside, scale_to, write_video
from lct_jax.scene_files.conditions import Given
from lct_jax.scene_files.page import PageShot, make_page
from lct_jax.scene_files.record import name_take
from lct_jax.tensors import save_tensors

# Small videos are enlarged by a whole factor to about this height, so that players show them well.
PLAYER_HEIGHT = 480
STORYBOARD = "storyboard.png"


def list_cast(script: Script, given: Mapping[int, Given]) -> list[CastImage]:
    """Returns the pictures of characters and places that a script gives, as sampling saw them.

    Args:
        given: the given shots; pictures of the cast come behind the shots of the script.
    """
    pictures = enumerate(script.list_pictures(), start=len(script.shots))
    return [
        CastImage(picture.place or f"Character {picture.character}", given[number].frames[0])
        for number, picture in pictures
        if number in given
    ]


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
        self._videos: dict[int, Path] = {}
        self._given = frozenset(own)
        self._cast = list_cast(script, given)
        # A folder that cannot be made is an error now, and not after all is sampled.
        make_folder(folder)

    def list_film(self) -> list[int]:
        """Returns the shots that the film has, by number from 0; raises InputError where it has none."""
        still = lambda number: number in self._given and len(self._frames[number]) == 1
        film = [n for n, shot in enumerate(self.script.shots) if shot.shown and not still(n)]
        if not film:
            complaint = "the film has none, expected one that is shown and is no given image"
            self.script.source.refuse(("shots",), complaint)
        return film

    def add(
        self,
        number: int,
        *,
        latent: np.ndarray,
        frames: np.ndarray,
        take: int = 1,
        chosen: bool = True,
    ) -> Path:
        """Writes one finished shot; it stays when a later one fails.

        Args:
            take: which sampling of the shot it is, from 1. chosen: whether the film has it.
        """
        path = self.folder / "shots" / f"{name_take(number + 1, take)}.mp4"
        if chosen:
            self._latents[number], self._frames[number] = latent, frames
            self._videos[number] = path
        self._write(path, frames)
        return path

    def finish(self, *, mode: str, saw: Mapping[int, Sequence[int]] | None = None) -> list[Path]:
        """Writes the scene, the storyboard, the page and the latents; returns the paths.

        Args:
            saw: the shots that a shot saw when it was sampled, all by number from 1.
        """
        names = ("scene.mp4", STORYBOARD, "index.html", "latents.safetensors")
        scene, board, page, latents = (self.folder / name for name in names)
        self._write(scene, self._cut_together())
        rows = self._rows(saw or {})
        draw_storyboard(
            board, self._title(mode), rows, self.credit, self.script.prompt, cast=self._cast
        )
        self._write_page(page, scene, rows, title=self._title(mode), saw=saw or {})
        save_tensors(latents, {f"shot_{n + 1:02d}": x for n, x in self._latents.items()})
        self._remove_older_shots()
        return [scene, board, page, latents]

    def _write_page(
        self,
        page: Path,
        scene: Path,
        rows: Sequence[StoryboardRow],
        *,
        title: str,
        saw: Mapping[int, Sequence[int]],
    ) -> None:
        """Writes the page with all videos in it; those of given shots are written for it."""
        shots = []
        with tempfile.TemporaryDirectory() as folder:
            for number, row in enumerate(rows):
                video = self._videos.get(number)
                if video is None:
                    video = Path(folder) / f"{number}.mp4"
                    self._write(video, row.frames)
                shots.append(PageShot(row, video.read_bytes(), tuple(saw.get(number + 1, ()))))
            text = make_page(
                title,
                shots,
                scene.read_bytes(),
                prompt=self.script.prompt,
                credit=self.credit,
                cast=self._cast,
            )
        with replace_atomically(page) as unfinished:
            unfinished.write_text(text, encoding="utf-8")

    def _cut_together(self) -> np.ndarray:
        """Returns the film: all shots in order, at the size of the first.

        Given stills are conditions and are left out, as are shots that are not to be shown, and the frames that a shot
        takes over from the one before.
        """
        film: dict[int, np.ndarray] = {}
        for number in self.list_film():
            overlap = self.script.shots[number].overlap
            film[number] = go_on(film.get(number - 1), self._frames[number], overlap)
        shots = list(film.values())
        height, width = shots[0].shape[1:3]
        return np.concatenate([fit_inside(shot, height, width) for shot in shots])

    def _remove_older_shots(self) -> None:
        """Removes shots of a longer scene that was sampled into this folder before."""
        for path in (self.folder / "shots").glob("shot_*.mp4"):
            number = path.stem.removeprefix("shot_")
            if number.isdigit() and int(number) - 1 not in self._frames.keys() - self._given:
                path.unlink()

    def _rows(self, saw: Mapping[int, Sequence[int]]) -> list[StoryboardRow]:
        return [
            StoryboardRow(
                frames=self._frames[number],
                prompt=shot.text,
                fps=self.fps,
                label="given" if number in self._given else "generated",
                cut=shot.cut,
                saw=tuple(saw.get(number + 1, ())),
                shown=shot.shown,
            )
            for number, shot in enumerate(self.script.shots)
        ]

    def _title(self, mode: str) -> str:
        return f"{len(self.script.shots)} shots, sampled {mode}"

    def _write(self, path: Path, frames: np.ndarray) -> None:
        scale = scale_to(PLAYER_HEIGHT, frames)
        write_video(path, frames, self.fps, credit=self.credit, scale=scale)
