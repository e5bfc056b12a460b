"""What a step has to do, and what it does for that: tokens, fill and FLOPs of packed and masked work.

The step counts the tokens of every group slot of the global batch (`count_groups`, a few numbers a row); the rest is
arithmetic on the host. *Useful* are real tokens and visible pairs, forward and backward. *Computed* is what the
program does for them: padding, pairs in blocks that are seen in part, and what is computed once more.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lct_jax import flow
from lct_jax.config import Config, Context
from lct_jax.flops import BACKWARD, count_attention, count_linear
from lct_jax.types import PADDING_SCENE, Array, PackedBatch


class GroupSizes(NamedTuple):
    """Tokens of every group slot: int32[B S] each, in the order in which groups lie in a row.

    Attributes:
        scene: 0 where the slot is empty. shot: 0 for a global prompt. video, text: tokens.
    """

    scene: Array
    shot: Array
    video: Array
    text: Array


class Kernel(NamedTuple):
    """How an attention kernel spends its work.

    Attributes:
        query_block, key_block: tokens of a block at most, blocks being of equal size; each is computed whole or not.
        backward: products of a pair in the backward pass, against two forward: five with scores computed again
            (arXiv 2307.08691, section 3.1). common: whether all rows of a micro-batch share the range of key blocks.
    """

    query_block: int
    key_block: int
    backward: int
    common: bool


class Work(NamedTuple):
    """Of one step: FLOPs, tokens, and how full the rows are.

    Attributes:
        useful, computed: FLOPs, forward and backward. tokens, slots: real video tokens, and room for them.
        mean, most: useful FLOPs of a row; a step takes as long as its row of most work.
    """

    useful: float
    computed: float
    tokens: int
    slots: int
    mean: float
    most: float


def count_groups(batch: PackedBatch, slots: int) -> GroupSizes:
    """The sizes of all groups of a batch, inside the step."""
    count = lambda index: flow.sum_groups(  # noqa: E731
        (index.scene != PADDING_SCENE).astype("int32"), index.group, slots
    )
    groups = flow.find_groups(batch.video.index, slots)
    return GroupSizes(*groups, video=count(batch.video.index), text=count(batch.text.index))


def count_work(sizes: GroupSizes, config: Config, kernel: Kernel) -> Work:
    """The work of one step, from the sizes of its batch as numpy arrays."""
    model, data, training = config.model, config.data, config.training
    useful_B = count_useful(sizes, config)
    # Of every block of the model the forward pass is done once more in the backward pass.
    again = 0.0 if model.remat == "none" else 1.0
    parts = [
        GroupSizes(*(leaf[part :: training.accumulate] for leaf in sizes))
        for part in range(training.accumulate)  # as `split_rows` divides them
    ]
    length = data.video_tokens + data.text_tokens
    pairs = sum(count_block_pairs(part, length, training.context, kernel) for part in parts)
    linear = data.rows * count_linear(
        model, video=data.video_tokens, text=data.text_tokens, groups=data.groups
    )
    computed = linear * (1.0 + BACKWARD + again)
    computed += count_attention(model, pairs) * (1.0 + kernel.backward / 2 + again)
    return Work(
        useful=float(useful_B.sum()) * (1.0 + BACKWARD),
        computed=computed,
        tokens=int(sizes.video.sum()),
        slots=data.rows * data.video_tokens,
        mean=float(useful_B.mean()),
        most=float(useful_B.max()),
    )


def count_useful(sizes: GroupSizes, config: Config) -> np.ndarray:
    """FLOPs of the forward pass over every row's real tokens and visible pairs, float64[B]."""
    model = config.model
    tokens_BS = (sizes.video + sizes.text).astype(np.float64)
    seen_BSS = sizes.scene[:, :, None] == sizes.scene[:, None, :]
    if config.training.context == "causal":
        seen_BSS &= sizes.shot[:, None, :] <= sizes.shot[:, :, None]
    pairs_B = np.einsum("bq,bqk,bk->b", tokens_BS, seen_BSS, tokens_BS)
    groups_B = (sizes.scene != PADDING_SCENE).sum(axis=1)
    video_B, text_B = sizes.video.sum(axis=1), sizes.text.sum(axis=1)
    linear_B = count_linear(model, video=video_B, text=text_B, groups=groups_B)
    return linear_B + count_attention(model, pairs_B)


def count_block_pairs(sizes: GroupSizes, length: int, context: Context, kernel: Kernel) -> float:
    """Pairs of query and key in all blocks that a kernel computes for some rows of `length` tokens."""
    query, key = (
        -(-length // -(-length // most)) for most in (kernel.query_block, kernel.key_block)
    )
    starts = np.arange(0, length, query)
    rows = zip(sizes.scene, sizes.video + sizes.text, strict=True)
    bounds = [_find_seen(scene, tokens, starts, query, context) for scene, tokens in rows]
    first, last = (np.stack(side) for side in zip(*bounds, strict=True))
    first, last = first // key, -(-last // key)
    if kernel.common:
        first, last = (np.broadcast_to(x, last.shape) for x in (first.min(0), last.max(0)))
    return float(np.maximum(last - first, 0).sum() * query * key)


def _find_seen(
    scene_S: np.ndarray, tokens_S: np.ndarray, starts: np.ndarray, query: int, context: Context
) -> tuple[np.ndarray, np.ndarray]:
    """First key, and the one behind the last, that each block of sorted queries of a row sees; none for padding."""
    end_S = np.cumsum(tokens_S)
    real = end_S[-1]
    if not real:
        return np.full_like(starts, np.iinfo(starts.dtype).max), np.zeros_like(starts)
    group_of = lambda place: np.searchsorted(end_S, np.minimum(place, real - 1), "right")  # noqa: E731
    of_scene = scene_S[:, None] == scene_S
    begin_S = np.where(of_scene, end_S - tokens_S, real).min(axis=1)
    stop_S = end_S if context == "causal" else np.where(of_scene, end_S, 0).max(axis=1)
    some = starts < real
    first = np.where(some, begin_S[group_of(starts)], np.iinfo(starts.dtype).max)
    return first, np.where(some, stop_S[group_of(starts + query - 1)], 0)
