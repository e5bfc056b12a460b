"""Which numbers stay float32 under bfloat16 compute, in the traced program and as measured.

The traced program also shows that blocks are scanned, and recomputed where the config says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import jaxprs_in_params
from scenes import TINY, TinyModel, make_scenes, pack_scenes

from lct_jax.attention.attend import attend
from lct_jax.attention.mask import find_spans
from lct_jax.attention.rope import make_rotation, rotate
from lct_jax.backbones.layers import QKNorm, layer_norm, modulate, rms_norm
from lct_jax.backbones.mmdit.network import MMDiT
from lct_jax.config import NetworkConfig
from lct_jax.config.network import change, make_network
from lct_jax.types import TokenIndex

BF16 = change(TINY, dtype="bfloat16")


def test_parameters_are_float32_with_any_compute_dtype():
    model = nnx.eval_shape(lambda: MMDiT(make_network(), rngs=nnx.Rngs(0)))
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {np.dtype(np.float32)}


def _equations(jaxpr) -> Iterator:
    """Yields all equations of a program, inner programs included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from _equations(inner)


def _trace(config: NetworkConfig):
    model = TinyModel(config)
    packed = pack_scenes([[make_scenes()["trio"]]])

    def forward(params, video, text, time_BS):
        return nnx.merge(model.graph, params)(video, text, time_BS, context="full").velocity

    return jax.make_jaxpr(forward)(model.params, *packed.batch[:2], packed.added.time)


def _float_inputs(equation) -> tuple[str, ...]:
    """Returns the float dtypes of an equation's inputs."""
    dtypes = [variable.aval.dtype for variable in equation.invars]
    return tuple(sorted({str(d) for d in dtypes if jnp.issubdtype(d, jnp.floating)}))


def test_float32_products_of_modulation_and_output_are_float32_on_every_platform():
    """TPU rounds the inputs of a product to bfloat16, and GPU to TF32, unless the highest precision is requested."""
    highest = (jax.lax.Precision.HIGHEST,) * 2
    products = [e for e in _equations(_trace(BF16).jaxpr) if e.primitive.name == "dot_general"]
    asked = Counter(e.params["precision"] for e in products if _float_inputs(e) == ("float32",))
    # Two layers of the time embedding, modulation of text, video and the output layer, and the output layer.
    assert asked[highest] == 6
    assert not any(
        e.params["precision"] == highest for e in products if "bfloat16" in _float_inputs(e)
    )


def test_parts_of_a_bfloat16_program_that_stay_float32():
    traced = _trace(BF16)
    assert [str(out.dtype) for out in traced.out_avals] == ["float32"]
    everything = list(_equations(traced.jaxpr))
    # Softmax, norms, rotary angles and time features. (The gate of the MLP is a tanh, in bfloat16.)
    islands = ("exp", "rsqrt", "cos", "sin", "reduce_max", "reduce_sum", "logistic")
    for equation in everything:
        if equation.primitive.name in islands:
            assert _float_inputs(equation) in (("float32",), ()), equation  # (): whole numbers
    names = Counter(equation.primitive.name for equation in everything)
    assert names["exp"] and names["rsqrt"] and names["cos"] and names["logistic"]


def test_matrix_products_of_the_blocks_are_bfloat16():
    traced = _trace(BF16)
    (scan,) = [eq for eq in traced.jaxpr.eqns if eq.primitive.name == "scan"]
    inside = [
        eq for eq in _equations(scan.params["jaxpr"].jaxpr) if eq.primitive.name == "dot_general"
    ]
    assert len(inside) == 4 + 4 + 2  # qkv, out, up, down of two streams, and attention
    assert {_float_inputs(equation) for equation in inside} == {("bfloat16",)}
    outputs = Counter(str(equation.outvars[0].aval.dtype) for equation in inside)
    assert outputs == {"bfloat16": 8, "float32": 2}  # the scores, and the values they mix
    total = Counter(
        _float_inputs(eq) for eq in _equations(traced.jaxpr) if eq.primitive.name == "dot_general"
    )
    # Outside: two inputs in bfloat16; five of the time modulation and the output in float32.
    assert total == {("bfloat16",): 12, ("float32",): 6}


def test_blocks_are_scanned_and_recomputed_on_request():
    shallow, deep = (list(_equations(_trace(change(TINY, depth=n)).jaxpr)) for n in (2, 5))
    assert len(shallow) == len(deep)
    kept, recomputed = (
        [
            sum(inner.primitive.name == "dot_general" for inner in _equations(body))
            for equation in _equations(_trace(config).jaxpr)
            if equation.primitive.name in ("remat2", "checkpoint", "remat")
            for body in jaxprs_in_params(equation.params)
        ]
        for config in (TINY, change(TINY, remat="block"))
    )
    assert set(kept) == {0}  # norms, gates and GELU, but no matrix product
    assert [count for count in recomputed if count] == [10]  # the block, with all of its products


@pytest.mark.parametrize(
    ("policy", "passes"),
    [
        *(("none", 2), ("block", 3), ("save_attention", 2), ("offload", 2)),
        *(("offload_input", 3), ("auto", 3)),
    ],
)
def test_attention_is_recomputed_unless_the_remat_policy_keeps_it(policy, passes):
    """A pass over the blocks of attention is one loop; it runs forward, backward, and forward again where it is
    recomputed.
    """
    model = TinyModel(change(TINY, remat=policy))
    packed = pack_scenes([[make_scenes()["trio"]]])

    def loss(params, time_BS):
        network = nnx.merge(model.graph, params)
        return network(*packed.batch[:2], time_BS, context="full").velocity.sum()

    program = jax.make_jaxpr(jax.grad(loss))(model.params, packed.added.time)
    assert sum(eq.primitive.name == "while" for eq in _equations(program.jaxpr)) == passes


def _bf16(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.bfloat16)


def test_norms_of_bfloat16_are_computed_in_float32():
    x = _bf16(0, 4, 64)
    exact = np.asarray(x, np.float64)
    centred = exact - exact.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(layer_norm(x), expected, rtol=1e-5, atol=1e-6)
    expected = exact / np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(rms_norm(x), expected, rtol=1e-5, atol=1e-6)
    assert modulate(layer_norm(x), jnp.ones((1, 1)), jnp.ones((1, 1))).dtype == jnp.float32


def test_qk_norm_rounds_once():
    norm = QKNorm("head", heads=2, head_dim=16)
    norm.scale[...] = jnp.linspace(0.5, 1.5, 16)
    x_BHLK = _bf16(1, 1, 2, 5, 16)
    exact = np.asarray(x_BHLK, np.float64)
    exact = exact / np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-6) * np.linspace(0.5, 1.5, 16)
    np.testing.assert_array_equal(norm(x_BHLK), jnp.asarray(exact, jnp.bfloat16))


def test_rotation_of_bfloat16_rounds_once_at_large_positions():
    coord = np.random.default_rng(0).integers(0, 4000, size=(1, 50, 3))
    rotation = make_rotation(jnp.asarray(coord), split=(4, 6, 6), base=100.0)
    x_BHLK = _bf16(2, 1, 2, 50, 16)
    rates = [[100.0 ** (-2 * i / dims) for i in range(dims // 2)] for dims in (4, 6, 6)]
    angle = np.concatenate([coord[..., a, None] * np.array(rates[a]) for a in range(3)], -1)
    low, high = np.split(np.asarray(x_BHLK, np.float64), 2, axis=-1)
    turned = (low + 1j * high) * np.exp(1j * angle)[:, None]
    exact = np.concatenate([turned.real, turned.imag], axis=-1)
    found = rotate(x_BHLK, rotation)
    assert found.dtype == jnp.bfloat16
    # Half a step of bfloat16 is 2**-8 of the value; float32 angles of 4000 are good to 3e-4.
    np.testing.assert_allclose(np.asarray(found, np.float64), exact, rtol=2**-8, atol=1e-3)
    float_angle = np.arctan2(rotation.sin, rotation.cos)[:, 0]
    error = np.angle(np.exp(1j * (float_angle - angle)))
    assert np.abs(error).max() < 3e-4


def test_softmax_over_bfloat16_scores_is_float32():
    one = np.ones((1, 40), np.int32)
    index = TokenIndex(one, one, one, np.zeros((1, 40, 3), np.int32))
    q_BHLK, k_BHMK = 4 * _bf16(3, 1, 2, 40, 16), _bf16(4, 1, 2, 40, 16)
    v_BHMK = jnp.asarray(np.random.default_rng(5).normal(size=(1, 2, 40, 16)), jnp.float32)
    found = attend(q_BHLK, k_BHMK, v_BHMK, spans=find_spans(index, index, "full"))
    q, k, v = (np.asarray(x, np.float64) for x in (q_BHLK, k_BHMK, v_BHMK))
    weight = np.exp(q @ k.swapaxes(-1, -2) / 4)
    expected = weight / weight.sum(-1, keepdims=True) @ v
    np.testing.assert_allclose(found.lse, np.log(weight.sum(-1)), rtol=1e-6)
    # The values are rounded once, at the end: by half a step of bfloat16, 2**-8 of a value at most.
    np.testing.assert_allclose(found.value.astype(jnp.float32), expected, rtol=2**-8, atol=1e-5)


def test_bfloat16_predictions_are_close_to_float32(tiny):
    scenes = make_scenes()
    rows = [[scenes["trio"], scenes["full_text"]], [scenes["single"], scenes["pair"]]]
    packed = pack_scenes(rows)
    exact, found = tiny.forward(packed), TinyModel(BF16).forward(packed)
    assert found.dtype == np.float32
    scene = packed.batch.video.index.scene > 0
    error = np.sqrt(np.mean((found - exact)[scene] ** 2)) / exact[scene].std()
    assert 1e-4 < error < 0.05
