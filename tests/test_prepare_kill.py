"""Tests a preparation killed at twenty random moments and run again: its records equal an uninterrupted run's."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
from footage_files import draw_shots, write_footage
from tiny_film import with_shared_codec

from lct_jax.config import Config
from lct_jax.data.prepare import prepare_videos
from lct_jax.data.runner import run_here
from lct_jax.data.sets.records import PreparedSet

pytestmark = pytest.mark.programs

MOMENTS = 20
# Processes are forked from a server that has imported everything, so that a kill meets the work and not the start.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["lct_jax.data.prepare"])


def work(folder: Path, out: Path, config: Config) -> None:
    """Prepares a folder of videos, as the process that is killed."""
    prepare_videos(folder, out, config, runner=run_here)


def run_to_the_end(folder: Path, out: Path, config: Config) -> float:
    """Returns the seconds of a whole run."""
    process = CONTEXT.Process(target=work, args=(folder, out, config))
    process.start()
    started = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - started


def read_set(out: Path) -> dict[str, bytes]:
    """Returns everything that is kept, by name."""
    files = [path for path in out.rglob("*") if path.is_file() and "work" not in path.parts]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.mark.slow
def test_a_killed_preparation_resumes_to_the_same_bytes(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(4):
        frames = draw_shots((25, 30, 20, 40), height=32, width=48, seed=40 + number)
        write_footage(folder / f"{number}.mp4", frames)
        (folder / f"{number}.captions.jsonl").write_text(
            json.dumps({"prompt": f"Number {number}."})
        )
    config = with_shared_codec()
    run_to_the_end(folder, tmp_path / "warm", config)
    seconds = run_to_the_end(folder, tmp_path / "whole", config)
    expected = read_set(tmp_path / "whole")
    assert len([name for name in expected if name.endswith("shots.array_record")]) == 4
    rng, stopped, unfinished, number = np.random.default_rng(), 0, 0, 0
    while stopped < MOMENTS:
        number, moment = number + 1, rng.uniform(0, seconds)
        assert number < 10 * MOMENTS
        out = tmp_path / f"killed_{number}"
        process, started = (
            CONTEXT.Process(target=work, args=(folder, out, config)),
            time.monotonic(),
        )
        process.start()
        process.join(timeout=moment)
        # The run was done before the moment came, so nothing was killed.
        if process.exitcode is not None:
            seconds = min(seconds, time.monotonic() - started)
            continue
        process.kill()
        process.join()
        stopped += 1
        unfinished += not (out / "card.json").exists()
        for shard in (out / "shards").glob("[!.]*"):  # a shard with its final name is whole
            assert (shard / "shard.json").exists()
        run_to_the_end(folder, out, config)
        assert read_set(out) == expected, f"killed after {moment:.3f} of {seconds:.3f} s"
        PreparedSet(out)
    assert unfinished >= MOMENTS // 2
