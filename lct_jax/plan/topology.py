"""Topologies by name: which chips, how many, and how they are wired.

Names are `v6e:8x8` (TPU slices, by their shape in chips), `h100:64` (GPUs, in nodes of eight) or `cpu:8`. Slice names
are those of libtpu, so that what is planned can be compiled.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass

from lct_jax.costs.chips import CHIPS, Chip
from lct_jax.errors import InputError

CPU = "cpu"
_FORM = re.compile(r"([a-z0-9-]+)(?::(\d+(?:x\d+)*))?")


@dataclass(frozen=True)
class Topology:
    """Chips and their arrangement.

    Attributes:
        name: the name that it was parsed from.
        chip: the kind of chip.
        shape: chips along every dimension of a torus, else their number.
    """

    name: str
    chip: Chip
    shape: tuple[int, ...]

    @property
    def chips(self) -> int:
        """The number of chips."""
        return math.prod(self.shape)

    @property
    def devices(self) -> int:
        """The number of devices that JAX sees."""
        return self.chips * self.chip.devices

    @property
    def kind(self) -> str:
        """The platform: "tpu", "gpu" or "cpu"."""
        return CPU if not self.chip.flops else "tpu" if self.chip.torus else "gpu"


def parse_topology(text: str) -> Topology:
    """Returns a topology from its name; raises InputError naming --topology where there is none of that name."""
    form = _FORM.fullmatch(text.strip().lower())
    kind = form[1] if form else ""
    if kind != CPU and kind not in CHIPS:
        raise InputError(f"--topology: found {text!r}, expected one of {_examples()}")
    chip = _this_machine() if kind == CPU else CHIPS[kind]
    shape = tuple(map(int, (form[2] or ("1" if kind == CPU else "0")).split("x")))
    if len(shape) != (chip.torus or 1) or not all(shape):
        raise InputError(f"--topology: found {text!r}, expected a size such as {_example(kind)}")
    topology = Topology(text.strip().lower(), chip, shape)
    if topology.kind == "gpu" and shape[0] > chip.node and shape[0] % chip.node:
        raise InputError(
            f"--topology: found {text!r}, expected a multiple of {chip.node} GPUs, the size of a node"
        )
    return topology


def _examples() -> str:
    return ", ".join([*map(_example, CHIPS), CPU])


def _example(kind: str) -> str:
    if kind == CPU:
        return "cpu:8"
    return f"{kind}:{({2: '4x4', 3: '2x2x4'}).get(CHIPS[kind].torus, '16')}"


def _this_machine() -> Chip:
    """Returns this machine as a chip: simulated devices share its memory, and no peak of it is published here."""
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return Chip(
        "CPU",
        flops=0.0,
        bandwidth=0.0,
        memory=memory,
        usable=memory,
        link=0.0,
        torus=0,
        node=1,
        host=0.0,
    )
