r"""Runs a program of this project with a deliberate fault in the model, to test whether a check notices it.

    python -m benchmarks.broken rope train.py --config=configs/puppets.py --data=DIR --workdir=DIR

The arguments are a name of `BREAKS`, a script or module, and its flags; the program runs with that one fault.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from lct_jax.attention.mask import KeySpans, find_spans, hide
from lct_jax.attention.rope import Rotation
from lct_jax.attention.ulysses import Streams
from lct_jax.backbones import layers
from lct_jax.backbones.mmdit import network as mmdit
from lct_jax.types import GLOBAL_SHOT, TokenIndex


def break_attention() -> None:
    """Restricts the attention of a shot to itself and the global prompt."""

    def find_keys(
        self: mmdit.MMDiT, index: TokenIndex, streams: Streams, context: str
    ) -> tuple[KeySpans, ...]:
        del self, streams, context
        is_global = index.shot == GLOBAL_SHOT
        common, shots = hide(index, ~is_global), hide(index, is_global)
        return find_spans(index, common, "full"), find_spans(index, shots, "own")

    _replace(mmdit.MMDiT, "_find_keys", find_keys)


def break_rope() -> None:
    """Skips rotation, so that tokens have no positions."""
    _replace(layers, "rotate", lambda x, rotation: x)


def break_rope_axes() -> None:
    """Exchanges rows and columns in the rotation, for all tokens."""
    make = mmdit.make_rotation

    def make_swapped(coord: jax.Array, **settings: object) -> Rotation:
        return make(coord[..., jnp.array([0, 2, 1])], **settings)

    _replace(mmdit, "make_rotation", make_swapped)


def break_time() -> None:
    """Gives the model the same time, whatever the time is."""
    features = mmdit.time_features
    wrong = lambda time_BS, width: features(jnp.full_like(time_BS, 0.5), width)
    _replace(mmdit, "time_features", wrong)


def break_time_of_groups() -> None:
    """Modulates every group by the time of the group before it."""
    right = layers.of_group
    wrong = lambda table_BSD, group_BL: right(jnp.roll(table_BSD, 1, axis=1), group_BL)
    _replace(layers, "of_group", wrong)
    _replace(mmdit, "of_group", wrong)


def _replace(owner: Any, name: str, value: Callable[..., Any]) -> None:
    """Replaces an attribute for good; raises AttributeError where there is none, since nothing would be broken then."""
    mock.patch.object(owner, name, value).start()


BREAKS: dict[str, Callable[[], None]] = {
    "attention": break_attention,
    "rope": break_rope,
    "rope_axes": break_rope_axes,
    "time": break_time,
    "time_of_groups": break_time_of_groups,
}


def main() -> None:
    name, program, *rest = sys.argv[1:]
    if name not in BREAKS:
        sys.exit(f"error: found {name!r}, expected one of {', '.join(BREAKS)}")
    BREAKS[name]()
    sys.argv = [program, *rest]
    run = runpy.run_path if program.endswith(".py") else runpy.run_module
    run(program, run_name="__main__")


if __name__ == "__main__":
    main()
