"""Says before launch whether a run fits, what it computes and sends, and how long it takes at least.

    python -m lct_jax.plan --config=configs/lct_3b.py --topology=v5p:4x4x4 [--shots=9 --frames=125 --aspect=16:9]
        [--mode=train|joint|autoregressive|causal] [--search] [--compile] [--steps=N] [--json] [--data=SETS]
        [--config.compute.seq_shards=16 ...]

It needs none of the chips that it plans for. Without `--compile` everything is counted and estimated from shapes, in
seconds. With it the program itself is compiled for the topology, and the compiler's memory and collectives replace
estimates. For TPUs this ends where both are settled, behind some fifteen seconds of processor time at 3B; with `--read`
it goes on to the end, which takes minutes. For training it warns of rows that would be left empty or scenes that would
be cut short; with `--data`, as `train.py` takes it, these are counted on the sets.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# A plan must not take the chips of a running program.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from absl import flags

from lct_jax.cli import define_config, define_path, run
from lct_jax.config import freeze
from lct_jax.data.mix import define_data
from lct_jax.plan.advice import advise_sampling, advise_training
from lct_jax.plan.read import describe_program
from lct_jax.plan.refine import compile_step, refine_sampling, refine_training
from lct_jax.plan.report import (
    describe_sampling,
    describe_search,
    describe_training,
    to_json,
    to_plain,
)
from lct_jax.plan.sampling import plan_sampling
from lct_jax.plan.search import search, search_sampling
from lct_jax.plan.topology import parse_topology
from lct_jax.plan.training import plan_training
from lct_jax.plan.warnings import count_set, warn_of_sizes
from lct_jax.plan.workload import SceneTarget, parse_aspect
from lct_jax.startup import define_compilation_cache, use_compilation_cache

MODES = ("train", "joint", "autoregressive", "causal")
CONFIG = define_config()
TOPOLOGY = flags.DEFINE_string(
    "topology", None, "Chips, such as v6e:8x8 or h100:64.", required=True
)
SHOTS = flags.DEFINE_integer(
    "shots", None, "Shots of a scene; default: data.max_shots.", lower_bound=1
)
FRAMES = flags.DEFINE_integer(
    "frames", None, "Frames of a shot, 4n + 1; default: the config's.", lower_bound=1
)
ASPECT = flags.DEFINE_string("aspect", None, "Width to height of a shot, such as 16:9.")
MODE = flags.DEFINE_enum("mode", "train", MODES, "Training, or a way of sampling.")
STEPS = flags.DEFINE_integer(
    "steps", None, "Steps of the run; default: training.steps.", lower_bound=1
)
SEARCH = flags.DEFINE_bool(
    "search", False, "Look for meshes, remat policies and micro-batches that fit."
)
COMPILE = flags.DEFINE_bool("compile", False, "Compile the program and say what the compiler says.")
READ = flags.DEFINE_bool("read", False, "With --compile of training: where memory and cycles go.")
GPU_SPEC = define_path("gpu_spec", "With --compile for GPUs: the description of one for XLA.")
DATA = define_data("Prepared set, or several (docs/data.md), to count.")
MUST_FIT = flags.DEFINE_bool("must_fit", False, "End with exit code 1 where it does not fit.")
define_compilation_cache()
JSON = flags.DEFINE_bool("json", False, "Print JSON instead of text.")


def main(argv: Sequence[str]) -> None:
    del argv
    use_compilation_cache()
    config, topology = freeze(CONFIG.value), parse_topology(TOPOLOGY.value)
    aspect = None if ASPECT.value is None else parse_aspect(ASPECT.value)
    target = SceneTarget(SHOTS.value, FRAMES.value, aspect)
    warnings: list[str] = []
    spec = None if GPU_SPEC.value is None else Path(GPU_SPEC.value)
    if MODE.value == "train":
        plan = plan_training(config, topology, target, steps=STEPS.value or config.training.steps)
        compiled = compile_step(plan, spec, whole=READ.value) if COMPILE.value else None
        plan = plan if compiled is None else refine_training(plan, compiled)
        found = search(config, topology, target) if SEARCH.value or not plan.fits else []
        advice = [] if plan.fits else advise_training(plan, target, found)
        warnings = count_set(DATA.value, config) if DATA.value else warn_of_sizes(config)
    else:
        plan = plan_sampling(config, topology, target, MODE.value)
        plan = refine_sampling(plan, spec) if COMPILE.value else plan
        found = search_sampling(config, topology, target, MODE.value) if not plan.fits else []
        advice = [] if plan.fits else advise_sampling(topology, found)
    if JSON.value:
        more = {"advice": advice, "options": to_plain(found), "warnings": warnings}
        print(json.dumps(to_json(plan) | more, indent=1))
        return end(plan.fits)
    describe = describe_training if MODE.value == "train" else describe_sampling
    print("\n".join([describe(plan, advice=advice), *warnings]))
    if MODE.value == "train" and SEARCH.value:
        print(describe_search(found, topology))
    if MODE.value == "train" and READ.value and compiled is not None:
        print(describe_program(compiled.text))
    return end(plan.fits)


def end(fits: bool) -> None:
    """Exits with code 1 where a plan has to fit and does not."""
    if MUST_FIT.value and not fits:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
