"""How long a training step takes at least, and so how high its MFU can be: work over published peaks.

Work, memory and collectives enter, a `Roofline` leaves. Three bounds: matrix products at the chip's peak, bytes through
its memory, bytes over its links. With perfect overlap a step takes the longest of them; with none, their sum.
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
    """FLOPs of a training step over all devices: what is computed, and what of it is useful."""

    computed: Flops
    useful: Flops


class Roofline(NamedTuple):
    """Seconds of a step, each a bound from below: products, bytes through memory, bytes over links."""

    compute: float
    memory: float
    links: float

    @property
    def step(self) -> float:
        """With perfect overlap."""
        return max(self)

    @property
    def exposed(self) -> float:
        """With none."""
        return sum(self)


def count_work(config: Config, workload: Workload, *, kernel: str) -> Work:
    """FLOPs of a step whose rows are all full of the workload's scenes."""
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
) -> Roofline | None:
    """The bounds of a step; None where no peaks are published (a CPU).

    Args:
        micro: batches a step is accumulated over. Memory is charged for weights alone, read in both passes, and for
            the state, read and written once: activations are left out, for how often they move is the compiler's
            choice.
    """
    chip = topology.chip
    if not chip.flops:
        return None
    state = parameters.params + parameters.optimiser + parameters.ema
    moved = 2 * state + micro * (2 * parameters.gathered_bytes + parameters.gradient_bytes)
    return Roofline(
        compute=work.computed.total / (topology.chips * chip.flops),
        memory=moved * chip.devices / chip.bandwidth,
        links=sum(c.seconds for c in collectives),
    )


def find_mfu(work: Work, topology: Topology, seconds: float) -> float:
    """Useful FLOPs a second over the peak of all chips."""
    return work.useful.total / (seconds * topology.chips * topology.chip.flops)
