"""Reading weights into a mesh takes the memory of the parameters once, on the devices and not on the host as well."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.programs]

SIZE = ("--config=configs/lct_3b.py", "--config.backbone.depth=2")  # 1.09 GB in float32


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_host_holds_no_second_copy_of_weights_in_a_file(tmp_path, dtype):
    """The eight devices are simulated, so that theirs is memory of the host: a second copy would make it 2."""
    folder = tmp_path / "weights"
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.weights_load", f"--folder={folder}", *SIZE, f"--dtype={dtype}"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    answer = json.loads(result.stdout.splitlines()[0])
    assert answer["devices"] == 8
    assert answer["bytes"] > 1.09e9
    assert answer["bytes"] < answer["held"] <= answer["peak"] < 1.25 * answer["bytes"]
    assert not folder.exists()


def test_reading_a_published_base_takes_the_parameters_and_a_tensor_or_two(tmp_path):
    """One block of the 14B's width: 2.3 GB, whose largest tensor has 0.63."""
    folder = tmp_path / "weights"
    size = ("--config=configs/wan_14b.py", "--config.backbone.depth=1", "--dtype=float32")
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.weights_load", f"--folder={folder}", *size, "--kind=base"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    answer = json.loads(result.stdout.splitlines()[0])
    assert answer["largest"] == 4 * 5120 * 6 * 5120
    assert answer["bytes"] > 2.3e9
    assert answer["peak"] - answer["bytes"] < 2 * answer["largest"]
