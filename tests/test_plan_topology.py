"""Topologies by their names, and how their links lie along the axes of a mesh."""

from __future__ import annotations

import pytest

from lct_jax.costs.chips import CHIPS
from lct_jax.errors import InputError
from lct_jax.plan.links import AxisLinks, Shards, exchange_seconds, find_axis_links, gather_seconds
from lct_jax.plan.topology import parse_topology


@pytest.mark.parametrize(
    ("name", "chips", "devices"),
    [
        ("v6e:8x8", 64, 64),
        ("v5p:4x4x4", 64, 64),
        ("tpu7x:2x2x1", 4, 8),
        ("h100:64", 64, 64),
        ("a100-40:16", 16, 16),
    ],
)
def test_a_topology_by_its_name(name, chips, devices):
    found = parse_topology(name)
    assert (found.chips, found.devices) == (chips, devices)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "v9:2x2",
            "expected one of v5e:4x4, v6e:4x4, v5p:2x2x4, tpu7x:2x2x4, a100:16, a100-40:16, "
            "h100:16, h100-nvl:16, h100-pcie:16, h800:16, h200:16, b200:16, cpu",
        ),
        ("v6e", "expected a size such as v6e:4x4"),
        ("v6e:2x2x2", "expected a size such as v6e:4x4"),
        ("v5p:4x4", "expected a size such as v5p:2x2x4"),
        ("v6e:0x4", "expected a size such as v6e:4x4"),
        ("h100:12", "expected a multiple of 8 GPUs, the size of a node"),
        (
            "",
            "expected one of v5e:4x4, v6e:4x4, v5p:2x2x4, tpu7x:2x2x4, a100:16, a100-40:16, "
            "h100:16, h100-nvl:16, h100-pcie:16, h800:16, h200:16, b200:16, cpu",
        ),
    ],
)
def test_an_unknown_topology_is_named(text, expected):
    with pytest.raises(InputError) as caught:
        parse_topology(text)
    assert str(caught.value) == f"--topology: found {text!r}, {expected}"


def test_mesh_axes_in_a_torus_and_in_nodes():
    v6e = parse_topology("v6e:8x8")
    assert find_axis_links(v6e, Shards(4, 16), "seq") == AxisLinks(
        16, (8, 2), (True, False), near=1
    )
    assert find_axis_links(v6e, Shards(4, 16), "data") == AxisLinks(
        4, (1, 4), (False, False), near=1
    )
    # The two devices of a chip are neighbours along seq.
    assert find_axis_links(parse_topology("tpu7x:2x2x1"), Shards(2, 4), "seq") == AxisLinks(
        4, (2, 1, 1), (False,) * 3, near=2
    )
    h100 = parse_topology("h100:32")
    assert [find_axis_links(h100, Shards(8, 4), axis).near for axis in ("data", "seq")] == [2, 4]


def test_seconds_on_links_by_hand():
    v6e, h100 = CHIPS["v6e"], CHIPS["h100"]
    line = AxisLinks(4, (1, 4), (False, False), near=1)
    # An axis along one of two dimensions has half of the 400 GB/s.
    assert gather_seconds(v6e, line, 400e9) == 2.0
    # Two places of this line are 1.25 apart in the mean.
    assert exchange_seconds(v6e, line, 200e9) == 200e9 * (15 / 12) / 200e9
    ring = AxisLinks(8, (8, 1), (True, False), near=1)
    # Two places of a ring of eight are 2 apart in the mean.
    assert exchange_seconds(v6e, ring, 200e9) == 2.0
    # Half of what sixteen GPUs in two nodes receive from each other comes over 8 adapters of 50 GB/s.
    nodes = AxisLinks(16, (), (), near=8)
    assert gather_seconds(h100, nodes, 15e9) == pytest.approx(max(15 / 450, 8 / (8 * 50)))
    assert exchange_seconds(h100, nodes, 15e9) == pytest.approx(8 / 50)
    assert gather_seconds(h100, AxisLinks(1, (), (), 1), 0.0) == 0.0
