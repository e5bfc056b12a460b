"""Scripts to requests and shots to latents: the ends of the sampler that know of text and pictures.

A `Script` and encoded inputs enter, a `SceneRequest` leaves; finished tokens enter, latents leave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lct_jax.config import ModelConfig, SamplingConfig
from lct_jax.errors import InputError
from lct_jax.layout import Spans, patchify, token_grid
from lct_jax.sampling.request import Prompt, SceneRequest, ShotRequest, Ties
from lct_jax.script import Script, ShotPrompt, find_characters, render_global, render_shot

Encode = Callable[[Sequence[str]], list[np.ndarray]]


def make_request(
    script: Script,
    *,
    encode: Encode,
    given: Mapping[int, np.ndarray],
    model: ModelConfig,
    sampling: SamplingConfig,
    stride: tuple[int, int, int],
) -> SceneRequest:
    """Encodes a script's texts and lays down the sizes of its shots.

    Args:
        script: what the director wrote. encode: of the text encoder.
        given: latents [T X Y c] by 0-based shot number, for the shots whose pictures are given.
        model: patch, spans. sampling: default size, negative prompts. stride: of the video codec.

    Raises:
        InputError: a text over its span, a size that codec and patch cannot divide.
    """
    negative_scene, negative_shot = encode([sampling.negative_scene, sampling.negative_shot])
    spans = Spans(model.scene_span, model.shot_span)
    prompt = None
    if script.prompt is not None:
        text = encode([render_global(script.prompt)])[0]
        prompt = Prompt(text=_check("global prompt", text, spans.scene), negative=negative_scene)
    shots = []
    for number, shot in enumerate(script.shots):
        text = _check(f"shots[{number}].prompt", encode([render_shot(shot)])[0], spans.shot)
        latent = given.get(number)
        grid = _latent_grid(shot.frames, sampling, stride) if latent is None else latent.shape[:3]
        shots.append(
            ShotRequest(
                prompt=Prompt(text=text, negative=negative_shot),
                grid=token_grid(grid, model.patch),
                given=None if latent is None else patchify(latent, model.patch),
                ties=_find_ties(shot),
            )
        )
    return SceneRequest(prompt=prompt, shots=tuple(shots), channels=model.patch_channels)


def _find_ties(shot: ShotPrompt) -> Ties:
    return Ties(
        characters=frozenset(find_characters(shot.text)),
        place=shot.place,
        shots=tuple(item - 1 for item in shot.refers if isinstance(item, int)),
        named=frozenset(item for item in shot.refers if isinstance(item, str)),
        goes_on=not shot.cut,
    )


def _latent_grid(
    frames: int | None, sampling: SamplingConfig, stride: tuple[int, int, int]
) -> tuple[int, int, int]:
    frames = sampling.frames if frames is None else frames
    for field, side, step in (
        ("sampling.height", sampling.height, stride[1]),
        ("sampling.width", sampling.width, stride[2]),
    ):
        if side % step:
            raise InputError(f"{field}: found {side}, expected a multiple of {step}")
    return (frames - 1) // stride[0] + 1, sampling.height // stride[1], sampling.width // stride[2]


def _check(field: str, text: np.ndarray, span: int) -> np.ndarray:
    if len(text) > span:
        raise InputError(
            f"script: {field}: found {len(text)} tokens of text, expected at most {span}: shorten it"
        )
    return text
