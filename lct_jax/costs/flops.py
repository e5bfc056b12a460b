"""FLOPs of forward passes and training steps, counted from shapes, with linear work and attention apart.

A network says what a token, a group and a pair of tokens cost (`Costs`); this module counts how many there are, for the
planner of batches, the meter of a run and the capacity plan alike. A multiply-add counts as two. *Useful* work is that
of real tokens and visible pairs of query and key, once forward and twice backward. *Computed* work also includes
padding, blocks that are visible only in part, and what the backward pass recomputes. Norms, softmax, rotation and
modulation of tokens are not matrix products and are left out (under 1% at 3B). Where a shot's prompt is seen by that
shot alone (`layout.prompts`), pairs with the prompts of other shots are counted all the same, so the count is an upper
bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lct_jax.config import Context, TextPlace
from lct_jax.layout import GroupPlan, ScenePlan

# The gradients of inputs and of weights cost as much as a forward pass each.
BACKWARD = 2.0


class Kernel(NamedTuple):
    """How much work an attention kernel does.

    Attributes:
        query_block, key_block: tokens of a block, which is computed as a whole or not at all.
        backward: matrix products for a pair in the backward pass. The forward pass has two, and a backward pass needs
            at least four.
    """

    query_block: int
    key_block: int
    backward: int


class Recompute(NamedTuple):
    """The shares, from 0 to 1, of the forward pass that the backward pass recomputes."""

    linear: float
    attention: float


class Activations(NamedTuple):
    """Bytes of activations for a token of the sequence, in the compute dtype.

    Attributes:
        carry: what is kept between two blocks.
        attended: the output of attention in one block.
        block: the peak of the backward pass of one block.
        whole: what is kept of one block where nothing is recomputed.
        forward: the peak of the forward pass of one block, in sampling.
    """

    carry: float
    attended: float
    block: float
    whole: float
    forward: float


class Costs(NamedTuple):
    """What a forward pass of a network costs.

    Attributes:
        video, text: FLOPs of linear layers for a video or a text token.
        slot: FLOPs for a group slot, such as those of its time.
        pair: FLOPs of attention for a visible pair of query and key, also of video and the text that it reads.
        activations: bytes for a token; if text stands beside the video, for a video token.
        text_place: where text stands.
        backward: FLOPs of linear layers in the backward pass over those in the forward pass. The gradient of weights is
            not computed where these lie frozen, and attention has no weights.
    """

    video: float
    text: float
    slot: float
    pair: float
    activations: Activations
    text_place: TextPlace = "joint"
    backward: float = BACKWARD


class Flops(NamedTuple):
    """FLOPs of matrix products."""

    linear: float
    attention: float

    @property
    def total(self) -> float:
        """Linear work plus attention."""
        return self.linear + self.attention

    def plus(self, other: Flops) -> Flops:
        """Returns the sum, part by part (`+` on tuples would join them)."""
        return Flops(self.linear + other.linear, self.attention + other.attention)

    def times(self, factor: float) -> Flops:
        """Returns both parts multiplied."""
        return Flops(self.linear * factor, self.attention * factor)


def count_forward(costs: Costs, plan: ScenePlan, *, context: Context) -> Flops:
    """Returns the FLOPs of one forward pass over all tokens of a scene, without a cache."""
    groups = plan.groups
    video, text = sum(g.video for g in groups), sum(g.text for g in groups)
    linear = count_linear(costs, video=video, text=text, groups=len(groups))
    return Flops(linear, count_attention(costs, count_pairs(plan, context)))


def count_extension(costs: Costs, own: GroupPlan, *, seen: int) -> Flops:
    """Returns the FLOPs of one pass over a group alone that sees `seen` cached tokens."""
    linear = count_linear(costs, video=own.video, text=own.text, groups=1)
    tokens = count_sequence(own, costs.text_place)
    pairs = tokens * (tokens + seen) + _count_read(own, costs.text_place)
    return Flops(linear, count_attention(costs, pairs))


def count_work(costs: Costs, plan: ScenePlan, *, context: Context) -> float:
    """Returns the FLOPs of a scene's forward pass, to which its training step is proportional."""
    return count_forward(costs, plan, context=context).total


def count_linear(costs: Costs, *, video: int, text: int, groups: int) -> float:
    """Returns the FLOPs of linear layers over tokens of both kinds, and of the time of every group."""
    return costs.video * video + costs.text * text + costs.slot * groups


def count_attention(costs: Costs, pairs: float) -> float:
    """Returns the FLOPs of the scores and weighted values of `pairs` visible pairs."""
    return costs.pair * pairs


def count_pairs(plan: ScenePlan, context: Context) -> int:
    """Returns the visible pairs of query and key within a scene, those of video and the text it reads among them."""
    pairs = count_pairs_of([count_sequence(group, plan.text) for group in plan.groups], context)
    return pairs + sum(_count_read(group, plan.text) for group in plan.groups)


def count_sequence(group: GroupPlan, text: TextPlace) -> int:
    """Returns the tokens of a group in the sequence; its text is among them unless that stands beside the video."""
    return group.video + (group.text if text == "joint" else 0)


def _count_read(group: GroupPlan, text: TextPlace) -> int:
    """Returns the pairs of cross-attention: the text of the group, and one key for the zeros behind it."""
    return group.video * (group.text + 1) if text == "beside" else 0


def count_pairs_of(sizes: Sequence[int], context: Context) -> int:
    """Returns the visible pairs among groups of these numbers of tokens, in order."""
    if context == "full":
        return sum(sizes) ** 2
    seen = pairs = 0
    for size in sizes:
        seen += size
        pairs += size * seen
    return pairs


def count_useful(costs: Costs, plan: ScenePlan, *, context: Context) -> Flops:
    """Returns the useful FLOPs of a training step for a scene: those that model FLOPs utilisation counts."""
    forward = count_forward(costs, plan, context=context)
    return Flops(forward.linear * (1.0 + costs.backward), forward.attention * (1.0 + BACKWARD))


def count_computed(
    costs: Costs,
    scenes: Sequence[ScenePlan],
    *,
    video: int,
    text: int,
    slots: int,
    context: Context,
    kernel: Kernel,
    again: Recompute,
) -> Flops:
    """Returns the FLOPs that are computed for one row in a training step.

    Args:
        scenes: the scenes packed in the row.
        video, text, slots: the budget of the row, padding included.
        again: what the backward pass recomputes.
    """
    linear = count_linear(costs, video=video, text=text, groups=slots)
    place = costs.text_place
    groups = [(n, g) for n, scene in enumerate(scenes, 1) for g in scene.groups]
    scene_S = np.array([n for n, _ in groups])
    tokens_S = np.array([count_sequence(g, place) for _, g in groups])
    pairs = count_block_pairs(
        scene_S[None],
        tokens_S[None],
        length=video + (text if place == "joint" else 0),
        context=context,
        kernel=kernel,
    )
    if place == "beside":
        video_S, text_S = np.array([(g.video, g.text) for _, g in groups]).T
        pairs += count_read_blocks(video_S, text_S, video=video, text=text, kernel=kernel)
    forward = count_attention(costs, pairs)
    return Flops(
        linear * (1.0 + costs.backward + again.linear),
        forward * (1.0 + kernel.backward / 2 + again.attention),
    )


def count_block_pairs(
    scene_BS: np.ndarray, tokens_BS: np.ndarray, *, length: int, context: Context, kernel: Kernel
) -> int:
    """Returns the pairs in all blocks that one call of a kernel computes; each row has the blocks that any row needs.

    A row needs, for each block of queries, the key blocks between the first and the last key that any of them sees.

    Args:
        scene_BS, tokens_BS: the scene and the number of tokens of every group of a row, in the order of the row; what
            is left of `length` is padding.
        kernel: its block sizes are upper bounds; all blocks of a length are equal.
    """
    query, key = (
        -(-length // -(-length // most)) for most in (kernel.query_block, kernel.key_block)
    )
    starts = np.arange(0, length, query)
    rows = zip(scene_BS, tokens_BS, strict=True)
    bounds = [_find_seen(scene, tokens, starts, query, context) for scene, tokens in rows]
    first, last = (np.stack(side) for side in zip(*bounds, strict=True))
    behind = -(-last.max(axis=0) // key)
    blocks = np.maximum(behind - first.min(axis=0) // key, 0)
    return int(len(bounds) * blocks.sum()) * query * key


def count_read_blocks(
    video_S: np.ndarray, text_S: np.ndarray, *, video: int, text: int, kernel: Kernel
) -> int:
    """Returns the pairs in all blocks of cross-attention over one row.

    A block of queries needs the text of all its groups.

    Args:
        video_S, text_S: the tokens of every group of the row, in order.
        video, text: the budget of the row.
    """
    query, key = (
        -(-length // -(-length // most))
        for length, most in ((video, kernel.query_block), (text, kernel.key_block))
    )
    end_S, text_end_S = np.cumsum(video_S), np.cumsum(text_S)
    if not end_S[-1]:
        return 0
    starts = np.arange(0, end_S[-1], query)
    group_of = lambda place: np.searchsorted(end_S, np.minimum(place, end_S[-1] - 1), "right")
    first = (text_end_S - text_S)[group_of(starts)] // key
    behind = -(-text_end_S[group_of(starts + query - 1)] // key)
    return int((behind - first).sum()) * query * key


def _find_seen(
    scene_S: np.ndarray, tokens_S: np.ndarray, starts: np.ndarray, query: int, context: Context
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first key, and the one behind the last, that each block of sorted queries of a row sees.

    Blocks of padding see no key.
    """
    end_S = np.cumsum(tokens_S)
    real = end_S[-1]
    if not real:
        return np.full_like(starts, np.iinfo(starts.dtype).max), np.zeros_like(starts)
    group_of = lambda place: np.searchsorted(end_S, np.minimum(place, real - 1), "right")
    of_scene = scene_S[:, None] == scene_S
    begin_S = np.where(of_scene, end_S - tokens_S, real).min(axis=1)
    stop_S = end_S if context == "causal" else np.where(of_scene, end_S, 0).max(axis=1)
    some = starts < real
    first = np.where(some, begin_S[group_of(starts)], np.iinfo(starts.dtype).max)
    return first, np.where(some, stop_S[group_of(starts + query - 1)], 0)
