"""Weights are saved and loaded by name, with their meta, strictly, on any mesh."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file
from tiny_film import CONFIG

from lct_jax.backbones.registry import build_abstract
from lct_jax.config import Config, NetworkConfig
from lct_jax.config.network import change, put
from lct_jax.distributed.sharding import state_sharding, with_sharding
from lct_jax.errors import InputError
from lct_jax.tensors import read_part
from lct_jax.training.checkpoint import weights
from lct_jax.training.checkpoint.start import TrainedWeights
from lct_jax.training.checkpoint.weights import (
    Meta,
    load_weights,
    name_leaves,
    read_weights_meta,
    save_weights,
)

META = Meta(CONFIG, codec="codec-a", encoder="encoder-a", fps=12.0, credit="By us")


def make_shapes(config: NetworkConfig) -> Any:
    return build_abstract(config).params


SHAPES = make_shapes(CONFIG.network)


def draw_params(shapes: Any) -> Any:
    """Returns parameters that all have different numbers, so that a swap of two tensors shows."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def change_model(**values: object) -> Config:
    return put(CONFIG, **values)


def check_same(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.fixture(scope="module")
def params() -> Any:
    return draw_params(SHAPES)


@pytest.fixture
def path(params, tmp_path) -> Path:
    save_weights(tmp_path / "w.safetensors", params, META)
    return tmp_path / "w.safetensors"


# ---- a file --------------------------------------------------------------------------------------


def test_weights_and_meta_are_saved_and_loaded(path, params):
    check_same(load_weights(path, SHAPES), params)
    assert read_weights_meta(path) == META
    assert TrainedWeights(path).meta == META
    check_same(TrainedWeights(path).read(SHAPES), params)
    assert [file.name for file in path.parent.iterdir()] == ["w.safetensors"]


def test_tensor_names_are_paths_in_the_parameter_tree(path, params):
    tensors = load_file(path)
    assert tensors.keys() == name_leaves(SHAPES).keys()
    assert tensors["blocks.video.qkv.kernel"].shape == (1, 32, 96)
    kernel = params["blocks"]["video"]["qkv"]["kernel"]
    np.testing.assert_array_equal(tensors["blocks.video.qkv.kernel"], kernel[...])


def test_a_model_runs_with_loaded_weights(path, params):
    graph = build_abstract(CONFIG.network).graph
    model = nnx.merge(graph, load_weights(path, SHAPES))
    np.testing.assert_array_equal(model.video_in.bias[...], params["video_in"]["bias"][...])


def test_half_precision_is_read_as_float32(params, tmp_path):
    path = tmp_path / "half.safetensors"
    save_weights(path, params, META, dtype="float16")
    assert {tensor.dtype for tensor in load_file(path).values()} == {np.dtype(np.float16)}
    loaded = load_weights(path, SHAPES)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {np.dtype(np.float32)}
    rounded = jax.tree.map(lambda leaf: leaf.astype(np.float16).astype(np.float32), params)
    check_same(loaded, rounded)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_are_read_into_a_mesh_bit_for_bit(params, mesh, tmp_path, dtype):
    path = tmp_path / "w.safetensors"
    save_weights(path, params, META, dtype=dtype)
    placed = load_weights(path, with_sharding(SHAPES, mesh))
    assert jax.tree.map(lambda x: x.sharding, placed) == state_sharding(SHAPES, mesh)
    expected = jax.tree.map(lambda x: x.astype(dtype).astype(np.float32), params)
    check_same(placed, expected)
    check_same(load_weights(path, SHAPES), expected)


def test_a_process_reads_each_part_that_its_devices_hold_once(path, mesh, monkeypatch):
    """On a mesh of four by two, a tensor that is split lies on four pairs of devices."""
    read: dict[str, list[tuple[int, ...]]] = {}

    def watch(path: Path, name: str, index: tuple[slice, ...]) -> np.ndarray:
        part = read_part(path, name, index)
        read.setdefault(name, []).append(part.shape)
        return part

    monkeypatch.setattr(weights, "read_part", watch)
    load_weights(path, with_sharding(SHAPES, mesh))
    assert read.keys() == name_leaves(SHAPES).keys()
    assert read["video_in.bias"] == [(32,)]
    split = {name: parts for name, parts in read.items() if len(parts) > 1}
    assert split
    for name, parts in split.items():
        assert len(parts) == 4
        assert 4 * np.prod(parts[0]) == name_leaves(SHAPES)[name].size


# ---- files that are refused ----------------------------------------------------------------------


def refusal(path: Path, shapes: Any = SHAPES) -> str:
    with pytest.raises(InputError) as caught:
        read_weights_meta(path)
        load_weights(path, shapes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    path = tmp_path / "no.safetensors"
    assert refusal(path) == f"{path}: not found, expected weights as safetensors"


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_truncated_file_is_refused(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    assert refusal(path).startswith(f"{path}: not a readable safetensors file (")


def test_a_file_without_our_meta_is_refused(path):
    save_file({"w": np.zeros(3, np.float32)}, path)
    expected = "no lct_jax meta in its header, expected weights saved by lct_jax"
    assert refusal(path) == f"{path}: {expected}"


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (
            '{"config": {"name": "a"}}',
            "its meta has missing or unknown keys: codec, credit, encoder, fps",
        ),
        (
            '{"config": {"name": "a", "lr": 1}, "codec": "", "encoder": "", "fps": 1, "credit": ""}',
            "config.lr: no such field; there are backbone, ",
        ),
    ],
)
def test_a_meta_of_another_version_is_refused(path, meta, expected):
    save_file({"w": np.zeros(3, np.float32)}, path, metadata={"meta": meta})
    assert refusal(path).startswith(f"{path}: {expected}")


def test_other_shapes_are_refused_by_name(path):
    found = refusal(path, make_shapes(change(CONFIG.network, text_width=24)))
    assert "wrong shape: text_in.kernel (16, 32) instead of (24, 32)" in found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"width": 64}, "backbone.width 32, found 64"),
        ({"depth": 2}, "backbone.depth 1, found 2"),
        ({"qk_norm": "all"}, "backbone.qk_norm 'head', found 'all'"),
        ({"rope_base": 500.0}, "backbone.rope_base 10000.0, found 500.0"),
        ({"shot_span": 48}, "layout.shot_span 32, found 48"),
        ({"dtype": "bfloat16"}, None),
        ({"remat": "block"}, None),
    ],
)
def test_another_model_is_refused_by_field(path, change, expected):
    meta = dataclasses.replace(META, config=change_model(**change))
    if expected is None:
        read_weights_meta(path).check_same(str(path), meta)
        return
    with pytest.raises(InputError) as caught:
        read_weights_meta(path).check_same(str(path), meta)
    assert str(caught.value) == f"{path}: made with {expected}"


@pytest.mark.parametrize(
    "change",
    [{"stride": 44}, {"positions": "same"}, {"prompts": "own", "kernel": "chunked"}],
)
def test_layout_changes_are_allowed_for_new_runs_only(path, change):
    meta = dataclasses.replace(META, config=change_model(**change))
    read_weights_meta(path).check_same(str(path), meta, starting=True)
    with pytest.raises(InputError, match=f"made with layout.{next(iter(change))}"):
        read_weights_meta(path).check_same(str(path), meta)


@pytest.mark.parametrize("field", ["codec", "encoder"])
def test_another_codec_or_encoder_is_refused(path, field):
    meta = dataclasses.replace(META, **{field: "other"})
    with pytest.raises(InputError) as caught:
        read_weights_meta(path).check_same(str(path), meta)
    assert str(caught.value) == f"{path}: made with {field} {field}-a, found other"


# ---- the recipe ----------------------------------------------------------------------------------


def test_changes_of_the_recipe_are_listed():
    data = dataclasses.replace(CONFIG.data, rows=4)
    other = dataclasses.replace(META, config=dataclasses.replace(CONFIG, data=data))
    assert META.list_changes(META) == []
    assert META.list_changes(other) == [f"data.rows 4 instead of {CONFIG.data.rows}"]


def test_another_prepared_set_is_listed_as_a_change_if_known():
    known, other = (dataclasses.replace(META, prepared=name) for name in ("0123", "4567"))
    assert known.list_changes(known) == META.list_changes(known) == []
    assert known.list_changes(other) == ["prepared set '4567' instead of '0123'"]
    before = {key: value for key, value in META.to_json().items() if key != "prepared"}
    assert Meta.from_json(before, where="") == META
    assert Meta.from_json(known.to_json(), where="") == known
