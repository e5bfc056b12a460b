"""The kernels for TPU: the list of their steps; and on a simulated TPU, with its memories, copies and semaphores."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from dense_attention import TOLERANCES, check_random_rows, compile_comparison
from jax.experimental.pallas import tpu as pltpu

from lct_jax.attention import attend, blocks, mosaic
from lct_jax.attention.mosaic_rows import count_together
from lct_jax.attention.mosaic_steps import NOTHING, PART, WHOLE, Sizes, list_steps, read_step

# Eight queries in blocks of two over ten keys in blocks of two: all of a block, parts of two and one, then padding.
# Nothing sees the last block of keys.
START = [0, 0, 2, 2, 2, 3, 0, 0]
END = [2, 2, 5, 6, 4, 4, 0, 0]
BY_QUERY = [
    *[(0, 0, WHOLE), (1, 1, WHOLE), (1, 2, PART), (2, 1, PART)],
    (3, 0, NOTHING),
]
BY_KEY = [
    *[(0, 0, WHOLE), (1, 1, WHOLE), (2, 1, PART), (1, 2, PART)],
    *[(0, 3, NOTHING), (0, 4, NOTHING)],
]


@pytest.mark.parametrize(("outer", "expected"), [("query", BY_QUERY), ("key", BY_KEY)])
def test_the_steps_are_the_visible_pairs_of_blocks_and_one_for_every_other_block(outer, expected):
    steps, count = list_steps(jnp.array([START, END]), Sizes(2, 2, 2), 10, outer)
    assert count == len(expected)
    found = [tuple(map(int, read_step(steps, n))) for n in range(count)]
    assert found == expected
    # The pairs before the first step and behind the last one are of no block.
    for number in (-1, int(count)):
        assert read_step(steps, number).query > 3
        assert read_step(steps, number).key > 4


@pytest.mark.parametrize(("outer", "expected"), [("query", BY_QUERY), ("key", BY_KEY)])
def test_rows_behind_each_other_have_the_steps_of_each(outer, expected):
    """The second row has four blocks of queries and five of keys before it; its bounds are numbered through both."""
    bounds = jnp.array([[*START, *(n + 10 for n in START)], [*END, *(n + 10 for n in END)]])
    steps, count = list_steps(bounds, Sizes(2, 2, 2), 20, outer, 2)
    second = [(query + 4, key + 5, seen) for query, key, seen in expected]
    found = [tuple(map(int, read_step(steps, n))) for n in range(count)]
    assert found == [*expected, *second]


def test_as_many_rows_go_through_a_kernel_as_their_steps_have_room():
    # Rows of nine full shots have 274 blocks of queries and of keys.
    assert [count_together(rows, 274, 274) for rows in (1, 2, 3, 4)] == [1, 2, 1, 2]
    assert count_together(64, 65, 65) == 32
    # Few queries over many keys: the list is short, but a step has bits for 2**14 blocks alone.
    assert count_together(256, 1, 128) == 128


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("queries", "keys"), [(150, 300), (600, 600), (300, 100)])
def test_a_simulated_tpu_gives_dense_attention_without_races(
    queries, keys, dtype, monkeypatch, capfd
):
    """Memory that was not written holds NaN, and copies happen as late as semaphores allow."""
    monkeypatch.setattr(mosaic, "BLOCK", 2 * blocks.LANES)
    monkeypatch.setattr(mosaic, "COMPUTE", blocks.LANES)
    simulated = pltpu.InterpretParams(
        detect_races=True, uninitialized_memory="nan", dma_execution_mode="on_wait"
    )

    kernel = lambda *inputs: mosaic.attend_mosaic(*inputs[:-1], simulated)
    monkeypatch.setattr(attend, "attend_mosaic", kernel)
    run = lambda q, k, v, spans: attend.attend(q, k, v, spans=spans, kernel="mosaic")
    rng = np.random.default_rng(3)
    both = compile_comparison(run, dtype)
    for scope in ("full", "causal", "own"):
        check_random_rows(
            both, rng, queries=queries, keys=keys, scope=scope, tolerance=TOLERANCES[dtype]
        )
    # Every race is printed where it is detected.
    assert "race" not in capfd.readouterr().out.lower()
