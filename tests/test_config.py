"""Configs: the way through flags and JSON and back, every check by its line, and files that are none."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from lct_jax.cli import load_config
from lct_jax.config import Config, ModelConfig, SamplingConfig, TrainingConfig, editable, freeze
from lct_jax.errors import InputError

CONFIG = Config(
    name="some",
    model=ModelConfig(width=64, heads=4, head_dim=16, rope_split=(4, 6, 6)),
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
        CONFIG.model.width = 3  # type: ignore[misc]


def test_patch_channels():
    assert ModelConfig(channels=16, patch=(1, 2, 2)).patch_channels == 64
    assert ModelConfig(channels=3, patch=(2, 1, 4)).patch_channels == 24


# ---- checks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("model.width", -1, "model.width: found -1, expected more than 0"),
        ("model.width", 0, "model.width: found 0, expected more than 0"),
        ("model.width", 64.0, "model.width: found 64.0, expected int"),
        ("model.width", "64", "model.width: found '64', expected int"),
        ("model.width", True, "model.width: found True, expected int"),
        ("model.rope_base", float("nan"), "model.rope_base: found nan, expected more than 0"),
        (
            "model.qk_norm",
            "Head",
            "model.qk_norm: found 'Head', expected one of 'head', 'all', 'none'",
        ),
        ("model.patch", (1, 2), "model.patch: found (1, 2), expected 3 of int"),
        ("model.patch", (1, 2, 0), "model.patch: found 0, expected more than 0"),
        ("model.patch", (1, 2, 1.5), "model.patch: found 1.5, expected int"),
        ("model.patch", 2, "model.patch: found 2, expected 3 of int"),
        (
            "model.rope_split",
            (4, 6, 8),
            "model.rope_split: found (4, 6, 8), expected three even numbers that sum to head_dim 16",
        ),
        ("model.rope_split", (5, 5, 6), "model.rope_split: found (5, 5, 6), expected three even"),
        ("flow.std", 0.0, "flow.std: found 0.0, expected more than 0"),
        ("flow.shift", float("inf"), "flow.shift: found inf, expected more than 0"),
        (
            "flow.times",
            "each",
            "flow.times: found 'each', expected one of 'per_shot', 'per_scene', 'mixed'",
        ),
        ("data.drop_text", 1.1, "data.drop_text: found 1.1, expected 0.0 to 1.0"),
        ("data.drop_text", -0.1, "data.drop_text: found -0.1, expected 0 or more"),
        ("data.groups", 1, "data.groups: found 1, expected at least 2"),
        ("data.rows", 0, "data.rows: found 0, expected more than 0"),
        ("training.ema", 1.5, "training.ema: found 1.5, expected 0.0 to 1.0"),
        ("training.warmup", 50, "training.warmup: found 50, expected fewer than training.steps 50"),
        ("training.init_from", 3, "training.init_from: found 3, expected text"),
        (
            "training.eval_times",
            (),
            "training.eval_times: found (), expected at least one of float",
        ),
        ("training.eval_times", (0.5, 2.0), "training.eval_times: found 2.0, expected 0.0 to 1.0"),
        (
            "training.accumulate",
            3,
            "training.accumulate: found 3, expected a divisor of data.rows 8",
        ),
        ("sampling.history_time", 2.0, "sampling.history_time: found 2.0, expected 0.0 to 1.0"),
        ("sampling.frames", 16, "sampling.frames: found 16, expected 4n + 1"),
        ("prepare.max_frames", 16, "prepare.max_frames: found 16, expected 4n + 1"),
        ("prepare.encoder", 3, "prepare.encoder: found 3, expected text"),
        (
            "training.context",
            "half",
            "training.context: found 'half', expected one of 'full', 'causal'",
        ),
        ("prepare", 3, "config.prepare: found 3, expected a section of fields"),
        ("model.widht", 3, "config.model.widht: no such field; there are channels, depth, "),
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
def test_a_value_at_the_edge_is_taken(path, value):
    section, field = path.split(".")
    assert getattr(getattr(freeze(edit(path, value)), section), field) == value


def test_a_config_without_a_name_is_refused():
    with pytest.raises(InputError, match=r"^config.name: missing, expected a string$"):
        freeze({"model": {}})


# ---- files ---------------------------------------------------------------------------------------

GOOD = "from lct_jax.config import *\n\n\ndef get_config():\n    return editable(Config(name='good'))\n"


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
            GOOD.replace("name='good'", "name='a', model=ModelConfig(width=-1)"),
            ", line 5: model.width: found -1, expected more than 0",
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
