"""The gradient is the same packed or not, in micro-batches, on eight devices, recomputed or kept.

Eight rows hold eight scenes, unevenly, so that rows, micro-batches and devices all carry different numbers of samples.
The reference for the gradient's direction is a difference quotient of the dense float64 loss.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest
from collectives import Collective, list_collectives
from gradient import Gradient, check_against_dense, check_same, compile_gradient
from scenes import SLOTS, TINY, Packed, Scene, TinyModel, make_scenes, pack_scenes

from lct_jax import flow
from lct_jax.backbones import stack
from lct_jax.backbones.mmdit.names import decays
from lct_jax.config import FlowConfig, TrainingConfig
from lct_jax.config.network import change
from lct_jax.distributed.sharding import place_batch, state_sharding
from lct_jax.flow import count_samples
from lct_jax.training.checkpoint.weights import name_leaves
from lct_jax.training.optimizer import make_optimizer, mark_decayed
from lct_jax.training.state import TrainState, init_state
from lct_jax.training.step import StepOutput, make_backbone, make_step

TRAINING = TrainingConfig(steps=10, warmup=1, learning_rate=1e-3)
# The planned samples of a batch; this one has eight.
SAMPLES = 5.0


class Spread(NamedTuple):
    """A compiled program over a mesh, and its inputs."""

    inputs: tuple[Any, ...]
    program: Any


def _all_scenes() -> list[Scene]:
    return [*make_scenes(1).values(), *make_scenes(2).values()]


def _packed_rows() -> list[list[Scene]]:
    trio, single, full_text, pair, trio_2, single_2, full_text_2, pair_2 = _all_scenes()
    return [
        [trio, full_text],
        [single, pair],
        [],
        [pair_2, single_2],
        [trio_2],
        [],
        [],
        [full_text_2],
    ]


def _compile(tiny: TinyModel, *, accumulate: int = 1) -> Any:
    return compile_gradient(tiny, dataclasses.replace(TRAINING, accumulate=accumulate))


@pytest.fixture(scope="module")
def packed() -> Packed:
    return pack_scenes(_packed_rows())


@pytest.fixture(scope="module")
def gradient_of(tiny) -> Any:
    """Returns a function (params, batch, added) -> loss and gradient on one device."""
    return _compile(tiny)


@pytest.fixture(scope="module")
def expected(tiny, packed, gradient_of) -> Gradient:
    return gradient_of(tiny.params, packed.batch, packed.added)


def test_loss_and_gradient_agree_with_the_dense_reference(tiny, expected):
    check_against_dense(expected[:2], tiny, _all_scenes(), TINY)


def test_every_parameter_but_the_last_text_update_has_a_gradient(expected):
    leaves = name_leaves(expected[1])
    assert len(leaves) == 38
    for name, leaf in leaves.items():
        stacked, *rest = name.split(".")
        values = np.asarray(leaf)
        assert np.isfinite(values).all()
        if stacked == "blocks":
            # The text stream of the last block ends in its keys and values.
            ends = rest[0] == "text" and rest[1] in ("out", "up", "down", "q_norm")
            assert values[0].any() and values[1].any() == (not ends), name
        else:
            assert values.any(), name


def test_unpacked_scenes_give_the_same_gradient(tiny, gradient_of, expected):
    alone = pack_scenes([[scene] for scene in _all_scenes()])
    check_same(gradient_of(tiny.params, alone.batch, alone.added), expected)


def test_two_micro_batches_give_the_same_gradient(tiny, packed, expected):
    found = _compile(tiny, accumulate=2)(tiny.params, packed.batch, packed.added)
    check_same(found, expected)
    for sums, whole in zip(found.breakdown, expected.breakdown, strict=True):
        np.testing.assert_allclose(sums, whole, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(whole.sum(axis=1), [8, 8 * expected.loss], rtol=1e-5)


@pytest.fixture(scope="module")
def spread(tiny, packed, mesh) -> Spread:
    """Returns the gradient on eight devices."""
    with jax.set_mesh(mesh):
        params = jax.device_put(tiny.params, state_sharding(tiny.params, mesh))
        inputs = params, place_batch(packed.batch, mesh), packed.added
        return Spread(inputs, _compile(tiny).lower(*inputs).compile())


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["save_attention", "offload", "offload_input"])
def test_every_remat_policy_gives_the_same_gradient(tiny, packed, expected, policy, monkeypatch):
    # On a CPU nothing would be moved, but one device of it has a memory of that name.
    monkeypatch.setattr(stack, "ON_CPU", {})
    recomputed = TinyModel(change(TINY, remat=policy))
    check_same(_compile(recomputed)(tiny.params, packed.batch, packed.added), expected)


def test_eight_devices_give_the_same_gradient(spread, expected):
    batch = spread.inputs[1]
    assert {len(leaf.addressable_shards) for leaf in jax.tree.leaves(batch)} == {8}
    assert batch.video.value.addressable_shards[0].data.shape == (2, 14, 8)
    check_same(spread.program(*spread.inputs), expected)


def test_activations_are_exchanged_and_never_gathered(spread, tiny):
    """A device has two rows: 26 text and 28 video tokens over two devices, and two heads of 16."""
    found = list_collectives(spread.program.as_text())
    assert not [c for c in found if c.kind == "collective-permute"]
    # Queries, keys, values and the output are exchanged, and so are their gradients.
    exchanged = [c for c in found if c.kind == "all-to-all"]
    part = ("f32", (2, 1, 27, 16))
    assert exchanged == [Collective("all-to-all", (part, part), in_layer=True)] * 8
    leaves = name_leaves(tiny.params)
    weights = {
        leaf.shape[1:] if n.startswith("blocks.") else leaf.shape for n, leaf in leaves.items()
    }
    gathered = [result for c in found if c.kind == "all-gather" for result in c.results]
    assert {shape for dtype, shape in gathered if dtype == "f32"} <= weights
    # Besides weights, the scene and shot of every token are gathered once.
    assert [result for result in gathered if result[0] != "f32"] == [("s32", (2, 2, 27))] * 2
    reduced = [r for c in found if c.kind in ("all-reduce", "reduce-scatter") for r in c.results]
    assert not [shape for _, shape in reduced if {14, 27, 28, 54} & set(shape)]


@pytest.mark.slow
def test_padding_input_has_no_gradient_and_recomputed_blocks_the_same(tiny, packed, expected):
    recomputed = TinyModel(change(TINY, remat="block"))
    index = packed.batch.video.index
    weight = flow.loss_weights(index, SLOTS)

    def loss(params, video, text):
        batch = packed.batch._replace(
            video=packed.batch.video._replace(value=video),
            text=packed.batch.text._replace(value=text),
        )
        backbone = make_backbone(recomputed.graph, params, "full")
        return (weight * flow.token_errors(backbone, batch, packed.added)).sum() / 8

    values = packed.batch.video.value, packed.batch.text.value
    compute = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
    found, (gradient, *inputs) = compute(tiny.params, *values)
    check_same((found, gradient), expected)
    for values, tokens in zip(inputs, packed.batch[:2], strict=True):
        padding = tokens.index.scene == 0
        values = np.asarray(values)
        assert np.isfinite(values).all()
        assert not values[padding].any()
        assert values[~padding].any(axis=-1).all()  # prompts and dummies are seen


def test_a_sample_weighs_the_same_in_any_batch(tiny, gradient_of, expected):
    """The gradients of three scenes in one batch and of five in another add up to that of all eight."""
    rows = _packed_rows()
    batches = [
        pack_scenes([*rows[:1], rows[4], *[[]] * 6]),
        pack_scenes([[], *rows[1:4], *rows[5:], []]),
    ]
    found = [gradient_of(tiny.params, packed.batch, packed.added) for packed in batches]
    assert [float(count_samples(packed.batch)) for packed in batches] == [3.0, 5.0]
    counts = [count_samples(packed.batch) for packed in batches]
    scaled = [
        jax.tree.map(lambda leaf, n=count: leaf * n / 4.0, gradient)
        for (_, gradient, _), count in zip(found, counts, strict=True)
    ]
    mean = lambda trees: jax.tree.map(lambda a, b: (a + b) / 2, *trees)
    check_same((expected[0], mean(scaled)), expected)
    # Means over each batch's own samples would give more weight to those of the smaller one.
    with pytest.raises(AssertionError):
        check_same((expected[0], mean([gradient for _, gradient, _ in found])), expected)


def test_samples_of_all_rows_are_counted(packed):
    assert float(count_samples(packed.batch)) == 8.0
    assert float(count_samples(pack_scenes([[], []]).batch)) == 1.0


@pytest.fixture(scope="module")
def trained(tiny, packed, mesh) -> tuple[TrainState, StepOutput]:
    """Returns state and metrics after three whole steps of two micro-batches on eight devices."""
    training = dataclasses.replace(TRAINING, accumulate=2)
    optimizer = make_optimizer(training, decays=decays)
    state = jax.jit(partial(init_state, optimizer=optimizer))(tiny.params)
    with jax.set_mesh(mesh):
        step = jax.jit(
            make_step(
                tiny.graph,
                optimizer,
                flow_config=FlowConfig(),
                training=training,
                slots=SLOTS,
                samples=SAMPLES,
            ),
            out_shardings=(state_sharding(state, mesh), None),
        )
        state = jax.device_put(state, state_sharding(state, mesh))
        batch = place_batch(packed.batch, mesh)
        for _ in range(3):
            state, metrics = step(state, None, batch, jax.random.key(3))
    return state, metrics


@pytest.mark.slow
def test_train_steps_on_eight_devices_equal_steps_by_hand_on_one(
    tiny, packed, gradient_of, trained
):
    optimizer = make_optimizer(TRAINING, decays=decays)
    update = jax.jit(optimizer.update)
    params = ema = jax.tree.map(np.asarray, tiny.params)
    opt_state = jax.jit(optimizer.init)(params)
    for step, rate in enumerate((0.1, 2 / 11, 0.25)):  # (1 + step) / (10 + step)
        key = jax.random.fold_in(jax.random.key(3), step)
        added = flow.draw(key, packed.batch, slots=SLOTS, config=FlowConfig())
        loss, gradient, _ = gradient_of(params, packed.batch, added)
        gradient = jax.tree.map(lambda leaf: leaf * (8 / SAMPLES), gradient)  # the batch has 8
        updates, opt_state = update(gradient, opt_state, params)
        params = jax.tree.map(np.add, params, updates)
        ema = jax.tree.map(lambda old, new, r=rate: r * old + (1 - r) * new, ema, params)

    state, metrics = trained
    assert int(state.step) == 3
    norm = np.sqrt(sum(np.vdot(leaf, leaf) for leaf in jax.tree.leaves(gradient)))
    np.testing.assert_allclose(metrics.gradient_norm, norm, rtol=1e-5)
    for moment in ("mu", "nu"):
        found, wanted = (optax.tree.get(s, moment) for s in (state.opt_state, opt_state))
        check_same((metrics.loss, found), (loss, wanted))
    for found, wanted in ((state.params, params), (state.ema, ema)):
        for name, leaf in name_leaves(wanted).items():
            np.testing.assert_allclose(name_leaves(found)[name], leaf, rtol=1e-5, atol=1e-5)
            assert np.abs(leaf - tiny.weights[name]).max() > 1e-4 or "blocks.text" in name


def test_large_parameters_are_sharded_and_small_ones_replicated(trained):
    state = trained[0]
    moments = (optax.tree.get(state.opt_state, moment) for moment in ("mu", "nu"))
    for tree in (state.params, state.ema, *moments):
        leaves = name_leaves(tree)
        shapes = {name: leaf.addressable_shards[0].data.shape for name, leaf in leaves.items()}
        assert shapes["blocks.video.qkv.kernel"] == (2, 32, 96 // 4)
        assert shapes["blocks.text.down.kernel"] == (2, 128 // 4, 32)
        assert shapes["time.video.kernel"] == (32, 192 // 4)
        assert shapes["blocks.video.out.kernel"] == (2, 32, 32)  # 2,048 elements: whole
        assert shapes["blocks.video.qkv.bias"] == (2, 96)
        spread = {name for name, shape in shapes.items() if shape != leaves[name].shape}
        assert len(spread) == 8
    assert state.step.sharding.is_fully_replicated


def test_weight_decay_excludes_biases_norms_and_modulation(tiny):
    mask = name_leaves(mark_decayed(tiny.params, decays))
    streams = [
        f"blocks.{s}.{n}.kernel" for s in ("text", "video") for n in ("qkv", "out", "up", "down")
    ]
    ends = ["video_in.kernel", "text_in.kernel", "video_out.kernel"]
    assert {name for name, is_decayed in mask.items() if is_decayed} == {*streams, *ends}
