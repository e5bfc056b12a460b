"""Says what video models may do badly with a script, before it is sampled.

    python -m lct_jax.directing.review --script=FILE

A line is printed for each remark (lct_jax/directing/remarks.py), and nothing where there is none. The exit code is 0
for every script that can be sampled.
"""

from __future__ import annotations

from collections.abc import Sequence

from lct_jax.cli import define_path, run
from lct_jax.directing.remarks import review_script
from lct_jax.directing.script import load_script

SCRIPT = define_path("script", "Script to read.", required=True)


def main(argv: Sequence[str]) -> None:
    del argv
    for remark in review_script(load_script(SCRIPT.value)):
        print(f"{SCRIPT.value}: {remark}")


if __name__ == "__main__":
    run(main)
