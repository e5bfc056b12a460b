"""Applies a causal network to a whole video in chunks of time, in the memory that one chunk takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from lct_jax.codecs.causal_conv import Past, Slots

Step = Callable[[np.ndarray, Slots | None], tuple[jax.Array, Slots]]


def make_step(
    graph: nnx.GraphDef, params: Any, apply: Callable[[Any, jax.Array, Past], jax.Array]
) -> Step:
    """Compiles `apply(network, chunk, past)` as a function (chunk, slots) -> (result, slots).

    The slots are donated and must not be used afterwards: the result takes their memory.
    """

    def run(params: Any, x: jax.Array, slots: Slots | None) -> tuple[jax.Array, Slots]:
        past = Past(slots)
        with jax.default_matmul_precision("highest"):  # latents are equal on every machine
            return apply(nnx.merge(graph, params), x, past), past.slots()

    compiled = jax.jit(run, donate_argnames="slots")
    return lambda x, slots: compiled(params, x, slots)


def iter_chunks(step: Step, frames: np.ndarray, starts: Sequence[int]) -> Iterator[np.ndarray]:
    """Yields the results [t X Y c] of a step that is applied to frames [T X Y c], from each start to the next."""
    slots = None
    for start, stop in zip(starts, [*starts[1:], len(frames)], strict=True):
        part, slots = step(frames[None, start:stop], slots)
        yield np.asarray(part[0])


def frame_starts(frames: int, chunk: int) -> list[int]:
    """Returns the starts of chunks of which the first is one frame alone: 0, 1, 1 + chunk, and so on."""
    return [0, *range(1, frames, chunk)]
