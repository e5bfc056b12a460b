"""The front door: a trained model that samples scenes from scripts.

    import lct_jax

    generator = lct_jax.load("runs/film_tiny")            # a run's folder, a published base, or exported weights
    scene = generator.sample("script.json", mode="joint")
    for shot in scene:                                    # yields shots as they are finished
        print(shot.number, shot.frames.shape)
    scene.save("out")                                     # an mp4 a shot, the scene, a storyboard, latents

`sample.py`, evaluation and benchmarks use it, so the set-up for sampling is written only once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lct_jax.backbones.denoiser import PlacedDenoiser, place_denoiser
from lct_jax.backbones.registry import describe
from lct_jax.codecs.protocol import VideoCodec
from lct_jax.config import Config, SamplingConfig
from lct_jax.directing.script import Script, load_script
from lct_jax.distributed.sharding import make_mesh
from lct_jax.encoders.protocol import TextEncoder
from lct_jax.encoders.text_file import FreeableEncoder
from lct_jax.errors import InputError
from lct_jax.layout import patchify, unpatchify
from lct_jax.model_files import open_model
from lct_jax.sampling.encode_script import choose_settings, make_request
from lct_jax.sampling.euler import time_grid
from lct_jax.sampling.modes import MODES
from lct_jax.sampling.passes import Shot, sample_scene
from lct_jax.sampling.request import SceneRequest
from lct_jax.sampling.window import SamplingScene
from lct_jax.scene_files.conditions import ConditionReader, Conditions, Given
from lct_jax.scene_files.writer import SceneWriter
from lct_jax.seeds import make_key
from lct_jax.training.checkpoint.weights import Meta


class FinishedShot:
    """A shot that was sampled.

    Attributes:
        number: its number from 0, in the order of the script.
        latent: float32[T X Y c].
    """

    def __init__(self, number: int, latent: np.ndarray, codec: VideoCodec) -> None:
        self.number, self.latent, self._codec = number, latent, codec

    @functools.cached_property
    def frames(self) -> np.ndarray:
        """The decoded shot, uint8[frames, height, width, 3]."""
        # Each process decodes for itself, on its own devices.
        with jax.set_mesh(make_mesh(devices=jax.local_devices())):
            return self._codec.decode(self.latent)


class Generator:
    """Trained weights with all that sampling needs besides; `lct_jax.load` makes it.

    Args:
        meta: the meta of the weights.
        read: makes the parameters, from shapes that have a sharding. It is called when the first scene is sampled, and
            again when the number of shards changes, so that the host keeps no copy of what the devices hold.
        codec, encoder: those that it was trained with.
        origin: where the weights come from, for messages.

    Attributes:
        config: the run's config; `sample` may override fields of its `sampling` section.
    """

    def __init__(
        self,
        meta: Meta,
        read: Callable[[Any], Any],
        *,
        codec: VideoCodec,
        encoder: TextEncoder,
        origin: str = "the network",
    ) -> None:
        self.meta, self.codec, self.encoder, self.origin = meta, codec, encoder, origin
        self.config: Config = meta.config
        self.spec = describe(meta.config.network)
        self._read, self._placed = read, None

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        *,
        codec: str | Path | None = None,
        encoder: str | Path | None = None,
        texts: str | Path | None = None,
        weights: str = "ema",
    ) -> Generator:
        """Returns the generator of a run's folder, of weights saved by `lct_jax.export`, or of a published base.

        Args:
            checkpoint: the folder or the file.
            codec: file with the codec's weights; None takes those in the run's folder or in the base's.
            encoder: folder with the text encoder's files; None takes the one that the run's config names.
            texts: file of encoded texts (`lct_jax.encode_texts`), with which no encoder is read.
            weights: "ema" or "params", of a run's folder.

        Raises:
            InputError: files are missing or damaged, or the codec or the encoder are not those of the run.
        """
        files = open_model(checkpoint, codec=codec, encoder=encoder, texts=texts, weights=weights)
        return cls(**files._asdict())

    def sample(
        self,
        script: str | Path | Script,
        *,
        mode: str | None = None,
        given: Mapping[int, np.ndarray] | None = None,
        key: jax.Array | None = None,
        on_step: Callable[[], Any] = lambda: None,
        **settings: Any,
    ) -> SampledScene:
        """Returns a scene whose shots are sampled when they are iterated over.

        Args:
            script: a file, or a script that was loaded or made.
            mode: "joint", "autoregressive" or "causal"; None takes the script's, or "joint".
            given: pictures of given shots, uint8[frames, height, width, 3] by number from 0; None reads the files that
                the script names.
            key: the key of all noise; None makes one from the seed of the settings.
            on_step: is called once an Euler step.
            settings: fields of the run's sampling config to override, such as `guidance=5.0` or `seed=1`.

        Raises:
            InputError: the script, a picture, a setting or the mode does not fit the model.
        """
        script = script if isinstance(script, Script) else load_script(script)
        mode = mode or script.sampler.get("mode", "joint")
        if mode not in MODES:
            raise InputError(f"mode: found {mode!r}, expected one of {', '.join(sorted(MODES))}")
        context = self.config.training.context
        if MODES[mode].causal and context != "causal":
            raise InputError(
                f"--mode={mode}: {self.origin} was trained with training.context {context!r}, "
                "expected 'causal'"
            )
        sampling = choose_settings(script, self.config.sampling, settings)
        reader = ConditionReader(
            codec=self.codec, sampling=sampling, multiple=self.multiple, fps=self.meta.fps
        )
        conditions = reader.read(script, pictures=given)
        request = self.make_request(script, sampling, conditions)
        self.place(sampling.shards)  # refused here and not when the first shot is asked for
        key = make_key(sampling.seed) if key is None else key
        return SampledScene(
            self,
            script,
            request,
            conditions.given,
            mode=mode,
            sampling=sampling,
            key=key,
            on_step=on_step,
        )

    @property
    def multiple(self) -> tuple[int, int, int]:
        """What frames - 1, height and width of pictures must be multiples of, by codec and patch."""
        return tuple(s * p for s, p in zip(self.codec.stride, self.spec.patch, strict=True))

    def make_request(
        self, script: Script, sampling: SamplingConfig, conditions: Conditions
    ) -> SceneRequest:
        """Returns the request of a script, with its texts encoded."""
        return make_request(
            script,
            encode=self.encoder.encode,
            latents=conditions.shots,
            spec=self.spec,
            layout=self.config.layout,
            sampling=sampling,
        )

    def place(self, shards: int) -> PlacedDenoiser:
        """Returns the network on a mesh of so many devices over tokens and heads; its weights are read into it.

        One placement is kept, and its weights are read again when the number of shards changes.

        Raises:
            InputError: the devices or heads do not divide, or the weights cannot be read.
        """
        if self._placed is None or self._placed.shards != shards:
            # The weights of the placement before, and those of a large encoder, may not fit beside the new ones.
            self._placed = None
            if isinstance(self.encoder, FreeableEncoder):
                self.encoder.free()
            self._placed = place_denoiser(
                self.config.network, self._read, shards=shards, context=self.config.training.context
            )
        return self._placed


class SampledScene:
    """A scene that is sampled as it is iterated over; finished shots are kept.

    Attributes:
        script, request, given, mode, sampling: what it is made from.
        windows: its windows, in the order of sampling.
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
    ) -> None:
        self.generator, self.script, self.request, self.given = generator, script, request, given
        self.mode, self.sampling = mode, sampling
        self.windows = MODES[mode].plan(request, sampling)
        self._placed = generator.place(sampling.shards)
        self.shots: dict[int, FinishedShot] = {}
        self._tokens = self._sample(key, on_step)

    @property
    def steps(self) -> int:
        """The Euler steps of the whole scene, for a progress bar."""
        return sum(bool(window.denoised) for window in self.windows) * self.sampling.steps

    def __iter__(self) -> Iterator[FinishedShot]:
        """Yields every sampled shot, the finished ones first."""
        yield from list(self.shots.values())
        while (shot := self._next()) is not None:
            yield shot

    def save(self, folder: str | Path) -> list[Path]:
        """Samples the missing shots and writes the scene; returns the paths.

        A shot is written as soon as it is finished. All processes sample, and the first one decodes and writes.
        """
        if jax.process_index():
            for _ in self:
                pass
            return []
        writer = SceneWriter(
            Path(folder),
            self.script,
            given=self.given,
            fps=self.generator.meta.fps,
            credit=self.generator.meta.credit,
        )
        for shot in self:
            writer.add(shot.number, latent=shot.latent, frames=shot.frames)
        return writer.finish(mode=self.mode, sampling=self.sampling)

    def _sample(self, key: jax.Array, on_step: Callable[[], Any]) -> Iterator[Shot]:
        generator, mode = self.generator, MODES[self.mode]
        scene = SamplingScene(
            self.request,
            self.sampling,
            layout=generator.config.layout,
            keeps_text=generator.spec.cache.keeps_text,
            key=key,
            take_over=self._take_over,
        )
        shift = self.sampling.shift or generator.config.flow.shift
        times = time_grid(self.sampling.steps, shift, self.sampling.solver)
        executor = mode.execute(self._placed.denoiser, scene, self.windows, times)
        yield from sample_scene(executor, scene, self.windows, on_step=on_step)

    def _take_over(self, number: int, before: np.ndarray) -> np.ndarray:
        """Returns the first tokens of a shot that begins with the end of the shot before, whose clean tokens are
        given.
        """
        codec, patch = self.generator.codec, self.generator.spec.patch
        given = self.given.get(number - 1)
        with jax.set_mesh(make_mesh(devices=jax.local_devices())):
            if given is not None:
                frames = given.frames
            else:
                frames = codec.decode(
                    unpatchify(before, self.request.shots[number - 1].grid, patch)
                )
            overlap = self.script.shots[number].overlap
            return patchify(codec.encode(frames[-overlap:]), patch)

    def _next(self) -> FinishedShot | None:
        # The mesh is set only while a shot is sampled, so that it does not affect the caller's own code.
        with jax.set_mesh(self._placed.mesh):
            shot = next(self._tokens, None)
        if shot is None:
            return None
        grid = self.request.shots[shot.number].grid
        latent = unpatchify(shot.tokens, grid, self.generator.spec.patch)
        self.shots[shot.number] = FinishedShot(shot.number, latent, self.generator.codec)
        return self.shots[shot.number]
