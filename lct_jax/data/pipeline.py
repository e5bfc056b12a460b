"""Turns the plan into packed batches; Grain does the random access, the workers and the prefetch.

The source maps a batch number to a `PackedBatch`, so Grain's position is the number of the next batch and a run resumes
by starting there: no other iterator state exists.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import grain
import numpy as np

from lct_jax.config import BackboneConfig, Config, DataConfig, LayoutConfig
from lct_jax.costs.flops import Costs, count_work
from lct_jax.data.hold_out import hold_out
from lct_jax.data.joined import JoinedSets
from lct_jax.data.mix import count_unusable
from lct_jax.data.planner import Planner, Row, SampleDraw
from lct_jax.data.readers import read_in_processes
from lct_jax.data.sets.lengths import SPLITS
from lct_jax.data.sets.records import PreparedSet
from lct_jax.errors import InputError
from lct_jax.layout import DUMMY_GRID, SceneTokens, lay_out, pack, patchify
from lct_jax.types import PackedBatch


class BatchSource:
    """Gives random access to packed batches: `source[k]` is global batch k, or this process's rows of it.

    Args:
        prepared: the set. planner: the planner over its lengths. backbone: patch and widths. layout: the positions of
            tokens.
        data: the budgets.
        rows: numbers of the rows to read (`sharding.find_rows`); None reads all.
    """

    def __init__(
        self,
        prepared: PreparedSet | JoinedSets,
        planner: Planner,
        *,
        backbone: BackboneConfig,
        layout: LayoutConfig,
        data: DataConfig,
        rows: Sequence[int] | None = None,
    ) -> None:
        self.prepared, self.planner, self.data = prepared, planner, data
        self.backbone, self.layout = backbone, layout
        self.rows = tuple(range(data.rows)) if rows is None else tuple(rows)

    def __getitem__(self, number: int) -> PackedBatch:
        rows: tuple[Row, ...] = self.planner.batch(int(number))
        return pack(
            [[self._read(sample) for sample in rows[place]] for place in self.rows],
            video_tokens=self.data.video_tokens,
            text_tokens=self.data.text_tokens,
            channels=self.backbone.patch_channels,
            text_width=self.backbone.text_width,
        )

    def describe(self, number: int) -> str:
        """Returns the names of the records that batch `number` is made of, in all its rows, for a person to read."""
        names = self.prepared.shot_names
        shots = [draw.shot for row in self.planner.batch(number) for s in row for draw in s.shots]
        return ", ".join(names[shot] for shot in dict.fromkeys(shots))

    def _read(self, sample: SampleDraw) -> SceneTokens:
        video, text, shared = [], [], None
        if sample.scene is not None and sample.plan.text == "beside":
            shared = self._global(sample) if sample.written else None
        elif sample.scene is not None:
            video.append(np.zeros((*DUMMY_GRID[:1], self.backbone.patch_channels), np.float32))
            text.append(self._global(sample))
        for draw in sample.shots:
            latent = self.prepared.read_latent(draw.shot, clip=draw.clip, still=draw.still)
            video.append(patchify(latent, self.backbone.patch))
            alone = sample.scene is None
            if shared is not None:
                text.append(shared)
            text.append(
                self.prepared.read_prompt(draw.shot, alone=alone)
                if sample.written
                else self.prepared.empty
            )
        return SceneTokens(
            video=np.concatenate(video),
            text=np.concatenate(text),
            layout=lay_out(sample.plan, layout=self.layout),
        )

    def _global(self, sample: SampleDraw) -> np.ndarray:
        if not sample.written:
            return self.prepared.empty
        return self.prepared.read_global(sample.scene, story=sample.story)


def iterate(source: BatchSource, *, start: int, stop: int) -> Iterator[PackedBatch]:
    """Yields the batches `start` to `stop - 1` in order, read ahead by threads or by worker processes.

    Raises:
        InputError: a worker process died or never began (`readers.py`).
    """
    data = source.data
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=data.prefetch)
    stream = grain.MapDataset.range(start, stop).map(source.__getitem__).to_iter_dataset(options)
    if data.workers:
        yield from read_in_processes(stream, data)
        return
    # Without this, threads would outlive a failed run.
    with contextlib.closing(iter(stream)) as batches:
        yield from batches


def make_source(
    prepared: PreparedSet | JoinedSets,
    config: Config,
    costs: Costs,
    *,
    split: str = "train",
    rows: Sequence[int] | None = None,
) -> BatchSource:
    """Returns the source of a split, its planner included; `costs` are those of the network.

    Raises:
        InputError: the set does not fit the config.
    """
    backbone, layout = config.backbone, config.layout
    prepared.check_fits(backbone, layout)
    cost = functools.partial(count_work, costs, context=config.training.context)
    lengths = hold_out(prepared, config.data.hold_out)
    planner = Planner(
        lengths, config.data, patch=backbone.patch, cost=cost, text=backbone.text,
        split=split, parts=prepared.parts,
    )  # fmt: skip
    _check_captions(prepared, planner, layout)
    for line in count_unusable(prepared.parts, lengths) if split == "train" else ():
        print(line)
    return BatchSource(
        prepared, planner, backbone=backbone, layout=layout, data=config.data, rows=rows
    )


def _check_captions(
    prepared: PreparedSet | JoinedSets, planner: Planner, layout: LayoutConfig
) -> None:
    """Raises InputError where the caption that a shot has as a single shot is longer than its span."""
    for pool in planner.mix.single:
        lengths = prepared.lengths.shot_alone[pool.members]
        if lengths.max() > layout.shot_span:
            name = prepared.shot_names[pool.members[lengths.argmax()]]
            raise InputError(
                f"layout.shot_span: found {layout.shot_span}, expected at least {lengths.max()}, the tokens in the "
                f"caption of {name} as a single shot in {prepared.folder}"
            )


def read_held_out(
    prepared: PreparedSet | JoinedSets,
    config: Config,
    costs: Costs,
    *,
    rows: Sequence[int] | None = None,
) -> list[PackedBatch]:
    """Returns this process's rows of the batches of held-out data: always the same ones, with nothing dropped.

    They are one whole pool of the plan, so that they hold the mix as it is drawn: some batches of a larger pool would
    hold one kind of sample, since rows of neighbouring work form a batch. Sets without held-out scenes, such as that of
    a single film, have no such batches; a line is printed then, and also where one role has none.
    """
    if not config.training.eval_batches:
        return []
    if SPLITS.index("held_out") not in hold_out(prepared, config.data.hold_out).scene_split:
        print(f"{prepared.folder}: no held-out scene, the run is not validated")
        return []
    plain = dataclasses.replace(
        config.data, frame_probability=0.0, drop_story=0.0, drop_text=0.0, seed=0,
        pool=config.training.eval_batches,
    )  # fmt: skip
    plainly = dataclasses.replace(config, data=plain)
    source = make_source(prepared, plainly, costs, split="held_out", rows=rows)
    if source.planner.mix.missing:
        print(f"{prepared.folder}: {source.planner.mix.missing}")
    return [source[number] for number in range(config.training.eval_batches)]
