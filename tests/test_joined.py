"""Tests several prepared sets as one: one numbering, captions of single shots, and sets that do not fit together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_records import INFO, SCENES, TEXT_WIDTH, draw, make_shot
from tiny_film import CONFIG, run_program, shared_film

from lct_jax.backbones.registry import count_costs
from lct_jax.config import Config, DataConfig, TrainingConfig
from lct_jax.config.network import change, make_network, sections
from lct_jax.data.joined import JoinedSets, open_data
from lct_jax.data.pipeline import BatchSource, make_source
from lct_jax.data.planner import Planner
from lct_jax.data.sets.lengths import NAMES_PEOPLE
from lct_jax.data.sets.records import PreparedSet, write_set
from lct_jax.data.sets.shards import SceneRecord
from lct_jax.encoders.stand_in import StandInEncoder
from lct_jax.errors import InputError

CLIP = SceneRecord(
    "clip", "train", draw(2, TEXT_WIDTH), draw(2, TEXT_WIDTH), "", "", (
        dataclasses.replace(
            make_shot((2,), 1, 3), alone=draw(5, TEXT_WIDTH), alone_text="more", text="Character 1."
        ),
    )
)  # fmt: skip
MODEL = make_network(channels=3, text_width=TEXT_WIDTH, scene_span=9, shot_span=6)
DATA = DataConfig(rows=2, video_tokens=64, text_tokens=32, groups=8, pool=4)


@pytest.fixture
def folders(tmp_path):
    for name, scenes in (("film", SCENES), ("clips", (CLIP,))):
        write_set(tmp_path / name, scenes, info=INFO, credit=f"by {name}")
        (tmp_path / name / "codec.safetensors").write_text(name)
    return tmp_path


def test_two_sets_are_read_as_one(folders):
    both = open_data(f"scenes={folders}/film,single={folders}/clips:0.5")
    film, clips = PreparedSet(folders / "film"), PreparedSet(folders / "clips")
    assert both.shot_names == [
        f"{folders}/{name}" for name in ("film:quay/1", "film:quay/2", "film:end/1", "clips:clip/1")
    ]
    assert both.card.credit == "by film; by clips"
    np.testing.assert_array_equal(both.read_prompt(1), film.read_prompt(1))
    np.testing.assert_array_equal(both.read_prompt(3), clips.read_prompt(0))
    np.testing.assert_array_equal(both.read_prompt(3, alone=True), draw(5, TEXT_WIDTH))
    np.testing.assert_array_equal(both.read_global(1, story=True), film.read_global(1, story=True))
    found = both.read_latent(3, clip=0, still=None)
    np.testing.assert_array_equal(found, clips.read_latent(0, clip=0, still=None))
    assert [(p.choice.role, p.start, p.stop) for p in both.parts] == [
        ("scenes", 0, 2), ("single", 2, 3)
    ]  # fmt: skip
    other = open_data(f"scenes={folders}/film,single={folders}/clips:0.4")
    assert len({both.identity, other.identity, film.identity}) == 3


def test_a_batch_of_two_sets_has_the_captions_of_single_shots(folders):
    both = open_data(f"scenes={folders}/film,single={folders}/clips")
    cost = lambda plan: 1.0
    planner = Planner(both.lengths, DATA, patch=MODEL.backbone.patch, cost=cost, parts=both.parts)
    source = BatchSource(both, planner, backbone=MODEL.backbone, layout=MODEL.layout, data=DATA)
    singles = 0
    for number in range(4):
        batch, rows = source[number], planner.batch(number)
        for row, samples in enumerate(rows):
            for place, sample in enumerate(samples, start=1):
                text = batch.text.value[row][batch.text.index.scene[row] == place]
                if sample.scene is None and sample.written:
                    singles += 1
                    np.testing.assert_array_equal(text, draw(5, TEXT_WIDTH))
    assert singles > 5


def test_a_caption_over_its_span_is_refused_where_it_is_drawn(folders):
    model = change(MODEL, shot_span=4)
    config = Config("x", **sections(model), data=DATA, training=TrainingConfig(steps=1, warmup=0))
    clips = open_data(f"single={folders}/clips:1")
    with pytest.raises(
        InputError, match=r"layout.shot_span: found 4, expected at least 5, .*clip/1"
    ):
        make_source(clips, config, count_costs(config.network))


def test_sets_of_another_codec_are_refused(folders):
    info = dataclasses.replace(INFO, codec="codec-b")
    write_set(folders / "clips", (CLIP,), info=info, credit="")
    with pytest.raises(InputError) as caught:
        open_data(f"scenes={folders}/film,single={folders}/clips")
    assert str(caught.value) == (
        f"{folders}/clips: made with codec 'codec-b', expected 'codec-a' as in {folders}/film"
    )


def test_a_set_of_an_earlier_version_is_read(folders):
    path = folders / "film" / "lengths.safetensors"
    columns = load_file(path)
    assert columns.pop("shot_alone").tolist() == [0, 0, 0]
    save_file(columns, path)
    (folders / "film" / "checksums.json").unlink()  # which earlier versions did not write
    assert open_data(str(folders / "film")).lengths.shot_alone.tolist() == [0, 0, 0]
    assert isinstance(open_data(f"scenes={folders}/film"), JoinedSets)


def test_preparation_keeps_the_caption_of_a_scene_of_one_shot():
    """The scene `end` has one shot, whose prompt names Character 1; those of `quay` and `road` have more."""
    prepared = PreparedSet(shared_film().prepared)
    expected = (
        "[SHOT CUT] Character 1: A woman in a red coat. Character 1 leaves, and the dog stays."
    )
    tokens = StandInEncoder(CONFIG.backbone.text_width).encode([expected])[0].astype(np.float16)
    alone = prepared.lengths.shot_alone.tolist()
    assert alone == [NAMES_PEOPLE, 0, NAMES_PEOPLE, NAMES_PEOPLE, 0, len(tokens)]
    assert prepared.read_shot(5)["alone_text"].tobytes().decode() == expected
    np.testing.assert_array_equal(prepared.read_prompt(5, alone=True), tokens)
    assert len(prepared.read_prompt(5)) < len(tokens)


def test_shots_of_scenes_that_name_people_are_left_out_of_single_shots(capsys):
    folder = shared_film().prepared
    source = make_source(
        open_data(f"scenes={folder},single={folder}"), CONFIG, count_costs(CONFIG.network)
    )
    assert [pool.members.tolist() for pool in source.planner.mix.single] == [[1, 4]]
    assert capsys.readouterr().out == (
        f"{folder}: 3 of 6 shots have prompts that name people whom only their scene describes, they are not drawn as "
        "single shots\n"
    )


@pytest.mark.slow
def test_a_run_on_two_sets_resumes_and_reports_changed_shares(tmp_path):
    """The run uses preflight, plan and training with the same sets; the seed has more than 64 bits."""
    film = shared_film()
    sets = f"scenes={film.prepared},single={film.prepared}"
    config = f"--config={film.config}"
    seed = f"--config.training.seed={2**64 + 5}"
    run = ["train.py", config, f"--workdir={tmp_path / 'run'}", seed]
    ready = run_program(
        "-m", "lct_jax.preflight", config, f"--workdir={tmp_path / 'run'}", f"--data={sets}:0.5"
    )
    assert ready.code == 0, ready.stdout + ready.stderr
    planned = run_program(
        "-m", "lct_jax.plan", config, "--topology=cpu:1", f"--data={sets}:0.5",
        "--shots=1", "--frames=9",
    )  # fmt: skip
    assert planned.code == 0, planned.stderr
    assert f"{sets}:0.5: 2 batches hold" in planned.stdout
    first = run_program(*run, f"--data={sets}:0.5", "--config.training.steps=3")
    assert first.code == 0, first.stderr
    second = run_program(*run, f"--data={sets}:0.25", "--config.training.steps=4")
    assert second.code == 0, second.stderr
    assert "going on from step 3" in second.stdout
    assert "changed since: prepared set" in second.stdout
    refused = run_program(*run, f"--data=scenes={film.prepared}", "--config.training.steps=5")
    assert refused.code == 2
    assert refused.stderr == (
        f"error: --data: found no train single-shot data in {film.prepared}, expected some for a share of 0.5: name a "
        "set (--data=scenes=DIR,single=DIR2), set data.single_weight=0, or take shots of scenes as they are "
        "(data.singles_from_scenes=true)\n"
    )
