"""Trains a config on a prepared set. The script is the recipe: it reads from top to bottom.

    python train.py --config=configs/film_tiny.py --data=DIR --workdir=DIR [--config.training.steps=200]

A run that is killed at any moment and started again with the same command goes on from the last good checkpoint,
bit-exactly. SIGTERM and Ctrl-C end it after the step under way, which is saved. `--profile=20:25` traces steps
(docs/training.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags

from lct_jax.backbones.registry import build, build_abstract, count_costs, find_family
from lct_jax.base import find_base
from lct_jax.cli import define_config, define_path, run
from lct_jax.config import freeze
from lct_jax.data.fill import describe_cuts
from lct_jax.data.joined import open_data
from lct_jax.data.mix import define_data
from lct_jax.data.pipeline import iterate, make_source, read_held_out
from lct_jax.distributed.process_spec import define_process_flags
from lct_jax.distributed.run_distributed import run_distributed
from lct_jax.distributed.sharding import (
    check_mesh,
    find_rows,
    make_mesh,
    place_batch,
    with_sharding,
)
from lct_jax.distributed.stop_signal import StopSignal
from lct_jax.plan.remat import resolve_remat
from lct_jax.seeds import make_key
from lct_jax.startup import define_compilation_cache, use_compilation_cache
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.start import start_state
from lct_jax.training.checkpoint.weights import Meta
from lct_jax.training.evaluate import make_evaluator
from lct_jax.training.guard import guard_step
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.report.metrics import measure_step
from lct_jax.training.report.profile import Profile
from lct_jax.training.report.run_log import RunLog
from lct_jax.training.report.throughput import make_throughput
from lct_jax.training.state import merge_params, split_params
from lct_jax.training.step import jit_step, make_step

CONFIG = define_config()
DATA = define_data("Prepared set, or several (docs/data.md).", required=True)
define_process_flags()
WORKDIR = define_path("workdir", "Folder of the run.", required=True)
define_compilation_cache()
PROFILE = flags.DEFINE_string("profile", "", "START:STOP, steps to trace into WORKDIR/profile.")


def main(_: Sequence[str]) -> None:
    stop, config = StopSignal(), freeze(CONFIG.value)
    training, workdir = config.training, Path(WORKDIR.value)
    profile = Profile(PROFILE.value, workdir / "profile")
    use_compilation_cache(workdir)

    # ---- devices, and the rows that this process reads for them ------------------------------
    mesh = make_mesh(seq=config.compute.seq_shards)
    check_mesh(mesh, config)
    jax.set_mesh(mesh)
    rows = find_rows(mesh, config.data.rows)

    # ---- data --------------------------------------------------------------------------------
    prepared, costs = open_data(DATA.value), count_costs(config.network)
    source = make_source(prepared, config, costs, rows=rows)
    held_out = [place_batch(x, mesh) for x in read_held_out(prepared, config, costs, rows=rows)]

    # ---- backbone and optimiser --------------------------------------------------------------
    # What is kept for the backward pass, and how many rows are computed at once, depends on the chips; checkpoints have
    # the config as it was given.
    resolved = resolve_remat(config, mesh)
    graph, shapes = build_abstract(resolved.network)
    parts = split_params(shapes)  # all parameters are trained, or a LoRA alone
    initialize = lambda: (
        split_params(build(config.network, key=make_key(training.seed)).params).trained
    )
    optimizer = make_optimizer(training, decays=find_family(config.network).decays)

    # ---- state: resumed, from weights, or random ---------------------------------------------
    card = prepared.card
    meta = Meta(config, card.codec, card.encoder, card.fps, card.credit, prepared.identity)
    checkpoints = Checkpoints(workdir, keep=training.keep)
    found = find_base(meta, checkpoints)
    meta = dataclasses.replace(meta, base=found.base)
    state = start_state(
        checkpoints,
        meta,
        training,
        parts.trained,
        optimizer,
        mesh,
        initialize=initialize,
        read=found.read_trained,
    )
    frozen = found.read_frozen(with_sharding(parts.frozen, mesh))  # None without a LoRA
    start, key = int(state.step), make_key(training.seed)
    if jax.process_index() == 0:
        prepared.copy_codec(workdir)

    # ---- step: the method, then what refuses bad updates, then what is measured ---------------
    slots, samples = config.data.groups, source.planner.samples_a_batch
    step = make_step(
        graph,
        optimizer,
        flow_config=config.flow,
        training=resolved.training,
        slots=slots,
        samples=samples,
    )
    step = measure_step(guard_step(step, spike=training.spike), slots=slots)
    step = jit_step(step, state, mesh)
    evaluate = make_evaluator(graph, training, slots=slots)

    # ---- loop: step, report, evaluate, save, and only then the next batch --------------------
    throughput, notes = make_throughput(resolved, costs, mesh), describe_cuts(source.planner)
    log = RunLog(
        workdir, training, throughput, profile, start=start, describe=source.describe, notes=notes
    )
    stop.defer()
    for number, batch in enumerate(iterate(source, start=start, stop=training.steps), start + 1):
        with log.watch(number):
            state, metrics = step(state, frozen, place_batch(batch, mesh), key)
        log.add(number, metrics)
        # A stop signal that any process received; identical on all processes.
        last, leaving = number == training.steps, stop.poll(mesh)
        saving = number % training.save_every == 0 or last or leaving
        evaluating = bool(held_out) and (number % training.eval_every == 0 or last)
        # Every save also makes a report, since a kill would lose means over steps before the save.
        if number % training.log_every == 0 or saving or evaluating:
            log.report(number, checkpoints.find_shortage(state))
        if evaluating:
            log.add_evaluation(number, evaluate(merge_params(state.ema, frozen), held_out))
        if saving:
            log.add_save(checkpoints.save(state, meta))
        if leaving:
            break
    log.close()
    checkpoints.close()
    stop.leave(workdir)
    print(f"{workdir}: {training.steps} steps done")


if __name__ == "__main__":
    run(run_distributed(main))
