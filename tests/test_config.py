"""Tests configs: the way through flags and JSON and back, the line of every check, and files that hold no config."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from lct_jax.cli import load_config
from lct_jax.config import (
    Config,
    DualStreamConfig,
    SamplingConfig,
    TrainingConfig,
    editable,
    freeze,
)
from lct_jax.config.former import translate_flag
from lct_jax.errors import InputError

CONFIG = Config(
    name="some",
    backbone=DualStreamConfig(width=64, heads=4, head_dim=16, rope_split=(4, 6, 6)),
    training=TrainingConfig(steps=50, warmup=0, eval_times=(0.25, 0.75)),
    sampling=SamplingConfig(negative_scene="blurry"),
)


def edit(path: str, value: object) -> ConfigDict:
    values = editable(CONFIG)
    values.unlock()
    *sections, field = path.split(".")
    target = values
    for section in sections:
        target = target[section]
    with target.ignore_type():
        target[field] = value
    return values


# ---- there and back ------------------------------------------------------------------------------


def test_a_config_passes_through_flags_and_json_unchanged():
    assert freeze(editable(CONFIG)) == CONFIG
    assert freeze(json.loads(json.dumps(dataclasses.asdict(CONFIG)))) == CONFIG


def test_an_edited_field_is_the_only_change():
    frozen = freeze(edit("training.steps", 70))
    assert frozen.training.steps == 70
    expected = dataclasses.replace(CONFIG.training, steps=70)
    assert frozen == dataclasses.replace(CONFIG, training=expected)


def test_a_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONFIG.backbone.width = 3  # type: ignore[misc]


def test_patch_channels():
    assert DualStreamConfig(channels=16, patch=(1, 2, 2)).patch_channels == 64
    assert DualStreamConfig(channels=3, patch=(2, 1, 4)).patch_channels == 24


# ---- checks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("backbone.width", -1, "backbone.width: found -1, expected more than 0"),
        ("backbone.width", 0, "backbone.width: found 0, expected more than 0"),
        ("backbone.width", 64.0, "backbone.width: found 64.0, expected int"),
        ("backbone.width", "64", "backbone.width: found '64', expected int"),
        ("backbone.width", True, "backbone.width: found True, expected int"),
        (
            "backbone.rope_base",
            float("nan"),
            "backbone.rope_base: found nan, expected a finite number",
        ),
        (
            "backbone.qk_norm",
            "Head",
            "backbone.qk_norm: found 'Head', expected one of 'head', 'all', 'none'",
        ),
        ("backbone.patch", (1, 2), "backbone.patch: found (1, 2), expected 3 of int"),
        ("backbone.patch", (1, 2, 0), "backbone.patch: found 0, expected more than 0"),
        ("backbone.patch", (1, 2, 1.5), "backbone.patch: found 1.5, expected int"),
        ("backbone.patch", 2, "backbone.patch: found 2, expected 3 of int"),
        (
            "backbone.rope_split",
            (4, 6, 8),
            "backbone.rope_split: found (4, 6, 8), expected three even numbers that sum to head_dim 16",
        ),
        (
            "backbone.rope_split",
            (5, 5, 6),
            "backbone.rope_split: found (5, 5, 6), expected three even",
        ),
        ("flow.std", 0.0, "flow.std: found 0.0, expected more than 0"),
        ("flow.shift", float("inf"), "flow.shift: found inf, expected a finite number"),
        (
            "flow.times",
            "each",
            "flow.times: found 'each', expected one of 'per_shot', 'per_scene', 'mixed'",
        ),
        ("data.drop_text", 1.1, "data.drop_text: found 1.1, expected at most 1"),
        ("data.drop_text", -0.1, "data.drop_text: found -0.1, expected 0 or more"),
        ("data.groups", 1, "data.groups: found 1, expected 2 or more"),
        ("data.rows", 0, "data.rows: found 0, expected more than 0"),
        ("training.ema", 1.5, "training.ema: found 1.5, expected at most 1"),
        ("training.warmup", 50, "training.warmup: found 50, expected fewer than training.steps 50"),
        ("training.init_from", 3, "training.init_from: found 3, expected text"),
        (
            "training.eval_times",
            (),
            "training.eval_times: found (), expected at least one of float",
        ),
        ("training.eval_times", (0.5, 2.0), "training.eval_times: found 2.0, expected at most 1"),
        (
            "training.accumulate",
            3,
            "training.accumulate: found 3, expected a divisor of data.rows 8",
        ),
        ("sampling.history_time", 2.0, "sampling.history_time: found 2.0, expected at most 1"),
        ("sampling.frames", 16, "sampling.frames: found 16, expected 4n + 1"),
        ("prepare.max_frames", 16, "prepare.max_frames: found 16, expected 4n + 1"),
        ("prepare.encoder", 3, "prepare.encoder: found 3, expected text"),
        (
            "training.context",
            "half",
            "training.context: found 'half', expected one of 'full', 'causal'",
        ),
        ("prepare", 3, "config.prepare: found 3, expected a section of fields"),
        ("backbone.widht", 3, "config.backbone.widht: no such field; there are channels, depth, "),
    ],
)
def test_a_bad_value_is_refused_by_its_field(path, value, expected):
    with pytest.raises(InputError) as caught:
        freeze(edit(path, value))
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.seed", 0),
        ("data.workers", 0),
        ("data.single_weight", 0.0),
        ("data.single_weight", 1),
        ("flow.mean", -1.0),
        ("flow.mean", 0),
        ("training.warmup", 0),
        ("training.eval_batches", 0),
        ("training.weight_decay", 0.0),
        ("training.accumulate", 4),
        ("sampling.guidance", 0.0),
        ("sampling.frames", 1),
    ],
)
def test_a_value_at_its_limit_is_accepted(path, value):
    section, field = path.split(".")
    assert getattr(getattr(freeze(edit(path, value)), section), field) == value


def test_a_config_without_a_name_is_refused():
    with pytest.raises(InputError, match=r"^config.name: missing, expected a string$"):
        freeze({"backbone": {}})


# ---- the shape up to version 0.1 -------------------------------------------------------------------


def test_a_config_of_the_former_shape_is_read():
    former = {
        "name": "old",
        "model": {"width": 64, "depth": 3, "group_stride": 44, "dtype": "float32"},
    }
    found = freeze(former | {"training": {"seq_shards": 4}})
    assert (found.backbone.width, found.backbone.depth) == (64, 3)
    assert (found.layout.stride, found.compute.dtype, found.compute.seq_shards) == (
        44,
        "float32",
        4,
    )
    with pytest.raises(InputError, match=r"^config\.model: no such field; there are backbone, "):
        freeze({"name": "old", "model": {"widht": 64}})


def test_a_flag_of_the_former_shape_is_translated_with_a_note():
    assert translate_flag("--config.model.width=64") == (
        "--config.backbone.width=64",
        "--config.model.width is now --config.backbone.width",
    )
    assert translate_flag("--config.training.seq_shards=2")[0] == "--config.compute.seq_shards=2"
    for same in ("--config.data.rows=2", "--config=configs/puppets.py", "--config.model.widht=1"):
        assert translate_flag(same) == (same, "")


def test_importing_the_former_section_names_the_new_sections(tmp_path):
    path = tmp_path / "old.py"
    path.write_text("from lct_jax.config import ModelConfig\n")
    with pytest.raises(
        InputError, match=r"ImportError: lct_jax\.config has no ModelConfig any more"
    ):
        load_config(str(path))


def test_backbone_class_is_chosen_by_family():
    with pytest.raises(InputError, match=r"^config.backbone.family: found 'dit', expected one of "):
        freeze({"name": "x", "backbone": {"family": "dit"}})


# ---- files ---------------------------------------------------------------------------------------

GOOD = """from lct_jax.config import Config, DualStreamConfig, editable


def get_config():
    return editable(Config(name='good'))
"""


def test_a_file_is_loaded_as_it_is_written(tmp_path):
    path = tmp_path / "good.py"
    path.write_text(GOOD)
    assert freeze(load_config(str(path))) == Config(name="good")
    path.write_text(GOOD.replace("'good'", "'other, and later'"))
    assert freeze(load_config(str(path))).name == "other, and later"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def get_config(: pass", ", line 1: SyntaxError: "),
        ("import nothing_of_that_name", ", line 1: ModuleNotFoundError: No module named 'nothing_"),
        ("x = 1", ": AttributeError: module 'config' has no attribute 'get_config'"),
        (
            "def get_config():\n    return 3",
            ": get_config() gave int, expected editable(Config(...))",
        ),
        (GOOD.replace("name=", "nam="), ", line 5: TypeError: "),
        (
            GOOD.replace("name='good'", "name='a', backbone=DualStreamConfig(width=-1)"),
            ", line 5: backbone.width: found -1, expected more than 0",
        ),
    ],
)
def test_a_file_that_is_no_config_is_refused_by_its_line(tmp_path, text, expected):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(str(path))
    assert str(caught.value).startswith(f"{path}{expected}")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        load_config(str(tmp_path / "no.py"))
    path = Path(tmp_path / "no.py")
    assert (
        str(caught.value)
        == f"--config: {path}: no such file, expected one that defines get_config()"
    )
