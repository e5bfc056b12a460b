"""Rotary embedding, compared with literal numbers; scores depend on distance alone."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from lct_jax.attention.rope import frequencies, make_rotation, rotate

SPLIT, BASE = (2, 4, 2), 100.0  # angles of a token at (t, h, w): t, h, h / 10, w


def test_frequencies_of_a_small_split():
    assert frequencies(SPLIT, BASE).tolist() == [
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, np.float32(0.1), 0.0],
        [0.0, 0.0, 0.0, 1.0],
    ]


def test_frequencies_of_the_default_split():
    table = frequencies((16, 56, 56), 10_000.0)
    assert table.shape == (3, 64) and table.dtype == np.float32
    time = [1.0, 0.31622777, 0.1, 0.031622777, 0.01, 0.0031622777, 0.001, 0.00031622777]
    np.testing.assert_allclose(table[0, :8], time, rtol=1e-6)
    np.testing.assert_allclose(table[1, 8:11], [1.0, 0.71968567, 0.51794747], rtol=1e-6)
    np.testing.assert_allclose(table[2, [36, 63]], [1.0, 1.3894955e-4], rtol=1e-6)
    assert not table[0, 8:].any() and not table[1, :8].any()
    assert not table[1, 36:].any() and not table[2, :36].any()


def test_rotation_pairs_dimensions_half_a_head_apart():
    rotation = make_rotation(jnp.array([[[1, 2, 3]]]), split=SPLIT, base=BASE)
    x_BHLK = jnp.arange(1.0, 9.0).reshape(1, 1, 1, 8)  # pairs (1, 5), (2, 6), (3, 7), (4, 8)
    # Angles 1, 2, 0.2 and 3 radians.
    cos = [0.54030231, -0.41614684, 0.98006658, -0.98999250]
    sin = [0.84147098, 0.90929743, 0.19866933, 0.14112001]
    np.testing.assert_allclose(rotation.cos[0, 0, 0], cos, rtol=1e-6)
    np.testing.assert_allclose(rotation.sin[0, 0, 0], sin, rtol=1e-6)
    expected = [
        *(-3.66705262, -6.28807824, 1.54951441, -5.08893006),
        *(3.54298252, -0.67828616, 7.45647405, -7.35545993),
    ]
    np.testing.assert_allclose(rotate(x_BHLK, rotation)[0, 0, 0], expected, rtol=2e-6)


def test_rotation_at_the_origin_is_the_identity():
    rotation = make_rotation(jnp.zeros((1, 2, 3), jnp.int32), split=SPLIT, base=BASE)
    x_BHLK = jnp.arange(32.0).reshape(1, 2, 2, 8)
    np.testing.assert_array_equal(rotate(x_BHLK, rotation), x_BHLK)


def test_scores_depend_on_the_distance_of_coordinates_alone():
    q_K, k_K = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)

    def score(query: list[int], key: list[int]) -> float:
        rotation = make_rotation(jnp.array([[query, key]]), split=SPLIT, base=BASE)
        turned = rotate(jnp.asarray(np.stack([q_K, k_K]))[None, None], rotation)[0, 0]
        return float(turned[0] @ turned[1])

    here = score([4, 9, 2], [1, 5, 7])
    np.testing.assert_allclose(score([34, 39, 32], [31, 35, 37]), here, rtol=1e-5)
    np.testing.assert_allclose(score([9, 9, 13], [6, 5, 18]), here, rtol=1e-5)
    for key in ([2, 5, 7], [1, 6, 7], [1, 5, 8]):
        assert abs(score([4, 9, 2], key) - here) > 0.05
