"""Files and folders are written as a whole or not at all, by one writer or several, and after one that was killed."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from lct_jax.errors import InputError
from lct_jax.files import describe_unguarded, lock, replace_atomically, replace_folder
from lct_jax.tensors import load_tensors_of, save_tensors
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.report.reporter import drop_later

# Children of these tests only write files and do not use JAX, whose threads do not survive a fork.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replace_atomically(path) as unfinished:
        assert names(path.parent) == [".a.txt.partial"]
        unfinished.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == ["a.txt"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replace_atomically(path) as unfinished:
        unfinished.write_text("ne")
        raise RuntimeError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_that_cannot_be_written_is_a_one_line_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/a.txt: cannot be written: "):
        save_tensors(tmp_path / "file" / "a.txt", {"x": np.zeros(1)})


@pytest.mark.programs
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_leftovers_of_a_killed_writer_are_overwritten(tmp_path, kind):
    path = tmp_path / "a"
    process = multiprocessing.get_context("fork").Process(target=_write_and_die, args=(path, kind))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert names(tmp_path) == [".a.partial"]
    if kind == "file":
        with replace_atomically(path) as unfinished:
            assert unfinished.read_bytes() == b""
            unfinished.write_text("b")
        assert path.read_text() == "b"
    else:
        with replace_folder(path) as unfinished:
            (unfinished / "b").touch()
        assert names(path) == ["b"]
    assert names(tmp_path) == ["a"]


def _write_and_die(path: Path, kind: str) -> None:
    if kind == "file":
        with replace_atomically(path) as unfinished:
            unfinished.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    with replace_folder(path) as unfinished:
        (unfinished / "half").touch()
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.programs
def test_writers_of_one_file_take_turns(tmp_path):
    """Eight processes each write their own number many times; the file that remains is one of them, complete."""
    path, context = tmp_path / "a", multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_number, args=(path, n)) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 8
    values = load_tensors_of(path, ["x"])["x"]
    assert len(set(values.tolist())) == 1
    assert len(values) == 1000 + values[0]
    assert names(tmp_path) == ["a"]


def _write_number(path: Path, number: int) -> None:
    for _ in range(20):
        save_tensors(path, {"x": np.full(1000 + number, number)})
        load_tensors_of(path, ["x"])  # whole at any moment, whoever wrote it


def test_a_folder_appears_only_when_it_is_complete(tmp_path):
    folder = tmp_path / "set"
    for number in (1, 2):
        with replace_folder(folder) as unfinished:
            (unfinished / str(number)).touch()
        assert names(folder) == [str(number)]
    with pytest.raises(RuntimeError), replace_folder(folder) as unfinished:
        raise RuntimeError
    assert names(folder) == ["2"]
    assert names(tmp_path) == ["set"]


def test_report_lines_after_the_resumed_step_are_dropped(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1}\n{"step": 3}\n{"step": 2}\n{"ste')
    drop_later(log, 2)
    assert log.read_text() == '{"step": 1}\n{"step": 2}\n'


@pytest.fixture
def no_locks(monkeypatch):
    """Simulates a file system without flock, such as Lustre mounted without `-o flock`."""

    def refuse(file: object, how: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_lock_is_held_until_its_file_is_closed(tmp_path):
    path = tmp_path / "lock"
    with path.open("w") as file:
        assert lock(file, wait=False) is None
        with path.open("w") as other, pytest.raises(BlockingIOError):
            lock(other, wait=False)
    with path.open("w") as file:
        assert lock(file, wait=True) is None


def test_a_file_is_written_on_a_file_system_without_locks(tmp_path, no_locks):
    path = tmp_path / "a"
    with path.open("w") as file:
        assert lock(file, wait=False) == "Function not implemented"
    with replace_atomically(path) as unfinished:
        unfinished.write_text("whole")
    assert path.read_text() == "whole"


def test_a_run_warns_that_its_folder_has_no_lock(tmp_path, no_locks, capsys):
    Checkpoints(tmp_path, keep=1).close()
    line = describe_unguarded(tmp_path, "Function not implemented")
    assert capsys.readouterr().err == f"note: {line}\n"
    assert line == (
        f"{tmp_path}: this file system has no locks (Function not implemented), so nobody guards the folder: "
        "do not run two programs in it"
    )
