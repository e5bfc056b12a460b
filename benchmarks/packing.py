"""Compares no packing, Grain's first-fit and best-fit, and the project's planner: fill, speed, order, and loading.

    python -m benchmarks.packing [--shots=10000] [--batches=32] [--experiment=configs/lct_3b.py]

The samples are those of the planner on synthetic lengths (`made_up_lengths.py`), so all four pack the same mix. Fill is
counted on whole batches of the config's rows. Grain packs arrays, so its samples/s include the copying of one byte a
video token; the planner's include drawing the samples. Loading reads a synthetic set of the same shapes from disk (page
cache warm, one process) and is compared with the step of a chip at the peak of its matrix unit, forward, backward and
recomputed forward. Speeds are per second of CPU time, so a busy machine matters little; they depend on the machine, and
fills do not.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import grain
import numpy as np
from absl import app, flags

from benchmarks.made_up_lengths import draw_lengths
from lct_jax.backbones.registry import count_costs
from lct_jax.cli import load_config
from lct_jax.config import Config, freeze
from lct_jax.costs.chips import CHIPS
from lct_jax.costs.flops import BACKWARD, count_work
from lct_jax.data.fill import measure_fill
from lct_jax.data.pipeline import make_source
from lct_jax.data.planner import Planner, Row, SampleDraw
from lct_jax.data.sets.records import PreparedSet, SetInfo, write_set
from lct_jax.data.sets.shards import SceneRecord, ShotRecord

SHOTS = flags.DEFINE_integer("shots", 10_000, "Shots of the made-up set.")
BATCHES = flags.DEFINE_integer("batches", 32, "Batches that are planned and measured.")
EXPERIMENT = flags.DEFINE_string(
    "experiment", "configs/lct_3b.py", "Config with model and budgets."
)
LOADED = flags.DEFINE_integer("loaded", 6, "Batches that are loaded; 0 leaves loading out.")
ORDERED = flags.DEFINE_integer("ordered", 128, "Batches whose order is looked at.")
NUMBER, NUMBER_A_HOST = 64, 4  # of chips


def pack_alone(samples: Sequence[SampleDraw], config: Config) -> Iterator[Row]:
    """Yields a row for each sample, without packing."""
    del config
    return iter([(sample,) for sample in samples])


def pack_by_grain(
    samples: Sequence[SampleDraw], config: Config, *, kind: type[grain.IterDataset]
) -> Iterator[Row]:
    """Yields rows as Grain packs them with as many bins as a batch has rows; a sample is found by its group entries."""
    source = grain.MapDataset.range(len(samples)).map(
        lambda i: {
            "video": np.ones(int(samples[i].cost[0]), np.uint8),
            "text": np.ones(int(samples[i].cost[1]), np.uint8),
            "groups": np.full(int(samples[i].cost[2]), i, np.int32),
        }
    )
    data = config.data
    budget = {"video": data.video_tokens, "text": data.text_tokens, "groups": data.groups}
    packed = kind(source.to_iter_dataset(), length_struct=budget, num_packing_bins=data.rows)
    for element in packed:
        features = element[0] if isinstance(element, tuple) else element
        numbers = features["groups"][features["groups_segment_ids"] > 0]
        yield tuple(samples[i] for i in dict.fromkeys(numbers.tolist()))


def report_packing(planner: Planner, config: Config) -> None:
    """Prints a row for every way to pack."""
    data, count = config.data, BATCHES.value
    started = time.process_time()
    ours = [planner.batch(number) for number in range(count)]
    seconds = time.process_time() - started
    drawn = sum(len(row) for batch in ours for row in batch)
    samples = [
        sample
        for pool in range(-(-count // data.pool))
        for sample in itertools.islice(planner.samples(pool), -(-drawn * data.pool // count))
    ]
    ways = {
        "no packing": pack_alone,
        "grain first fit": functools.partial(
            pack_by_grain, kind=grain.experimental.FirstFitPackIterDataset
        ),
        "grain best fit": functools.partial(
            pack_by_grain, kind=grain.experimental.BestFitPackIterDataset
        ),
    }
    print(f"{'':16} {'token fill':>10} {'time fill':>10} {'samples/s':>10} {'rows':>6}")
    for name, way in ways.items():
        begun = time.process_time()
        rows = list(way(samples, config))
        speed = len(samples) / (time.process_time() - begun)
        batches = [b for b in _batched(rows, data.rows) if len(b) == data.rows]
        _print_fill(name, batches, planner, speed)
    _print_fill("ours", ours, planner, drawn / seconds)
    _report_order([planner.batch(number) for number in range(ORDERED.value)], planner)


def report_loading(config: Config) -> None:
    """Prints how fast one process delivers rows, and how fast hosts of 64 chips could use them."""
    hosts = NUMBER // NUMBER_A_HOST
    with tempfile.TemporaryDirectory() as folder:
        _write_made_up_set(Path(folder), config, shots=48)
        source = make_source(
            PreparedSet(folder),
            config,
            count_costs(config.network),
            rows=range(config.data.rows // hosts),
        )
        work = [
            source.planner.work(row) for k in range(LOADED.value) for row in source.planner.batch(k)
        ]
        source[0]
        started = time.process_time()
        for number in range(LOADED.value):
            source[number]
        rows = LOADED.value * config.data.rows // hosts / (time.process_time() - started)
    print(f"\nloading: {rows:.2f} rows a second of CPU time")
    for chip in ("v5p", "v6e", "tpu7x"):
        peak = NUMBER * CHIPS[chip].flops
        # As if nothing were computed again, which is the hardest for the host.
        step = np.mean(work) * (1.0 + BACKWARD) * config.data.rows / peak
        eaten = config.data.rows / hosts / step
        print(
            f"  {NUMBER} x {chip}: roofline step {step:.1f} s, a host eats {eaten:.3f} rows/s:"
            f" {rows / eaten:.1f} times as fast"
        )


def _report_order(batches: Sequence[Sequence[Row]], planner: Planner) -> None:
    """Prints whether the order of batches depends on their work, and the share of single shots in a batch."""
    work = np.array([np.mean([planner.work(row) for row in batch]) for batch in batches])
    ranks = np.argsort(np.argsort(work))
    single = [np.mean([s.scene is None for row in batch for s in row]) for batch in batches]
    count = [sum(map(len, batch)) for batch in batches]
    print(
        f"\norder over {len(batches)} batches: rank correlation of number and work "
        f"{np.corrcoef(np.arange(len(ranks)), ranks)[0, 1]:+.2f}, "
        f"of one batch and the next {np.corrcoef(ranks[:-1], ranks[1:])[0, 1]:+.2f}\n"
        f"samples of a batch {min(count)} to {max(count)}, "
        f"of them single shots {min(single):.2f} to {max(single):.2f}\n"
        f"weight of single shots in the loss: {np.average(single, weights=count):.3f}"
        f" (as means over each batch's own samples {np.mean(single):.3f});"
        f" planned samples a batch {planner.samples_a_batch:.0f}, found {np.mean(count):.0f}"
    )


def _print_fill(name: str, batches: list[Sequence[Row]], planner: Planner, speed: float) -> None:
    fill = measure_fill(batches, video_tokens=planner.config.video_tokens, cost=planner.cost)
    rows = sum(map(len, batches))
    print(f"{name:16} {fill.tokens:10.3f} {fill.time:10.3f} {speed:10.0f} {rows:6}")


def _batched(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _write_made_up_set(folder: Path, config: Config, *, shots: int) -> None:
    """Writes random latents in the shapes of synthetic lengths; every value is read, and none has a meaning."""
    lengths, rng = draw_lengths(shots), np.random.default_rng(0)
    model = config.network
    # No array needs more values, and all are views of these.
    values = rng.standard_normal(2**22).astype(np.float32)
    draw = lambda *shape: values[: np.prod(shape)].reshape(shape)
    text = lambda length: draw(length, model.backbone.text_width)
    scenes = []
    for scene in range(len(lengths.scene_split)):
        records = []
        for shot in lengths.shots_of(scene):
            grid = tuple(lengths.clip_grid[shot].tolist())
            stills = tuple(draw(1, *grid[1:], model.backbone.channels) for _ in range(4))
            clip = draw(*grid, model.backbone.channels)
            records.append(
                ShotRecord((clip,), stills, text(lengths.shot_text[shot]), "", 4 * grid[0] - 3)
            )
        full, brief = text(lengths.scene_full[scene]), text(lengths.scene_brief[scene])
        scenes.append(SceneRecord(f"scene_{scene}", "train", full, brief, "", "", records))
    made = SetInfo(
        "made up",
        "made up",
        model.backbone.channels,
        model.backbone.text_width,
        480,
        480,
        12.0,
        text(1),
    )
    write_set(folder, scenes, info=made, credit="")


def main(argv: Sequence[str]) -> None:
    del argv
    config = freeze(load_config(EXPERIMENT.value))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, workers=0))
    cost = functools.partial(
        count_work, count_costs(config.network), context=config.training.context
    )
    planner = Planner(
        draw_lengths(SHOTS.value), config.data, patch=config.backbone.patch, cost=cost
    )
    report_packing(planner, config)
    if LOADED.value:
        report_loading(config)


if __name__ == "__main__":
    app.run(main)
