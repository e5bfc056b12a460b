"""FLOPs of forward passes and training steps, counted from shapes: linear work and attention apart.

What a token, a group and a pair of tokens cost is the network's to say (`Costs`); how many there are is counted here,
once, for the planner of batches, the meter of a run and the capacity plan alike. A multiply-add counts as two. *Useful*
work is that of real tokens and visible pairs of query and key, once forward and twice backward; what is *computed* also
has padding, blocks that are visible only in part, and what the backward pass computes again. Norms, softmax, rotation
and modulation of tokens are not matrix products and are left out (under 1% at 3B). Where shots see their own prompts
alone (`layout.prompts`), pairs with those of other shots are counted all the same: an upper bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lct_jax.config import Context, TextPlace
from lct_jax.layout import GroupPlan, ScenePlan

BACKWARD = 2.0  # gradients of inputs and of weights: twice the forward pass


class Kernel(NamedTuple):
    """How an attention kernel spends its work.

    Attributes:
        query_block, key_block: tokens of a block, which is computed whole or not at all.
        backward: products of a pair in the backward pass; the forward pass has two, and four are needed.
    """

    query_block: int
    key_block: int
    backward: int


class Recompute(NamedTuple):
    """What of the forward pass the backward pass computes again: shares from 0 to 1."""

    linear: float
    attention: float


class Activations(NamedTuple):
    """Bytes of activations a token of the sequence, in the compute dtype.

    Attributes:
        carry: kept between two blocks. attended: what attention gave in one block.
        block: what the backward pass of one block takes at its widest. whole: what is kept of one block where nothing
            is computed again. forward: what the forward pass of one block takes at its widest, in sampling.
    """

    carry: float
    attended: float
    block: float
    whole: float
    forward: float


class Costs(NamedTuple):
    """What a forward pass of a network costs.

    Attributes:
        video, text: FLOPs of linear layers a token of either kind. slot: FLOPs a group slot, such as of its time.
        pair: FLOPs of attention a visible pair of query and key, of video and the text it reads as well.
        activations: bytes a token. text_place: where text stands; beside video, activations are those of video tokens.
    """

    video: float
    text: float
    slot: float
    pair: float
    activations: Activations
    text_place: TextPlace = "joint"


class Flops(NamedTuple):
    """FLOPs of matrix products."""

    linear: float
    attention: float

    @property
    def total(self) -> float:
        """Linear work and attention together."""
        return self.linear + self.attention

    def plus(self, other: Flops) -> Flops:
        """The sum, part by part (`+` on a tuple would join them)."""
        return Flops(self.linear + other.linear, self.attention + other.attention)

    def times(self, factor: float) -> Flops:
        """Both parts multiplied."""
        return Flops(self.linear * factor, self.attention * factor)


def count_forward(costs: Costs, plan: ScenePlan, *, context: Context) -> Flops:
    """One forward pass over all tokens of a scene, without a cache."""
    groups = plan.groups
    video, text = sum(g.video for g in groups), sum(g.text for g in groups)
    linear = count_linear(costs, video=video, text=text, groups=len(groups))
    return Flops(linear, count_attention(costs, count_pairs(plan, context)))


def count_extension(costs: Costs, own: GroupPlan, *, seen: int) -> Flops:
    """One pass over a group alone, behind `seen` cached tokens."""
    linear = count_linear(costs, video=own.video, text=own.text, groups=1)
    tokens = count_sequence(own, costs.text_place)
    pairs = tokens * (tokens + seen) + _count_read(own, costs.text_place)
    return Flops(linear, count_attention(costs, pairs))


def count_work(costs: Costs, plan: ScenePlan, *, context: Context) -> float:
    """What a scene costs a row: the total of its forward pass, to which a training step is proportional."""
    return count_forward(costs, plan, context=context).total


def count_linear(costs: Costs, *, video: int, text: int, groups: int) -> float:
    """Linear layers over tokens of both kinds, and the time of every group."""
    return costs.video * video + costs.text * text + costs.slot * groups


def count_attention(costs: Costs, pairs: float) -> float:
    """Scores and weighted values of `pairs` visible pairs."""
    return costs.pair * pairs


def count_pairs(plan: ScenePlan, context: Context) -> int:
    """Visible pairs of query and key of a scene alone: within the sequence, and of video and the text it reads."""
    pairs = count_pairs_of([count_sequence(group, plan.text) for group in plan.groups], context)
    return pairs + sum(_count_read(group, plan.text) for group in plan.groups)


def count_sequence(group: GroupPlan, text: TextPlace) -> int:
    """Returns the tokens of a group that stand in one sequence: those of its text too, unless that stands beside."""
    return group.video + (group.text if text == "joint" else 0)


def _count_read(group: GroupPlan, text: TextPlace) -> int:
    """Pairs of cross-attention: the text of the group, and one key for the zeros behind it."""
    return group.video * (group.text + 1) if text == "beside" else 0


def count_pairs_of(sizes: Sequence[int], context: Context) -> int:
    """Visible pairs among groups of these many tokens, in order."""
    if context == "full":
        return sum(sizes) ** 2
    seen = pairs = 0
    for size in sizes:
        seen += size
        pairs += size * seen
    return pairs


def count_useful(costs: Costs, plan: ScenePlan, *, context: Context) -> Flops:
    """Forward and backward pass over a scene's real tokens and visible pairs: the work of model FLOPs utilisation."""
    return count_forward(costs, plan, context=context).times(1.0 + BACKWARD)


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
    """What a device computes for one row in a training step, on its own or with others.

    Args:
        scenes: packed in the row. video, text, slots: budget of the row, padding included.
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
        pairs += _count_read_blocks([g for _, g in groups], video=video, text=text, kernel=kernel)
    forward = count_attention(costs, pairs)
    return Flops(
        linear * (1.0 + BACKWARD + again.linear),
        forward * (1.0 + kernel.backward / 2 + again.attention),
    )


def count_block_pairs(
    scene_BS: np.ndarray, tokens_BS: np.ndarray, *, length: int, context: Context, kernel: Kernel
) -> int:
    """Pairs in all blocks that one call of a kernel computes: every row has the blocks that any row needs.

    A row needs those between the first and the last key that any query of a block of queries sees.

    Args:
        scene_BS, tokens_BS: the scene, and how many tokens there are, of every group of a row, in the order in which
            they lie; what is left of `length` is padding.
        kernel: its blocks are of equal size, and at most those.
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


def _count_read_blocks(
    groups: Sequence[GroupPlan], *, video: int, text: int, kernel: Kernel
) -> int:
    """Pairs in all blocks of cross-attention over one row: a block of queries needs the text of all its groups."""
    query, key = (
        -(-length // -(-length // most))
        for length, most in ((video, kernel.query_block), (text, kernel.key_block))
    )
    video_S, text_S = np.array([(g.video, g.text) for g in groups]).T
    end_S, text_end_S = np.cumsum(video_S), np.cumsum(text_S)
    starts = np.arange(0, end_S[-1], query)
    group_of = lambda place: np.searchsorted(end_S, np.minimum(place, end_S[-1] - 1), "right")
    first = (text_end_S - text_S)[group_of(starts)] // key
    behind = -(-text_end_S[group_of(starts + query - 1)] // key)
    return int((behind - first).sum()) * query * key


def _find_seen(
    scene_S: np.ndarray, tokens_S: np.ndarray, starts: np.ndarray, query: int, context: Context
) -> tuple[np.ndarray, np.ndarray]:
    """First key, and the one behind the last, that each block of sorted queries of a row sees; none for padding."""
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
