"""What fits: meshes, remat policies and micro-batches on a topology, and larger slices of the same chip.

Every combination is planned (a few hundred, in seconds).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lct_jax.config import Config
from lct_jax.costs.recompute import POLICIES
from lct_jax.errors import InputError
from lct_jax.plan.sampling import plan_sampling
from lct_jax.plan.topology import Topology, parse_topology
from lct_jax.plan.training import plan_training
from lct_jax.plan.workload import SceneTarget

# The most chips that are considered.
LARGEST = 4096


@dataclass(frozen=True)
class Option:
    """A mesh, a remat policy and micro-batches, with what a step of them takes.

    Attributes:
        memory, host: bytes of a device, and those that it keeps in its host's memory.
        seconds: the least that a step takes; None without peaks.
    """

    seq: int
    remat: str
    accumulate: int
    memory: float
    host: float
    seconds: float | None

    def describe(self) -> str:
        """Returns the option as flags of a config."""
        return (
            f"--config.compute.seq_shards={self.seq} --config.compute.remat={self.remat} "
            f"--config.training.accumulate={self.accumulate}"
        )


def search(config: Config, topology: Topology, target: SceneTarget) -> list[Option]:
    """Returns all meshes, policies and micro-batches whose step fits.

    They are ordered by seconds, then by what is kept on the host, then by memory.
    """
    found = []
    for seq in _divisors(topology.devices):
        for remat in POLICIES:
            for accumulate in _divisors(config.data.rows):
                changed = dataclasses.replace(
                    config,
                    compute=dataclasses.replace(config.compute, remat=remat, seq_shards=seq),
                    training=dataclasses.replace(config.training, accumulate=accumulate),
                )
                try:
                    plan = plan_training(changed, topology, target, steps=1)
                # Such a mesh does not divide the rows, tokens or heads.
                except InputError:
                    continue
                if plan.fits:
                    seconds = None if plan.roofline is None else plan.roofline.step
                    memory = plan.memory
                    found.append(Option(seq, remat, accumulate, memory.total, memory.host, seconds))
    return sorted(found, key=lambda o: (o.seconds or 0.0, o.host, o.memory))


def search_sampling(
    config: Config, topology: Topology, target: SceneTarget, mode: str
) -> list[int]:
    """Returns all `sampling.shards` with which sampling fits, fewest first."""
    found = []
    for shards in _divisors(config.backbone.heads):
        sampling = dataclasses.replace(config.sampling, shards=shards)
        try:
            plan = plan_sampling(
                dataclasses.replace(config, sampling=sampling), topology, target, mode
            )
        except InputError:
            continue
        if plan.fits:
            found.append(shards)
    return found


def find_larger(
    config: Config, topology: Topology, target: SceneTarget
) -> tuple[Topology, Option] | None:
    """Returns the next larger topology of the same chip on which a step fits, and its fastest setting; sizes double."""
    while topology.chips < LARGEST and topology.kind != "cpu":
        topology = double(topology)
        if options := search(config, topology, target):
            return topology, options[0]
    return None


def double(topology: Topology) -> Topology:
    """Returns a topology with twice the chips, doubled along the shortest side."""
    shape = list(topology.shape)
    shortest = min(range(len(shape)), key=lambda axis: (shape[axis], axis))
    shape[shortest] *= 2
    kind = topology.name.partition(":")[0]
    return parse_topology(f"{kind}:{'x'.join(map(str, sorted(shape)))}")


def _divisors(number: int) -> list[int]:
    return [part for part in range(1, number + 1) if number % part == 0]
