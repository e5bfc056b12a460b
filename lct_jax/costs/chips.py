"""Peaks of accelerators as their vendors publish them, for plans, metrics and benchmarks alike.

`CHIPS` has a `Chip` for every name, such as `v6e` or `h100`. The sources are docs.cloud.google.com/tpu/docs/v5e, /v5p,
/v6e and /tpu7x, NVIDIA's data sheets of A100, H100, H800, H200 and B200, and those of DGX systems (one 200 or 400
Gbit/s adapter a GPU). An H100 NVL is joined to one other by NVLink bridges, an H100 PCIe to the others by PCIe 5 alone.
Rates between a TPU and its host are those of the second chapter of jax-ml.github.io/scaling-book, which has none of
TPU7x: that of v6e is taken. GPUs have PCIe 4 (A100) or 5. Rates are without sparsity. The usable memory of a TPU is
what its compiler names when a program is too large.
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One accelerator.

    Attributes:
        title: its name in prose. flops: bfloat16 FLOP/s. bandwidth: bytes/s of its memory. memory: published bytes.
        usable: bytes that programs may have of one device.
        devices: how many devices JAX counts for a chip. All other figures but `usable` are for a chip.
        link: bytes/s that it sends to its neighbours over all links at once; it receives as many at the same time.
        torus: dimensions in which chips are wired, 0 where a switch joins the chips of a node.
        node: chips behind one switch, or on one host.
        host: bytes/s that a chip sends to its host's memory, or receives from it.
        network: bytes/s that a chip sends to other nodes, 0 where nodes are joined by `link` as well.
    """

    title: str
    flops: float
    bandwidth: float
    memory: float
    usable: float
    link: float
    torus: int
    node: int
    host: float
    network: float = 0.0
    devices: int = 1


CHIPS = {
    "v5e": Chip(
        "TPU v5e", 197e12, 819e9, 16e9, 15.75 * GIB, link=200e9, torus=2, node=8, host=15e9
    ),
    "v6e": Chip(
        "TPU v6e", 918e12, 1638e9, 32e9, 31.24 * GIB, link=400e9, torus=2, node=8, host=32e9
    ),
    "v5p": Chip(
        "TPU v5p", 459e12, 2765e9, 95e9, 95.73 * GIB, link=600e9, torus=3, node=4, host=15e9
    ),
    "tpu7x": Chip(
        "TPU7x",
        2307e12,
        7380e9,
        192 * GIB,
        94.74 * GIB,
        link=600e9,
        torus=3,
        node=4,
        host=32e9,
        devices=2,
    ),
    # A GPU of 80 GB has 79.6 GiB. The driver, the context and NCCL take a part of that, for which the published 80e9
    # bytes leave 5 GiB.
    "a100": Chip(
        "A100 SXM", 312e12, 2039e9, 80e9, 80e9, link=300e9, torus=0, node=8, host=32e9, network=25e9
    ),
    "a100-40": Chip(
        "A100 SXM 40 GB",
        312e12,
        1555e9,
        40e9,
        40e9,
        link=300e9,
        torus=0,
        node=8,
        host=32e9,
        network=25e9,
    ),
    "h100": Chip(
        "H100 SXM", 989e12, 3350e9, 80e9, 80e9, link=450e9, torus=0, node=8, host=64e9, network=50e9
    ),
    "h100-nvl": Chip(
        "H100 NVL", 835e12, 3900e9, 94e9, 94e9, link=300e9, torus=0, node=2, host=64e9, network=50e9
    ),
    "h100-pcie": Chip(
        "H100 PCIe", 756e12, 2000e9, 80e9, 80e9, link=64e9, torus=0, node=8, host=64e9, network=50e9
    ),
    "h800": Chip(
        "H800 SXM", 989e12, 3350e9, 80e9, 80e9, link=200e9, torus=0, node=8, host=64e9, network=50e9
    ),
    "h200": Chip(
        "H200 SXM",
        989e12,
        4800e9,
        141e9,
        141e9,
        link=450e9,
        torus=0,
        node=8,
        host=64e9,
        network=50e9,
    ),
    "b200": Chip(
        "B200 SXM",
        2250e12,
        8000e9,
        180e9,
        180e9,
        link=900e9,
        torus=0,
        node=8,
        host=64e9,
        network=50e9,
    ),
}
