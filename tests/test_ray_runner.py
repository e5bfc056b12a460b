"""Tests the same films on a local Ray cluster of two workers, one of which is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from footage_files import draw_shots, write_footage
from test_prepare_kill import read_set
from tiny_film import CONFIG, ROOT, run_program, shared_film, start_program, write_config

from lct_jax.data.prepare import SOURCE_FILE

pytestmark = pytest.mark.programs

# There are two workers on any number of cores. Ray gives its own processes 30 seconds to start, without a setting for
# more, which a busy machine may need; so a cluster that did not start is requested again.
DRIVER = """
import ray, sys, runpy
for left in (2, 1, 0):
    try:
        ray.init(num_cpus=2, include_dashboard=False, configure_logging=False)
        break
    except Exception as error:
        if not left or "timed out during startup" not in str(error):
            raise
        ray.shutdown()
sys.argv = ["lct_jax.data.prepare", *sys.argv[1:]]
runpy.run_module("lct_jax.data.prepare", run_name="__main__")
"""


def find_workers(driver: int) -> list[int]:
    """Returns the processes of Ray tasks under a driver's cluster."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line, owner = (entry / "cmdline").read_bytes(), entry.stat().st_uid
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        mine = f"LCT_TEST_DRIVER={driver}".encode() in environment
        if line.startswith(b"ray::") and b"IDLE" not in line and mine and owner == os.getuid():
            found.append(int(entry.name))
    return found


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_makes_the_same_records(tmp_path, monkeypatch):
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(6):
        frames = draw_shots((25, 30, 20, 40) * 8, height=32, width=48, seed=60 + number)
        write_footage(folder / f"{number}.mp4", frames)
        (folder / f"{number}.captions.jsonl").write_text(
            json.dumps({"prompt": f"Number {number}."})
        )
    write_config(tmp_path / "config.py", CONFIG)
    flags = [f"--videos={folder}", f"--config={tmp_path / 'config.py'}"]
    local = run_program(
        "-m", "lct_jax.data.prepare", *flags, f"--out={tmp_path / 'local'}", "--processes=1"
    )
    assert local.code == 0, local.stderr
    shared_film()
    mark = os.getpid()
    monkeypatch.setenv("LCT_TEST_DRIVER", str(mark))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # A cluster of this machine alone needs no token.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONWARNINGS", "default")  # the warnings are Ray's own
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    process = start_program(
        "-W", "default", driver, *flags, f"--out={tmp_path / 'ray'}", "--runner=ray"
    )
    killed = None
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        workers = find_workers(mark)
        if killed is None and len(workers) == 2:
            os.kill(workers[0], signal.SIGKILL)
            killed = workers[0]
        time.sleep(0.05)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert killed is not None, "two workers were never seen at work"
    assert stdout.count("prepared") >= 6
    assert read_set(tmp_path / "ray") == read_set(tmp_path / "local")
    assert SOURCE_FILE in read_set(tmp_path / "ray")
