"""FLOPs counted from shapes, compared with literal numbers and with the compiler's count of one block."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from lct_jax.backbones.registry import build_abstract, count_costs
from lct_jax.config.network import make_network
from lct_jax.costs.flops import Flops, count_attention, count_forward, count_pairs, count_pairs_of
from lct_jax.layout import GroupPlan, ScenePlan
from lct_jax.types import TokenIndex, Tokens

PLAN = ScenePlan(3, (GroupPlan(2, (1, 2, 3)), GroupPlan(4, (2, 2, 1))))


def test_pairs_of_a_small_scene():
    # Groups of 3 + 1, 2 + 6 and 4 + 4 tokens.
    assert count_pairs(PLAN, "full") == 20 * 20
    assert count_pairs(PLAN, "causal") == 4 * 4 + 8 * 12 + 8 * 20


@pytest.mark.parametrize(("context", "pairs"), [("full", 81), ("causal", 45)])
def test_pairs_of_nine_equal_shots(context, pairs):
    assert count_pairs_of([10] * 9, context) == pairs * 100


def test_flops_add_and_multiply_by_part():
    assert Flops(1.0, 2.0).plus(Flops(3.0, 5.0)) == (4.0, 7.0)
    assert Flops(1.0, 2.0).times(3) == (3.0, 6.0)
    assert Flops(1.0, 2.0).total == 3.0


def test_flops_of_attention_are_two_products_a_pair():
    model = make_network(depth=3, heads=16, head_dim=128)
    assert count_attention(count_costs(model), 10) == 3 * 10 * 16 * (2 * 128 + 2 * 128)


def test_flops_agree_with_the_compiler():
    """One block, since the compiler counts a scan once, plus attention; other operations than products are a small
    share.

    Nothing reads the text stream after the last block, so the compiler drops its output layer and MLP there. In a scan
    of more blocks it cannot, and so the count keeps them.
    """
    model = make_network(
        width=512, depth=1, heads=8, head_dim=64, rope_split=(16, 24, 24), text_width=64,
        patch=(1, 2, 2), dtype="float32", remat="none",
    )  # fmt: skip
    plan = ScenePlan(None, (GroupPlan(28, (1, 10, 10)),))
    group = plan.shots[0]

    def tokens(length: int, width: int) -> Tokens:
        shape = lambda *tail: jax.ShapeDtypeStruct((1, length, *tail), jnp.int32)
        index = TokenIndex(scene=shape(), shot=shape(), slot=shape(), coord=shape(3))
        return Tokens(jax.ShapeDtypeStruct((1, length, width), jnp.float32), index)

    graph, params = build_abstract(model)
    forward = lambda p, *x: nnx.merge(graph, p)(*x, context="full")
    inputs = (
        tokens(group.video, model.backbone.patch_channels),
        tokens(group.text, model.backbone.text_width),
    )
    time_BS = jax.ShapeDtypeStruct((1, 1), jnp.float32)
    compiled = jax.jit(forward).lower(params, *inputs, time_BS).compile()
    counted = count_forward(count_costs(model), plan, context="full").total
    dropped = 2 * group.text * (1 + 2 * model.backbone.mlp_ratio) * model.backbone.width**2
    assert counted - dropped == pytest.approx(compiled.cost_analysis()["flops"], rel=0.03)
