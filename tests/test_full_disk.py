"""A disk that fills up gives a clear line, and the last good checkpoint stays whole.

It is tested in two ways, since a disk that is really full needs a mount. A limit on the size of files (RLIMIT_FSIZE)
works for anybody: a write beyond it fails in the middle of a file, as on a full disk, with EFBIG in place of ENOSPC.
Where the system lets users mount (`unshare`), a small tmpfs is filled as well, and the error is ENOSPC itself.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from test_integrity import make_state
from test_resume import check_same_end, finish, finished
from tiny_film import Result, run_program, shared_film, shared_run, train_arguments

from lct_jax.errors import InputError
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.integrity import find_damage
from lct_jax.training.checkpoint.start import TrainedWeights
from lct_jax.training.report.reporter import Reporter

# Bytes of a file: some files of the tiny model's checkpoint are larger, and none of its other files is.
LIMIT = 30_000
# Free bytes of the small disk, of which a checkpoint takes several times as many, and bytes of a page.
ROOM, PAGE = 64_000, 4096
# Limits files to $1 bytes and runs the rest.
ON_LIMIT = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""
# Mounts a disk of size $1 at $2, copies $3 there, runs the rest, and copies what is on the disk back.
ON_SMALL_DISK = """
mount -t tmpfs -o size="$1" tmpfs "$2" && cp -r "$3/." "$2" || exit 99
disk=$2 run=$3; shift 3; "$@"; code=$?
rm -rf "$run" && cp -r "$disk" "$run" || exit 99
exit $code
"""


def may_mount() -> bool:
    """Returns whether a user may mount here, in a namespace of their own."""
    try:
        command = ["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def start_at_six(tmp_path: Path) -> Path:
    """Returns a copy of the shared run as it was before its last save, at step 8."""
    run = Path(shutil.copytree(shared_run(), tmp_path / "run"))
    shutil.rmtree(run / "checkpoints/8")
    return run


def check_failed(result: Result, run: Path, error: str) -> None:
    """Checks that the run ended with one line about what failed and the last checkpoint, and that this is whole."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.code == 2, result.stderr
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert "checkpoints/8: cannot be saved" in lines[0]
    assert error in lines[0]
    assert "the last checkpoint is that of step 6" in lines[0]
    assert find_damage(run / "checkpoints/6") is None
    assert 8 not in finished(run)


@pytest.mark.programs
def test_a_save_cut_short_by_a_limit_leaves_the_last_checkpoint(tmp_path):
    run = start_at_six(tmp_path)
    through = [sys.executable, "-c", ON_LIMIT, str(LIMIT)]
    result = run_program(*train_arguments(shared_film(), run), through=through)
    check_failed(result, run, "File too large")


@pytest.mark.programs
@pytest.mark.slow
@pytest.mark.parametrize("way", ["tmpfs"] if may_mount() else ["limit"])
def test_after_a_full_disk_a_run_goes_on_to_the_same_end(tmp_path, way):
    """The report before the save has a warning."""
    run, disk = start_at_six(tmp_path), tmp_path / "disk"
    if way == "limit":
        test_a_save_cut_short_by_a_limit_leaves_the_last_checkpoint(tmp_path / "limit")
        run = tmp_path / "limit/run"
    else:
        disk.mkdir()
        files = [path for path in run.rglob("*") if path.is_file()]
        size = ROOM + sum(-(-path.stat().st_size // PAGE) * PAGE for path in files)
        through = ["unshare", "-Urm", "sh", "-c", ON_SMALL_DISK, "sh", str(size), disk, run]
        arguments = train_arguments(shared_film(), disk)
        result = run_program(*arguments, through=through)
        check_failed(result, run, "No space left on device")
        assert "the next save will fail unless room is made" in result.stderr
    assert "going on from step 6" in finish(run).stdout
    check_same_end(run)


def test_a_report_that_cannot_be_written_is_an_error_in_one_line(tmp_path):
    """/dev/full is a disk without any room, for everybody."""
    reporter = Reporter(tmp_path, start=0, stop=8)
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"report of step 4 cannot be written \(No space left"):
        reporter.write(4, {"loss": 1.0})
    reporter.close()


@pytest.mark.programs
def test_too_little_disk_space_is_reported_once_before_the_save(tmp_path, monkeypatch):
    usage, free = namedtuple("usage", "free"), [10**12]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(free[0]))
    checkpoints = Checkpoints(tmp_path, keep=2)
    state, meta = make_state(), TrainedWeights(shared_run()).meta
    in_memory = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert checkpoints.find_shortage(state) == []
    free[0] = in_memory - 1  # before the first save the state itself is the measure
    (line,) = checkpoints.find_shortage(state)
    assert "GB free, and a checkpoint takes" in line and "will fail" in line
    assert checkpoints.find_shortage(state) == []
    checkpoints.save(state._replace(step=jnp.int32(1)), meta)
    files = [path for path in (tmp_path / "checkpoints/1").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files if path.name != "manifest.json")
    assert size < in_memory  # it is compressed
    free[0] = size
    assert checkpoints.find_shortage(state) == []
    free[0] = size - 1
    assert len(checkpoints.find_shortage(state)) == 1
    checkpoints.close()
