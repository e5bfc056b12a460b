"""Tests the same films on a local Ray cluster of two workers: one of them is killed, or the node itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from footage_files import draw_shots, write_footage
from test_prepare_kill import read_set
from tiny_film import CONFIG, ROOT, run_program, start_program, write_config

from lct_jax.data.prepare import SOURCE_FILE

pytestmark = pytest.mark.programs

# What Ray calls a process that works on a film.
TASK = "ray::_guard"
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


def find_processes(mark: str, start: str) -> list[int]:
    """Returns the processes of one driver's cluster whose command line, without folders, starts like this."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line, owner = (entry / "cmdline").read_bytes(), entry.stat().st_uid
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        name = line.split(b"\0")[0].decode(errors="replace").rpartition("/")[2]
        mine = f"LCT_TEST_DRIVER={mark}".encode() in environment
        if name.startswith(start) and mine and owner == os.getuid():
            found.append(int(entry.name))
    return found


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> tuple[list[str], dict[str, bytes]]:
    """Makes six films, and prepares them without Ray: flags for the same again, and the files of the set."""
    root = tmp_path_factory.mktemp("ray")
    folder = root / "videos"
    folder.mkdir()
    for number in range(6):
        frames = draw_shots((25, 30, 20, 40) * 8, height=32, width=48, seed=60 + number)
        write_footage(folder / f"{number}.mp4", frames)
        (folder / f"{number}.captions.jsonl").write_text(
            json.dumps({"prompt": f"Number {number}."})
        )
    write_config(root / "config.py", CONFIG)
    flags = [f"--videos={folder}", f"--config={root / 'config.py'}"]
    local = run_program(
        "-m", "lct_jax.data.prepare", *flags, f"--out={root / 'local'}", "--processes=1"
    )
    assert local.code == 0, local.stderr
    return flags, read_set(root / "local")


def start_on_ray(flags: list[str], out: Path, monkeypatch) -> tuple[subprocess.Popen[str], str]:
    """Starts the preparation with a cluster of its own; returns it, and what marks the cluster's processes."""
    mark = str(out)
    monkeypatch.setenv("LCT_TEST_DRIVER", mark)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # A cluster of this machine alone needs no token.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONWARNINGS", "default")  # the warnings are Ray's own
    driver = out.parent / "driver.py"
    driver.write_text(DRIVER)
    return start_program("-W", "default", driver, *flags, f"--out={out}", "--runner=ray"), mark


def kill_at_work(process: subprocess.Popen[str], mark: str, start: str) -> None:
    """Kills one process of the cluster, once two workers are at work on films."""
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        # Other processes of Ray have such names too, and the node dies with some of them.
        victims = find_processes(mark, start)
        if victims and len(find_processes(mark, TASK)) == 2:
            os.kill(victims[0], signal.SIGKILL)
            return
        time.sleep(0.05)
    raise AssertionError("two workers were never seen at work")


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_makes_the_same_records(films, tmp_path, monkeypatch):
    flags, local = films
    process, mark = start_on_ray(flags, tmp_path / "ray", monkeypatch)
    kill_at_work(process, mark, TASK)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert stdout.count("prepared") >= 6
    assert read_set(tmp_path / "ray") == local
    assert SOURCE_FILE in local


@pytest.mark.slow
def test_a_cluster_that_dies_refuses_no_film_and_the_command_goes_on(films, tmp_path, monkeypatch):
    flags, local = films
    process, mark = start_on_ray(flags, tmp_path / "ray", monkeypatch)
    kill_at_work(process, mark, "raylet")
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 2, stderr
    assert "error: --runner=ray: the cluster failed (" in stderr
    again = run_program(
        "-m", "lct_jax.data.prepare", *flags, f"--out={tmp_path / 'ray'}", "--processes=1"
    )
    assert again.code == 0, again.stderr
    assert read_set(tmp_path / "ray") == local
