"""Turns a script and its given latents into a `SceneRequest`: text tokens, sizes of shots, and links between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple

import numpy as np

from lct_jax.config import LayoutConfig, SamplingConfig
from lct_jax.directing.prompts import ShotPrompt, find_characters, render_global, render_shot
from lct_jax.directing.script import Script
from lct_jax.errors import InputError
from lct_jax.layout import patchify, token_grid
from lct_jax.sampling.request import Prompt, SceneRequest, ShotLinks, ShotRequest
from lct_jax.types import BackboneSpec

Encode = Callable[[Sequence[str]], list[np.ndarray]]


def make_request(
    script: Script,
    *,
    encode: Encode,
    given: Mapping[int, np.ndarray],
    spec: BackboneSpec,
    layout: LayoutConfig,
    sampling: SamplingConfig,
    stride: tuple[int, int, int],
) -> SceneRequest:
    """Returns the request of a script, with its texts encoded and the sizes of its shots decided.

    Args:
        script: the script.
        encode: the text encoder's function.
        given: latents [T X Y c] by 0-based shot number, for the shots whose pictures are given.
        spec: the network's spec.
        layout: the spans of texts.
        sampling: the default size and negative prompts.
        stride: the stride of the video codec.

    Raises:
        InputError: a text is longer than its span, or codec and patch cannot divide a size.
    """
    negative_scene, negative_shot = encode([sampling.negative_scene, sampling.negative_shot])
    _check("sampling.negative_scene", negative_scene, layout.scene_span)
    _check("sampling.negative_shot", negative_shot, layout.shot_span)
    if spec.text == "beside" and not sampling.negative_scene:
        # As in training, where a sample without words has the empty prompt of its shot alone.
        negative_scene = negative_scene[:0]
    prompt, written = None, _write_global(script)
    if written is not None:
        text = _check("script: global prompt", encode([written])[0], layout.scene_span)
        prompt = Prompt(text=text, negative=negative_scene)
    shots, size = [], _latent_size(sampling, stride=stride, patch=spec.patch)
    for number, shot in enumerate(script.shots):
        text = _check(
            f"script: shots[{number}].prompt", encode([render_shot(shot)])[0], layout.shot_span
        )
        own = Prompt(text=text, negative=negative_shot)
        latent = given.get(number)
        grid = latent.shape[:3] if latent is not None else size(shot.frames or sampling.frames)
        shots.append(
            ShotRequest(
                prompt=_join(prompt, own) if prompt and spec.text == "beside" else own,
                grid=token_grid(grid, spec.patch),
                given=None if latent is None else patchify(latent, spec.patch),
                ties=_find_ties(shot),
            )
        )
    return SceneRequest(
        prompt=prompt if spec.text == "joint" else None,
        shots=tuple(shots),
        channels=spec.patch_channels,
        text=spec.text,
    )


def list_texts(script: Script, sampling: SamplingConfig) -> list[str]:
    """Returns the texts of which `make_request` asks tokens: negative prompts, the global prompt, those of shots."""
    written = _write_global(script)
    shared = [] if written is None else [written]
    negative = [sampling.negative_scene, sampling.negative_shot]
    return [*negative, *shared, *map(render_shot, script.shots)]


def _write_global(script: Script) -> str | None:
    """Returns the text of the global prompt, or None for a single shot that has none."""
    if script.prompt is not None:
        return render_global(script.prompt)
    # A scene without a global prompt gets an empty one, as in training.
    return "" if len(script.shots) > 1 else None


def _join(shared: Prompt, own: Prompt) -> Prompt:
    """Returns the global prompt and that of a shot, one behind the other."""
    return Prompt(
        *(np.concatenate(pair) for pair in zip(*map(astuple, (shared, own)), strict=True))
    )


def _find_ties(shot: ShotPrompt) -> ShotLinks:
    return ShotLinks(
        characters=frozenset(find_characters(shot.text)),
        place=shot.place,
        shots=tuple(item - 1 for item in shot.refers if isinstance(item, int)),
        named=frozenset(item for item in shot.refers if isinstance(item, str)),
        goes_on=not shot.cut,
    )


def _latent_size(
    sampling: SamplingConfig, *, stride: tuple[int, int, int], patch: tuple[int, int, int]
) -> Callable[[int], tuple[int, int, int]]:
    """Returns the latent grid of a shot of so many frames; raises InputError where codec and patch cannot divide it."""
    for field, side, step in (
        ("sampling.height", sampling.height, stride[1] * patch[1]),
        ("sampling.width", sampling.width, stride[2] * patch[2]),
    ):
        if side % step:
            raise InputError(f"{field}: found {side}, expected a multiple of {step}")
    rows, columns = sampling.height // stride[1], sampling.width // stride[2]
    return lambda frames: ((frames - 1) // stride[0] + 1, rows, columns)


def _check(field: str, text: np.ndarray, span: int) -> np.ndarray:
    if len(text) > span:
        raise InputError(
            f"{field}: found {len(text)} tokens of text, expected at most {span}: shorten it"
        )
    return text
