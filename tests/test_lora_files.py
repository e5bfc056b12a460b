"""Files of LoRAs, out and in: names, turned axes, scales, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scenes import LORA, TINY, randomise
from test_lora import WAN, with_lora

from lct_jax.backbones.load import list_places
from lct_jax.backbones.lora import LowRank, concatenate, find_low_rank
from lct_jax.backbones.lora_files import load_low_rank, save_low_rank
from lct_jax.backbones.registry import build_abstract
from lct_jax.base import find_base, open_weights
from lct_jax.config import Config, LoraConfig, NetworkConfig, TrainingConfig
from lct_jax.config.network import sections
from lct_jax.errors import InputError
from lct_jax.loras import read_lora, read_trained
from lct_jax.tensors import name_leaves
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.start import TrainedWeights
from lct_jax.training.checkpoint.weights import Meta, save_weights
from lct_jax.training.state import split_params

LAYER = "blocks.1.attn1.to_q"
# Of our own MMDiT, whose weights nobody else publishes: layers of its blocks and one beside them.
OWN = dataclasses.replace(LORA, targets=("blocks", "text_in"))


def draw(config: NetworkConfig, lora: LoraConfig = LORA) -> dict[str, LowRank]:
    """A random LoRA of rank 3 and scale 2, on the host."""
    params = randomise(build_abstract(with_lora(config, lora)).params)
    found = find_low_rank(split_params(params).trained, lora)
    return {name: LowRank(*map(np.asarray, pair)) for name, pair in found.items()}


@pytest.fixture(scope="module")
def matrices() -> dict[str, LowRank]:
    """A LoRA on all layers of the blocks of the tiny Wan."""
    return draw(WAN)


@pytest.fixture(scope="module")
def own() -> dict[str, LowRank]:
    """A LoRA on the tiny MMDiT."""
    return draw(TINY, OWN)


def save(path: Path, matrices: dict[str, LowRank], keys: str = "peft") -> dict[str, np.ndarray]:
    save_low_rank(path, matrices, WAN, keys=keys)
    return load_file(path)


def check_same(found: dict[str, LowRank], expected: dict[str, LowRank]) -> None:
    assert found.keys() == expected.keys()
    for name, pair in expected.items():
        for ours, theirs in zip(found[name], pair, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_peft_keys_are_those_of_diffusers(matrices, tmp_path):
    """Rows of queries that are rotated in neighbouring pairs there lie in halves here."""
    tensors = save(tmp_path / "x.safetensors", matrices)
    assert len(tensors) == 2 * 10 * WAN.backbone.depth
    down, up = (tensors[f"transformer.{LAYER}.lora_{side}.weight"] for side in "AB")
    assert (down.shape, up.shape) == ((3, 32), (32, 3))
    pair = matrices["blocks.attention.q"]
    np.testing.assert_array_equal(down, pair.a[1].T)
    order = [16 * head + 8 * odd + n for head in range(2) for n in range(8) for odd in range(2)]
    np.testing.assert_array_equal(up, pair.b[1].T[order])
    # The product is turned as the layer's own weight is.
    place = list_places(WAN)[f"{LAYER}.weight"]
    np.testing.assert_allclose(up @ down, place.turn.save(pair.a[1] @ pair.b[1]), rtol=1e-4)


def test_kohya_keys_are_the_original_names_with_an_alpha(matrices, tmp_path):
    tensors = save(tmp_path / "x.safetensors", matrices, "kohya")
    assert len(tensors) == 3 * 10 * WAN.backbone.depth
    layers = {name.partition(".")[0] for name in tensors}
    assert {f"lora_unet_blocks_0_{n}" for n in ("ffn_0", "ffn_2", "cross_attn_o")} < layers
    assert float(tensors["lora_unet_blocks_1_self_attn_q.alpha"]) == 3.0
    np.testing.assert_array_equal(
        tensors["lora_unet_blocks_1_self_attn_q.lora_down.weight"],
        matrices["blocks.attention.q"].a[1].T,
    )


@pytest.mark.parametrize("keys", ["peft", "kohya"])
def test_what_is_written_is_read_bit_for_bit(keys, matrices, tmp_path):
    save(tmp_path / "x.safetensors", matrices, keys)
    check_same(load_low_rank(tmp_path / "x.safetensors", WAN), matrices)


@pytest.mark.parametrize(
    ("layer", "sides"),
    [
        ("diffusion_model.blocks.1.self_attn.q", ("lora_A", "lora_B")),
        ("diffusion_model.blocks.1.self_attn.q", ("lora_down", "lora_up")),
        ("blocks.1.attn1.to_q", ("lora_A.default", "lora_B.default")),
        ("base_model.model.blocks.1.attn1.to_q", ("lora_A", "lora_B")),
    ],
)
def test_names_of_other_programs_are_read(layer, sides, matrices, tmp_path):
    """A block without a LoRA has zeros."""
    tensors = save(tmp_path / "x.safetensors", matrices)
    ours = (tensors[f"transformer.{LAYER}.lora_{side}.weight"] for side in "AB")
    path = tmp_path / "y.safetensors"
    save_file({f"{layer}.{side}.weight": x for side, x in zip(sides, ours, strict=True)}, path)
    found = load_low_rank(path, WAN)
    assert set(found) == {"blocks.attention.q"}
    for part, expected in zip(
        found["blocks.attention.q"], matrices["blocks.attention.q"], strict=True
    ):
        np.testing.assert_array_equal(part[1], expected[1])
        assert not part[0].any()


def test_alpha_over_rank_is_the_scale_wherever_it_stands(matrices, tmp_path):
    tensors = save(tmp_path / "x.safetensors", matrices)
    expected = 0.5 * matrices["blocks.up"].b
    check = lambda path: np.testing.assert_allclose(
        load_low_rank(path, WAN)["blocks.up"].b, expected, rtol=1e-6
    )
    alphas = {
        name.replace("lora_A.weight", "alpha"): np.asarray(1.5, np.float32)
        for name in tensors
        if "lora_A" in name
    }
    save_file({**tensors, **alphas}, tmp_path / "beside.safetensors")
    check(tmp_path / "beside.safetensors")
    values = json.dumps({"transformer.lora_alpha": 1.5, "transformer.r": 3})
    save_file(tensors, tmp_path / "header.safetensors", {"lora_adapter_metadata": values})
    check(tmp_path / "header.safetensors")
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"lora_alpha": 1.5, "use_dora": False})
    )
    check(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("blocks.0.attn1.norm_q.diff", np.zeros(3), "found blocks.0.attn1.norm_q.diff, expected"),
        (
            "blocks.9.attn1.to_q.lora_A.weight",
            np.zeros((3, 32)),
            "found blocks.9.attn1.to_q.lora_A",
        ),
        ("lora_unet_blocks_0_ffn_0.lora_down.weight", np.zeros((3, 32)), "found a second time"),
        ("proj_out.lora_A.weight", np.zeros((3, 32)), "proj_out: missing lora_B or lora_up"),
        (f"transformer.{LAYER}.lora_A.weight", np.zeros((2, 32)), r"found the shape \(32, 3\)"),
        (f"transformer.{LAYER}.dora_scale", np.zeros(3), f"found transformer.{LAYER}.dora_scale"),
    ],
)
def test_what_is_no_lora_of_the_network_is_refused_by_name(
    name, array, expected, matrices, tmp_path
):
    tensors = save(tmp_path / "x.safetensors", matrices)
    save_file({**tensors, name: array.astype(np.float32)}, tmp_path / "y.safetensors")
    with pytest.raises(InputError, match=expected):
        load_low_rank(tmp_path / "y.safetensors", WAN)


def test_settings_that_the_matrices_do_not_tell_are_refused(matrices, tmp_path):
    save(tmp_path / "x.safetensors", matrices)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"use_rslora": True}))
    with pytest.raises(InputError, match=r"adapter_config\.json: use_rslora: found True, expected"):
        load_low_rank(tmp_path / "x.safetensors", WAN)


def test_layers_that_are_published_otherwise_are_refused(tmp_path):
    shapes = {"video_in": LowRank(np.zeros((8, 2)), np.zeros((2, 32)))}
    with pytest.raises(InputError, match=r"^lora\.targets: found video_in, expected layers"):
        save(tmp_path / "x.safetensors", shapes)
    with pytest.raises(InputError, match=r"^backbone\.family: found 'mmdit', expected a family"):
        save_low_rank(tmp_path / "x.safetensors", shapes, TINY, keys="kohya")
    assert list(tmp_path.iterdir()) == []


def test_a_family_of_our_own_has_the_names_of_its_parameters_block_by_block(own, tmp_path):
    path = tmp_path / "x.safetensors"
    save_low_rank(path, own, TINY, keys="peft")
    tensors = load_file(path)
    assert len(tensors) == 2 * (8 * TINY.backbone.depth + 1)
    down, up = (tensors[f"transformer.blocks.1.video.qkv.lora_{s}.weight"] for s in "AB")
    np.testing.assert_array_equal(down, own["blocks.video.qkv"].a[1].T)
    np.testing.assert_array_equal(up, own["blocks.video.qkv"].b[1].T)
    assert tensors["transformer.text_in.lora_A.weight"].shape == (3, 10)
    check_same(load_low_rank(path, TINY), own)
    check_same(read_lora(f"{path}:1", TINY), own)


@pytest.mark.parametrize(
    "name",
    [
        "transformer.blocks.2.video.qkv.lora_A.weight",
        "transformer.blocks.video.qkv.lora_A.weight",
        "transformer.blocks.0.attn1.to_q.lora_A.weight",
        "lora_unet_blocks_0_video_qkv.lora_down.weight",
        "transformer.blocks.0.video.q_norm.lora_A.weight",
    ],
)
def test_a_key_of_no_layer_of_our_own_family_is_refused_by_name(name, own, tmp_path):
    save_low_rank(tmp_path / "x.safetensors", own, TINY, keys="peft")
    tensors = load_file(tmp_path / "x.safetensors") | {name: np.zeros((3, 32), np.float32)}
    save_file(tensors, tmp_path / "y.safetensors")
    expected = f"found {name}, expected the LoRA of layers of this mmdit network alone"
    with pytest.raises(InputError, match=expected):
        load_low_rank(tmp_path / "y.safetensors", TINY)


def write_as_run(folder: Path, config: NetworkConfig, matrices: dict[str, LowRank]) -> Path:
    """Writes a base of random weights, and the file of the LoRA of a run on it."""
    plain = dataclasses.replace(config, lora=LoraConfig())
    meta = Meta(Config(name="base", **sections(plain)), "codec", "encoder", 8.0, "")
    save_weights(folder / "base.safetensors", randomise(build_abstract(plain).params), meta)
    training = TrainingConfig(init_from=str(folder / "base.safetensors"))
    low = Config(name="low", training=training, **sections(config))
    meta = dataclasses.replace(meta, config=low)
    checkpoints = Checkpoints(folder / "run", keep=1)
    meta = dataclasses.replace(meta, base=find_base(meta, checkpoints).base)
    checkpoints.close()
    path = folder / "lora.safetensors"
    save_low_rank(path, matrices, config, keys="peft", header=meta.to_header())
    return path


def test_a_file_with_the_meta_of_its_run_is_read_in_place_of_it(own, tmp_path):
    """The scale that the file has in B is taken out again, as the network multiplies by it."""
    config = with_lora(TINY, OWN)
    path = write_as_run(tmp_path, config, own)
    shapes = build_abstract(config).params
    leaves = name_leaves(open_weights(path).read(shapes))
    base = load_file(tmp_path / "base.safetensors")
    for name, array in base.items():
        np.testing.assert_array_equal(leaves[name], array)
    np.testing.assert_array_equal(leaves["blocks.text.up.lora.lora_b"], own["blocks.text.up"].b / 2)
    np.testing.assert_array_equal(leaves["blocks.text.up.lora.lora_a"], own["blocks.text.up"].a)
    other = dataclasses.replace(TINY, lora=dataclasses.replace(OWN, rank=4, alpha=8.0))
    trained = TrainedWeights(write_as_run(tmp_path, other, own))
    with pytest.raises(InputError, match=r"blocks\.text\.down: found a LoRA of rank 3, expected 4"):
        read_trained(trained, split_params(build_abstract(other).params).trained)


def test_loras_are_added_by_putting_them_side_by_side(matrices):
    one = {"blocks.up": matrices["blocks.up"]}
    found = concatenate([matrices, one])
    assert found.keys() == matrices.keys()
    assert found["blocks.up"].a.shape == (2, 32, 6)
    a, b = found["blocks.up"]
    np.testing.assert_allclose(a @ b, 2 * (one["blocks.up"].a @ one["blocks.up"].b), atol=1e-6)
    np.testing.assert_array_equal(found["blocks.down"].a, matrices["blocks.down"].a)
