"""Prints how many shots, of the length that a base was made with, train on one row of which machine.

    python -m benchmarks.shots_that_fit [--only=v5e:1x1]

It makes the table of docs/plan.md from the estimates of `lct_jax.plan`, whose distance from the compiler's figures is
in benchmarks/README.md. Of meshes, recomputation and offloading the fastest is taken of those that leave 5% of the
memory free; a group of devices has one row at a time, and no more than nine shots are asked for. Nothing is compiled.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from absl import flags

from lct_jax.cli import load_config, run
from lct_jax.config import Config, freeze
from lct_jax.config.network import put
from lct_jax.costs.chips import GIB
from lct_jax.plan.rows import find_longest_row
from lct_jax.plan.topology import Topology, parse_topology
from lct_jax.plan.workload import SceneTarget

ONLY = flags.DEFINE_string("only", "", "Only this topology.")
MOST_SHOTS = 9
# What is planned: a config, the rank of a LoRA or 0, and the machines.
SMALL = ("v5e:1x1", "v6e:1x1", "v5e:2x4", "v6e:2x2", "h100:1", "h100:8")
CASES = [
    ("wan_1_3b", 16, SMALL),
    ("wan_1_3b", 0, (*SMALL, "v6e:4x4", "v5p:2x2x1")),
    ("wan22_5b", 16, ("v5e:1x1", "v6e:1x1", "v5e:2x4", "v6e:2x2", "h100:1", "h100:8")),
    ("wan22_5b", 0, ("v6e:4x4", "v5p:2x2x2", "h100:8")),
    ("wan_14b", 16, ("v6e:2x2", "v6e:2x4", "v6e:4x4", "v5p:2x2x1", "h100:8")),
    ("wan_14b", 0, ("v6e:4x8", "v5p:2x2x4", "h100:16")),
]


def main(argv: Sequence[str]) -> None:
    del argv
    print(
        "| Base | trained | machine | shots | tokens | devices a row | kept | GiB a device | s a scene |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, rank, machines in CASES:
        config = freeze(load_config(str(Path(__file__).parents[1] / "configs" / f"{name}.py")))
        for machine in machines:
            if ONLY.value in ("", machine):
                print(describe(put(config, rank=rank), parse_topology(machine)), flush=True)


def describe(config: Config, topology: Topology) -> str:
    """Returns the line of one network on one machine."""
    rank = config.lora.rank
    start = f"| {config.name} | {f'LoRA {rank}' if rank else 'all'} | {topology.name} "
    found = find_longest_row(config, topology, SceneTarget(), most=MOST_SHOTS)
    if found is None:
        return f"{start}| none | | | | | |"
    best, data = found.option, found.config.data
    host = f" (and {best.host / GIB:.1f} on the host)" if best.host else ""
    return (
        f"{start}| {found.shots} | {data.video_tokens:,} | {best.seq} | {best.remat} "
        f"| {best.memory / GIB:.1f}{host} | {best.seconds / data.rows:.1f} |"
    )


if __name__ == "__main__":
    run(main)
