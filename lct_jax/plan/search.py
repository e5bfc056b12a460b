"""What fits: meshes, remat policies and micro-batches on a topology, and slices of the same chip that are large enough.

A config, a topology and a wish enter, `Option`s leave, found by planning every combination (a few hundred, in seconds).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lct_jax.config import Config
from lct_jax.costs.recompute import POLICIES
from lct_jax.errors import InputError
from lct_jax.plan.sampling import plan_sampling
from lct_jax.plan.topology import Topology, parse_topology
from lct_jax.plan.training import TrainingPlan, plan_training
from lct_jax.plan.workload import SceneTarget

LARGEST = 4096  # chips that are looked at


@dataclass(frozen=True)
class Option:
    """A mesh, a remat policy and micro-batches, and what becomes of a step with them."""

    seq: int
    remat: str
    accumulate: int
    memory: float
    seconds: float | None

    def describe(self) -> str:
        """As flags of a config."""
        return (
            f"--config.compute.seq_shards={self.seq} --config.compute.remat={self.remat} "
            f"--config.training.accumulate={self.accumulate}"
        )


def search(config: Config, topology: Topology, wish: SceneTarget) -> list[Option]:
    """All meshes, policies and micro-batches whose step fits, fastest first, and of equal ones the smallest."""
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
                    plan = plan_training(changed, topology, wish, steps=1)
                except InputError:  # it does not divide
                    continue
                if plan.fits:
                    seconds = None if plan.roofline is None else plan.roofline.step
                    found.append(Option(seq, remat, accumulate, plan.memory.total, seconds))
    return sorted(found, key=lambda o: (o.seconds or 0.0, o.memory))


def search_sampling(config: Config, topology: Topology, wish: SceneTarget, mode: str) -> list[int]:
    """All `sampling.shards` with which sampling fits, fewest first."""
    found = []
    for shards in _divisors(config.backbone.heads):
        sampling = dataclasses.replace(config.sampling, shards=shards)
        try:
            plan = plan_sampling(
                dataclasses.replace(config, sampling=sampling), topology, wish, mode
            )
        except InputError:
            continue
        if plan.fits:
            found.append(shards)
    return found


def find_larger(
    config: Config, topology: Topology, wish: SceneTarget
) -> tuple[Topology, Option] | None:
    """The next topology of the same chip, each twice the last, on which a step fits, and its fastest setting."""
    while topology.chips < LARGEST and topology.kind != "cpu":
        topology = _double(topology)
        if options := search(config, topology, wish):
            return topology, options[0]
    return None


def advise_training(plan: TrainingPlan, wish: SceneTarget, options: list[Option]) -> list[str]:
    """What would help a step that does not fit; `options` are those found on its own topology."""
    if options:
        return [f"fits here with {option.describe()}" for option in options[:3]]
    larger = find_larger(plan.config, plan.topology, wish)
    if larger is None:
        return [
            f"no larger topology of {plan.topology.chip.title} was found either: shorten data.video_tokens"
        ]
    topology, option = larger
    return [f"fits on {topology.name} with {option.describe()}"]


def advise_sampling(topology: Topology, options: list[int]) -> list[str]:
    """What would help sampling that does not fit."""
    if options:
        return [f"fits with --config.sampling.shards={shards}" for shards in options[:1]]
    return [
        f"no number of shards fits on {topology.name}: fewer or shorter shots, a smaller "
        "sampling.history_tokens, or --config.sampling.kv_dtype=int8"
    ]


def _double(topology: Topology) -> Topology:
    """Twice the chips, along the shortest side."""
    shape = list(topology.shape)
    shortest = min(range(len(shape)), key=lambda axis: (shape[axis], axis))
    shape[shortest] *= 2
    kind = topology.name.partition(":")[0]
    return parse_topology(f"{kind}:{'x'.join(map(str, sorted(shape)))}")


def _divisors(number: int) -> list[int]:
    return [part for part in range(1, number + 1) if number % part == 0]
