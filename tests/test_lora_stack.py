"""Several LoRAs on one network, unmerged, each with its weight."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenes import FAMILIES, LORA, TinyModel, make_scenes, pack_scenes, randomise

from lct_jax.backbones.lora import find_low_rank, merge_low_rank
from lct_jax.backbones.lora_files import load_low_rank, save_low_rank
from lct_jax.backbones.registry import build_abstract
from lct_jax.base import OpenedWeights, stack_loras
from lct_jax.config import Config, LoraConfig, NetworkConfig
from lct_jax.config.lora import WeightedLora, read_weighted
from lct_jax.config.network import change, sections
from lct_jax.distributed.sharding import with_sharding
from lct_jax.errors import InputError
from lct_jax.tensors import name_leaves
from lct_jax.training.checkpoint.weights import Meta
from lct_jax.training.state import split_params

WAN = FAMILIES["wan"]
# Layers of two LoRAs, some of which both have.
TARGETS = {
    "wan": (("attention", "text_in"), ("cross", "attention.q")),
    "mmdit": (("video", "text_in"), ("text.qkv", "video.up")),
}


def write_loras(folder: Path, family: str) -> list[str]:
    """Writes random LoRAs of other ranks than that of the network's own, on other layers."""
    network, files = FAMILIES[family], []
    for name, rank, targets in zip("ab", (2, 4), TARGETS[family], strict=True):
        lora = LoraConfig(rank=rank, targets=targets, base_dtype="float32")
        shapes = build_abstract(dataclasses.replace(network, lora=lora)).params
        matrices = find_low_rank(split_params(randomise(shapes, seed=rank)).trained, lora)
        save_low_rank(folder / f"{name}.safetensors", matrices, network, keys="peft")
        files.append(str(folder / f"{name}.safetensors"))
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    """LoRAs on the tiny Wan."""
    return write_loras(tmp_path_factory.mktemp("loras"), "wan")


def open_network(network: NetworkConfig) -> OpenedWeights:
    """Random weights, read as those of a run are."""
    params = name_leaves(randomise(build_abstract(network).params))

    def read(shapes: Any) -> Any:
        leaves = [params[name].astype(x.dtype) for name, x in name_leaves(shapes).items()]
        return jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    meta = Meta(Config(name="tiny", **sections(network)), "codec", "encoder", 8.0, "")
    return OpenedWeights(meta, read, None, lambda: "mine")


def predict(model: TinyModel, params: Any) -> np.ndarray:
    model.params = params
    scenes = make_scenes(config=model.config)
    return model.forward(pack_scenes([[scenes["trio"]]], config=model.config))


@pytest.mark.slow
@pytest.mark.parametrize("lora", [LORA, LoraConfig()], ids=["on a LoRA", "on all weights"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_stack_is_the_sum_of_its_loras_times_their_weights(family, lora, tmp_path):
    """The velocity of unmerged LoRAs is that of the network into which they are merged, of any family."""
    base, files = FAMILIES[family], write_loras(tmp_path, family)
    network, plain = dataclasses.replace(base, lora=lora), TinyModel(base)
    opened = open_network(network)
    texts = [f"{files[0]}:0.5", f"{files[1]}:-1.5"]
    stacked = stack_loras(opened, texts)
    config = stacked.meta.config.network
    own = 3 if network.lora.rank else 0
    assert config.lora.rank == 2 + 4 + own
    shapes = build_abstract(config).params
    found = predict(TinyModel(config), stacked.read(shapes))

    params = opened.read(build_abstract(network).params)
    if own:
        parts = split_params(params)
        params = merge_low_rank(parts.frozen, find_low_rank(parts.trained, LORA))
    for file, weight in zip(files, (0.5, -1.5), strict=True):
        matrices = load_low_rank(file, base)
        scaled = {n: pair._replace(b=weight * pair.b) for n, pair in matrices.items()}
        before = predict(plain, params)
        params = merge_low_rank(jax.tree.map(jnp.copy, params), scaled)
        assert np.abs(predict(plain, params) - before).max() > 1e-2 * np.abs(before).max()
    expected = predict(plain, params)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_stacked_weights_are_placed_and_the_base_is_as_exact_as_its_computation(files, mesh):
    """The kernels of a network that computes in bfloat16 are rounded to it in any case."""
    opened = open_network(change(WAN, dtype="bfloat16"))
    stacked = stack_loras(opened, files)
    shapes = with_sharding(build_abstract(stacked.meta.config.network).params, mesh)
    leaves = name_leaves(stacked.read(shapes))
    assert leaves["blocks.up.kernel"].dtype == jnp.bfloat16
    assert leaves["video_in.kernel"].dtype == jnp.float32
    b = leaves["blocks.attention.q.lora.lora_b"]
    assert b.sharding == name_leaves(shapes)["blocks.attention.q.lora.lora_b"].sharding
    # Of "a" first, then of "b"; layers that fewer of them have are filled up.
    np.testing.assert_array_equal(b[:, :2], load_low_rank(files[0], WAN)["blocks.attention.q"].b)
    np.testing.assert_array_equal(b[:, 2:], load_low_rank(files[1], WAN)["blocks.attention.q"].b)
    assert not np.asarray(leaves["blocks.cross.o.lora.lora_b"][:, 4:]).any()


def test_other_loras_or_weights_are_other_weights(files):
    opened = open_network(WAN)
    assert stack_loras(opened, []) is opened
    choices = (files, files[::-1], files[:1], [f"{files[0]}:0.5"], [f"{files[0]}:1"])
    told = [stack_loras(opened, choice).identify() for choice in choices]
    assert told[2] == told[4]
    assert len({*told}) == 4


def test_a_weight_stands_behind_the_last_colon():
    assert read_weighted("a/b.safetensors", "x") == WeightedLora("a/b.safetensors", 1.0)
    assert read_weighted("a:b:-0.25", "x") == WeightedLora("a:b", -0.25)
    assert read_weighted("runs/a:b", "x") == WeightedLora("runs/a:b", 1.0)
    with pytest.raises(InputError, match=r"^--x: found the weight nan of a, expected a finite"):
        read_weighted("a:nan", "--x")
    with pytest.raises(InputError, match=r"^lora\.merged: found the weight inf of a, expected"):
        LoraConfig(merged=("a:inf",))


def test_what_is_no_lora_of_the_network_is_refused(files):
    with pytest.raises(InputError, match=r"found transformer\.blocks\.0\.attn1\.to_k\.lora_A\.w"):
        stack_loras(open_network(FAMILIES["mmdit"]), files)
    wider = change(WAN, width=64, heads=4)
    with pytest.raises(
        InputError, match=r"a\.safetensors: blocks\.0\.attn1\.to_.*expected \(2, 64\)"
    ):
        stack_loras(open_network(wider), files)
