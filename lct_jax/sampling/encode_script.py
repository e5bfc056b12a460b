"""Turns a script and its given latents into a `SceneRequest`: text tokens, sizes of shots, and links between them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, replace
from typing import Any

import numpy as np

from lct_jax.config import LayoutConfig, SamplingConfig
from lct_jax.config.fields import build
from lct_jax.directing.prompts import (
    GlobalPrompt,
    ShotPrompt,
    find_characters,
    render_global,
    render_shot,
)
from lct_jax.directing.script import Script
from lct_jax.errors import InputError
from lct_jax.layout import patchify, token_grid
from lct_jax.sampling.request import (
    HeldTokens,
    Prompt,
    SceneRequest,
    ShotLatents,
    ShotLinks,
    ShotRequest,
)
from lct_jax.types import BackboneSpec

Encode = Callable[[Sequence[str]], list[np.ndarray]]


def choose_settings(
    script: Script, sampling: SamplingConfig, settings: Mapping[str, Any]
) -> SamplingConfig:
    """Returns the settings of a scene: the config's, in place of them the script's, in place of these `settings`.

    Raises:
        InputError: a field does not exist, or a value does not fit.
    """
    own = {name: value for name, value in script.sampler.items() if name != "mode"}
    return build(SamplingConfig, {**asdict(sampling), **own, **settings}, path="sampling")


def make_request(
    script: Script,
    *,
    encode: Encode,
    latents: Sequence[ShotLatents],
    spec: BackboneSpec,
    layout: LayoutConfig,
    sampling: SamplingConfig,
) -> SceneRequest:
    """Returns the request of a script, with its texts encoded.

    Args:
        script: the script.
        encode: the text encoder's function.
        latents: size of every shot of `Script.list_shots`, and what is known of it.
        spec: the network's spec.
        layout: the spans of texts.
        sampling: the default negative prompts, and whether texts are cut to their spans.

    Raises:
        InputError: a text is longer than its span.
    """
    read = _Reader(encode, cut=sampling.long_prompts == "cut")
    negative_scene, negative_shot = encode([sampling.negative_scene, sampling.negative_shot])
    negative_scene = read.fit("sampling.negative_scene", negative_scene, layout.scene_span)
    negative_shot = read.fit("sampling.negative_shot", negative_shot, layout.shot_span)
    if spec.text == "beside" and not sampling.negative_scene:
        # As in training, where a sample without words has the empty prompt of its shot alone.
        negative_scene = negative_scene[:0]
    prompt, written = None, _write_global(script)
    if written is not None:
        with script.source.at(*_find_longest(script.prompt)):
            text = read("global prompt", written, layout.scene_span)
        prompt = Prompt(text=text, negative=negative_scene)
    shots, noises = [], _name_noises(script)
    for number, (shot, known) in enumerate(zip(script.list_shots(), latents, strict=True)):
        with script.at(number, "prompt"):
            text = read("", render_shot(shot), layout.shot_span)
        negative = negative_shot
        if shot.negative is not None:
            with script.at(number, "negative"):
                negative = read("", shot.negative, layout.shot_span)
        own = Prompt(text=text, negative=negative)
        shots.append(
            _make_shot(
                _join(prompt, own) if prompt and spec.text == "beside" else own,
                shot,
                known,
                patch=spec.patch,
                picture_of=script.picture_of(number),
                noise=noises[number],
            )
        )
    return SceneRequest(
        prompt=prompt if spec.text == "joint" else None,
        shots=tuple(shots),
        channels=spec.patch_channels,
        text=spec.text,
    )


def fit_animator(
    request: SceneRequest, script: Script, *, span: int, sampling: SamplingConfig
) -> SceneRequest:
    """Returns a request whose shots that begin with a sampled picture fit the span of the network that makes them.

    Args:
        request: made for the network that samples the pictures. script: of the request. span: of the other network.
        sampling: whether texts are cut to their spans.

    Raises:
        InputError: a text of such a shot is longer.
    """
    cut, shots = sampling.long_prompts == "cut", []
    for number, shot in enumerate(request.shots):
        if shot.begins is not None:
            with script.at(number, "prompt"):
                text = _fit("", shot.prompt.text, span, cut=cut)
            with script.at(number):
                negative = _fit("negative prompt", shot.prompt.negative, span, cut=cut)
            shot = replace(shot, prompt=Prompt(text=text, negative=negative))
        shots.append(shot)
    return replace(request, shots=tuple(shots))


def _make_shot(
    prompt: Prompt,
    shot: ShotPrompt,
    known: ShotLatents,
    *,
    patch: tuple[int, int, int],
    picture_of: str,
    noise: int | None,
) -> ShotRequest:
    grid = token_grid(known.grid, patch)
    row = grid[1] * grid[2]
    held = [
        HeldTokens(part.start // patch[0] * row, patchify(part.latent, patch), part.time)
        for part in known.held
    ]
    return ShotRequest(
        prompt=prompt,
        grid=grid,
        given=None if known.given is None else patchify(known.given, patch),
        links=_find_links(shot, picture_of),
        time=known.time,
        held=tuple(held),
        overlap=known.overlap // patch[0],
        begins=shot.begins,
        seed=shot.seed,
        noise=noise,
    )


def list_texts(script: Script, sampling: SamplingConfig) -> list[str]:
    """Returns the texts of which `make_request` asks tokens: negative prompts, the global prompt, those of shots."""
    written = _write_global(script)
    shared = [] if written is None else [written]
    texts = [sampling.negative_scene, sampling.negative_shot, *shared]
    for shot in script.list_shots():
        texts += [render_shot(shot), *([] if shot.negative is None else [shot.negative])]
    return texts


def _write_global(script: Script) -> str | None:
    """Returns the text of the global prompt, or None for single shots that have none."""
    if script.prompt is not None:
        return render_global(script.prompt)
    # A scene without a global prompt gets an empty one, as in training.
    return "" if len(script.list_shots()) > 1 and not script.apart else None


def _find_longest(prompt: GlobalPrompt | None) -> tuple[str, ...]:
    """Returns the field of a script in which its global prompt says most."""
    if prompt is None:
        return ()
    texts = {("characters", name): text for name, text in prompt.characters.items()}
    texts |= {("environment",): prompt.environment, ("story",): prompt.story}
    return max(texts, key=lambda field: len(texts[field]))


def _name_noises(script: Script) -> list[int | None]:
    """Returns what tells the noise of each shot of `Script.list_shots` from that of others.

    That of a picture is told by its owner, so that it stays the same when the scene grows.
    """
    seen: list[str] = []
    noises: list[int | None] = [None] * len(script.shots)
    for picture in script.list_pictures():
        owner = f"{'place' if picture.place else 'character'} {picture.owner}"
        seen.append(owner)
        # The highest bit keeps it apart from the numbers of shots.
        noises.append(zlib.crc32(f"{owner} {seen.count(owner)}".encode()) | 1 << 31)
    return noises


def _join(shared: Prompt, own: Prompt) -> Prompt:
    """Returns the global prompt and that of a shot, one behind the other."""
    return Prompt(
        *(np.concatenate(pair) for pair in zip(*map(astuple, (shared, own)), strict=True))
    )


def _find_links(shot: ShotPrompt, picture_of: str) -> ShotLinks:
    return ShotLinks(
        characters=frozenset(find_characters(shot.text)),
        place=shot.place,
        shots=tuple(item - 1 for item in shot.refers if isinstance(item, int)),
        named=frozenset(item for item in shot.refers if isinstance(item, str)),
        goes_on=not shot.cut,
        is_key=shot.key,
        picture_of=picture_of,
        history=None if shot.history is None else tuple(n - 1 for n in shot.history),
    )


class _Reader:
    """Encodes texts and holds them to their spans; `cut` takes what fits of one that is too long."""

    def __init__(self, encode: Encode, *, cut: bool) -> None:
        self.encode, self.cut = encode, cut

    def __call__(self, field: str, text: str, span: int) -> np.ndarray:
        return self.fit(field, self.encode([text])[0], span)

    def fit(self, field: str, tokens: np.ndarray, span: int) -> np.ndarray:
        """Returns the tokens of a text, cut where that is asked for; raises InputError if they are too many."""
        return _fit(field, tokens, span, cut=self.cut)


def _fit(field: str, tokens: np.ndarray, span: int, *, cut: bool) -> np.ndarray:
    if len(tokens) <= span or cut:
        return tokens[:span]
    where = f"{field}: " if field else ""
    raise InputError(
        f"{where}found {len(tokens)} tokens of text, expected at most {span}: shorten it by "
        f"{len(tokens) - span}, or set sampling.long_prompts to 'cut'"
    )
