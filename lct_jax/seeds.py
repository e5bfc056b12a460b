"""Makes keys of JAX from seeds of any size."""

from __future__ import annotations

import jax

# The bits of a seed that JAX uses.
_WORD = 32


def make_key(seed: int) -> jax.Array:
    """Returns the key of a seed: `jax.random.key(seed)` below 2**32, and a different key for every larger seed.

    JAX itself drops the higher bits of a seed, so that 2**32 would be 0, and fails on more than 64.

    Args:
        seed: 0 or more.
    """
    key = jax.random.key(seed % 2**_WORD)
    while seed := seed >> _WORD:
        key = jax.random.fold_in(key, seed % 2**_WORD)
    return key
