"""LoRA on any family: which layers have one, what is trained, and that merged and unmerged networks are one."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from scenes import FAMILIES, LORA, SLOTS, TinyModel, make_scenes, pack_scenes, randomise

from lct_jax.backbones.lora import find_low_rank, merge_low_rank, multiply_low_rank
from lct_jax.backbones.registry import build, build_abstract, count_costs, find_family
from lct_jax.config import FlowConfig, LoraConfig, NetworkConfig, TrainingConfig
from lct_jax.config.network import change
from lct_jax.distributed.sharding import make_mesh, place_batch, state_sharding
from lct_jax.errors import InputError
from lct_jax.plan.links import Shards
from lct_jax.plan.parameters import place_parameters
from lct_jax.tensors import name_leaves
from lct_jax.training.guard import guard_step
from lct_jax.training.optimizer import make_optimizer, mark_decayed
from lct_jax.training.state import init_state, merge_params, split_params
from lct_jax.training.step import jit_step, make_step

WAN = FAMILIES["wan"]
TRAINING = TrainingConfig(steps=20, warmup=1, learning_rate=1e-2)


def with_lora(config: NetworkConfig, lora: LoraConfig = LORA) -> NetworkConfig:
    return dataclasses.replace(config, lora=lora)


def list_layers(config: NetworkConfig) -> set[str]:
    """The layers that have matrices."""
    return set(find_low_rank(split_params(randomise(build_abstract(config).params)).trained, LORA))


class Trained(NamedTuple):
    """A network whose LoRA was trained for some steps: what was given, and what came of it."""

    config: NetworkConfig
    graph: Any
    before: Any
    frozen: Any
    state: Any


def train(
    config: NetworkConfig, *, steps: int, mesh: Mesh, accumulate: int = 1, base: Any = None
) -> Trained:
    """Trains a LoRA from its own initial values on a base, of random weights if none is given; rows differ."""
    config, training = with_lora(config), dataclasses.replace(TRAINING, accumulate=accumulate)
    graph = build_abstract(config).graph
    trained = jax.jit(lambda: split_params(build(config, key=0).params).trained)()
    plain = dataclasses.replace(config, lora=LoraConfig())
    frozen = randomise(build_abstract(plain).params) if base is None else base
    scenes = make_scenes(config=config)
    rows = [[scenes["trio"]], [scenes["single"]], [scenes["pair"]], [scenes["full_text"]]]
    optimizer = make_optimizer(training, decays=find_family(config).decays)
    with jax.set_mesh(mesh):
        place = lambda tree: jax.device_put(tree, state_sharding(tree, mesh))
        state, frozen = place(jax.jit(lambda p: init_state(p, optimizer))(trained)), place(frozen)
        before = jax.tree.map(np.asarray, (state.params, frozen))
        step = make_step(
            graph, optimizer, flow_config=FlowConfig(), training=training, slots=SLOTS, samples=4
        )
        step = jit_step(guard_step(step, spike=5.0), state, mesh)
        batch = place_batch(pack_scenes(rows, config=config).batch, mesh)
        for _ in range(steps):
            state, _ = step(state, frozen, batch, jax.random.key(1))
    return Trained(config, graph, before, frozen, state)


class Pair:
    """A plain network and the same one with a LoRA, each compiled once."""

    def __init__(self, plain: NetworkConfig, lora: LoraConfig = LORA) -> None:
        self.plain, self.config = plain, with_lora(plain, lora)
        self.base, self.low = TinyModel(plain), TinyModel(self.config)
        scenes = make_scenes(config=plain)
        self.packed = pack_scenes([[scenes["trio"], scenes["pair"]]], config=plain)

    def predict(self, trained: Any, frozen: Any) -> np.ndarray:
        """The velocity of the base, with a LoRA or (None) without."""
        model = self.base if trained is None else self.low
        model.params = frozen if trained is None else merge_params(trained, frozen)
        return model.forward(self.packed)

    def check_merged(self, trained: Any, frozen: Any) -> None:
        """Merged and unmerged, the network predicts one velocity, and another than its base."""
        ours, without = self.predict(trained, frozen), self.predict(None, frozen)
        base = jax.tree.map(jnp.copy, frozen)
        merged = merge_low_rank(base, find_low_rank(trained, self.config.lora))
        found = self.predict(None, merged)
        np.testing.assert_allclose(found, ours, rtol=0, atol=1e-5 * np.abs(ours).max())
        assert np.abs(without - ours).max() > 1e-2 * np.abs(ours).max()


@pytest.fixture(scope="module")
def wan() -> Pair:
    return Pair(WAN)


def check_bits(found: Any, expected: Any) -> None:
    leaves, wanted = name_leaves(found), name_leaves(expected)
    assert leaves.keys() == wanted.keys()
    for name, leaf in wanted.items():
        np.testing.assert_array_equal(leaves[name], leaf, err_msg=name)


def test_every_linear_layer_of_the_blocks_is_the_default():
    parts = [f"{a}.{layer}" for a in ("attention", "cross") for layer in "qkvo"]
    assert list_layers(with_lora(WAN)) == {f"blocks.{name}" for name in (*parts, "up", "down")}
    streams = [f"{s}.{layer}" for s in ("text", "video") for layer in ("qkv", "out", "up", "down")]
    assert list_layers(with_lora(FAMILIES["mmdit"])) == {f"blocks.{name}" for name in streams}


def test_targets_are_names_of_layers_or_whole_parts_of_them():
    found = lambda *targets: list_layers(change(with_lora(WAN), targets=targets))
    assert found("attention.q", "up") == {"blocks.attention.q", "blocks.up"}
    assert found("cross") == {f"blocks.cross.{layer}" for layer in "qkvo"}
    assert found("video_in") == {"video_in"}
    with pytest.raises(InputError, match=r"^lora\.targets: found 'att', expected a linear layer "):
        found("att")


def test_matrices_are_stacked_and_kernels_of_blocks_alone_change_their_dtype():
    config = change(with_lora(WAN), base_dtype="bfloat16", width=64, heads=4)
    parts = split_params(build_abstract(config).params)
    shapes = {name: leaf.shape for name, leaf in name_leaves(parts.trained).items()}
    assert shapes["blocks.up.lora.lora_a"] == (2, 64, 3)
    assert shapes["blocks.up.lora.lora_b"] == (2, 3, 48)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(parts.trained)} == {"float32"}
    base = name_leaves(build_abstract(dataclasses.replace(config, lora=LoraConfig())).params)
    frozen = name_leaves(parts.frozen)
    assert {n: x.shape for n, x in frozen.items()} == {n: x.shape for n, x in base.items()}
    narrow = {name for name, leaf in frozen.items() if leaf.dtype == jnp.bfloat16}
    assert narrow == {n for n in base if n.startswith("blocks.") and n.endswith(".kernel")}


def test_all_is_trained_without_a_rank():
    params = build_abstract(WAN).params
    assert split_params(params) == (params, None)
    assert merge_params(params, None) is params


def check_new(pair: Pair) -> None:
    """The LoRA that a run starts with changes no bit of the velocity."""
    shapes = split_params(build_abstract(pair.config).params).frozen
    base = pair.base.params
    frozen = jax.tree.map(lambda leaf, shape: leaf.astype(shape.dtype), base, shapes)
    trained = jax.jit(lambda: split_params(build(pair.config, key=0).params).trained)()
    assert all(np.any(leaf) == name.endswith("a") for name, leaf in name_leaves(trained).items())
    np.testing.assert_array_equal(pair.predict(trained, frozen), pair.predict(None, base))


def test_a_new_lora_changes_nothing(wan):
    check_new(wan)


@pytest.mark.parametrize("sides", [(5, 9), (9, 5)], ids=["wider", "narrower"])
def test_one_product_with_the_matrices_and_its_gradients_are_those_of_two(sides):
    draw = np.random.default_rng(0).standard_normal
    inputs, outputs = sides
    x, w, a, b, weights = (
        jnp.asarray(draw(shape), jnp.float32)
        for shape in ((2, 3, inputs), sides, (inputs, 2), (2, outputs), (2, 3, outputs))
    )
    apart = lambda x, w, a, b: ((x @ w + (x @ a) @ b) * weights).sum()
    joined = lambda *parts: (multiply_low_rank(*parts) * weights).sum()
    expected, found = (
        jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2, 3)))(x, w, a, b) for f in (apart, joined)
    )
    jax.tree.map(
        lambda e, f: np.testing.assert_allclose(f, e, rtol=1e-5, atol=1e-5), expected, found
    )


@pytest.mark.slow
def test_a_base_in_bfloat16_is_what_the_computation_rounds_it_to(wan):
    check_new(Pair(change(WAN, dtype="bfloat16"), dataclasses.replace(LORA, base_dtype="bfloat16")))


def test_a_merged_network_predicts_the_velocity_of_the_unmerged_one(wan):
    wan.check_merged(*split_params(TinyModel(wan.config).params))


@pytest.mark.slow
def test_steps_change_the_lora_and_no_bit_of_the_base():
    trained = train(WAN, steps=10, mesh=make_mesh(devices=jax.devices()[:1]))
    before, frozen = trained.before
    check_bits(trained.frozen, frozen)
    state = trained.state
    assert int(state.step) == 10
    for name, leaf in name_leaves(state.params).items():
        assert np.abs(leaf - name_leaves(before)[name]).max() > 1e-3, name
    leaves = jax.tree.leaves((state.params, state.ema))
    assert sum(leaf.size for leaf in leaves) == 2 * sum(x.size for x in jax.tree.leaves(before))


@pytest.mark.slow
def test_the_average_follows_the_lora():
    one = train(WAN, steps=1, mesh=make_mesh(devices=jax.devices()[:1]))
    for name, leaf in name_leaves(one.state.ema).items():
        start, after = (name_leaves(tree)[name] for tree in (one.before[0], one.state.params))
        np.testing.assert_allclose(leaf, 0.1 * start + 0.9 * after, rtol=1e-6, atol=1e-9)


def test_no_weight_of_a_lora_decays():
    trained = split_params(build_abstract(with_lora(WAN)).params).trained
    assert not any(jax.tree.leaves(mark_decayed(trained, find_family(WAN).decays)))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_after_ten_steps_the_merged_network_is_the_unmerged_one(family):
    result = train(FAMILIES[family], steps=10, mesh=make_mesh(devices=jax.devices()[:1]))
    Pair(FAMILIES[family]).check_merged(result.state.params, result.frozen)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_steps_on_eight_devices_and_in_micro_batches_equal_those_on_one(family, mesh):
    config = change(FAMILIES[family], rank=3)
    expected = train(config, steps=3, mesh=make_mesh(devices=jax.devices()[:1])).state
    found = train(config, steps=3, mesh=mesh).state
    parts = train(config, steps=3, mesh=make_mesh(devices=jax.devices()[:1]), accumulate=2).state
    for state in (found, parts):
        for name, leaf in name_leaves(expected.params).items():
            largest = np.abs(leaf).max()
            np.testing.assert_allclose(
                name_leaves(state.params)[name], leaf, rtol=0, atol=1e-4 * largest, err_msg=name
            )


def test_the_costs_have_one_backward_pass_for_what_is_frozen():
    base = count_costs(WAN)
    assert base.backward == 2.0
    costs = count_costs(with_lora(WAN))
    sizes = build_abstract(with_lora(WAN)).params
    share = sum(x.size for x in jax.tree.leaves(split_params(sizes).trained)) / sum(
        x.size
        for name, x in name_leaves(sizes).items()
        if name.startswith("blocks.") and name.endswith(".kernel")
    )
    np.testing.assert_allclose(costs.video, base.video * (1 + share))
    np.testing.assert_allclose(costs.backward, (1 + 2 * share) / (1 + share))
    assert costs.pair == base.pair


def test_a_plan_counts_what_is_frozen_and_what_is_trained():
    """A parameter that is trained takes 16 bytes between steps and one of a frozen kernel 2."""
    lora = LoraConfig(rank=4)
    config = change(with_lora(WAN, lora), width=128, heads=8, hidden=512, dtype="bfloat16")
    found = place_parameters(config, Shards(1, 1))
    whole = place_parameters(dataclasses.replace(config, lora=LoraConfig()), Shards(1, 1))
    own = 2 * 4 * (8 * (128 + 128) + 2 * (128 + 512))  # of two blocks
    assert (found.trained, found.count) == (own, whole.count + own)
    assert found.params + found.ema + found.optimiser == pytest.approx(16 * own, rel=1e-3)
    kernels = 2 * (8 * 128 * 128 + 2 * 128 * 512)
    assert found.frozen == 4 * whole.count - 2 * kernels
    assert found.gradient_bytes == 2 * own
    # The rest of the blocks, and the LoRA, are cast when they are computed with.
    assert found.cast_blocks == whole.blocks - kernels + own
    assert (whole.trained, whole.frozen) == (whole.count, 0.0)
    assert whole.cast_blocks == whole.blocks
