"""Tests that loading a T5 encoder takes the memory of its weights once, whatever dtype they are published in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.programs

SIZE = ("--layers=16", "--width=1024", "--vocabulary=131072")  # 654 MB in bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_weights_are_never_in_memory_twice(tmp_path, dtype):
    """A second copy would make the ratio 2. Besides one copy there are compiled programs and a matrix with its
    transpose."""
    command = [sys.executable, "-m", "benchmarks.encoder_load", f"--folder={tmp_path / 'weights'}"]
    run = subprocess.run(
        [*command, f"--dtype={dtype}", *SIZE],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    files, loaded = run.stdout.splitlines()[:2]
    answer = json.loads(files.split("; ")[1])
    assert answer["finite"]
    assert answer["tokens"] == [7, 1024]
    assert answer["held"] > 654e6
    copies = float(loaded.split()[-2])
    assert 1 < copies < 1.3
    assert not (tmp_path / "weights").exists()
