"""Trains a config on a prepared set. The script is the recipe: it reads from top to bottom.

    python train.py --config=configs/film_tiny.py --data=DIR --workdir=DIR [--config.training.steps=200]

Killed at any moment and started again with the same command, it goes on from the last good checkpoint, bit-exactly.
SIGTERM and Ctrl-C end it after the step under way, saved. `--profile=20:25` traces steps (docs/training.md).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags

from lct_jax.attention.attend import name_kernel
from lct_jax.backbones.registry import build, build_abstract, count_costs, find_family
from lct_jax.cli import define_config, define_path, run
from lct_jax.config import freeze
from lct_jax.costs.recompute import KERNELS, POLICIES
from lct_jax.costs.step import Program
from lct_jax.data.fill import describe_cuts
from lct_jax.data.joined import open_data
from lct_jax.data.pipeline import iterate, make_source, read_held_out
from lct_jax.distributed.process_spec import define_process_flags
from lct_jax.distributed.run_distributed import run_distributed
from lct_jax.distributed.sharding import check_mesh, find_rows, make_mesh, place_batch
from lct_jax.distributed.stop_signal import StopSignal
from lct_jax.seeds import make_key
from lct_jax.startup import define_compilation_cache, use_compilation_cache
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.start import start_state
from lct_jax.training.checkpoint.weights import Meta
from lct_jax.training.evaluate import make_evaluator
from lct_jax.training.guard import check_guard, guard_step
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.report.meter import Meter
from lct_jax.training.report.metrics import measure_step
from lct_jax.training.report.profile import Profile
from lct_jax.training.report.recompilations import Recompilations
from lct_jax.training.report.reporter import make_reporter
from lct_jax.training.report.throughput import Throughput, find_chip
from lct_jax.training.step import jit_step, make_step

CONFIG = define_config()
DATA = flags.DEFINE_string("data", None, "Prepared set, or several (docs/data.md).", required=True)
define_process_flags()
WORKDIR = define_path("workdir", "Folder of the run.", required=True)
define_compilation_cache()
PROFILE = flags.DEFINE_string("profile", "", "START:STOP, steps to trace into WORKDIR/profile.")


def main(argv: Sequence[str]) -> None:
    del argv
    stop = StopSignal()
    config = freeze(CONFIG.value)
    training, workdir = config.training, Path(WORKDIR.value)
    profile = Profile(PROFILE.value, workdir / "profile")
    use_compilation_cache(workdir)

    # ---- devices, and the rows that this process reads for its own ---------------------------
    mesh = make_mesh(seq=config.compute.seq_shards)
    check_mesh(mesh, config)
    jax.set_mesh(mesh)
    rows = find_rows(mesh, config.data.rows)

    # ---- data --------------------------------------------------------------------------------
    prepared, costs = open_data(DATA.value), count_costs(config.network)
    source = make_source(prepared, config, costs, rows=rows)
    held_out = read_held_out(prepared, config, costs, rows=rows)

    # ---- model -------------------------------------------------------------------------------
    graph, shapes = build_abstract(config.network)
    optimizer = make_optimizer(training, decays=find_family(config.network).decays)
    held_out = [place_batch(batch, mesh) for batch in held_out]

    # ---- state: resumed, from weights, or random ---------------------------------------------
    card = prepared.card
    meta = Meta(config, card.codec, card.encoder, card.fps, card.credit, prepared.identity)
    checkpoints = Checkpoints(workdir, keep=training.keep)
    state = start_state(
        checkpoints,
        meta,
        training,
        shapes,
        optimizer,
        mesh,
        initialize=lambda: build(config.network, key=make_key(training.seed)).params,
    )
    start = int(state.step)
    if jax.process_index() == 0:
        prepared.copy_codec(workdir)

    # ---- step --------------------------------------------------------------------------------
    step = make_step(
        graph,
        optimizer,
        flow_config=config.flow,
        training=training,
        slots=config.data.groups,
        samples=source.planner.samples_a_batch,
    )
    step = measure_step(guard_step(step, spike=training.spike), slots=config.data.groups)
    step = jit_step(step, state, mesh)
    evaluate = make_evaluator(
        graph, times=training.eval_times, context=training.context, slots=config.data.groups
    )
    key = make_key(training.seed)
    device = mesh.devices.flat[0]
    kernel = name_kernel(config.compute.kernel, device.platform)
    rows_a_call = config.data.rows // training.accumulate // mesh.shape["data"]
    program = Program(
        costs,
        KERNELS[kernel],
        POLICIES[config.compute.remat].again,
        sharing=rows_a_call if kernel == "chunked" else 1,
    )
    chip = find_chip(device.device_kind)
    throughput = Throughput(config, program, devices=mesh.size, chip=chip)

    # ---- loop: step, report, evaluate, save, and only then the next batch --------------------
    reporter = make_reporter(workdir, start=start, stop=training.steps)
    for line in describe_cuts(source.planner):
        reporter.note(line)
    meter, recompilations = Meter(throughput), Recompilations("measured", "errors")
    stop.defer()
    for number, batch in enumerate(iterate(source, start=start, stop=training.steps), start + 1):
        with profile.before(number):
            state, metrics = step(state, place_batch(batch, mesh), key)
        meter.add(number, metrics)
        if profile.after(number, metrics):
            meter.restart_clock()
        # A stop signal that any process received; identical on all processes.
        last, leaving = number == training.steps, stop.poll(mesh)
        saving = number % training.save_every == 0 or last or leaving
        evaluating = bool(held_out) and (number % training.eval_every == 0 or last)
        # A report at every save too: means that reach back behind it would not survive a kill.
        if number % training.log_every == 0 or saving or evaluating:
            report = meter.report()
            report.values["recompilations"] = recompilations.count
            reporter.write(number, report.values)
            for skipped in report.skipped:
                reporter.note(f"step {skipped}: update not made, of {source.describe(skipped - 1)}")
            for line in (*recompilations.take_lines(), *checkpoints.find_shortage(state)):
                reporter.note(f"step {number}: {line}")
            check_guard(report.in_a_row, training)
        if evaluating:
            reporter.write(number, evaluate(state.ema, held_out))
        if saving:
            meter.add_save(checkpoints.save(state, meta))
        if evaluating or saving:
            meter.restart_clock()
        reporter.bar.update()
        if leaving:
            break
    profile.close()
    reporter.close()
    checkpoints.close()
    if stop.received is not None:
        print(f"{workdir}: {stop.describe()}; the same command goes on")
        sys.exit(stop.exit_code)
    print(f"{workdir}: {training.steps} steps done")


if __name__ == "__main__":
    run(run_distributed(main))
