"""Attention where tables say which shot sees which (`Visibility`), in place of a rule that kernels have as intervals.

The systems that the paper compares itself with need it (docs/baselines.md): a shot sees pictures with a weight, or in
some blocks a random half of the tokens of other shots. Keys at random are no interval, so that no kernel skips them;
the scores of all pairs are computed.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lct_jax.attention.attend import attend_biased
from lct_jax.attention.chunked import AttentionOutput
from lct_jax.types import GLOBAL_SHOT, PADDING_SCENE, TokenIndex, Visibility


class TableKeys(NamedTuple):
    """The keys of a forward pass in which tables say who sees whom.

    Attributes:
        index: the index of all tokens of the sequence.
        shown_BL: bool, which of them other shots see; no token of text is.
        video_BL: bool, which of them are video.
        visibility: the tables.
    """

    index: TokenIndex
    shown_BL: jax.Array
    video_BL: jax.Array
    visibility: Visibility


def find_bias(keys: TableKeys, layer: jax.Array) -> jax.Array:
    """Returns what is added to the score of every pair in a block, float32[B L M], -inf where a key is not seen."""
    scene, shot = keys.index.scene, keys.index.shot
    pair = lambda of_query, of_key: (of_query[:, :, None], of_key[:, None, :])
    shot_q, shot_k = pair(shot, shot)
    video_q, shown_k = pair(keys.video_BL, keys.shown_BL)
    asked = video_q & shown_k & keys.visibility.asks_N[layer]
    between = jnp.where(asked, keys.visibility.bias_GG[shot_q, shot_k], -jnp.inf)
    whole = (shot_q == shot_k) | (shot_q == GLOBAL_SHOT) | (shot_k == GLOBAL_SHOT)
    scene_q, scene_k = pair(scene, scene)
    real = (scene_q == scene_k) & (scene_k != PADDING_SCENE)
    return jnp.where(real, jnp.where(whole, 0.0, between), -jnp.inf)


def attend_by_table(
    q_BHLK: jax.Array, k_BHLK: jax.Array, v_BHLK: jax.Array, keys: TableKeys, layer: jax.Array
) -> AttentionOutput:
    """Returns attention of a block over the keys that the tables let each token see."""
    return attend_biased(q_BHLK, k_BHLK, v_BHLK, find_bias(keys, layer))
