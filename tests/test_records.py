"""Tests records: reading returns what was written, and a network that does not fit a set is refused by field."""

from __future__ import annotations

import dataclasses
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from lct_jax.config import WanConfig
from lct_jax.config.network import change, make_network
from lct_jax.data.sets import record_files
from lct_jax.data.sets.records import PreparedSet, SetInfo, finish_set, write_set
from lct_jax.data.sets.shards import SceneRecord, ShotRecord, write_shard
from lct_jax.errors import InputError

CHANNELS, TEXT_WIDTH = 3, 5
MODEL = make_network(channels=CHANNELS, text_width=TEXT_WIDTH, scene_span=9, shot_span=6)
EMPTY = np.full((2, TEXT_WIDTH), 0.25, np.float32)
INFO = SetInfo("codec-a", "encoder-a", CHANNELS, TEXT_WIDTH, 32, 48, 12.0, EMPTY)


def draw(*shape: int) -> np.ndarray:
    """Returns numbers that float16 holds exactly, a different array for each shape."""
    return np.random.default_rng(shape).integers(-99, 99, shape).astype(np.float32) / 8


def make_shot(frames: tuple[int, ...], stills: int, text: int) -> ShotRecord:
    return ShotRecord(
        clips=tuple(draw(count, 4, 6, CHANNELS) for count in frames),
        stills=tuple(draw(1, 4, 6, CHANNELS) + still for still in range(stills)),
        prompt=draw(text, TEXT_WIDTH),
        text=f"[SHOT CUT] {text} words" if stills else f"{text} words",
        frames=4 * frames[0] - 3,
    )


SCENES = (
    SceneRecord("quay", "train", draw(9, TEXT_WIDTH), draw(7, TEXT_WIDTH), "all", "less", (
        make_shot((3, 3), 2, 4), make_shot((5,), 1, 6),
    )),
    SceneRecord("end", "held_out", draw(8, TEXT_WIDTH), draw(3, TEXT_WIDTH), "end", "", (make_shot((2,), 0, 1),)),
)  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> Path:
    write_set(tmp_path / "set", SCENES, info=INFO, credit="Tiny by us")
    return tmp_path / "set"


def test_everything_written_is_read(folder):
    prepared = PreparedSet(folder)
    card = prepared.card
    assert (card.codec, card.encoder, card.channels, card.text_width) == (
        "codec-a",
        "encoder-a",
        3,
        5,
    )
    assert (card.height, card.width, card.fps, card.credit) == (32, 48, 12.0, "Tiny by us")
    assert prepared.scene_names == ["quay", "end"]
    assert prepared.shot_names == ["quay/1", "quay/2", "end/1"]
    np.testing.assert_array_equal(prepared.empty, EMPTY)
    shots = [shot for scene in SCENES for shot in scene.shots]
    for number, shot in enumerate(shots):
        np.testing.assert_array_equal(prepared.read_prompt(number), shot.prompt)
        assert prepared.read_shot(number)["text"].tobytes().decode() == shot.text
        for clip, latent in enumerate(shot.clips):
            found = prepared.read_latent(number, clip=clip, still=None)
            np.testing.assert_array_equal(found, latent)
            assert found.dtype == np.float32
        for still, latent in enumerate(shot.stills):
            found = prepared.read_latent(number, clip=None, still=still)
            np.testing.assert_array_equal(found, latent)
    for number, scene in enumerate(SCENES):
        np.testing.assert_array_equal(prepared.read_global(number, story=True), scene.full)
        np.testing.assert_array_equal(prepared.read_global(number, story=False), scene.brief)
        assert prepared.read_scene(number)["full_text"].tobytes().decode() == scene.full_text
        assert prepared.read_scene(number)["brief_text"].tobytes().decode() == scene.brief_text


def test_lengths_are_those_of_the_records(folder):
    expected = {
        "scene_split": [0, 1],
        "scene_start": [0, 2, 3],
        "scene_full": [9, 8],
        "scene_brief": [7, 3],
        "shot_text": [4, 6, 1],
        "shot_still": [2, 1, 0],
        "shot_cut": [1, 1, 0],
        "clip_start": [0, 2, 3, 4],
        "clip_grid": [[3, 4, 6], [3, 4, 6], [5, 4, 6], [2, 4, 6]],
        "shot_alone": [0, 0, 0],
        "empty_text": [2],
    }
    lengths = dataclasses.asdict(PreparedSet(folder).lengths)
    assert {name: column.tolist() for name, column in lengths.items()} == expected
    assert {column.dtype for column in lengths.values()} == {np.dtype(np.int32)}


def test_values_are_stored_as_float16_and_a_transposed_array_is_not_scrambled(tmp_path):
    latent = np.linspace(0, 1, 3 * 4 * 6 * CHANNELS, dtype=np.float32).reshape(6, 4, 3, CHANNELS)
    shot = ShotRecord(
        clips=(latent.swapaxes(0, 2),), stills=(), prompt=draw(4, TEXT_WIDTH), text="", frames=9
    )
    scenes = (dataclasses.replace(SCENES[0], shots=(shot,)),)
    write_set(tmp_path, scenes, info=INFO, credit="")
    found = PreparedSet(tmp_path).read_latent(0, clip=0, still=None)
    np.testing.assert_array_equal(found, latent.swapaxes(0, 2).astype(np.float16))
    assert np.abs(found - latent.swapaxes(0, 2)).max() > 0


def test_a_set_can_be_pickled_to_another_process(folder):
    travelled = pickle.loads(pickle.dumps(PreparedSet(folder)))
    np.testing.assert_array_equal(travelled.read_prompt(2), SCENES[1].shots[0].prompt)


def test_few_files_are_open_however_many_shards_there_are(tmp_path, monkeypatch):
    """Each shard has its own prompt, so that no record is taken for another one's."""
    monkeypatch.setattr(record_files, "MOST_OPEN", 3)
    for n in range(5):
        shot = ShotRecord((draw(1, 4, 6, CHANNELS),), (), EMPTY + n, "", 5)
        scene = SceneRecord(f"s{n}", "train", EMPTY, EMPTY, "", "", [shot])
        write_shard(
            tmp_path / "shards" / str(n), [scene], empty=2, film="", credit="", size=(32, 48),
            aspect_error=0.0,
        )  # fmt: skip
    finish_set(tmp_path, list("01234"), info=INFO)
    prepared = PreparedSet(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for number in (4, 0, 3, 1, 2, 0, 4):
        np.testing.assert_array_equal(prepared.read_prompt(number), EMPTY + number)
        prepared.read_scene(number)
    assert len(os.listdir("/proc/self/fd")) - before == 3


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"channels": 4}, "backbone.channels: found 4, expected 3 of {}"),
        ({"text_width": 4}, "backbone.text_width: found 4, expected 5 of {}"),
        (
            {"patch": (1, 2, 4)},
            "backbone.patch: found (1, 2, 4); {}: latent Y side: found 6, expected a multiple of 4",
        ),
        (
            {"scene_span": 8},
            "layout.scene_span: found 8, expected at least 9, "
            "the tokens in the prompt of quay in {}",
        ),
        (
            {"shot_span": 5},
            "layout.shot_span: found 5, expected at least 6, "
            "the tokens in the prompt of quay/2 in {}",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_refused_by_field(folder, fields, expected):
    prepared, model = PreparedSet(folder), change(MODEL, **fields)
    if expected is None:
        prepared.check_fits(model.backbone, model.layout)
        return
    with pytest.raises(InputError) as caught:
        prepared.check_fits(model.backbone, model.layout)
    assert str(caught.value) == expected.format(folder)


def test_a_network_that_is_told_another_frame_rate_is_refused(folder):
    sizes = {"width": 32, "heads": 2, "head_dim": 16, "rope_split": (8, 4, 4), "text_width": 5}
    told = WanConfig(**sizes, channels=3, release="skyreels_v2", fps=24)
    with pytest.raises(InputError) as caught:
        PreparedSet(folder).check_fits(told, MODEL.layout)
    assert str(caught.value) == f"backbone.fps: found 24, expected 12 of {folder}"


def test_the_identity_of_a_set_follows_its_content(folder, tmp_path):
    identity = PreparedSet(folder).identity
    assert re.fullmatch("[0-9a-f]{16}", identity)
    assert PreparedSet(shutil.copytree(folder, tmp_path / "moved")).identity == identity
    write_set(folder, SCENES[:1], info=INFO, credit="")
    assert PreparedSet(folder).identity != identity


def test_writing_again_replaces_the_set(folder):
    shots = (make_shot((3,), 1, 2),)
    scenes = (dataclasses.replace(SCENES[0], shots=shots),)
    write_set(folder, scenes, info=INFO, credit="")
    assert PreparedSet(folder).lengths.shot_text.tolist() == [2]
    assert PreparedSet(folder).shot_names == ["quay/1"]
    assert not [path for path in folder.rglob("*") if "partial" in path.name]
