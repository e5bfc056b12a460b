"""Implements the encoders of T5 1.1 (Raffel et al. 2019, arXiv 1910.10683) and UMT5 (Chung et al. 2023, arXiv
2304.09151).

They map token numbers to one vector for each token. They differ in one thing: T5's layers share the first one's table
of relative positions, and each layer of UMT5 has its own. Attention is not scaled, norms do not subtract the mean, and
norms and softmax are computed in float32 whatever the dtype of the rest is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


@dataclass(frozen=True)
class T5Config:
    """Holds sizes, by the names of the published config.

    Attributes:
        model_type: "t5" or "umt5". d_model: D. d_kv: K, the width of one head. d_ff: F. num_layers: N. num_heads: H.
        relative_attention_num_buckets, relative_attention_max_distance: the sizes of the table of relative positions.
        feed_forward_proj: "gated-gelu" (T5 1.1) or "relu" (the first T5).
    """

    model_type: Literal["t5", "umt5"]
    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_heads: int
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6
    feed_forward_proj: Literal["gated-gelu", "relu"] = "gated-gelu"


class Norm(nnx.Module):
    """Scales to root mean square 1, then by a learnt factor, in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        self.weight, self.epsilon = nnx.Param(jnp.ones(width)), epsilon

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Maps [B, L, D] to the same."""
        x = x_BLD.astype(jnp.float32)
        x = x * jax.lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + self.epsilon)
        return self.weight.get_value().reshape(1, 1, -1) * x.astype(x_BLD.dtype)


class Block(nnx.Module):
    """Applies attention and MLP, each after a norm; it has `positions` where the layer has a table of its own."""

    def __init__(self, config: T5Config, *, positions: bool, rngs: nnx.Rngs) -> None:
        inner = config.num_heads * config.d_kv
        linear = lambda i, o: nnx.Linear(i, o, use_bias=False, rngs=rngs)
        self.heads, self.gated = config.num_heads, config.feed_forward_proj == "gated-gelu"
        self.attention_norm = Norm(config.d_model, config.layer_norm_epsilon)
        self.q, self.k, self.v = (linear(config.d_model, inner) for _ in range(3))
        self.o = linear(inner, config.d_model)
        if positions:
            buckets = config.relative_attention_num_buckets
            self.positions = nnx.Embed(buckets, config.num_heads, rngs=rngs)
        self.mlp_norm = Norm(config.d_model, config.layer_norm_epsilon)
        if self.gated:
            self.wi_0, self.wi_1 = (linear(config.d_model, config.d_ff) for _ in range(2))
        else:
            self.wi = linear(config.d_model, config.d_ff)
        self.wo = linear(config.d_ff, config.d_model)

    def __call__(self, x_BLD: jax.Array, bias_BHLM: jax.Array) -> jax.Array:
        """Maps [B, L, D] to the same; `bias_BHLM` is added to the scores, float32."""
        split = lambda x: x.reshape(*x.shape[:2], self.heads, -1)
        h = self.attention_norm(x_BLD)
        q_BLHK, k_BMHK, v_BMHK = split(self.q(h)), split(self.k(h)), split(self.v(h))
        scores_BHLM = jnp.einsum("BLHK,BMHK->BHLM", q_BLHK, k_BMHK).astype(jnp.float32)
        weights_BHLM = jax.nn.softmax(scores_BHLM + bias_BHLM, axis=-1).astype(x_BLD.dtype)
        seen_BLHK = jnp.einsum("BHLM,BMHK->BLHK", weights_BHLM, v_BMHK)
        x_BLD = x_BLD + self.o(seen_BLHK.reshape(*x_BLD.shape[:2], -1))
        h = self.mlp_norm(x_BLD)
        hidden = (
            jax.nn.gelu(self.wi_0(h), approximate=True) * self.wi_1(h)
            if self.gated
            else jax.nn.relu(self.wi(h))
        )
        return x_BLD + self.wo(hidden)

    def make_bias(self, bucket_LM: jax.Array, real_BM: jax.Array) -> jax.Array:
        """Returns what this layer's table adds to scores [B, H, L, M], and minus infinity for padding."""
        bias_1HLM = self.positions(bucket_LM).transpose(2, 0, 1)[None].astype(jnp.float32)
        return jnp.where(real_BM[:, None, None, :], bias_1HLM, jnp.finfo(jnp.float32).min)


def bucket_distances(length: int, config: T5Config) -> np.ndarray:
    """Returns the row of the table of positions for each query and key: int32 [L, M].

    Half of the rows are for keys before the query, half for those after it. In each half, the first rows stand for
    single distances, and the others for ranges that grow with the logarithm of the distance up to the largest.
    """
    half = config.relative_attention_num_buckets // 2
    exact = half // 2
    offset_LM = np.arange(length)[None, :] - np.arange(length)[:, None]
    distance_LM = np.abs(offset_LM)
    grown = np.log(np.maximum(distance_LM, 1).astype(np.float32) / exact) / np.log(
        config.relative_attention_max_distance / exact
    )
    far_LM = np.minimum(exact + (grown * (half - exact)).astype(np.int32), half - 1)
    row_LM = np.where(distance_LM < exact, distance_LM, far_LM)
    return (row_LM + half * (offset_LM > 0)).astype(np.int32)
