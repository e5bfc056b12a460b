"""The work of a training step: tokens, fill and FLOPs, useful and computed.

The step counts the tokens of every group slot of the global batch (`count_groups`, a few numbers a row); the rest is
arithmetic on the host. *Useful* work is that of real tokens and visible pairs, forward and backward. *Computed* work
also includes padding, blocks that are visible only in part, and what is recomputed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lct_jax import flow
from lct_jax.attention.attend import name_kernel
from lct_jax.config import Config, Context
from lct_jax.costs.flops import (
    BACKWARD,
    Costs,
    Kernel,
    Recompute,
    count_attention,
    count_block_pairs,
    count_linear,
    count_read_blocks,
)
from lct_jax.costs.recompute import KERNELS, POLICIES
from lct_jax.types import PADDING_SCENE, Array, PackedBatch


class GroupSizes(NamedTuple):
    """Tokens of every group slot, int32[B S] each, in the order of the groups in a row.

    Attributes:
        scene: the scene, 0 where the slot is empty.
        shot: the shot, 0 for a global prompt.
        video, text: the tokens.
    """

    scene: Array
    shot: Array
    video: Array
    text: Array


class Program(NamedTuple):
    """What decides how much a step computes beyond the useful work.

    Attributes:
        costs: the costs of the network.
        kernel: the attention kernel; its block sizes are upper bounds.
        again: what is recomputed.
        sharing: how many rows share a range of key blocks: the rows of one call of the kernel, or 1 where each row has
            its own range.
    """

    costs: Costs
    kernel: Kernel
    again: Recompute
    sharing: int


def make_program(config: Config, costs: Costs, *, platform: str, data_shards: int) -> Program:
    """Returns what a step of a run computes, of whose mesh `platform` and the parts of its rows are given."""
    kernel = name_kernel(config.compute.kernel, platform)
    rows_a_call = config.data.rows // config.training.accumulate // data_shards
    return Program(
        costs,
        KERNELS[kernel],
        POLICIES[config.compute.remat].again,
        sharing=rows_a_call if kernel == "chunked" else 1,
    )


class Work(NamedTuple):
    """The work of one step.

    Attributes:
        useful, computed: FLOPs, forward and backward.
        tokens, slots: video tokens that are real, and those for which there is room.
        mean, most: useful FLOPs of a row, as mean and maximum; the row with most work decides how long a step takes.
    """

    useful: float
    computed: float
    tokens: int
    slots: int
    mean: float
    most: float


def count_groups(batch: PackedBatch, slots: int) -> GroupSizes:
    """Returns the sizes of all groups of a batch; the step computes it on the device."""
    count = lambda index: flow.sum_groups(
        (index.scene != PADDING_SCENE).astype("int32"), index.slot, slots
    )
    groups = flow.find_groups(batch.video.index, slots)
    return GroupSizes(*groups, video=count(batch.video.index), text=count(batch.text.index))


def count_work(sizes: GroupSizes, config: Config, program: Program) -> Work:
    """Returns the work of one step, from the sizes of its batch as numpy arrays."""
    costs, data, training = program.costs, config.data, config.training
    beside = costs.text_place == "beside"
    useful_B = count_useful(sizes, costs, context=training.context)
    length = data.video_tokens + (0 if beside else data.text_tokens)
    # Micro-batches are strided, as in `split_rows`.
    rows = np.arange(len(useful_B)).reshape(-1, training.accumulate).T
    tokens = _count_tokens(sizes, costs)
    pairs = sum(
        count_block_pairs(
            sizes.scene[call],
            tokens[call],
            length=length,
            context=training.context,
            kernel=program.kernel,
        )
        for call in rows.reshape(-1, program.sharing)
    )
    if beside:
        budget = {"video": data.video_tokens, "text": data.text_tokens}
        pairs += sum(
            count_read_blocks(*row, **budget, kernel=program.kernel)
            for row in zip(sizes.video, sizes.text, strict=True)
        )
    linear = data.rows * count_linear(
        costs, video=data.video_tokens, text=data.text_tokens, groups=data.groups
    )
    again = program.again
    computed = linear * (1.0 + costs.backward + again.linear)
    computed += count_attention(costs, pairs) * (
        1.0 + program.kernel.backward / 2 + again.attention
    )
    return Work(
        useful=float(useful_B.sum()),
        computed=computed,
        tokens=int(sizes.video.sum()),
        slots=data.rows * data.video_tokens,
        mean=float(useful_B.mean()),
        most=float(useful_B.max()),
    )


def count_useful(sizes: GroupSizes, costs: Costs, *, context: Context) -> np.ndarray:
    """Returns the FLOPs over every row's real tokens and visible pairs, forward and backward, float64[B]."""
    tokens_BS = _count_tokens(sizes, costs).astype(np.float64)
    seen_BSS = sizes.scene[:, :, None] == sizes.scene[:, None, :]
    if context == "causal":
        seen_BSS &= sizes.shot[:, None, :] <= sizes.shot[:, :, None]
    pairs_B = np.einsum("bq,bqk,bk->b", tokens_BS, seen_BSS, tokens_BS)
    if costs.text_place == "beside":
        # One key stands for the zeros behind a prompt.
        pairs_B += (sizes.video * (sizes.text + 1.0)).sum(axis=1)
    groups_B = (sizes.scene != PADDING_SCENE).sum(axis=1)
    video_B, text_B = sizes.video.sum(axis=1), sizes.text.sum(axis=1)
    linear_B = count_linear(costs, video=video_B, text=text_B, groups=groups_B)
    attention_B = count_attention(costs, pairs_B)
    return linear_B * (1.0 + costs.backward) + attention_B * (1.0 + BACKWARD)


def _count_tokens(sizes: GroupSizes, costs: Costs) -> np.ndarray:
    """Returns the tokens of every group in the sequence of self-attention, int32[B S]."""
    return sizes.video + (0 if costs.text_place == "beside" else sizes.text)
