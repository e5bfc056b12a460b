"""The tokens of a window of shots: noise, conditions at a low time, and a row of text for each branch of guidance.

Noise belongs to a shot and not to a window, so a shot starts from the same noise in every mode. A window is laid out as
in training; a pass with a cache takes one group out of the same layout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lct_jax.config import LayoutConfig, SamplingConfig
from lct_jax.distributed.sharding import count_shards
from lct_jax.layout import SceneLayout, SceneTokens, lay_out, pack
from lct_jax.sampling.euler import Scheme
from lct_jax.sampling.guidance import BOTH_TEXTS, Branch, is_always_guided
from lct_jax.sampling.request import HeldTokens, Prompt, SceneRequest
from lct_jax.seeds import make_key
from lct_jax.types import GLOBAL_SHOT, PADDING_SCENE, Array, PackedBatch, TokenIndex

# The text of a window is padded to a multiple of this, so that windows of one shape share a compiled program.
TEXT_MULTIPLE = 32


@dataclass(frozen=True)
class HeldShot:
    """A given or finished shot as a condition: it is noised once to a low time, which stays constant.

    Attributes:
        time: the low time.
        tokens: [L C], on the device.
        parts: parts of it that stay at times of their own, where it is a shot on its way.
    """

    time: float
    tokens: jax.Array
    parts: tuple[HeldTokens, ...] = ()


@dataclass(frozen=True)
class SamplingScene:
    """What all windows of one scene share.

    Attributes:
        request: the scene.
        config: steps, guidance and the times of conditions.
        layout: spans, stride and positions.
        keeps_text: whether other shots see a shot's prompt (`CacheSpec.keeps_text`).
        key: the key of all noise.
        take_over: makes the first tokens of a shot, which it is called with, from the clean tokens of the shot before,
            or of the picture that it begins with.
    """

    request: SceneRequest
    config: SamplingConfig
    layout: LayoutConfig
    keeps_text: bool
    key: jax.Array
    take_over: Callable[[int, np.ndarray], np.ndarray] | None = None

    @property
    def shot_text(self) -> int:
        """The most tokens in the text of a shot; beside the video, the global prompt is a part of it."""
        shared = self.layout.scene_span if self.request.text == "beside" else 0
        return shared + self.layout.shot_span

    @property
    def scheme(self) -> Scheme:
        """How steps are taken."""
        config = self.config
        return Scheme(config.solver, config.guidance_rescale, skips=not is_always_guided(config))

    def draw_noise(self, shot: int) -> jax.Array:
        """Returns the noise, float32[L C] on the device, from which a shot is denoised."""
        length = int(np.prod(self.request.shots[shot].grid))
        shape = (length, self.request.channels)
        return jax.random.normal(self._keys(shot)[0], shape)

    def start(self, shot: int, clean: Mapping[int, np.ndarray]) -> HeldShot:
        """Returns a shot as its denoising starts: noise, but for the parts that are held at their low times.

        Args:
            clean: clean tokens of given and finished shots.
        """
        tokens, parts = self.draw_noise(shot), self.find_parts(shot, clean)
        for part in parts:
            span = slice(part.start, part.start + len(part.tokens))
            noise = jax.random.normal(self._keys(shot)[1], tokens.shape)[span]
            tokens = tokens.at[span].set((1.0 - part.time) * part.tokens + part.time * noise)
        return HeldShot(1.0, tokens, parts)

    def find_parts(self, shot: int, clean: Mapping[int, np.ndarray]) -> tuple[HeldTokens, ...]:
        """Returns the parts of a shot that are held while the rest is denoised, each with its time."""
        request, parts = self.request.shots[shot], []
        if request.overlap:
            parts.append(HeldTokens(0, self.take_over(shot, clean[shot - 1])))
        if request.begins:
            parts.append(HeldTokens(0, self.take_over(shot, clean[request.begins.shot])))
        usual = self.config.condition_time
        return tuple(
            replace(part, time=usual if part.time is None else part.time)
            for part in (*parts, *request.held)
        )

    def hold(self, shot: int, clean: np.ndarray) -> HeldShot:
        """Returns a given or finished shot at the low time t_c of conditions [LCT section 3.3]."""
        request = self.request.shots[shot]
        time = self.config.history_time if request.given is None else self.config.condition_time
        time = time if request.time is None else request.time
        noise = jax.random.normal(self._keys(shot)[1], clean.shape)
        return HeldShot(time, (1.0 - time) * clean + time * noise)

    def _keys(self, shot: int) -> jax.Array:
        """Returns two keys: of the noise that a shot starts from, and of the noise of its condition."""
        request = self.request.shots[shot]
        key = self.key if request.seed is None else make_key(request.seed)
        own = shot if request.noise is None else request.noise
        return jax.random.split(jax.random.fold_in(key, own))


class Separated(NamedTuple):
    """A batch whose held parts have slots of their own, so that they have times of their own.

    Attributes:
        batch: the batch.
        held: the constant time of these slots.
    """

    batch: PackedBatch
    held: dict[int, float]


def separate_parts(batch: PackedBatch, parts: Mapping[int, Sequence[HeldTokens]]) -> Separated:
    """Gives parts of shots slots behind those of the groups; mask and positions do not depend on slots.

    Args:
        batch: a window or one group of it.
        parts: the parts by number of the shot within the window.
    """
    index, held = batch.video.index, {}
    slot_BL = index.slot.copy()
    for number, spans in parts.items():
        first = int(np.argmax((index.shot[0] == number) & (index.scene[0] != PADDING_SCENE)))
        for part in spans:
            slot = int(slot_BL.max()) + 1
            start = first + part.start
            slot_BL[:, start : start + len(part.tokens)] = slot
            held[slot] = part.time
    video = batch.video._replace(index=index._replace(slot=slot_BL))
    return Separated(batch._replace(video=video), held)


def put_back(tokens_LC: np.ndarray, parts: Sequence[HeldTokens]) -> np.ndarray:
    """Returns the finished tokens of a shot with its held parts as they were given."""
    tokens_LC = np.array(tokens_LC)
    for part in parts:
        tokens_LC[part.start : part.start + len(part.tokens)] = part.tokens
    return tokens_LC


def lay_out_texts(scene: SamplingScene, shots: Sequence[int]) -> list[SceneLayout]:
    """Returns the layouts of a window: one with prompts, and one with negative prompts."""
    plans = (scene.request.plan(tuple(shots), negative=negative) for negative in (False, True))
    return [lay_out(plan, layout=scene.layout) for plan in plans]


def pack_window(
    scene: SamplingScene,
    shots: Sequence[int],
    video: Sequence[Array],
    *,
    branches: Sequence[Branch] = BOTH_TEXTS,
    held: Sequence[int] = (),
) -> PackedBatch:
    """Returns all groups of a window, in a row for each branch; rows differ in text, and in who sees the held shots.

    Args:
        video: the tokens of each shot.
        held: the groups of finished and given shots, by their numbers within the window.
    """
    prompts = [] if scene.request.prompt is None else [scene.request.prompt]
    prompts += [scene.request.shots[shot].prompt for shot in shots]
    dummy = [] if scene.request.prompt is None else [make_dummy(scene.request)]
    longest = max(sum(len(p.text) for p in prompts), sum(len(p.negative) for p in prompts))
    text = _round_up(longest, math.lcm(TEXT_MULTIPLE, count_shards("L")))
    video_LC = _namespace(*video).concatenate([*dummy, *video])
    batch = _pack_rows(prompts, video_LC, lay_out_texts(scene, shots), branches, text_tokens=text)
    # Nobody sees padding.
    hide = lambda tokens: tokens._replace(index=_hide_groups(tokens.index, branches, held))
    return batch._replace(video=hide(batch.video), text=hide(batch.text))


def pack_group(
    scene: SamplingScene,
    shots: Sequence[int],
    number: int,
    video_LC: Array,
    *,
    branches: Sequence[Branch] = BOTH_TEXTS,
) -> PackedBatch:
    """Returns one group of a window alone, with its position in that window, in a row for each branch.

    Args:
        shots: the shots of the window.
        number: the group's number in it, 0 for the global prompt.
        video_LC: its tokens.
    """
    layouts = [
        SceneLayout(*(pick(index, number, group=0) for index in layout))
        for layout in lay_out_texts(scene, shots)
    ]
    is_global = number == GLOBAL_SHOT
    prompt = scene.request.prompt if is_global else scene.request.shots[shots[number - 1]].prompt
    # Texts are padded to their span: shots of one size share a program, whatever their prompts, and a shot is the same
    # to the last bit whatever shots are added to its scene.
    span = scene.layout.scene_span if is_global else scene.shot_text
    text = _round_up(span, count_shards("L"))
    return _pack_rows([prompt], video_LC, layouts, branches, text_tokens=text)


def pick(index: TokenIndex, number: int, *, group: int) -> TokenIndex:
    """Returns one group of an index, in slot `group` of the tables of per-group values."""
    chosen = TokenIndex(*(leaf[index.shot == number] for leaf in index))
    return chosen._replace(slot=np.full_like(chosen.slot, group))


def make_dummy(request: SceneRequest) -> np.ndarray:
    """Returns float32[1 C], the video of the global prompt."""
    return np.zeros((1, request.channels), np.float32)


def _pack_rows(
    prompts: Sequence[Prompt],
    video_LC: Array,
    layouts: Sequence[SceneLayout],
    branches: Sequence[Branch],
    *,
    text_tokens: int,
) -> PackedBatch:
    """Returns a batch of rows that share the video; text and positions are on the host, the video stays where it is.

    Args:
        prompts: those of the groups. layouts: one with prompts, and one with negative prompts.
    """
    texts = [
        np.concatenate([p.negative if branch.negative else p.text for p in prompts])
        for branch in branches
    ]
    laid_out = [layouts[branch.negative] for branch in branches]
    places = np.zeros((len(video_LC), 0), np.float32)
    batch = pack(
        [[SceneTokens(places, *row)] for row in zip(texts, laid_out, strict=True)],
        video_tokens=_round_up(len(video_LC), count_shards("L")),
        text_tokens=text_tokens,
        channels=0,
        text_width=texts[0].shape[1],
    )
    xp, missing = _namespace(video_LC), batch.video.value.shape[1] - len(video_LC)
    padded_LC = xp.pad(video_LC, ((0, missing), (0, 0)))
    video = batch.video._replace(value=xp.stack([padded_LC] * len(texts)))
    return batch._replace(video=video)


def _hide_groups(
    index: TokenIndex, branches: Sequence[Branch], groups: Sequence[int]
) -> TokenIndex:
    """Returns an index in which some groups are padding in the rows of branches that see none of them."""
    apart_B = np.array([branch.apart for branch in branches])
    hidden_BL = apart_B[:, None] & np.isin(index.shot, list(groups))
    return index._replace(scene=np.where(hidden_BL, PADDING_SCENE, index.scene))


def _namespace(*arrays: Array) -> ModuleType:
    """Returns jax.numpy where any array is on the device, so that it stays there, and numpy otherwise."""
    return np if all(isinstance(array, np.ndarray) for array in arrays) else jnp


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
