"""A training step on a topology: whether it fits, what it computes and sends, and how long it takes at least.

Everything is counted and estimated from shapes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lct_jax.attention.attend import name_kernel
from lct_jax.config import Config
from lct_jax.costs.flops import Flops
from lct_jax.distributed.sharding import check_mesh
from lct_jax.errors import InputError
from lct_jax.plan.collectives import Collective, list_collectives
from lct_jax.plan.links import Shards
from lct_jax.plan.memory import Memory, estimate_memory
from lct_jax.plan.parameters import Parameters, make_abstract_mesh, place_parameters
from lct_jax.plan.remat import choose_remat
from lct_jax.plan.roofline import Roofline, Work, bound_step, count_work, find_mfu
from lct_jax.plan.topology import Topology
from lct_jax.plan.workload import SceneTarget, Workload, make_workload

DAY = 86_400.0


@dataclass(frozen=True)
class TrainingPlan:
    """The plan of a training step.

    Attributes:
        config: the config, in which `compute.remat` names a policy.
        steps: the steps of the planned run.
        estimate: memory as estimated, where `memory` is a compiler's.
    """

    config: Config
    topology: Topology
    shards: Shards
    workload: Workload
    parameters: Parameters
    memory: Memory
    work: Work
    collectives: list[Collective]
    roofline: Roofline | None
    steps: int
    estimate: Memory | None = None

    @property
    def fits(self) -> bool:
        """Whether a device has that much memory."""
        return self.memory.total <= self.topology.chip.usable

    @property
    def mfu(self) -> float | None:
        """The highest possible MFU; None without peaks."""
        if self.roofline is None:
            return None
        return find_mfu(self.work, self.topology, self.roofline.step)

    @property
    def days(self) -> float | None:
        """The shortest duration of the run in days; None without peaks."""
        return None if self.roofline is None else self.steps * self.roofline.step / DAY

    @property
    def useful_share(self) -> Flops:
        """The useful share of what is computed, for linear work and attention apart."""
        useful, computed = self.work.useful, self.work.computed
        return Flops(useful.linear / computed.linear, useful.attention / computed.attention)


def plan_training(
    config: Config, topology: Topology, target: SceneTarget, *, steps: int
) -> TrainingPlan:
    """Returns the plan of a training step on all devices of a topology.

    Raises:
        InputError: rows, tokens or heads do not divide over the mesh, or the scene does not fit in a row.
    """
    shards = find_shards(config, topology)
    workload = make_workload(config, target)
    parameters = place_parameters(config.network, shards, optimizer=config.training.optimizer)
    config = choose_remat(config, shards, topology.chip)
    work = count_work(config, workload, kernel=find_kernel(config, topology))
    collectives = list_collectives(config, parameters, shards, topology)
    memory, micro = estimate_memory(config, parameters, shards), config.training.accumulate
    bound = bound_step(work, parameters, collectives, topology, micro=micro, offloaded=memory.host)
    return TrainingPlan(
        config=config,
        topology=topology,
        shards=shards,
        workload=workload,
        parameters=parameters,
        memory=memory,
        work=work,
        collectives=collectives,
        roofline=bound,
        steps=steps,
    )


def find_shards(config: Config, topology: Topology) -> Shards:
    """Returns the mesh that `train.py` lays over a topology; raises InputError where something does not divide."""
    seq = config.compute.seq_shards
    if topology.devices % seq:
        raise InputError(
            f"compute.seq_shards: found {seq} over the {topology.devices} devices of {topology.name}, "
            f"expected a divisor, such as --config.compute.seq_shards={math.gcd(seq, topology.devices)}"
        )
    shards = Shards(topology.devices // seq, seq)
    check_mesh(make_abstract_mesh(shards), config)
    return shards


def find_kernel(config: Config, topology: Topology) -> str:
    """Returns the attention kernel that a config takes on a topology."""
    return name_kernel(config.compute.kernel, topology.kind)
