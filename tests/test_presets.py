"""The sizes of the models of the shipped configs."""

from __future__ import annotations

from pathlib import Path

import pytest

from lct_jax.backbones.registry import count_parameters
from lct_jax.config import Config, freeze, read_beside
from lct_jax.config.network import make_network
from lct_jax.plan.workload import SceneTarget, find_grid

CONFIGS = Path(__file__).parents[1] / "configs"


def _load(name: str) -> Config:
    return freeze(read_beside(CONFIGS / f"{name}.py", name).get_config())


def test_the_paper_sized_model_has_3_billion_parameters():
    model = _load("lct_3b").network
    assert 2.8e9 <= count_parameters(model) <= 3.2e9
    assert model.backbone.head_dim == 128
    assert model.backbone.heads * model.backbone.head_dim == model.backbone.width
    assert model.backbone.heads % 4 == 0  # sequence parallel over four devices
    assert 2048 <= model.backbone.width <= 3072
    assert (model.compute.dtype, model.compute.remat) == ("bfloat16", "auto")
    assert model == make_network(seq_shards=4)


def test_the_film_model_is_small_enough_for_two_cores():
    model = _load("film_tiny").network
    assert 5e6 <= count_parameters(model) <= 10e6
    assert model.compute.dtype == "float32"
    assert model == _load("film_tiny_base").network  # whose weights it starts from


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.py")))
def test_every_preset_freezes_under_its_own_name(name):
    assert _load(name).name == name


def test_a_shot_of_wan_22_is_counted_by_the_stride_of_its_codec():
    """121 frames of 704x1280 at 4x16x16, two by two: fewer tokens than 81 frames of 480x832 in Wan 2.1."""
    grids = {name: find_grid(_load(name), SceneTarget())[3] for name in ("wan22_5b", "wan_1_3b")}
    assert grids == {"wan22_5b": (31, 22, 40), "wan_1_3b": (21, 30, 52)}
