"""Tests scenes that a config holds out: training never draws them, validation and evaluation do."""

from __future__ import annotations

import dataclasses

import pytest
from test_records import INFO, SCENES, TEXT_WIDTH

from lct_jax.backbones.registry import count_costs
from lct_jax.config import Config, DataConfig, TrainingConfig
from lct_jax.config.network import make_network, sections
from lct_jax.data.hold_out import find_common, hold_out
from lct_jax.data.joined import open_data
from lct_jax.data.pipeline import make_source, read_held_out
from lct_jax.data.sets.records import write_set
from lct_jax.errors import InputError

MODEL = make_network(channels=3, text_width=TEXT_WIDTH, scene_span=9, shot_span=6)
DATA = DataConfig(
    rows=2, video_tokens=64, text_tokens=32, groups=8, pool=4, singles_from_scenes=True
)
CONFIG = Config(name="test", **sections(MODEL), data=DATA, training=TrainingConfig(eval_batches=2))


@pytest.fixture
def sets(tmp_path):
    """Returns the value of --data for one set, and for two sets of the same scenes, of which none is held out."""
    scenes = [dataclasses.replace(scene, split="train") for scene in SCENES]
    for name in ("film", "again"):
        write_set(tmp_path / name, scenes, info=INFO, credit="")
    return str(tmp_path / "film"), f"scenes={tmp_path}/film,single={tmp_path}/again"


def _draw(source) -> set[int]:
    return {
        shot.shot
        for number in range(20)
        for row in source.planner.batch(number)
        for sample in row
        for shot in sample.shots
    }


def test_scenes_that_a_config_holds_out_are_never_trained_on_and_validated(sets):
    for folder in sets:
        prepared, costs = open_data(folder), count_costs(CONFIG.network)
        assert _draw(make_source(prepared, CONFIG, costs)) >= {0, 1, 2}
        data = dataclasses.replace(DATA, hold_out=("quay",))
        held = dataclasses.replace(CONFIG, data=data)
        names = prepared.shot_names
        trained = {names[shot] for shot in _draw(make_source(prepared, held, costs))}
        assert trained and not any("quay" in name for name in trained)
        validated = {
            names[shot] for shot in _draw(make_source(prepared, held, costs, split="held_out"))
        }
        assert validated == {name for name in names if "quay" in name}
        assert len(read_held_out(prepared, held, costs)) == 2
        assert read_held_out(prepared, CONFIG, costs) == []  # the set itself holds nothing out


def test_a_scene_that_no_set_has_cannot_be_held_out(sets):
    for data in sets:
        with pytest.raises(
            InputError, match=r"data\.hold_out: found 'harbour', which is no scene"
        ) as error:
            hold_out(open_data(data), ("quay", "harbour"))
        assert "such as 'quay'" in str(error.value)


def test_of_several_models_a_scene_is_held_out_where_none_was_trained_on_it():
    names = (("quay", "harbour", "pier"), ("pier", "quay"), ("quay", "mill", "pier"))
    configs = [dataclasses.replace(DATA, hold_out=of) for of in names]
    assert find_common(configs) == ("pier", "quay")
    assert find_common(configs[:1]) == ("harbour", "pier", "quay")
    assert find_common([*configs, DATA]) == ()
