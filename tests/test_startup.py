"""Where compiled programs are kept, what happens to broken ones, and when JAX does not look for a TPU."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import jax
import pytest
from absl import flags

from lct_jax import startup
from lct_jax.errors import InputError
from lct_jax.startup import choose_folder, drop_broken, may_have_tpu, use_compilation_cache

SETTINGS = (
    *("jax_compilation_cache_dir", "jax_enable_compilation_cache", "jax_platforms"),
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Restores flags and settings of JAX afterwards, in an environment that does not choose a cache."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    for name in ("LCT_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())
    flags.DEFINE_bool("compilation_cache", True, "", flag_values=flags.FLAGS)
    flags.FLAGS(["program"])
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.parametrize(
    ("workdir", "environment", "expected"),
    [
        ("/run", {"LCT_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x"}, "/c"),
        ("/run", {"XDG_CACHE_HOME": "/x"}, "/run/compiled"),
        (None, {"XDG_CACHE_HOME": "/x"}, "/x/lct_jax/compiled"),
        (None, {"LCT_CACHE_DIR": ""}, f"{Path.home()}/.cache/lct_jax/compiled"),
    ],
)
def test_compilation_cache_folder_by_variable_work_folder_and_user_cache(
    workdir, environment, expected
):
    assert str(choose_folder(workdir and Path(workdir), environment)) == expected


def test_compilation_cache_is_on_by_default_and_off_by_the_flag(tmp_path):
    assert use_compilation_cache(tmp_path) == tmp_path / "compiled"
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "compiled")
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0
    flags.FLAGS(["program", "--nocompilation_cache"])
    assert use_compilation_cache(tmp_path) is None
    assert not jax.config.jax_enable_compilation_cache


def test_compilation_cache_set_in_jax_is_kept(tmp_path):
    jax.config.update("jax_compilation_cache_dir", "/elsewhere")
    assert use_compilation_cache(tmp_path) is None
    assert jax.config.jax_compilation_cache_dir == "/elsewhere"


def test_named_folder_that_cannot_be_made_is_an_error_and_any_other_a_note(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").touch()
    assert use_compilation_cache(tmp_path / "file") is None
    assert "file/compiled: Not a directory; compiled programs are not" in capsys.readouterr().err
    monkeypatch.setenv("LCT_CACHE_DIR", str(tmp_path / "file" / "c"))
    with pytest.raises(InputError, match=r"LCT_CACHE_DIR: .*file/c: Not a directory, expected"):
        use_compilation_cache()


def test_truncated_cache_entries_are_removed_once_and_others_stay(tmp_path):
    whole = zlib.compress(bytes(range(256)) * 9)
    contents = {"a": whole, "b": whole[:-1], "c": b"", "d": b"\x28\xb5\x2f\xfd"}
    for name, content in contents.items():
        (tmp_path / f"{name}-cache").write_bytes(content)
    drop_broken(tmp_path)
    names = lambda: sorted(path.name for path in tmp_path.iterdir())
    assert names() == [".checked", "a-cache", "d-cache"]
    # Entries that were checked before are not read again.
    (tmp_path / "a-cache").write_bytes(b"")
    os.utime(tmp_path / "a-cache", (0, 0))
    drop_broken(tmp_path)
    assert names() == [".checked", "a-cache", "d-cache"]


def test_a_tpu_is_detected_by_device_files_and_variables(tmp_path):
    (tmp_path / "accel0").touch()
    none, some = (str(tmp_path / "vfio*"),), (str(tmp_path / "accel*"),)
    assert not may_have_tpu({"HOME": "/"}, none)
    assert may_have_tpu({"HOME": "/"}, some)
    assert may_have_tpu({"TPU_WORKER_ID": "0"}, none)
    assert not may_have_tpu({"TPU_LIBRARY_PATH": "/libtpu.so", "TPU_SKIP_MDS_QUERY": "1"}, none)


@pytest.mark.parametrize(
    ("libtpu", "plugins", "tpu", "before", "expected"),
    [
        (True, [], False, None, "cpu"),
        (False, [], False, None, None),
        (True, ["cuda"], False, None, None),
        (True, [], True, None, None),
        (True, [], False, "tpu", "tpu"),
    ],
)
def test_libtpu_is_not_tried_on_a_machine_without_a_tpu(
    monkeypatch, libtpu, plugins, tpu, before, expected
):
    monkeypatch.setattr(startup.importlib.util, "find_spec", lambda _: libtpu or None)
    monkeypatch.setattr(startup, "entry_points", lambda group: plugins)
    monkeypatch.setattr(startup, "may_have_tpu", lambda _: tpu)
    jax.config.update("jax_platforms", before)
    startup.skip_missing_tpu()
    assert jax.config.jax_platforms == expected
