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

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lct_jax.backbones.denoiser import PlacedDenoiser, place_denoiser
from lct_jax.backbones.registry import describe
from lct_jax.codecs.protocol import VideoCodec
from lct_jax.codecs.registry import describe_decoder
from lct_jax.config import Config, SamplingConfig
from lct_jax.directing.prompts import GlobalPrompt
from lct_jax.directing.script import Script, load_script
from lct_jax.encoders.protocol import TextEncoder
from lct_jax.encoders.text_file import FreeableEncoder
from lct_jax.errors import InputError
from lct_jax.sampled_scene import SampledScene
from lct_jax.sampling.encode_script import choose_settings, fit_animator, make_request
from lct_jax.sampling.modes import MODES, choose_mode
from lct_jax.sampling.request import SceneRequest
from lct_jax.scene_files.conditions import ConditionReader, Conditions
from lct_jax.seeds import make_key
from lct_jax.session.session import Session
from lct_jax.training.checkpoint.weights import Meta


class Generator:
    """Trained weights with all that sampling needs besides; `lct_jax.load` makes it.

    Args:
        meta: the meta of the weights.
        read: makes the parameters, from shapes that have a sharding. It is called when the first scene is sampled, and
            again when the number of shards changes, so that the host keeps no copy of what the devices hold.
        codec, encoder: those that it was trained with.
        origin: where the weights come from, for messages.
        identify: returns what tells these weights from others, without reading all of large ones.

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
        identify: Callable[[], str] = lambda: "",
    ) -> None:
        self.meta, self.codec, self.encoder, self.origin = meta, codec, encoder, origin
        self.config: Config = meta.config
        self.spec = describe(meta.config.network)
        self._read, self._identify, self._placed = read, identify, None

    def sample(
        self,
        script: str | Path | Script,
        *,
        mode: str | None = None,
        given: Mapping[int, np.ndarray] | None = None,
        key: jax.Array | None = None,
        on_step: Callable[[], Any] = lambda: None,
        animator: Generator | None = None,
        **settings: Any,
    ) -> SampledScene:
        """Returns a scene whose shots are sampled when they are iterated over.

        Args:
            script: a file, or a script that was loaded or made.
            mode: a name in `lct_jax/sampling/modes.py`; None takes the script's, or "joint".
            given: pictures of given shots, uint8[frames, height, width, 3] by number from 0; None reads the files that
                the script names.
            key: the key of all noise; None makes one from the seed of the settings.
            on_step: is called once an Euler step.
            animator: makes the shots that begin with a sampled picture, in a mode that has them; None makes them with
                these weights, too.
            settings: fields of the run's sampling config to override, such as `guidance=5.0` or `seed=1`.

        Raises:
            InputError: the script, a picture, a setting or the mode does not fit the model.
        """
        script = script if isinstance(script, Script) else load_script(script)
        mode = choose_mode(script, mode)
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
        arranged = MODES[mode].arrange(script)
        conditions = reader.read(arranged, pictures=given)
        request = self.make_request(arranged, sampling, conditions)
        if animator is not None:
            self._check_animator(animator, request, mode)
            span = animator.config.layout.shot_span
            request = fit_animator(request, arranged, span=span, sampling=sampling)
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
            animator=animator,
        )

    def free_encoder(self) -> None:
        """Frees the weights of the text encoder; they are read again for a text that was not encoded before."""
        if isinstance(self.encoder, FreeableEncoder):
            self.encoder.free()

    def session(
        self,
        script: str | Path | Script | None = None,
        *,
        characters: Mapping[str, str] | None = None,
        environment: str = "",
        story: str = "",
        mode: str | None = None,
        on_step: Callable[[], Any] = lambda: None,
        **settings: Any,
    ) -> Session:
        """Returns a session, in which a scene is directed shot by shot.

        Args:
            script: what every shot shares, and shots to begin with; None takes characters, environment and story.
            characters, environment, story: the global prompt, without a script.
            mode: "autoregressive" or "causal"; None takes the script's, or the one that the weights were trained for.
            on_step: is called once an Euler step.
            settings: fields of the run's sampling config to override; they become part of the session's script.

        Raises:
            InputError: the script does not fit the model, or the mode samples all shots at once.
        """
        if script is None:
            script = Script(GlobalPrompt(dict(characters or {}), environment, story), shots=())
        script = script if isinstance(script, Script) else load_script(script)
        trained = "causal" if self.config.training.context == "causal" else "autoregressive"
        mode = choose_mode(script, mode, usual=trained)
        return Session(self, script, mode=mode, settings=settings, on_step=on_step)

    def identify(self) -> dict[str, str]:
        """Returns what tells the weights, the codec and the text encoder from others."""
        return {
            "weights": self._identify(),
            "codec": self.codec.identity,
            **describe_decoder(self.codec),
            "encoder": self.encoder.identity,
        }

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
            self.free_encoder()
            self._placed = place_denoiser(
                self.config.network, self._read, shards=shards, context=self.config.training.context
            )
        return self._placed

    def _check_animator(self, animator: Generator, request: SceneRequest, mode: str) -> None:
        """Raises InputError unless another network can make videos of pictures that this one samples."""
        if not any(shot.begins for shot in request.shots):
            raise InputError(
                f"--animator: found in --mode={mode}, where no shot begins with a picture"
            )
        for name in ("codec", "encoder"):
            own, other = self.identify()[name], animator.identify()[name]
            if own != other:
                raise InputError(
                    f"--animator: {animator.origin} has the {name} {other}, expected {own} of {self.origin}"
                )
        if self.spec.patch != animator.spec.patch:
            raise InputError(
                f"--animator: {animator.origin} has the patch {animator.spec.patch}, expected {self.spec.patch}"
            )
