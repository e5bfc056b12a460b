"""A program of several processes that does one thing and then ends in a way that its tests check.

python small_program.py --coordinator=HOST:PORT --processes=2 --process_id=0 --act=return --ready=FILE
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from jax.experimental import multihost_utils

from lct_jax.cli import run
from lct_jax.distributed.process_spec import define_process_flags
from lct_jax.distributed.run_distributed import run_distributed
from lct_jax.errors import InputError

define_process_flags()
READY = flags.DEFINE_string("ready", None, "File to make once all processes have joined.")
# Not a flag, since flags must be the same on all processes.
ACT = sys.argv.pop(1)


def main(argv: Sequence[str]) -> None:
    multihost_utils.sync_global_devices("begin")
    print(f"said by {ACT}", flush=True)
    if READY.value:
        Path(f"{READY.value}.{ACT}").touch()
    if ACT == "refuse":
        raise InputError("--data: found nothing, expected a set")
    if ACT == "break":
        raise ZeroDivisionError("one by none")
    if ACT == "stop":
        sys.exit(0)
    if ACT == "wait":
        multihost_utils.sync_global_devices("never")
    if ACT == "sleep":
        time.sleep(900)


if __name__ == "__main__":
    run(run_distributed(main))
