"""How long a training step takes at least, and so how high its MFU can be: work over published peaks.

There are four bounds: matrix products at the chip's peak, bytes through its memory, bytes over its links, and bytes to
the host's memory and back. With perfect overlap a step takes the longest of them; without overlap, it takes their sum.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

from lct_jax.backbones.registry import count_costs
from lct_jax.config import Config, Context, NetworkConfig
from lct_jax.costs.flops import Flops, count_computed, count_useful
from lct_jax.costs.recompute import KERNELS, POLICIES
from lct_jax.plan.collectives import Collective
from lct_jax.plan.parameters import Parameters
from lct_jax.plan.topology import Topology
from lct_jax.plan.workload import Workload


class Work(NamedTuple):
    """FLOPs of a training step over all devices: those that are computed, and the useful ones among them."""

    computed: Flops
    useful: Flops


class Roofline(NamedTuple):
    """Lower bounds of the seconds of a step: matrix products, and bytes through memory, over links and to hosts."""

    compute: float
    memory: float
    links: float
    host: float

    @property
    def step(self) -> float:
        """Seconds of a step with perfect overlap."""
        return max(self)

    @property
    def exposed(self) -> float:
        """Seconds of a step without overlap."""
        return sum(self)


def count_work(config: Config, workload: Workload, *, kernel: str) -> Work:
    """Returns the FLOPs of a step whose rows are all full of the workload's scenes."""
    return _count(config.network, config.training.context, workload, kernel)


@functools.cache
def _count(network: NetworkConfig, context: Context, workload: Workload, kernel: str) -> Work:
    costs = count_costs(network)
    row = count_computed(
        costs,
        [workload.scene] * workload.scenes,
        video=workload.video,
        text=workload.text,
        slots=workload.slots,
        context=context,
        kernel=KERNELS[kernel],
        again=POLICIES[network.compute.remat].again,
    )
    useful = count_useful(costs, workload.scene, context=context)
    return Work(row.times(workload.rows), useful.times(workload.rows * workload.scenes))


def bound_step(
    work: Work,
    parameters: Parameters,
    collectives: Sequence[Collective],
    topology: Topology,
    *,
    micro: int,
    offloaded: float,
) -> Roofline | None:
    """Returns the bounds of a step; None where no peaks are published (a CPU).

    Memory is counted for weights alone, read in both passes, and for the state, read and written once. Activations are
    left out, since how often they move is the compiler's choice.

    Args:
        micro: the number of batches over which a step is accumulated.
        offloaded: bytes that a device keeps on its host at a time, once in each of these batches.
    """
    chip = topology.chip
    if not chip.flops:
        return None
    state = parameters.params + parameters.optimiser + parameters.ema
    moved = (
        2 * state
        + parameters.frozen
        + micro * (2 * parameters.gathered_bytes + parameters.gradient_bytes)
    )
    return Roofline(
        compute=work.computed.total / (topology.chips * chip.flops),
        memory=moved * chip.devices / chip.bandwidth,
        links=sum(c.seconds for c in collectives),
        # There and back.
        host=2 * micro * offloaded * chip.devices / chip.host,
    )


def find_mfu(work: Work, topology: Topology, seconds: float) -> float:
    """Returns useful FLOPs a second over the peak of all chips."""
    return work.useful.total / (seconds * topology.chips * topology.chip.flops)
