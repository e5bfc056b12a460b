"""Only one process writes in a folder at a time, and a file system without locks gives a warning."""

from __future__ import annotations

import errno
import os

import pytest

import lct_jax.files
from lct_jax.errors import InputError
from lct_jax.folder_lock import lock_folder


def test_a_second_writer_is_refused_and_the_first_is_named(tmp_path):
    with lock_folder(tmp_path, doing="preparing"):
        with pytest.raises(InputError) as caught, lock_folder(tmp_path, doing="preparing"):
            pass
        line = str(caught.value)
        assert line.startswith(f"{tmp_path}: another process ({os.getpid()} on ")
        assert line.endswith(") is preparing")
    assert list(tmp_path.iterdir()) == []
    with lock_folder(tmp_path, doing="preparing"):
        pass


def test_a_lock_that_a_killed_writer_left_is_free(tmp_path):
    (tmp_path / ".lock").write_text("12 on elsewhere")
    with lock_folder(tmp_path, doing="preparing"):
        assert (tmp_path / ".lock").read_text().startswith(f"{os.getpid()} on ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_folder_without_locks_gives_a_warning(tmp_path, monkeypatch, caplog, number):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lct_jax.files.fcntl, "flock", refuse)
    said = []
    monkeypatch.setattr(
        lct_jax.folder_lock.logging, "warning", lambda form, *x: said.append(form % x)
    )
    with lock_folder(tmp_path, doing="preparing"):
        pass
    assert said == [
        f"{tmp_path}: this file system has no locks ({os.strerror(number)}), so nobody guards the folder:"
        " do not run two programs in it"
    ]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    expected = r"gone: cannot be written: No such file"
    with pytest.raises(InputError, match=expected), lock_folder(tmp_path / "gone", doing="x"):
        pass
