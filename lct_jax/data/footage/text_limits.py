"""Finds texts that are too long for the text encoder or for their span, and leaves them out.

A shot whose text is too long is left out, and the shot after it begins with the tag of a cut, because the footage
before it is gone. A global prompt that is too long only with its story loses the story; one that is too long without it
removes its scene. Every case is reported with the tokens found and expected. Nothing else of a film is lost, and
raising the span brings the texts back.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lct_jax.config import Config
from lct_jax.data.footage.captions import Caption
from lct_jax.data.sets.set_info import PIXELS
from lct_jax.data.sources import RawScene, RawShot, SceneTexts, Source, open_source
from lct_jax.directing.prompts import SHOT_CUT_TAG, ShotPrompt, render_global, render_shot
from lct_jax.encoders.registry import load_counter
from lct_jax.errors import InputError


@dataclass(frozen=True)
class TooLong:
    """Describes a text over its limit.

    Attributes:
        scene: its name. shot: number in the scene from 0; None for the global prompt. lost: number of shots that are
            left out with it. found: its tokens. expected: the most tokens allowed. limit: the field, or the encoder,
            that sets the limit.
    """

    scene: str
    shot: int | None
    lost: int
    found: int
    expected: int
    limit: str

    def __str__(self) -> str:
        where = "global prompt" if self.shot is None else f"shots[{self.shot}]"
        done = "left out" if self.lost else "its story left out"
        return (
            f"scene {self.scene!r}: {where}: found {self.found} tokens,"
            f" expected at most {self.expected} ({self.limit}): {done}"
        )


@dataclass(frozen=True)
class TextLimits:
    """Holds the longest texts that a config allows.

    Attributes:
        count: returns the number of tokens of a text. shot, scene: the most tokens of a shot's text and of a global
            prompt.
        shot_by, scene_by: name what sets these limits.
    """

    count: Callable[[str], int]
    shot: int
    shot_by: str
    scene: int
    scene_by: str

    def check_caption(self, caption: Caption) -> None:
        """Raises InputError for a caption with a text over its limit, in words that a model can follow."""
        texts = [
            (f"shots[{i}]", render_shot(ShotPrompt(text))) for i, text in enumerate(caption.shots)
        ]
        limits = [self.shot] * len(texts)
        if caption.prompt is not None:
            texts.append(
                ("characters, environment and story together", render_global(caption.prompt))
            )
            limits.append(self.scene)
        for (where, text), limit in zip(texts, limits, strict=True):
            found = self.count(text)
            if found > limit:
                words = max(len(text.split()) * limit // found, 1)
                raise InputError(
                    f"answer: {where}: found {found} tokens, expected at most {limit}, which is about {words} words"
                )


@functools.lru_cache(maxsize=8)
def _load_limits(name: str, width: int, folder: str, shot_span: int, scene_span: int) -> TextLimits:
    counter = load_counter(name, width=width, folder=folder)
    limits: list[int | str] = []
    for field, span in (("layout.shot_span", shot_span), ("layout.scene_span", scene_span)):
        # An empty text is in every set. If even that one is too long, the model says so before its first step.
        over = counter.max_tokens is not None and counter.max_tokens <= span
        limits += (counter.max_tokens, f"the encoder {name}") if over else (span, field)
    return TextLimits(counter.count, *limits)


def load_limits(config: Config) -> TextLimits:
    """Returns the limits of texts: the span of the model, or the longest text of the encoder where that is less."""
    prepare, layout = config.prepare, config.layout
    return _load_limits(
        prepare.encoder,
        config.backbone.text_width,
        prepare.encoder_from,
        layout.shot_span,
        layout.scene_span,
    )


def open_fitting(path: Path, config: Config) -> Source:
    """Returns the source in a path without texts that are too long; raises the errors of `open_source`."""
    source = open_source(path, config)
    found = _find(source, config)
    if not found:
        return source
    return dataclasses.replace(
        source,
        # The name of the shard differs from that of the whole film, which is made once the span is larger.
        content=[source.content, [dataclasses.astuple(item) for item in found]],
        scenes=lambda: _leave_out(source.scenes(), found),
    )


def find_too_long(path: Path, config: Config) -> tuple[TooLong, ...]:
    """Returns the texts of a source that are too long; nothing is decoded."""
    return _find(open_source(path, config), config)


def _find(source: Source, config: Config) -> tuple[TooLong, ...]:
    if config.prepare.records == PIXELS:
        return ()
    limits = load_limits(config)
    return tuple(item for texts in source.texts() for item in _judge(texts, limits))


def _judge(texts: SceneTexts, limits: TextLimits) -> Iterator[TooLong]:
    full, brief = (limits.count(text) for text in (texts.full, texts.brief))
    if full > limits.scene:
        lost = len(texts.shots) if brief > limits.scene else 0
        yield TooLong(texts.name, None, lost, full, limits.scene, limits.scene_by)
        if lost:
            return
    gone = False
    for number, text in enumerate(texts.shots):
        found = limits.count(_tag(text) if gone else text)
        gone = found > limits.shot
        if gone:
            yield TooLong(texts.name, number, 1, found, limits.shot, limits.shot_by)


def _leave_out(scenes: Iterator[RawScene], found: tuple[TooLong, ...]) -> Iterator[RawScene]:
    """Yields the scenes without what is too long; raises InputError where none is left."""
    of_scene: dict[str, dict[int | None, TooLong]] = {}
    for item in found:
        of_scene.setdefault(item.scene, {})[item.shot] = item
    count = 0
    for scene in scenes:
        items = of_scene.get(scene.name, {})
        whole = None in items and items[None].lost > 0
        shots = _leave_out_shots(scene.shots, items)
        first = None if whole else next(shots, None)
        if first is None:
            # Shots that are left out are read all the same, because their frames would otherwise stay in memory.
            for _ in scene.shots:
                pass
            continue
        count += 1
        yield dataclasses.replace(
            scene, full=scene.brief if None in items else scene.full, shots=_chain(first, shots)
        )
    if not count:
        raise InputError(f"no scene is left: {found[0]}")


def _chain(first: RawShot, rest: Iterator[RawShot]) -> Iterator[RawShot]:
    yield first
    yield from rest


def _leave_out_shots(
    shots: Iterator[RawShot], items: dict[int | None, TooLong]
) -> Iterator[RawShot]:
    gone = False
    for number, shot in enumerate(shots):
        if number not in items:
            yield dataclasses.replace(shot, text=_tag(shot.text)) if gone else shot
        gone = number in items


def _tag(text: str) -> str:
    return text if text.startswith(SHOT_CUT_TAG) else f"{SHOT_CUT_TAG} {text}"
