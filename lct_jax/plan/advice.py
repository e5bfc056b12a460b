"""What would help a run that does not fit: other settings, more chips, shorter rows, or a LoRA."""

from __future__ import annotations

from lct_jax.config import Config
from lct_jax.config.network import put
from lct_jax.costs.chips import GIB
from lct_jax.plan.rows import find_longest_row, fit_row
from lct_jax.plan.search import LARGEST, Option, double, find_larger
from lct_jax.plan.topology import Topology
from lct_jax.plan.training import TrainingPlan
from lct_jax.plan.workload import SceneTarget

# Settings of a search that are named.
NAMED = 3
# The rank of the LoRA that is proposed.
RANK = 16
# What a step holds whatever its rows are, by the names of an estimate.
AT_REST = ("parameters", "frozen base", "optimiser", "EMA", "gradients")


def advise_training(plan: TrainingPlan, target: SceneTarget, options: list[Option]) -> list[str]:
    """Returns what would help a step that does not fit; `options` are those found on its own topology."""
    if options:
        return [f"fits here with {option.describe()}" for option in options[:NAMED]]
    config, topology = plan.config, plan.topology
    lines = [_describe_rest(plan)]
    if larger := find_larger(config, topology, target):
        lines.append(f"fits on {larger[0].name} with {larger[1].describe()}")
    most = len(plan.workload.scene.shots)
    lines += _list_rows(config, topology, target, most)
    if not config.lora.rank:
        lora = put(config, rank=RANK)
        lines += _list_rows(lora, topology, target, most, f"--config.lora.rank={RANK} ")
    if not larger:
        lines += _find_slice(config, topology, target, most)
    return lines


def advise_sampling(topology: Topology, options: list[int]) -> list[str]:
    """Returns what would help sampling that does not fit."""
    if options:
        return [f"fits with --config.sampling.shards={shards}" for shards in options[:1]]
    return [
        f"no number of shards fits on {topology.name}: fewer or shorter shots, a smaller "
        "sampling.history_tokens, or --config.sampling.kv_dtype=int8"
    ]


def _describe_rest(plan: TrainingPlan) -> str:
    parts = (plan.estimate or plan.memory).parts
    rest = sum(parts.get(name, 0.0) for name in AT_REST)
    return (
        "no mesh, recomputation or micro-batch fits here; weights, their states and gradients "
        f"take {rest / GIB:.1f} GiB"
    )


def _list_rows(
    config: Config, topology: Topology, target: SceneTarget, most: int, flags: str = ""
) -> list[str]:
    """Returns a line with the longest row that fits, or none."""
    row = find_longest_row(config, topology, target, most=most)
    if row is None:
        return []
    what = "a LoRA, and " if flags else ""
    shots = f"{row.shots} shot{'s' * (row.shots > 1)} of {most}"
    return [f"fits on {topology.name} with {what}{shots} in a row: {flags}{row.describe()}"]


def _find_slice(config: Config, topology: Topology, target: SceneTarget, shots: int) -> list[str]:
    """Returns a line with the next larger topology that trains the whole scene in rows of its own, or none."""
    while 2 * topology.chips <= LARGEST and topology.kind != "cpu":
        topology = double(topology)
        if row := fit_row(config, topology, target, shots):
            return [f"fits on {topology.name} with a scene in a row: {row.describe()}"]
    return []
