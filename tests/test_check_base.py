"""The config that a base is tuned with: chips, batches, a config of the user, and files that are kept."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest
from published_base import shared_base
from tiny_film import CONFIG

from lct_jax.backbones.pipeline import read_pipeline
from lct_jax.backbones.wan.usage import make_config
from lct_jax.check_base import choose_config, divide, name_topology, write_config
from lct_jax.cli import load_config
from lct_jax.config import WanConfig, freeze
from lct_jax.errors import InputError

SMALL, LARGE = make_config(WanConfig()), make_config(WanConfig(width=5120, heads=40))


@pytest.mark.parametrize(
    ("config", "devices", "expected"),
    [
        (SMALL, 1, (1, 4, 4)),  # one chip: four rows, one at a time
        (SMALL, 4, (4, 4, 4)),  # 12 heads
        (SMALL, 8, (4, 4, 2)),
        (SMALL, 6, (2, 6, 2)),
        (SMALL, 64, (4, 16, 1)),
        (LARGE, 8, (8, 4, 4)),  # 40 heads
        (LARGE, 64, (8, 8, 1)),
    ],
)
def test_devices_are_divided_over_tokens_and_rows(config, devices, expected):
    made = divide(config, devices=devices)
    assert (made.compute.seq_shards, made.data.rows, made.training.accumulate) == expected
    # As `check_mesh` demands it: a micro-batch has a row for every group of devices.
    assert made.data.rows // made.training.accumulate == devices // made.compute.seq_shards


def make_devices(kind: str, coords: list[tuple[int, ...]], platform: str = "tpu") -> list:
    return [SimpleNamespace(device_kind=kind, platform=platform, coords=c) for c in coords]


@pytest.mark.parametrize(
    ("devices", "name"),
    [
        (make_devices("TPU v5 lite", [(0, 0, 0)]), "v5e:1x1"),
        (make_devices("TPU v5 lite", [(x, y, 0) for x in range(2) for y in range(4)]), "v5e:2x4"),
        (make_devices("TPU v5", [(0, 0, z) for z in (0, 1)]), "v5p:1x1x2"),
        (make_devices("NVIDIA H100 80GB HBM3", [()] * 8, "gpu"), "h100:8"),
        (make_devices("cpu", [()] * 2, "cpu"), "cpu:2"),
        (make_devices("some card", [()], "gpu"), ""),
    ],
)
def test_chips_have_the_names_of_the_planner(devices, name):
    assert name_topology(devices) == name


def test_a_config_of_the_user_gets_the_files_of_the_base(tmp_path):
    path, base = tmp_path / "mine.json", shared_base()
    own = read_pipeline(base)
    prepare = dataclasses.replace(own.prepare, codec_from="elsewhere", encoder_from="")
    mine = dataclasses.replace(own, prepare=prepare)
    path.write_text(json.dumps(dataclasses.asdict(mine)))
    made = choose_config(base, str(path), devices=1)
    assert made.prepare.codec_from == "elsewhere"
    assert made.prepare.encoder_from == str(base / "text_encoder")
    assert made.training.init_from == str(base)
    assert (mine.data.singles_from_scenes, made.data.singles_from_scenes) == (False, True)
    path.write_text(json.dumps(dataclasses.asdict(CONFIG)))
    with pytest.raises(
        InputError, match=r"mine\.json: backbone\.family: found 'mmdit', expected 'wan' of"
    ):
        choose_config(base, str(path), devices=1)


def test_a_config_that_is_there_is_kept_and_another_base_is_refused(tmp_path):
    config = read_pipeline(shared_base())
    about = {"base": "sha256:0", "topology": "cpu:1"}
    write_config(tmp_path, config, about)
    path = tmp_path / "config.json"
    assert freeze(load_config(str(path))) == config
    path.write_text(path.read_text().replace('"steps": 20000', '"steps": 3000'))
    write_config(tmp_path, config, {**about, "topology": "v5e:1x1"})
    assert freeze(load_config(str(path))).training.steps == 3000
    assert json.loads((tmp_path / "base.json").read_text())["topology"] == "v5e:1x1"
    with pytest.raises(InputError, match=r"base\.json: made from base sha256:0, found sha256:1"):
        write_config(tmp_path, config, {**about, "base": "sha256:1"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"config\.json: cannot be read as JSON"),
        (
            '{"name": "x", "training": {"stepz": 3}}',
            r"config\.json: config\.training\.stepz: no such field",
        ),
    ],
)
def test_a_json_config_with_a_mistake_is_refused(tmp_path, text, message):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(str(path))
