"""Published weights in and out: names and shapes of the real models, round trips to the bit, errors of one line."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_dtypes import bfloat16
from safetensors.numpy import load_file, save_file
from scenes import TINY, TINY_WAN, TinyModel, place_shapes

from lct_jax.backbones.load import (
    list_places,
    load_published,
    read_backbone,
    save_published,
)
from lct_jax.backbones.registry import build_abstract, count_parameters
from lct_jax.config import LayoutConfig, NetworkConfig, WanConfig
from lct_jax.config.network import change
from lct_jax.distributed.sharding import make_mesh
from lct_jax.errors import InputError
from lct_jax.tensors import name_leaves

SMALL = change(TINY_WAN, text_places=512)  # as all that are published
OWN = LayoutConfig(scene_span=256, prompts="own")
# Sizes of the published models; the lists beside this file were read off diffusers' classes.
REAL = {
    "wan_1_3b": (WanConfig(), 1_418_996_800),
    "wan_14b": (WanConfig(width=5120, depth=40, heads=40, hidden=13824), 14_288_491_584),
    "wan22_5b": (WanConfig(width=3072, heads=24, hidden=14336, channels=48), 4_999_787_712),
    "skyreels_v2_1_3b": (WanConfig(release="skyreels_v2", fps=24), 1_435_525_696),
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def model() -> TinyModel:
    return TinyModel(SMALL)


@pytest.fixture
def folder(model, tmp_path) -> Path:
    """A small model as published."""
    save_published(tmp_path / "base", model.params, SMALL)
    return tmp_path / "base"


def check_equal(found: object, expected: object) -> None:
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("name", REAL)
def test_names_and_shapes_are_those_of_the_published_models(name):
    backbone, parameters = REAL[name]
    config = NetworkConfig(backbone, OWN)
    lines = (Path(__file__).parent / "published" / f"{name}.txt").read_text().splitlines()
    found = [f"{name} {list(place.shape)}" for name, place in list_places(config).items()]
    assert sorted(found) == sorted(lines)
    assert count_parameters(config) == parameters


def test_what_is_written_is_read_bit_for_bit_and_written_again(model, folder, tmp_path):
    found = load_published(folder, SMALL, place_shapes(SMALL, make_mesh()))
    check_equal(found, model.params)
    assert read_backbone(folder) == SMALL.backbone
    save_published(tmp_path / "again", found, SMALL)
    for file in ("config.json", WEIGHTS):
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_sixteen_bits_come_back_as_they_were(model, dtype, tmp_path):
    save_published(tmp_path / "one", model.params, SMALL, dtype=dtype)
    wide = load_published(tmp_path / "one", SMALL, place_shapes(SMALL, make_mesh()))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(wide)} == {"float32"}
    save_published(tmp_path / "two", wide, SMALL, dtype=dtype)
    assert (tmp_path / "one" / WEIGHTS).read_bytes() == (tmp_path / "two" / WEIGHTS).read_bytes()
    narrow = load_published(tmp_path / "one", SMALL, place_shapes(SMALL, make_mesh(), dtype=dtype))
    check_equal(narrow, jax.tree.map(lambda x: x.astype(dtype), wide))


def test_many_files_onto_eight_devices_and_out_again(model, mesh, tmp_path):
    save_published(tmp_path / "base", model.params, SMALL, shard_bytes=30_000)
    files = sorted(path.name for path in (tmp_path / "base").glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"diffusion_pytorch_model-00001-of-{len(files):05d}.safetensors"
    index = json.loads((tmp_path / "base" / f"{WEIGHTS}.index.json").read_text())
    assert index["metadata"]["total_size"] == 4 * count_parameters(SMALL)
    with jax.set_mesh(mesh):
        found = load_published(tmp_path / "base", SMALL, place_shapes(SMALL, mesh))
        save_published(tmp_path / "again", found, SMALL, shard_bytes=30_000)
    check_equal(found, model.params)
    kernel = name_leaves(found)["video_in.kernel"]
    assert len(kernel.sharding.device_set) == 8
    for file in files:
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "base" / file).read_bytes()


def test_a_head_is_read_evens_before_odds_in_self_attention_alone(model, folder):
    """Written out by hand: 2 heads of 16, in the second block."""
    tensors, params = load_file(folder / WEIGHTS), name_leaves(model.params)
    order = [*range(0, 16, 2), *range(1, 16, 2)]
    order += [16 + place for place in order]
    for part in ("q", "k"):
        theirs = tensors[f"blocks.1.attn1.to_{part}.weight"]
        np.testing.assert_array_equal(params[f"blocks.attention.{part}.kernel"][1], theirs[order].T)
        theirs = tensors[f"blocks.1.attn1.norm_{part}.weight"]
        ours = np.ravel(params[f"blocks.attention.{part}_norm.scale"][1])
        np.testing.assert_array_equal(ours, theirs[order])
        theirs = tensors[f"blocks.1.attn2.to_{part}.weight"]
        np.testing.assert_array_equal(params[f"blocks.cross.{part}.kernel"][1], theirs.T)


def rewrite(folder: Path, **changes: np.ndarray | None) -> None:
    """Adds, replaces or takes away (None) tensors of a folder."""
    tensors = load_file(folder / WEIGHTS)
    for name, array in changes.items():
        tensors.pop(name, None)
        tensors |= {} if array is None else {name: array}
    save_file(tensors, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"proj_out.bias": None}, "missing: proj_out.bias"),
        ({"lora.weight": np.zeros(2, np.float32)}, "unexpected: lora.weight"),
        (
            {"blocks.1.norm2.bias": np.zeros(31, np.float32)},
            "wrong shape: blocks.1.norm2.bias (31,) instead of (32,)",
        ),
        ({"proj_out.bias": np.zeros(8, np.int8)}, "wrong dtype: proj_out.bias I8"),
    ],
)
def test_tensors_that_differ_are_listed(folder, change, expected):
    rewrite(folder, **change)
    with pytest.raises(InputError, match="tensors differ from what is expected") as caught:
        load_published(folder, SMALL, place_shapes(SMALL, make_mesh()))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"_class_name": "FluxTransformer2DModel"}, "_class_name: found 'FluxTransformer2DModel'"),
        ({"image_dim": 1280}, "image_dim: found 1280, expected None"),
        ({"in_channels": 36}, "in_channels: found 36, expected 2, as out_channels"),
        ({"qk_norm": None}, "qk_norm: found None, expected 'rms_norm_across_heads'"),
        ({"num_layers": "2"}, "num_layers: found '2', expected a whole number"),
        ({"num_frame_per_block": 5}, "num_frame_per_block: found 5, expected 1"),
    ],
)
def test_another_network_is_refused_by_what_differs(folder, values, expected):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(InputError) as caught:
        read_backbone(folder)
    assert str(caught.value).startswith(f"{path}: {expected}")


def test_a_base_that_is_not_the_config_is_named_by_its_field(folder):
    config = NetworkConfig(WanConfig(), OWN)
    with pytest.raises(InputError, match=r"^backbone\.width: found 1536, expected 32 of "):
        load_published(folder, config, build_abstract(config).params)


def test_a_frame_rate_is_chosen_by_the_config_and_not_by_the_base(tmp_path):
    """Nor is it written: both are published as a network that is told one."""
    config = change(SMALL, release="skyreels_v2", fps=16)
    params = TinyModel(config).params
    save_published(tmp_path, params, config)
    values = json.loads((tmp_path / "config.json").read_text())
    assert values["_class_name"] == "SkyReelsV2Transformer3DModel"
    assert values["inject_sample_info"] is True
    assert read_backbone(tmp_path) == change(config, fps=24).backbone
    check_equal(load_published(tmp_path, config, place_shapes(config, make_mesh())), params)
    with pytest.raises(InputError, match=r"^backbone\.fps: found 0, expected 24 of "):
        load_published(tmp_path, change(config, fps=0), build_abstract(config).params)
    with pytest.raises(
        InputError, match=r"^backbone\.release: found 'wan', expected 'skyreels_v2'"
    ):
        load_published(tmp_path, SMALL, build_abstract(SMALL).params)


def test_a_pipeline_is_read_by_its_transformer_and_two_networks_are_refused(model, tmp_path):
    save_published(tmp_path / "transformer", model.params, SMALL)
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"transformer_2": [None, None], "boundary_ratio": None}))
    assert read_backbone(tmp_path) == SMALL.backbone
    check_equal(load_published(tmp_path, SMALL, place_shapes(SMALL, make_mesh())), model.params)
    index.write_text(json.dumps({"boundary_ratio": 0.875}))
    with pytest.raises(InputError, match=r"boundary_ratio: found 0.875, expected none: one of two"):
        read_backbone(tmp_path)
    index.unlink()
    (tmp_path / "transformer_2").mkdir()
    with pytest.raises(
        InputError, match=r"transformer_2: found a folder, expected none: one of two"
    ):
        read_backbone(tmp_path)


def test_a_family_that_nobody_publishes_is_refused(model, tmp_path):
    with pytest.raises(InputError, match=r"^backbone\.family: found 'mmdit', expected a family"):
        save_published(tmp_path / "base", model.params, TINY)


def test_half_a_folder_is_never_left(model, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise InputError("the disk is full")

    monkeypatch.setattr("lct_jax.backbones.load.save_tensors", fail)
    with pytest.raises(InputError, match="the disk is full"):
        save_published(tmp_path / "base", model.params, SMALL)
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_files_are_read_as_such(folder):
    tensors = load_file(folder / WEIGHTS)
    rewrite(folder, **{"proj_out.bias": tensors["proj_out.bias"].astype(bfloat16)})
    found = name_leaves(load_published(folder, SMALL, place_shapes(SMALL, make_mesh())))
    expected = tensors["proj_out.bias"].astype(bfloat16).astype(np.float32)
    np.testing.assert_array_equal(found["video_out.bias"], expected)
