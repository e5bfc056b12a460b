"""LoRAs against PEFT in diffusers: after some steps, one velocity there, here and merged; and PEFT's files read here.

These need torch, diffusers and peft (`make install-parity`), imported where they are used.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenes import LORA, randomise
from test_lora import Trained, train, with_lora
from wan_parity import (
    Both,
    check_near,
    cut,
    draw_shot,
    make_both,
    make_tokens,
    pack_rows,
    run_ours,
    run_theirs,
)

from lct_jax.backbones.load import save_published
from lct_jax.backbones.lora import LowRank, find_low_rank, merge_low_rank
from lct_jax.backbones.lora_files import load_low_rank, save_low_rank
from lct_jax.backbones.registry import build_abstract
from lct_jax.base import OpenedWeights, stack_loras
from lct_jax.config import Config, LoraConfig
from lct_jax.config.network import sections
from lct_jax.distributed.sharding import make_mesh
from lct_jax.training.checkpoint.weights import Meta
from lct_jax.training.state import merge_params, split_params

# What other libraries warn of at import is theirs.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SHOT = draw_shot(1, (3, 10, 14), 7, 0.625)


@pytest.fixture
def both(tmp_path) -> Both:
    return make_both(tmp_path / "base", num_attention_heads=2, attention_head_dim=16, num_layers=2)


@pytest.fixture
def trained(both) -> Trained:
    """Ten steps of a LoRA on the base."""
    base = jax.tree.map(jnp.asarray, both.params)
    return train(both.config, steps=10, mesh=make_mesh(devices=jax.devices()[:1]), base=base)


def predict(both: Both) -> np.ndarray:
    """The velocity of one shot here."""
    batch = pack_rows(both, [[make_tokens(both, [SHOT])]])
    return cut(both, run_ours(both, batch, np.full((1, 1), SHOT.time, np.float32))[0], [SHOT])[0]


def predict_unmerged(both: Both, trained: Trained) -> np.ndarray:
    params = merge_params(trained.state.params, trained.frozen)
    graph = build_abstract(with_lora(both.config)).graph
    found = predict(both._replace(graph=graph, params=params))
    assert np.abs(found - predict(both)).max() > 1e-2 * np.abs(found).max()
    return found


def find_matrices(trained: Trained) -> dict[str, LowRank]:
    return find_low_rank(trained.state.params, LORA)


@pytest.mark.parametrize("keys", ["peft", "kohya"])
def test_a_file_that_diffusers_loads_gives_the_velocity_of_the_run(keys, both, trained, tmp_path):
    from diffusers import WanPipeline

    path = tmp_path / "lora.safetensors"
    save_low_rank(path, find_matrices(trained), both.config, keys=keys)
    expected = predict_unmerged(both, trained)
    # What `WanPipeline.load_lora_weights` does.
    tensors = WanPipeline.lora_state_dict(str(path))
    WanPipeline.load_lora_into_transformer(tensors, both.theirs)
    check_near(run_theirs(both.theirs, SHOT), expected)
    both.theirs.fuse_lora()
    check_near(run_theirs(both.theirs, SHOT), expected)


def test_a_merged_export_gives_the_velocity_of_the_run(both, trained, tmp_path):
    from diffusers import WanTransformer3DModel

    expected = predict_unmerged(both, trained)
    base = jax.tree.map(jnp.copy, trained.frozen)
    merged = merge_low_rank(base, find_matrices(trained), dtype="float32")
    check_near(predict(both._replace(params=merged)), expected)
    save_published(tmp_path / "merged", merged, both.config)
    theirs = WanTransformer3DModel.from_pretrained(tmp_path / "merged").eval()
    check_near(run_theirs(theirs, SHOT), expected)


def make_adapter(both: Both, folder: Path) -> Path:
    """A random LoRA that PEFT makes in diffusers, of scale 2, with a layer outside of the blocks; saved by it."""
    import torch
    from peft import LoraConfig

    layers = ["attn1.to_q", "attn2.to_k", "ffn.net.0.proj", "time_proj", "proj_out"]
    both.theirs.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=layers))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in both.theirs.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    both.theirs.save_lora_adapter(folder)
    (path,) = folder.glob("*.safetensors")
    return path


def test_a_file_of_peft_is_read_with_its_scale(both, tmp_path):
    before = predict(both)
    matrices = load_low_rank(make_adapter(both, tmp_path / "adapter"), both.config)
    assert {"blocks.attention.q", "time.project", "video_out"} < set(matrices)
    merged = merge_low_rank(jax.tree.map(jnp.asarray, both.params), matrices)
    found = predict(both._replace(params=merged))
    check_near(found, run_theirs(both.theirs, SHOT))
    assert np.abs(found - before).max() > 1e-2 * np.abs(found).max()


def test_several_files_with_weights_give_the_velocity_of_adapters_in_diffusers(both, tmp_path):
    """Two LoRAs of different ranks and layers, on the base alone and unmerged."""
    from diffusers import WanPipeline

    paths = []
    for seed, (name, targets) in enumerate({"one": ("attention", "up"), "two": ("cross",)}.items()):
        lora = LoraConfig(rank=2 + seed, targets=targets, base_dtype="float32")
        shapes = build_abstract(dataclasses.replace(both.config, lora=lora)).params
        drawn = split_params(randomise(shapes, seed=seed)).trained
        paths.append(tmp_path / f"{name}.safetensors")
        save_low_rank(paths[-1], find_low_rank(drawn, lora), both.config, keys="peft")
        tensors = WanPipeline.lora_state_dict(str(paths[-1]))
        WanPipeline.load_lora_into_transformer(tensors, both.theirs, adapter_name=name)
    both.theirs.set_adapters(["one", "two"], weights=[0.75, -0.5])
    meta = Meta(Config(name="x", **sections(both.config)), "codec", "encoder", 8.0, "")
    weights = OpenedWeights(meta, lambda _: both.params, None, lambda: "base")
    stacked = stack_loras(weights, [f"{paths[0]}:0.75", f"{paths[1]}:-0.5"])
    network = build_abstract(stacked.meta.config.network)
    found = predict(both._replace(graph=network.graph, params=stacked.read(network.params)))
    check_near(found, run_theirs(both.theirs, SHOT))
    assert np.abs(found - predict(both)).max() > 1e-2 * np.abs(found).max()
