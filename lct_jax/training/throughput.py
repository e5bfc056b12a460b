"""What a step did: tokens, fill and FLOPs of packed and masked work, useful and computed.

The step counts the tokens of every group slot of the global batch (`count_groups`, a few numbers a row); the rest is
arithmetic on the host. *Useful* are real tokens and visible pairs, forward and backward. *Computed* is what the
program does for them: padding, pairs in blocks that are seen in part, and what is computed once more. MFU is a rate
over the published peak of the chips; the computed one is also known as hardware utilisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lct_jax import flow
from lct_jax.chips import CHIPS, Chip
from lct_jax.config import Config
from lct_jax.flops import BACKWARD, count_attention, count_linear
from lct_jax.types import PADDING_SCENE, Array, PackedBatch

# What JAX calls the devices of a chip (`device_kind`); those of other names have no peak here.
DEVICE_KINDS = {
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "TPU7x": "tpu7x",
    "NVIDIA A100-SXM4-80GB": "a100",
    "NVIDIA H100 80GB HBM3": "h100",
    "NVIDIA H200": "h200",
}


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


def find_chip(device_kind: str) -> Chip | None:
    """The chip whose devices JAX calls so; None for a CPU, and where no published peak is at hand."""
    return CHIPS.get(DEVICE_KINDS.get(device_kind, ""))


def count_groups(batch: PackedBatch, slots: int) -> GroupSizes:
    """The sizes of all groups of a batch, inside the step."""
    count = lambda index: flow.sum_groups(  # noqa: E731
        (index.scene != PADDING_SCENE).astype("int32"), index.group, slots
    )
    groups = flow.find_groups(batch.video.index, slots)
    return GroupSizes(*groups, video=count(batch.video.index), text=count(batch.text.index))


class Throughput:
    """Counts steps of one config on some devices.

    Args:
        config: of the run. kernel: of its attention. devices: over which the mesh spans. chip: which they are, None
            where no peak is published.
    """

    def __init__(self, config: Config, kernel: Kernel, *, devices: int, chip: Chip | None) -> None:
        self.config, self.kernel = config, kernel
        self.peak = None if chip is None else devices * chip.flops / chip.devices

    def count(self, sizes: GroupSizes) -> Work:
        """The work of one step."""
        model, data = self.config.model, self.config.data
        rows = self._count_useful(sizes)
        again = (
            0.0 if model.remat == "none" else 1.0
        )  # the forward pass, done once more in the backward pass
        linear = data.rows * count_linear(
            model, video=data.video_tokens, text=data.text_tokens, groups=data.groups
        )
        attention = count_attention(model, self._count_computed_pairs(sizes))
        computed = linear * (1 + BACKWARD + again)
        computed += attention * (1 + self.kernel.backward / 2 + again)
        return Work(
            useful=float(rows.sum()) * (1 + BACKWARD),
            computed=computed,
            tokens=int(sizes.video.sum()),
            slots=data.rows * data.video_tokens,
            mean=float(rows.mean()),
            most=float(rows.max()),
        )

    def rate(self, works: Sequence[Work], seconds: float) -> dict[str, float]:
        """Rates of steps that took so long together, by name."""
        useful, computed = (sum(getattr(w, k) for w in works) for k in ("useful", "computed"))
        rates = {
            "steps_per_second": len(works) / seconds,
            "tokens_per_second": sum(work.tokens for work in works) / seconds,
            "useful_flops_per_second": useful / seconds,
            "computed_flops_per_second": computed / seconds,
        }
        if self.peak is not None:
            rates["useful_mfu"] = useful / seconds / self.peak
            rates["computed_mfu"] = computed / seconds / self.peak
        return rates

    def _count_useful(self, sizes: GroupSizes) -> np.ndarray:
        """FLOPs of the forward pass of every row's real tokens and visible pairs, [B]."""
        tokens_BS = (sizes.video + sizes.text).astype(np.float64)
        same_BSS = sizes.scene[:, :, None] == sizes.scene[:, None, :]
        if self.config.training.context == "causal":
            same_BSS &= sizes.shot[:, None, :] <= sizes.shot[:, :, None]
        pairs_B = np.einsum("bq,bqk,bk->b", tokens_BS, same_BSS, tokens_BS)
        groups_B = (sizes.scene != PADDING_SCENE).sum(axis=1)
        video_B, text_B = sizes.video.sum(axis=1), sizes.text.sum(axis=1)
        linear_B = count_linear(self.config.model, video=video_B, text=text_B, groups=groups_B)
        return linear_B + count_attention(self.config.model, pairs_B)

    def _count_computed_pairs(self, sizes: GroupSizes) -> float:
        """Pairs in the blocks that the kernel computes, over all rows."""
        parts = self.config.training.accumulate
        return sum(
            self._count_pairs_of_part(GroupSizes(*(leaf[part::parts] for leaf in sizes)))
            for part in range(parts)  # as `split_rows` divides them
        )

    def _count_pairs_of_part(self, sizes: GroupSizes) -> float:
        data = self.config.data
        length = data.video_tokens + data.text_tokens
        query, key = (
            -(-length // -(-length // most))
            for most in (self.kernel.query_block, self.kernel.key_block)
        )
        first, last = self._find_blocks(sizes, np.arange(0, length, query), query, key)
        if self.kernel.common:
            first, last = first.min(axis=0), last.max(axis=0)
            return float(len(sizes.scene) * np.maximum(last - first, 0).sum() * query * key)
        return float(np.maximum(last - first, 0).sum() * query * key)

    def _find_blocks(
        self, sizes: GroupSizes, starts: np.ndarray, query: int, key: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """First key block, and the one behind the last, of every block of sorted queries: int[B blocks] each."""
        bounds = [
            self._find_blocks_of_row(scene, tokens, starts, query, key)
            for scene, tokens in zip(sizes.scene, sizes.video + sizes.text, strict=True)
        ]
        return tuple(np.stack(side) for side in zip(*bounds, strict=True))

    def _find_blocks_of_row(
        self, scene: np.ndarray, tokens: np.ndarray, starts: np.ndarray, query: int, key: int
    ) -> tuple[np.ndarray, np.ndarray]:
        end = np.cumsum(tokens)  # of every group among the sorted tokens
        begin = end - tokens
        real = int(end[-1])
        last = np.minimum(starts + query, real) - 1  # real query of a block
        some = starts < real
        of_first, of_last = (
            np.searchsorted(end, np.minimum(place, max(real - 1, 0)), side="right")
            for place in (starts, last)
        )
        scene_begin = np.array([begin[scene == s].min() for s in scene])
        scene_end = np.array([end[scene == s].max() for s in scene])
        stop = end if self.config.training.context == "causal" else scene_end
        none = np.iinfo(np.int64).max
        behind = np.take(stop, of_last, mode="clip")
        return (
            np.where(some, np.take(scene_begin, of_first, mode="clip") // key, none),
            np.where(some, -(-behind // key), 0),
        )
