"""What the socket promises, of every family: masks, packing, cache, costs, names, devices, weight decay.

A family is tested by adding its small config to `scenes.FAMILIES`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from causal_scene import (
    CONFIG,
    TIMES,
    compare_with_full_pass,
    make_denoiser,
    make_request,
    make_sampling_scene,
    sample,
)
from flax import nnx
from gradient import check_near, compile_gradient
from scenes import (
    FAMILIES,
    LORA,
    TINY_SKYREELS,
    Scene,
    TinyModel,
    make_scenes,
    pack_scenes,
    split_scenes,
)

from lct_jax.attention.mask import visible
from lct_jax.backbones.lora import is_low_rank
from lct_jax.backbones.registry import build_abstract, count_costs, describe, find_family
from lct_jax.config import NetworkConfig, TrainingConfig
from lct_jax.config.network import change
from lct_jax.costs.flops import count_forward
from lct_jax.distributed.sharding import make_sampling_mesh, place_batch, state_sharding
from lct_jax.layout import GroupPlan, plan_scene
from lct_jax.sampling.cached_pass import CachedPass
from lct_jax.sampling.passes import FullPass
from lct_jax.sampling.schedule import plan_causal
from lct_jax.tensors import name_leaves
from lct_jax.types import TokenIndex, Tokens

CONTEXTS = ("full", "causal")


WITH_LORA = {f"{name} with a LoRA": replace(config, lora=LORA) for name, config in FAMILIES.items()}
# What differs from another network by little is tested as thoroughly, in the slow tier.
VARIANTS = {"skyreels": TINY_SKYREELS} | WITH_LORA
NETWORKS = FAMILIES | VARIANTS


@pytest.fixture(
    params=[*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS)],
    scope="module",
)
def model(request) -> TinyModel:
    """The small network of a family, with random weights everywhere; in the slow tier its variants too."""
    return TinyModel(NETWORKS[request.param])


def make_rows(model: TinyModel) -> list[list[Scene]]:
    """Mixed aspect ratios, with and without a global prompt."""
    scenes = make_scenes(config=model.config)
    return [[scenes["trio"], scenes["pair"]], [scenes["single"], scenes["full_text"]]]


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("part", ["video", "text"])
def test_what_a_token_hears_of_is_what_the_mask_says(model, context, part):
    """A group that is changed changes the tokens that see it, and no other by a bit."""
    packed = pack_scenes(make_rows(model), config=model.config)
    before = model.forward(packed, context=context)
    index = packed.batch.video.index
    seen_BLM = np.asarray(visible(index, index, context))
    changed = getattr(packed.batch, part)
    # One shot is all noise, so that its clean latent would change nothing.
    values = (changed.value, packed.added.noise) if part == "video" else (changed.value,)
    real = index.scene[0] > 0
    for slot in np.unique(changed.index.slot[0][changed.index.scene[0] > 0]):
        here_L = (changed.index.slot[0] == slot) & (changed.index.scene[0] > 0)
        kept = [value[0, here_L].copy() for value in values]
        for value in values:
            value[0, here_L] += 1.0
        after = model.forward(packed, context=context)
        for value, old in zip(values, kept, strict=True):
            value[0, here_L] = old
        hears_L = seen_BLM[0][:, real & (index.slot[0] == slot)].any(axis=1)
        np.testing.assert_array_equal(after[0, ~hears_L], before[0, ~hears_L])
        assert np.abs(after[0, hears_L] - before[0, hears_L]).max(axis=1).all()
        np.testing.assert_array_equal(after[1], before[1])


@pytest.mark.parametrize("context", CONTEXTS)
def test_packing_leaves_scenes_as_they_are_alone(model, context):
    rows = make_rows(model)
    packed = model.forward(pack_scenes(rows, config=model.config), context=context)
    for velocity_LC, row in zip(packed, rows, strict=True):
        for found_LC, scene in zip(split_scenes(velocity_LC, row), row, strict=True):
            alone = pack_scenes([[scene], []], config=model.config)
            expected_LC = split_scenes(model.forward(alone, context=context)[0], [scene])[0]
            np.testing.assert_allclose(found_LC, expected_LC, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bare", [False, True], ids=["global prompt", "bare"])
def test_a_pass_behind_the_cache_equals_the_full_causal_pass(model, bare):
    request = make_request(3, given=(0,), bare=bare, network=model.config)
    scene = make_sampling_scene(request, network=model.config)
    compare_with_full_pass(
        scene, plan_causal(request, CONFIG), make_denoiser(model.config), atol=1e-5
    )


def test_a_shot_guided_by_its_history_is_the_same_with_a_cache(model):
    config = dataclasses.replace(CONFIG, history_guidance=2.0)
    request, denoiser = (
        make_request(3, given=(0,), network=model.config),
        make_denoiser(model.config),
    )
    scene = make_sampling_scene(request, config, network=model.config)
    plan = plan_causal(request, config)
    found = sample(CachedPass(denoiser, scene, plan, TIMES), scene, plan)
    full = FullPass(denoiser.forward, scene, TIMES)
    expected = sample(full, scene, [window for window in plan if window.denoised])
    for shot, tokens in expected.items():
        np.testing.assert_allclose(found[shot], tokens, atol=2e-5)  # four guided steps add up


def test_keys_that_are_kept_are_those_the_spec_describes(model):
    packed = pack_scenes(make_rows(model)[:1], config=model.config)
    spec, batch = describe(model.config), packed.batch
    graph, params = build_abstract(model.config)
    keep = lambda p, *x: jax.tree.map(jnp.asarray, merge(graph, p)(*x, context="full", keep=True))
    found = jax.eval_shape(keep, params, *batch[:2], packed.added.time)
    tokens = batch.video.value.shape[1]
    tokens += batch.text.value.shape[1] if spec.text == "joint" else 0
    cache = spec.cache
    expected = (cache.layers, 1, cache.heads, tokens, cache.head_dim)
    assert found.kept.k.shape == found.kept.v.shape == expected
    assert str(found.kept.k.dtype) == cache.dtype
    assert found.velocity.shape == batch.video.value.shape


def test_costs_agree_with_the_compiler(model):
    """One block, in which a scan is counted once, and one block of attention; norms and the like are a small share."""
    config = widen(model.config)
    group = plan_scene(config.backbone.text, None, (GroupPlan(28, (1, 10, 10)),)).shots[0]

    def tokens(length: int, width: int) -> Tokens:
        shape = lambda *tail: jax.ShapeDtypeStruct((1, length, *tail), jnp.int32)
        index = TokenIndex(scene=shape(), shot=shape(), slot=shape(), coord=shape(3))
        return Tokens(jax.ShapeDtypeStruct((1, length, width), jnp.float32), index)

    graph, params = build_abstract(config)
    forward = lambda p, *x: merge(graph, p)(*x, context="full")
    video = tokens(group.video, config.backbone.patch_channels)
    text = tokens(group.text, config.backbone.text_width)
    time_BS = jax.ShapeDtypeStruct((1, 1), jnp.float32)
    compiled = jax.jit(forward).lower(params, video, text, time_BS).compile()
    plan = plan_scene(config.backbone.text, None, (group,))
    counted = count_forward(count_costs(config), plan, context="full").total
    # The compiler drops what nothing reads: in the last block of the MMDiT, output layer and MLP of text.
    unread = {"mmdit": 9, "wan": 0}[config.backbone.family]
    counted -= 2 * group.text * unread * config.backbone.width**2
    assert counted == pytest.approx(compiled.cost_analysis()["flops"], rel=0.03)


def test_every_parameter_has_one_published_name(model):
    names = find_family(model.config).name_weights(model.config)
    assert set(names) == {name for name in name_leaves(model.params) if not is_low_rank(name)}
    assert len({published.name for published in names.values()}) == len(names)


def test_weight_decay_spares_biases_norms_tables_and_time(model):
    decays = find_family(model.config).decays
    found = {name for name in name_leaves(model.params) if decays(tuple(name.split(".")))}
    expected = {
        name
        for name in name_leaves(model.params)
        if name.endswith("kernel") and not name.startswith("time.")
    }
    assert found == expected and found


@pytest.mark.slow
def test_eight_devices_give_the_velocity_and_the_gradient_of_one(model, mesh):
    """Four rows over `data` and tokens over `seq`: rows differ, and one is empty."""
    scenes = make_scenes(config=model.config)
    rows = [[scenes["trio"], scenes["pair"]], [scenes["single"]], [], [scenes["full_text"]]]
    packed = pack_scenes(rows, config=model.config)
    compute = compile_gradient(model, TrainingConfig(steps=10, warmup=1))
    expected = compute(model.params, packed.batch, packed.added)
    velocity = model.forward(packed)
    with jax.set_mesh(mesh):
        params = jax.device_put(model.params, state_sharding(model.params, mesh))
        found = compute(params, place_batch(packed.batch, mesh), packed.added)
        spread = TinyModel.forward(model, packed)
    real = packed.batch.video.index.scene > 0
    np.testing.assert_allclose(spread[real], velocity[real], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)
    check_near(found.tree, expected.tree)


@pytest.mark.slow
def test_a_cache_spread_over_heads_changes_nothing(model):
    request = make_request(2, given=(0,), network=model.config)
    scene = make_sampling_scene(request, network=model.config)
    plan = plan_causal(request, CONFIG)
    alone = compare_with_full_pass(scene, plan, make_denoiser(model.config), atol=1e-5)
    with jax.set_mesh(make_sampling_mesh(2, heads=model.config.backbone.heads)):
        spread = compare_with_full_pass(scene, plan, make_denoiser(model.config), atol=1e-5)
    for shot, velocity in alone.items():
        np.testing.assert_allclose(spread[shot], velocity, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["block", "save_attention"])
def test_recomputation_changes_no_gradient(model, remat):
    packed = pack_scenes(make_rows(model), config=model.config)
    other = TinyModel(change(model.config, remat=remat))
    expected, found = (
        compile_gradient(m, TrainingConfig(steps=10, warmup=1))(
            m.params, packed.batch, packed.added
        )
        for m in (model, other)
    )
    check_near(found.tree, expected.tree)


def merge(graph, params):
    """The network of some parameters."""
    return nnx.merge(graph, params)


def widen(config: NetworkConfig) -> NetworkConfig:
    """One block so wide that its matrix products are all there is to count."""
    sizes = {"width": 512, "depth": 1, "heads": 8, "head_dim": 64, "rope_split": (16, 24, 24)}
    sizes |= {"hidden": 2048} if config.backbone.family == "wan" else {}
    return change(config, text_width=64, channels=16, **sizes)
