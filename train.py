"""Trains a config on a prepared set. The script is the recipe: it reads from top to bottom.

    python train.py --config=configs/film_tiny.py --data=DIR --workdir=DIR [--config.training.steps=200]

Killed at any moment and started again with the same command, it goes on from the last checkpoint, bit-exactly. SIGTERM
and Ctrl-C end it after the step under way, saved.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags, logging
from flax import nnx

from lct_jax.cli import define_config, run
from lct_jax.config import freeze
from lct_jax.data.pipeline import iterate, make_source, read_held_out
from lct_jax.data.records import PreparedSet
from lct_jax.model.mmdit import MMDiT
from lct_jax.sharding import check_mesh, make_mesh, place_batch
from lct_jax.training.checkpoint import Checkpoints, start_state
from lct_jax.training.evaluate import make_evaluator
from lct_jax.training.guard import check_guard
from lct_jax.training.interruption import Interruption
from lct_jax.training.metrics import Meter, Reporter
from lct_jax.training.state import jit_step, make_optimizer, make_step
from lct_jax.training.weights import Meta

CONFIG = define_config()
DATA = flags.DEFINE_string("data", None, "Prepared set (lct_jax.data.prepare).", required=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)


def main(argv: Sequence[str]) -> None:
    del argv
    logging.set_verbosity(logging.WARNING)  # Orbax reports every save in a dozen lines
    config = freeze(CONFIG.value)
    training, workdir = config.training, Path(WORKDIR.value)

    # ---- data --------------------------------------------------------------------------------
    prepared = PreparedSet(DATA.value)
    share = {"host": jax.process_index(), "hosts": jax.process_count()}
    source = make_source(prepared, config, **share)
    held_out = read_held_out(prepared, config, **share)

    # ---- model -------------------------------------------------------------------------------
    mesh = make_mesh(seq=training.seq_shards)
    check_mesh(mesh, config)
    jax.set_mesh(mesh)
    build = lambda: MMDiT(config.model, rngs=nnx.Rngs(training.seed))  # noqa: E731
    graph, shapes = nnx.split(nnx.eval_shape(build))
    optimizer = make_optimizer(training)
    held_out = [place_batch(batch, mesh) for batch in held_out]

    # ---- state: resumed, from weights, or random ---------------------------------------------
    card = prepared.card
    meta = Meta(config, card.codec, card.encoder, card.fps, card.credit)
    checkpoints = Checkpoints(workdir, keep=training.keep)
    state = start_state(
        checkpoints,
        meta,
        training,
        shapes,
        optimizer,
        mesh,
        initialize=lambda: nnx.state(build()),
    )
    start = int(state.step)
    prepared.copy_codec(workdir)

    # ---- step --------------------------------------------------------------------------------
    step = make_step(
        graph, optimizer, flow_config=config.flow, training=training, slots=config.data.groups
    )
    step = jit_step(step, state, mesh)
    evaluate = make_evaluator(
        graph, times=training.eval_times, context=training.context, slots=config.data.groups
    )
    key = jax.random.key(training.seed)

    # ---- loop: step, report, evaluate, save, and only then the next batch --------------------
    reporter = Reporter(workdir, start=start, stop=training.steps)
    meter, interruption = Meter(), Interruption()
    for number, batch in enumerate(iterate(source, start=start, stop=training.steps), start + 1):
        state, metrics = step(state, place_batch(batch, mesh), key)
        meter.add(number, batch, metrics)
        last, leaving = number == training.steps, interruption.signal is not None
        saving = number % training.save_every == 0 or last or leaving
        # A report at every save too: means that reach back behind it would not survive a kill.
        if number % training.log_every == 0 or saving:
            report = meter.report()
            reporter.write(number, report.values)
            for skipped in report.skipped:
                reporter.note(f"step {skipped}: update not made, of {source.describe(skipped - 1)}")
            check_guard(report.in_a_row, training)
        if held_out and (number % training.eval_every == 0 or last):
            reporter.write(number, evaluate(state.ema, held_out))
        if saving:
            checkpoints.save(state, meta)
        reporter.bar.update()
        if leaving:
            break
    reporter.close()
    checkpoints.close()
    if interruption.signal is not None:
        print(f"{workdir}: {interruption.signal.name}, saved; the same command goes on")
        sys.exit(interruption.exit_code)
    print(f"{workdir}: {training.steps} steps done")


if __name__ == "__main__":
    run(main)
