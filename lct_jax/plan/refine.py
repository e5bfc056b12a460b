"""Plans whose estimated memory and collectives are replaced by those of the compiled program.

`estimate` of a refined plan keeps what was estimated. A program that is too large has its bytes all the same: the
compiler names them when it refuses the program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax

from lct_jax.plan.assigned import compile_until_assigned
from lct_jax.plan.collectives import Collective
from lct_jax.plan.compiled import Compiled, compile_program
from lct_jax.plan.hlo import Traffic, find_collectives
from lct_jax.plan.links import exchange_seconds, find_axis_links, gather_seconds
from lct_jax.plan.memory import Memory
from lct_jax.plan.programs import (
    find_devices,
    list_programs,
    lower_sampling,
    lower_step,
    make_topology_mesh,
)
from lct_jax.plan.roofline import bound_step
from lct_jax.plan.sampling import SamplingPlan
from lct_jax.plan.topology import Topology
from lct_jax.plan.training import TrainingPlan


def refine_training(plan: TrainingPlan, compiled: Compiled) -> TrainingPlan:
    """Returns a plan of training with the memory and collectives of its compiled step."""
    config, shards = plan.config, plan.shards
    changed = dataclasses.replace(plan, memory=_memory(compiled), estimate=plan.memory)
    if not compiled.text:
        return changed
    sent = find_collectives(compiled.text, data=shards.data, seq=shards.seq)
    collectives = [_time(found, plan) for found in sent]
    micro = config.training.accumulate
    roofline = bound_step(
        plan.work,
        plan.parameters,
        collectives,
        plan.topology,
        micro=micro,
        offloaded=plan.memory.host,
    )
    return dataclasses.replace(changed, collectives=collectives, roofline=roofline)


def compile_step(
    plan: TrainingPlan, gpu_spec: Path | None = None, *, whole: bool = False
) -> Compiled:
    """Compiles the train step of `train.py` for the plan's topology.

    Args:
        gpu_spec: the description of a GPU for XLA's compiler.
        whole: compile for a TPU to the end, which takes minutes at 3B; only then the text has estimates of cycles.
    """
    return _compile(partial(lower_planned, plan, gpu_spec), plan.topology, whole=whole)


def lower_planned(plan: TrainingPlan, gpu_spec: Path | None = None) -> jax.stages.Lowered:
    """Returns the train step of `train.py`, lowered for the plan's topology."""
    mesh = make_topology_mesh(plan.config, find_devices(plan.topology, gpu_spec))
    return lower_step(plan.config, mesh)


def refine_sampling(plan: SamplingPlan, gpu_spec: Path | None = None) -> SamplingPlan:
    """Returns a plan with the memory of the largest compiled program of `sample.py`, and of what stays beside it."""
    devices = plan.shards.data * plan.shards.seq
    compiled = [
        _compile(partial(_lower_program, plan, gpu_spec, name), plan.topology)
        for name in list_programs(plan)
    ]
    largest = max(compiled, key=lambda program: program.total)
    parts = _memory(largest).parts | {"cache": plan.cache / devices}
    return dataclasses.replace(plan, memory=Memory(parts), estimate=plan.memory)


def _lower_program(plan: SamplingPlan, gpu_spec: Path | None, name: str) -> jax.stages.Lowered:
    return lower_sampling(plan, find_devices(plan.topology, gpu_spec), name)


def _compile(
    lower: Callable[[], jax.stages.Lowered], topology: Topology, *, whole: bool = False
) -> Compiled:
    assigned = topology.kind == "tpu" and not whole
    return compile_until_assigned(lower) if assigned else compile_program(lower())


def _memory(compiled: Compiled) -> Memory:
    if not compiled.text:
        return Memory({"the program": compiled.total})
    return Memory(
        {
            "arguments": float(compiled.arguments),
            "temporaries": float(compiled.temporaries),
        },
        host=float(compiled.host),
    )


def _time(sent: Traffic, plan: TrainingPlan) -> Collective:
    """Returns seconds that the links take; collectives over both axes count as if all went along the longer one."""
    axes = {"both": "data" if plan.shards.data >= plan.shards.seq else "seq"}
    links = find_axis_links(plan.topology, plan.shards, axes.get(sent.axis, sent.axis))
    seconds = exchange_seconds if sent.kind == "all-to-all" else gather_seconds
    what = f"{'beside other work' if sent.hidden else 'alone'}: {sent.op}"
    return Collective(
        *(sent.kind, what, sent.axis, sent.count, sent.sent),
        seconds=seconds(plan.topology.chip, links, sent.sent),
    )
