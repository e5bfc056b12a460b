"""Which token sees which: the one mask of the project, and the same thing as intervals for kernels.

`visible` is the definition. Kernels do not build it: sorted by scene and group, the keys that a query sees lie
side by side, so a mask of L x M booleans is two numbers a query. Text and video are stored as two streams; the
order brings each group's text and video together.

Where each shot alone sees its own prompt, what a query sees is two intervals: of all keys but the prompts of shots,
and of those prompts (`divide_keys`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lct_jax.config import Context
from lct_jax.types import GLOBAL_SHOT, PADDING_SCENE, TokenIndex

Scope = Context | Literal["own"]  # how far a query sees within its scene
GROUPS = 2**15  # more than a scene has: (scene, shot) becomes one number to sort by
LAST = jnp.iinfo(jnp.int32).max  # where padding goes


def visible(query: TokenIndex, key: TokenIndex, scope: Scope) -> jax.Array:
    """bool[B L M]: whether a query token sees a key token.

    Full context: the same scene, and neither is padding. Causal context also asks that the key's group is not
    later than the query's; inside a group attention stays bidirectional [LCT section 3.4]. "own" asks for the
    query's group itself.
    """
    scene_q, scene_k = query.scene[:, :, None], key.scene[:, None, :]
    seen = (scene_q == scene_k) & (scene_k != PADDING_SCENE)
    shot_q, shot_k = query.shot[:, :, None], key.shot[:, None, :]
    if scope == "causal":
        seen &= shot_k <= shot_q
    elif scope == "own":
        seen &= shot_k == shot_q
    return seen


def divide_keys(key: TokenIndex, is_text_BL: jax.Array) -> tuple[TokenIndex, TokenIndex]:
    """All keys but the prompts of shots, and those prompts alone; the others of each are padding."""
    of_shot = is_text_BL & (key.shot != GLOBAL_SHOT)
    return hide(key, of_shot), hide(key, ~of_shot)


def hide(index: TokenIndex, hidden_BL: jax.Array) -> TokenIndex:
    """Some tokens as padding, which nothing sees."""
    return index._replace(scene=jnp.where(hidden_BL, PADDING_SCENE, index.scene))


class Permutation(NamedTuple):
    """A permutation of tokens, int32[B L] each.

    Attributes:
        order: the place of the n-th sorted token in the stored order. inverse: the inverse permutation.
    """

    order: jax.Array
    inverse: jax.Array


class KeySpans(NamedTuple):
    """`visible` as intervals over sorted tokens; made once a forward pass and shared by all blocks.

    Attributes:
        query, key: the `Permutation` of queries and keys.
        start, end: int32[B L], the half-open interval of sorted keys that the n-th sorted query sees; padding
            has an empty one.
        query_segment, key_segment: int32[B L] and [B M], the segment of the n-th sorted token: its scene, or for the
            scope "own" its scene and shot. What a query sees is equally the keys of its segment before `end`, which
            is what some kernels ask for.
    """

    query: Permutation
    key: Permutation
    start: jax.Array
    end: jax.Array
    query_segment: jax.Array
    key_segment: jax.Array


def find_spans(query: TokenIndex, key: TokenIndex, scope: Scope) -> KeySpans:
    """Returns `visible(query, key, scope)` as intervals and segments."""
    rank_q, rank_k = _rank(query), _rank(key)
    order_q, order_k = _sort(rank_q), _sort(rank_k)
    sorted_q = jnp.take_along_axis(rank_q, order_q.order, axis=1)
    sorted_k = jnp.take_along_axis(rank_k, order_k.order, axis=1)
    scene = sorted_q // GROUPS * GROUPS
    # The first key of the scene or of the query's own group, and the first one behind the scene or that group.
    start = sorted_q if scope == "own" else scene
    end = scene + GROUPS if scope == "full" else sorted_q + 1
    find = jax.vmap(jnp.searchsorted)
    real = sorted_q != LAST
    segment_of = lambda rank: rank if scope == "own" else rank // GROUPS
    return KeySpans(
        query=order_q,
        key=order_k,
        start=jnp.where(real, find(sorted_k, jnp.where(real, start, 0)), 0),
        end=jnp.where(real, find(sorted_k, jnp.where(real, end, 0)), 0),
        query_segment=jnp.where(real, segment_of(sorted_q), PADDING_SCENE),
        key_segment=jnp.where(sorted_k != LAST, segment_of(sorted_k), PADDING_SCENE),
    )


@jax.custom_vjp
def reorder(x_BHLK: jax.Array, order_BL: jax.Array, inverse_BL: jax.Array) -> jax.Array:
    """Tokens in the order `order_BL`; `inverse_BL` is its inverse, with which the gradient returns.

    A gather's own gradient is a scatter-add, which is many times slower, since it does not know of permutations.
    """
    # A permutation is in bounds. Asked to fill what is not, the compiler selects over all of the result once more.
    return jnp.take_along_axis(x_BHLK, order_BL[:, None, :, None], axis=2, mode="promise_in_bounds")


def _reorder_and_save(
    x: jax.Array, order: jax.Array, inverse: jax.Array
) -> tuple[jax.Array, Permutation]:
    return reorder(x, order, inverse), Permutation(order, inverse)


def _reorder_back(saved: Permutation, gradient: jax.Array) -> tuple[jax.Array, None, None]:
    return reorder(gradient, saved.inverse, saved.order), None, None


reorder.defvjp(_reorder_and_save, _reorder_back)


def _sort(rank_BL: jax.Array) -> Permutation:
    order = jnp.argsort(rank_BL, axis=1)
    return Permutation(order, jnp.argsort(order, axis=1))


def _rank(index: TokenIndex) -> jax.Array:
    return jnp.where(index.scene == PADDING_SCENE, LAST, index.scene * GROUPS + index.shot)
