"""Tests puppets as a prepared set, and their evaluation: with the usual records, planner, codec, encoder and
sampler."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

import lct_jax
from lct_jax.backbones.registry import build, count_costs
from lct_jax.codecs.registry import load_codec
from lct_jax.config import Config, DataConfig, PrepareConfig, SamplingConfig
from lct_jax.config.network import make_network, sections
from lct_jax.data.pipeline import make_source
from lct_jax.data.sets.records import CODEC_FILE, PreparedSet
from lct_jax.directing.prompts import render_shot
from lct_jax.encoders.stand_in import StandInEncoder
from lct_jax.errors import InputError
from lct_jax.evaluation import puppets as evaluate
from lct_jax.evaluation.puppet_measures import Tally, judge_scene
from lct_jax.evaluation.puppet_table import COLUMNS, ROWS
from lct_jax.evaluation.puppets import (
    choose_rows,
    describe,
    evaluate_row,
    lengthen,
    write_table,
)
from lct_jax.generator import Generator
from lct_jax.puppets.motion import read_shot
from lct_jax.puppets.prepare import Wanted, prepare_puppets, read_range
from lct_jax.puppets.render import render_shot as draw_shot
from lct_jax.puppets.scene import Drawing, draw_scene
from lct_jax.puppets.words import write_script
from lct_jax.puppets.writing import NAMES
from lct_jax.training.checkpoint.weights import Meta

MODEL = make_network(
    width=16,
    depth=1,
    heads=1,
    head_dim=16,
    channels=8,
    patch=(1, 1, 1),
    text_width=12,
    rope_split=(4, 6, 6),
    scene_span=64,
    shot_span=48,
    time_features=8,
    dtype="float32",
    remat="none",
)
CONFIG = Config(
    name="tiny_puppets",
    prepare=PrepareConfig(
        fps=8.0, height=32, width=32, max_frames=9, stills=1, encoder="stand_in", codec="patch"
    ),
    **sections(MODEL),
    data=DataConfig(rows=2, video_tokens=400, text_tokens=300, groups=12, pool=1),
    sampling=SamplingConfig(steps=2, guidance=2.0, negative_scene="", negative_shot="", frames=5),
)
EXAMPLE = Path(__file__).parents[1] / "examples/puppets"
WANTED = Wanted(scenes=50, seed=4, drawing=Drawing((1, 3)))


@functools.cache
def prepared() -> PreparedSet:
    """Returns a set of fifty scenes, which is made once."""
    folder = Path(tempfile.mkdtemp())
    assert prepare_puppets(WANTED, folder, CONFIG)
    return PreparedSet(folder)


def test_a_set_holds_every_scene_under_its_name_with_its_words():
    scenes = {s.name: s for s in (draw_scene(4, n, WANTED.drawing) for n in range(50))}
    names = prepared().scene_names
    assert sorted(names) == sorted(scenes)
    assert len(prepared().card.shards) == 3  # one for each frame size
    shot = 0
    for name in names:
        for written in write_script(scenes[name]).shots:
            assert prepared().read_shot(shot)["text"].tobytes().decode() == render_shot(written)
            shot += 1
    assert shot == len(prepared().lengths.shot_text)


def test_one_scene_in_fifty_is_held_out():
    assert list(prepared().lengths.scene_split).count(1) == 1
    assert prepared().scene_names[int(np.argmax(prepared().lengths.scene_split))].endswith("49")


class Screen(io.StringIO):
    """Keeps what a terminal would show."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_many_scenes_are_drawn_and_encoded(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    sizes = ((32, 32),)
    wanted = dataclasses.replace(WANTED, scenes=4, drawing=Drawing((1, 1), sizes=sizes))
    prepare_puppets(wanted, tmp_path, CONFIG)
    shown = [line.strip() for line in screen.getvalue().split("\r")]
    assert any(line.startswith("drawing:") and "| 0/4 [" in line for line in shown)
    assert any(line.startswith("puppets-32x32:") and "| 0/4 [" in line for line in shown)


def test_an_existing_set_is_not_made_again():
    before = {p: p.stat().st_mtime_ns for p in prepared().folder.rglob("*") if p.is_file()}
    assert not prepare_puppets(WANTED, prepared().folder, CONFIG)
    assert before == {p: p.stat().st_mtime_ns for p in prepared().folder.rglob("*") if p.is_file()}


def test_puppets_are_packed_as_any_footage():
    batch = make_source(prepared(), CONFIG, count_costs(CONFIG.network))[0]
    assert batch.video.value.shape == (2, 400, 8)
    assert np.isfinite(batch.video.value).all()
    assert batch.video.index.shot.max() >= 2


@pytest.mark.parametrize(("text", "shots"), [("1", (1, 1)), ("2-9", (2, 9)), ("7", (7, 7))])
def test_a_range_of_shots(text, shots):
    assert read_range("--shots", text) == shots


@pytest.mark.parametrize("text", ["", "0", "9-2", "1-2-3", "two"])
def test_a_bad_range_is_refused(text):
    with pytest.raises(InputError, match=f"--shots: found '{text}'"):
        read_range("--shots", text)


def test_more_characters_than_there_are_names_are_refused():
    with pytest.raises(InputError, match="--characters: found '1-3', expected at most 2"):
        read_range("--characters", "1-3", most=len(NAMES))


# ---- judging -------------------------------------------------------------------------------------


@functools.cache
def generator() -> Generator:
    """Returns a generator with random weights; at the start of training every output would be zero."""
    network = build(MODEL, key=0)
    shake = lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape)
    params = jax.tree.map(shake, network.params)
    read = lambda shapes: jax.tree.map(lambda x, to: jax.device_put(x, to.sharding), params, shapes)
    codec = load_codec(prepared().folder / CODEC_FILE, channels=8)
    encoder = StandInEncoder(12)
    meta = Meta(CONFIG, codec.identity, encoder.identity, fps=8.0, credit="")
    return Generator(meta, read, codec=codec, encoder=encoder)


@pytest.mark.slow
def test_a_row_resumes_and_is_not_sampled_again(tmp_path, monkeypatch):
    small = Drawing((2, 2), sizes=((32, 32),), frames=(5,))
    file, row = tmp_path / "x.joint.jsonl", ROWS["joint"]
    first = list(evaluate_row(generator(), row, 2, file, drawing=small))
    lines = file.read_text().splitlines()
    assert len(lines) == 3  # the settings, and two scenes
    file.write_text("\n".join(lines[:2]) + "\n")
    assert list(evaluate_row(generator(), row, 2, file, drawing=small)) == first
    monkeypatch.setattr(evaluate, "sample_shots", None)  # nothing is sampled a third time
    assert list(evaluate_row(generator(), row, 2, file, drawing=small)) == first
    assert all(isinstance(t, Tally) for tallies in first for t in tallies.values())
    for changed in ({"settings": {"guidance": 7.0}, "drawing": small}, {"drawing": lengthen(7)}):
        with pytest.raises(InputError, match="found results of other weights or settings"):
            list(evaluate_row(generator(), row, 2, file, **changed))


def test_independent_shots_do_not_depend_on_each_other():
    """Row "independent" gives a shot the same pixels whatever the other one is; joint sampling does not."""
    scene = draw_scene(4, 0, Drawing((2, 2), sizes=((32, 32),), frames=(5,)))
    first, second = scene.shots
    other = dataclasses.replace(second, framing="wide", subjects=())
    changed = dataclasses.replace(scene, shots=(first, other))
    texts = [write_script(s).shots for s in (scene, changed)]
    assert texts[0][0] == texts[1][0]
    assert texts[0][1] != texts[1][1]
    both = {
        name: [evaluate.sample_shots(generator(), s, ROWS[name])[0] for s in (scene, changed)]
        for name in ("independent", "joint")
    }
    np.testing.assert_array_equal(*both["independent"])
    assert (both["joint"][0] != both["joint"][1]).any()


def test_a_row_can_give_a_shot_as_a_picture():
    """The given shot is the rendered one and is not sampled, and the other shots see it."""
    scene = draw_scene(4, 0, Drawing((2, 2), sizes=((32, 32),), frames=(5,)))
    given, free = (
        evaluate.sample_shots(generator(), scene, ROWS[r]) for r in ("joint_given", "joint")
    )
    np.testing.assert_array_equal(given[0], draw_shot(scene, scene.shots[0])[:1])
    assert given[1].shape == free[1].shape
    assert (given[1] != free[1]).any()
    tallies = judge_scene(scene, [read_shot(frames) for frames in given], given=(0,))
    assert tallies["who"].asked == 1


def test_rows_follow_the_context_of_the_weights():
    assert choose_rows("all", causal=False) == [
        "independent",
        "joint",
        "autoregressive",
        "autoregressive_t0",
        "autoregressive_t500",
        "joint_given",
    ]
    assert choose_rows("all", causal=True) == list(ROWS)
    with pytest.raises(InputError, match="--rows: found 'jiont', expected some of independent"):
        choose_rows("jiont", causal=True)
    with pytest.raises(InputError, match="--rows: found 'causal', expected weights of context"):
        choose_rows("causal", causal=False)


def test_the_table_has_every_row_that_is_done(tmp_path):
    share = {"value": 0.5, "low": 0.4, "high": 0.6, "told": 1.0, "count": 10}
    shares = dict.fromkeys(COLUMNS, share)
    for name in ("a.joint", "b.joint"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"shares": shares}))
    text = write_table(tmp_path)
    assert (tmp_path / "table.md").read_text() == text
    assert [line.split(" | ")[0] for line in text.splitlines()[2:]] == ["| a.joint", "| b.joint"]


def test_scenes_of_one_character_and_of_two_who_meet_again():
    alone = [draw_scene(5, n, lengthen(8, characters=1)) for n in range(12)]
    assert {len(scene.characters) for scene in alone} == {1}
    assert {shot.subjects for scene in alone for shot in scene.shots} == {(1,), ()}
    for scene in (draw_scene(5, n, lengthen(8)) for n in range(12)):
        assert [shot.subjects == (1,) for shot in scene.shots[:7]] == [True, *5 * [False], True]


def test_shipped_weights_are_sampled_with_their_settings_or_others():
    shipped = lct_jax.load(
        EXAMPLE / "puppets.safetensors", codec=EXAMPLE / "patch_codec.safetensors"
    )
    own = describe(shipped, ROWS["joint"])
    assert own["sampling"] == dataclasses.asdict(shipped.config.sampling)
    other = describe(shipped, ROWS["joint"], {"guidance": 7.0})
    assert other == own | {"sampling": own["sampling"] | {"guidance": 7.0}}
    assert own["sampling"]["guidance"] != 7.0
