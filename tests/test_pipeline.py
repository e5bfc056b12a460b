"""Tests the pipeline: random access equals iteration, batches hold what was planned, hosts share the rows."""

from __future__ import annotations

import dataclasses
import multiprocessing
import sys
import threading

import jax
import numpy as np
import pytest
from absl import flags
from tiny_film import CONFIG, describe_scenes, shared_film

from lct_jax.backbones.registry import count_costs
from lct_jax.data.draws import SampleDraw, ShotDraw
from lct_jax.data.pipeline import BatchSource, iterate, make_source, read_held_out
from lct_jax.data.sets.records import PreparedSet
from lct_jax.encoders.stand_in import StandInEncoder
from lct_jax.errors import InputError
from lct_jax.layout import GroupPlan, ScenePlan
from lct_jax.types import PackedBatch

FRAME = 2 * 3  # tokens of a latent frame
CLIP = 3 * FRAME


@pytest.fixture(scope="module")
def prepared() -> PreparedSet:
    return shared_film().prepare()


@pytest.fixture
def source(prepared) -> BatchSource:
    return make_source(prepared, CONFIG, count_costs(CONFIG.network))


def check_same(found: PackedBatch, expected: PackedBatch) -> None:
    jax.tree.map(np.testing.assert_array_equal, found, expected)


# ---- iteration -----------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 3])
def test_iteration_from_anywhere_is_random_access(source, prepared, start):
    other = make_source(prepared, CONFIG, count_costs(CONFIG.network))
    batches = list(iterate(source, start=start, stop=7))
    assert len(batches) == 7 - start
    for number in (6, 4, 5, 3):
        check_same(batches[number - start], other[number])
    assert not np.array_equal(batches[0].video.value, batches[1].video.value)


def test_iteration_from_the_last_step_yields_no_batch(source):
    assert list(iterate(source, start=8, stop=8)) == []


@pytest.mark.programs
def test_worker_processes_change_nothing_and_end_with_the_iterator(source, prepared):
    flags.FLAGS(sys.argv[:1])  # Grain passes its flags to its workers
    data = dataclasses.replace(CONFIG.data, workers=2)
    working = make_source(
        prepared, dataclasses.replace(CONFIG, data=data), count_costs(CONFIG.network)
    )
    batches = iterate(working, start=2, stop=100)
    for number in (2, 3, 4):
        check_same(next(batches), source[number])
    assert len(multiprocessing.active_children()) >= 2
    batches.close()
    assert multiprocessing.active_children() == []


def test_threads_end_with_the_iterator(source):
    before = set(threading.enumerate())
    batches = iterate(source, start=0, stop=100)
    next(batches)
    started = set(threading.enumerate()) - before
    assert started
    batches.close()
    for thread in started:
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_a_bad_record_is_one_line_through_the_iterator(source, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise InputError("shots.array_record: record 3 is damaged")

    monkeypatch.setattr(source.prepared, "read_latent", refuse)
    with pytest.raises(InputError, match="record 3 is damaged"):
        next(iterate(source, start=0, stop=3))


# ---- what a batch holds --------------------------------------------------------------------------


class FixedPlan:
    """Is a planner with one batch: a scene of a clip and a still, and a single shot without its text."""

    def __init__(self, prepared: PreparedSet) -> None:
        lengths, text = prepared.lengths, prepared.lengths.shot_text
        clip = ShotDraw(1, 1, None, GroupPlan(int(text[1]), (3, 2, 3)))
        still = ShotDraw(2, None, 1, GroupPlan(int(text[2]), (1, 2, 3)))
        single = ShotDraw(4, 0, None, GroupPlan(2, (3, 2, 3)))
        self.rows = (
            (self._sample(0, True, (clip, still), int(lengths.scene_brief[0])),),
            (self._sample(None, False, (single,), None),),
        )

    @staticmethod
    def _sample(
        scene: int | None, written: bool, shots: tuple[ShotDraw, ...], text: int | None
    ) -> SampleDraw:
        plan = ScenePlan(text, tuple(shot.plan for shot in shots))
        return SampleDraw(scene, False, written, shots, plan)

    def batch(self, _: int) -> tuple[tuple[SampleDraw, ...], ...]:
        return self.rows


@pytest.fixture
def known(prepared) -> PackedBatch:
    return BatchSource(
        prepared,
        FixedPlan(prepared),
        backbone=CONFIG.backbone,
        layout=CONFIG.layout,
        data=CONFIG.data,
    )[0]


def test_latents_lie_at_their_tokens(known, prepared):
    video = known.video
    clip = prepared.read_latent(1, clip=1, still=None)
    still = prepared.read_latent(2, clip=None, still=1)
    assert clip.shape == (3, 4, 6, 8)
    assert still.shape == (1, 4, 6, 8)
    used = 1 + CLIP + FRAME
    assert video.index.scene[0].tolist() == [1] * used + [0] * (56 - used)
    assert video.index.shot[0, :used].tolist() == [0] + [1] * CLIP + [2] * FRAME
    assert not video.value[0, 0].any()
    assert not video.value[0, used:].any()
    for latent, start in ((clip, 1), (still, 1 + CLIP)):
        for token, (t, x, y) in enumerate(np.ndindex(len(latent), 2, 3)):
            patch = latent[t, 2 * x : 2 * x + 2, 2 * y : 2 * y + 2]
            np.testing.assert_array_equal(video.value[0, start + token], patch.reshape(-1))


def test_a_batch_is_described_by_the_shots_in_it(prepared):
    fixed = BatchSource(
        prepared,
        FixedPlan(prepared),
        backbone=CONFIG.backbone,
        layout=CONFIG.layout,
        data=CONFIG.data,
    )
    numbers = [draw.shot for row in fixed.planner.batch(0) for s in row for draw in s.shots]
    names = fixed.describe(0).split(", ")
    assert names == [prepared.shot_names[number] for number in dict.fromkeys(numbers)]
    assert all(name.split("/")[0] in prepared.scene_names for name in names)


def test_texts_are_those_of_the_scene_without_its_story(known):
    text, encoder = known.text, StandInEncoder(16)
    shots = describe_scenes()["scenes"][0]["shots"]
    written = [
        "Character 1: A woman in a red coat. Environment: A quay at night.",
        f"[SHOT CUT] {shots[1]['prompt']}",
        f"[SHOT CUT] {shots[2]['prompt']}",
    ]
    tokens = [encoder.encode([line])[0].astype(np.float16) for line in written]
    length = sum(map(len, tokens))
    np.testing.assert_array_equal(text.value[0, :length], np.concatenate(tokens))
    groups = np.repeat([0, 1, 2], [len(part) for part in tokens])
    np.testing.assert_array_equal(text.index.shot[0, :length], groups)
    assert not text.index.scene[0, length:].any()


def test_dropped_text_is_the_empty_prompt_at_the_shots_positions(known, prepared):
    assert known.text.index.scene[1].tolist() == [1, 1] + [0] * 94
    assert known.text.index.shot[1, :2].tolist() == [1, 1]
    np.testing.assert_array_equal(known.text.value[1, :2], prepared.empty)
    np.testing.assert_array_equal(prepared.empty, StandInEncoder(16).encode([""])[0])
    # Positions are reserved, so the video lies where it would lie with its text.
    assert known.video.index.coord[1, 0].tolist() == [32, 32, 32]


# ---- hosts and held-out scenes -------------------------------------------------------------------


@pytest.mark.parametrize("rows", [(0, 1, 2, 3), (6, 7), (1, 4, 5)])
def test_a_host_reads_its_rows_of_a_batch(prepared, rows):
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, rows=8))
    whole = make_source(prepared, config, count_costs(CONFIG.network))[5]
    part = make_source(prepared, config, count_costs(CONFIG.network), rows=rows)[5]
    check_same(part, jax.tree.map(lambda x: x[list(rows)], whole))
    assert len(whole.video.value) == 8


def test_held_out_batches_hold_held_out_scenes_without_substitution(prepared):
    drop = dataclasses.replace(
        CONFIG.data, drop_text=1.0, drop_story=1.0, frame_probability=1.0, seed=5
    )
    first, second = (
        read_held_out(prepared, dataclasses.replace(CONFIG, data=data), count_costs(CONFIG.network))
        for data in (CONFIG.data, drop)
    )
    assert len(first) == 1
    check_same(first[0], second[0])
    clips = [prepared.read_latent(5, clip=clip, still=None)[0, :2, :2] for clip in (0, 1)]
    for row in range(2):
        shots = first[0].video.index.shot[row]
        starts = np.flatnonzero(np.diff(shots, prepend=0) > 0)
        assert len(starts)
        for start in starts:
            patch = first[0].video.value[row, start].reshape(2, 2, 8)
            assert any(np.array_equal(patch, clip) for clip in clips)


def test_without_held_out_scenes_validation_is_off_with_a_note(prepared, monkeypatch, capsys):
    lengths = dataclasses.replace(prepared.lengths, scene_split=np.zeros(3, np.int32))
    monkeypatch.setattr(prepared, "lengths", lengths)
    assert read_held_out(prepared, CONFIG, count_costs(CONFIG.network)) == []
    assert capsys.readouterr().out == (
        f"{prepared.folder}: no held-out scene, the run is not validated\n"
    )
    off = dataclasses.replace(CONFIG.training, eval_batches=0)
    assert (
        read_held_out(
            prepared, dataclasses.replace(CONFIG, training=off), count_costs(CONFIG.network)
        )
        == []
    )
    assert capsys.readouterr().out == ""
