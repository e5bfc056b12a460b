"""A scene that is sampled as it is iterated over, and its finished shots."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import html
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from lct_jax.codecs.protocol import VideoCodec
from lct_jax.config import SamplingConfig
from lct_jax.data.panels import cut_panels
from lct_jax.directing.save_script import to_plain
from lct_jax.directing.script import Script
from lct_jax.distributed.sharding import make_mesh
from lct_jax.layout import patchify, unpatchify
from lct_jax.media.video import embed_video, scale_to, write_video
from lct_jax.sampling.baselines import TwoNetworks
from lct_jax.sampling.euler import find_times
from lct_jax.sampling.modes import MODES
from lct_jax.sampling.passes import FullPass, Shot, sample_scene
from lct_jax.sampling.request import RequestError, SceneRequest
from lct_jax.sampling.schedule import Window, drop_pictures
from lct_jax.sampling.window import SamplingScene
from lct_jax.scene_files.conditions import Given
from lct_jax.scene_files.record import MANIFEST, SceneRecord, Take
from lct_jax.scene_files.writer import SceneWriter
from lct_jax.versions import read_versions

if TYPE_CHECKING:
    from lct_jax.generator import Generator

# Small videos are enlarged by a whole factor to about this height in a notebook.
NOTEBOOK_HEIGHT = 240


class FinishedShot:
    """A shot that was sampled.

    Attributes:
        number: its number from 0, in the order of the script.
        latent: float32[T X Y c].
        text: its prompt.
        fps: frames a second.
    """

    def __init__(
        self, number: int, latent: np.ndarray, codec: VideoCodec, *, text: str, fps: float
    ) -> None:
        self.number, self.latent, self._codec = number, latent, codec
        self.text, self.fps = text, fps

    @functools.cached_property
    def frames(self) -> np.ndarray:
        """The decoded shot, uint8[frames, height, width, 3]."""
        # Each process decodes for itself, on its own devices.
        with jax.set_mesh(make_mesh(devices=jax.local_devices())):
            return self._codec.decode(self.latent)

    def _repr_html_(self) -> str:
        """Returns the shot as a video with its prompt, for a notebook."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "shot.mp4"
            scale = scale_to(NOTEBOOK_HEIGHT, self.frames)
            write_video(path, self.frames, self.fps, scale=scale)
            source = embed_video(path.read_bytes())
        video = f'<video controls autoplay loop muted src="{source}"></video>'
        caption = f"shot {self.number + 1}: {html.escape(self.text)}"
        return f"<figure>{video}<figcaption>{caption}</figcaption></figure>"


class SampledScene:
    """A scene that is sampled as it is iterated over; finished shots are kept.

    Attributes:
        script, request, given, mode, sampling: what it is made from.
        windows: its windows, in the order of sampling.
        inputs, times, placed: what its windows share, the times of Euler steps, and the network on its devices.
        shots: the finished shots, by number.
    """

    def __init__(
        self,
        generator: Generator,
        script: Script,
        request: SceneRequest,
        given: Mapping[int, Given],
        *,
        mode: str,
        sampling: SamplingConfig,
        key: jax.Array,
        on_step: Callable[[], Any],
        animator: Generator | None = None,
    ) -> None:
        self.generator, self.script, self.request, self.given = generator, script, request, given
        self.mode, self.sampling, self.animator = mode, sampling, animator
        try:
            self.windows = MODES[mode].plan(request, sampling)
        except RequestError as error:
            script.source.refuse(error.place, error.complaint)
        self.placed = generator.place(sampling.shards)
        self.shots: dict[int, FinishedShot] = {}
        self._done: dict[int, np.ndarray] = {}
        self.inputs = SamplingScene(
            request,
            sampling,
            layout=generator.config.layout,
            keeps_text=generator.spec.cache.keeps_text,
            key=key,
            take_over=self._take_over,
        )
        self.times = find_times(sampling, generator.config.flow)
        self._tokens = self._sample(on_step)

    @property
    def steps(self) -> int:
        """The steps of the whole scene, for a progress bar."""
        return sum(bool(window.denoised) for window in self.windows) * (len(self.times) - 1)

    def __iter__(self) -> Iterator[FinishedShot]:
        """Yields every sampled shot, the finished ones first."""
        yield from list(self.shots.values())
        while (shot := self._next()) is not None:
            yield shot

    def save(
        self, folder: str | Path, *, watch: Callable[[SampledScene], Any] = lambda scene: None
    ) -> list[Path]:
        """Samples the missing shots and writes the scene; returns the paths of the film and what belongs to it.

        A shot is on disk as soon as it is finished, and a folder in which the same was sampled before is gone on with:
        only what is missing is sampled, to the same latents. All processes sample, and the first one decodes and
        writes; with several of them all shots are sampled again.

        Args:
            watch: is called with the scene before its missing shots are sampled, such as to tell a progress bar.

        Raises:
            InputError: something else was sampled into the folder, or it cannot be written to.
        """
        if jax.process_index():
            watch(self)
            for _ in self:
                pass
            return []
        folder, meta = Path(folder), self.generator.meta
        writer = SceneWriter(
            folder, self.script, given=self.given, fps=meta.fps, credit=meta.credit
        )
        writer.list_film()  # refused here and not when all is sampled
        record = SceneRecord.open(folder, self.describe(folder), read_versions())
        finished = [n for n, takes in record.takes.items() if takes[0].redo < 0]
        if jax.process_count() == 1:
            self.restore({n - 1: record.load(n, 1) for n in finished})
        watch(self)
        for shot in self:
            number = shot.number + 1
            if number not in record.takes:
                record.add(number, shot.latent, Take(self.find_seen(shot.number)))
            for take in range(1, len(record.takes[number]) + 1):
                if take > 1:
                    shot = self._decode(shot.number, record.load(number, take))
                chosen = record.chosen[number] == take
                writer.add(
                    shot.number, latent=shot.latent, frames=shot.frames, take=take, chosen=chosen
                )
        saw = {n: takes[record.chosen[n] - 1].saw for n, takes in record.takes.items()}
        return [*writer.finish(mode=self.mode, saw=saw), folder / MANIFEST]

    def restore(self, latents: Mapping[int, np.ndarray]) -> None:
        """Takes shots that were finished before, by number from 0, so that they are not sampled again.

        A window of which not all shots are finished is sampled as a whole, since its shots see each other. With the
        cache "reuse", which is made of a step on the way, all are sampled again.
        """
        if self.mode == "causal" and self.sampling.cache == "reuse":
            return
        for window in self.windows:
            if {*window.denoised} <= latents.keys():
                for number in window.denoised:
                    self._done[number] = patchify(latents[number], self.generator.spec.patch)
                    self.shots[number] = self._decode(number, latents[number])

    def find_seen(self, number: int) -> tuple[int, ...]:
        """Returns the shots that a shot saw, by number from 1; those of its window, without pictures of the cast."""
        window = next(window for window in self.windows if number in window.denoised)
        own = (other + 1 for other in window.shots if other < len(self.script.shots))
        return tuple(sorted(other for other in own if other != number + 1))

    @property
    def missing_steps(self) -> int:
        """The steps that are left, for a progress bar."""
        windows = self._find_left()
        left = [w for w in windows if w.denoised and not {*w.denoised} <= self._done.keys()]
        return len(left) * (len(self.times) - 1)

    def describe(self, folder: Path) -> dict[str, Any]:
        """Returns what the latents depend on, as the manifest in a folder has it."""
        return describe_sampling(
            self.generator,
            self.script,
            folder=folder,
            mode=self.mode,
            sampling=self.sampling,
            key=self.inputs.key,
            given=self.given,
        ) | ({} if self.animator is None else {"animator": self.animator.identify()})

    def _decode(self, number: int, latent: np.ndarray) -> FinishedShot:
        generator, text = self.generator, self.script.shots[number].text
        return FinishedShot(number, latent, generator.codec, text=text, fps=generator.meta.fps)

    def finish(self, number: int, tokens: np.ndarray) -> FinishedShot:
        """Takes the clean tokens of a shot, and returns it as it is kept in `shots`."""
        grid = self.request.shots[number].grid
        self.shots[number] = self._decode(
            number, unpatchify(tokens, grid, self.generator.spec.patch)
        )
        return self.shots[number]

    def _sample(self, on_step: Callable[[], Any]) -> Iterator[Shot]:
        execute = MODES[self.mode].execute
        executor = execute(self.placed.denoiser, self.inputs, self.windows, self.times)
        if self.animator is not None:
            forward = self.animator.place(self.sampling.shards).denoiser.forward
            scene = dataclasses.replace(self.inputs, layout=self.animator.config.layout)
            videos = FullPass(forward, scene, find_times(self.sampling, self.animator.config.flow))
            executor = TwoNetworks(executor, videos, self.request)
        windows = self._find_left()
        yield from sample_scene(executor, self.inputs, windows, on_step=on_step, done=self._done)

    def _find_left(self) -> tuple[Window, ...]:
        return drop_pictures(
            self.request, self.windows, own=len(self.script.shots), done=self._done
        )

    def _take_over(self, number: int, source: np.ndarray) -> np.ndarray:
        """Returns the first tokens of a shot that begins with the end of the shot before, or with a picture.

        Args:
            source: the clean tokens of the shot before, or of the picture.
        """
        codec, patch = self.generator.codec, self.generator.spec.patch
        begins = self.request.shots[number].begins
        before = number - 1 if begins is None else begins.shot
        with jax.set_mesh(make_mesh(devices=jax.local_devices())):
            if before in self.given:
                frames = self.given[before].frames
            else:
                frames = codec.decode(unpatchify(source, self.request.shots[before].grid, patch))
            if begins is None:
                frames = frames[-self.script.shots[number].overlap :]
            else:
                frames = cut_panels(frames, begins.panels)[begins.panel]
            return patchify(codec.encode(frames), patch)

    def _next(self) -> FinishedShot | None:
        """Returns the next shot of the script, and samples pictures before it where it needs them."""
        # The mesh is set only while a shot is sampled, so that it does not affect the caller's own code.
        with jax.set_mesh(self.placed.mesh):
            own = (shot for shot in self._tokens if shot.number < len(self.script.shots))
            shot = next(own, None)
        return None if shot is None else self.finish(shot.number, shot.tokens)


def describe_sampling(
    generator: Generator,
    script: Script,
    *,
    folder: Path,
    mode: str,
    sampling: SamplingConfig,
    key: jax.Array,
    given: Mapping[int, Given],
) -> dict[str, Any]:
    """Returns everything that latents depend on, as JSON values; files of the script are named from `folder`."""
    return {
        "script": to_plain(script, folder=folder),
        "mode": mode,
        "sampling": dataclasses.asdict(sampling),
        "key": jax.random.key_data(key).tolist(),
        "given": {
            str(number + 1): hashlib.sha256(shot.latent.tobytes()).hexdigest()
            for number, shot in sorted(given.items())
        },
        "model": generator.identify(),
    }
