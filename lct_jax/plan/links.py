"""How long bytes take between chips at least: a mesh axis is laid over a torus, or over nodes of switched GPUs.

The times are lower bounds from published link rates: every link of every dimension that an axis spans is always busy,
rings wrap wherever they can, and nothing waits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from lct_jax.costs.chips import Chip
from lct_jax.plan.topology import Topology

# A dimension of at least this many chips may be a ring when it is taken whole.
WRAPS = 4


class Shards(NamedTuple):
    """A mesh: the number of devices over rows and FSDP, and over the tokens of a row."""

    data: int
    seq: int


class AxisLinks(NamedTuple):
    """How an axis of the mesh is laid over a topology.

    Attributes:
        size: devices of a group.
        parts: how many of them are along each dimension of a torus.
        wraps: which of these are rings.
        near: devices of a group behind one switch (GPUs), or on one chip.
    """

    size: int
    parts: tuple[int, ...]
    wraps: tuple[bool, ...]
    near: int


def find_axis_links(topology: Topology, shards: Shards, axis: str) -> AxisLinks:
    """Returns how an axis is laid over a topology.

    Devices are laid row by row: `seq` takes the innermost ones, `data` what is left of every dimension.
    """
    size = getattr(shards, axis)
    if topology.kind != "tpu":
        node = min(topology.chip.node, topology.devices)
        near = math.gcd(node, shards.seq)
        return AxisLinks(size, (), (), near if axis == "seq" else max(1, node // near))
    sides = (topology.chip.devices, *topology.shape)
    inner = _take(shards.seq, sides)
    parts = inner if axis == "seq" else tuple(s // p for s, p in zip(sides, inner, strict=True))
    wraps = tuple(p == s >= WRAPS for p, s in zip(parts, sides, strict=True))
    return AxisLinks(size, parts[1:], wraps[1:], near=parts[0])


def gather_seconds(chip: Chip, links: AxisLinks, received: float) -> float:
    """Returns seconds of an all-gather or reduce-scatter in which every device receives (or sends) so many bytes."""
    if links.size == 1 or not chip.link:
        return 0.0
    outside = received * (links.size - links.near) / (links.size - 1)
    if not chip.torus:
        return max(received / chip.link, outside / links.near / _network(chip))
    spanned = sum(part > 1 for part in links.parts)
    # Devices of one chip share the bytes that arrive, and share its links.
    return outside / (chip.link * spanned / chip.torus) if spanned else 0.0


def exchange_seconds(chip: Chip, links: AxisLinks, sent: float) -> float:
    """Returns seconds of an all-to-all in which every device sends so many bytes, in equal parts to all others."""
    if links.size == 1 or not chip.link:
        return 0.0
    outside = sent * (links.size - links.near) / (links.size - 1)
    if not chip.torus:
        return max(sent / chip.link, outside / _network(chip))
    # Each byte takes up one link for every hop.
    hops = max(_hops(part, wrap) for part, wrap in zip(links.parts, links.wraps, strict=True))
    return outside * chip.devices * hops / (chip.link / chip.torus)


def _hops(part: int, wraps: bool) -> float:
    """Returns the mean distance between two places of a ring or a line."""
    return part / 4 if wraps else (part**2 - 1) / (3 * part)


def _network(chip: Chip) -> float:
    return chip.network or chip.link


def _take(size: int, sides: tuple[int, ...]) -> tuple[int, ...]:
    """Returns how many of `size` devices are along each dimension; the first dimension is filled first."""
    parts = []
    for side in sides:
        part = math.gcd(size, side)
        parts.append(part)
        size //= part
    return tuple(parts)
