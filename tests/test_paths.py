"""Paths with characters that have a meaning to some library: every program accepts or refuses them in one line."""

from __future__ import annotations

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from test_integrity import make_state
from test_programs import SAMPLING, check_refused, write_script
from tiny_film import CONFIG, make_tiny_film, run_program, shared_film, train_arguments

from lct_jax.config import freeze
from lct_jax.errors import InputError
from lct_jax.paths import local_path
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.integrity import MANIFEST, find_damage, find_missing, seal
from lct_jax.training.checkpoint.literal_path import LiteralPath
from lct_jax.training.checkpoint.weights import Meta

META = Meta(CONFIG, codec="c", encoder="e", fps=12, credit="")
NAMES = (
    "lr[1e-4]",
    "lr[12]*?",
    "2024-01-01T12:30",
    "50%20 @home #1 +é",
    "~",
    "a'b\"c{d}|$e;f&g=h,i(j)!",
)


def save(folder: Path, value: float) -> None:
    """Saves one checkpoint, of step 0, in which every parameter is `value`."""
    params = {name: jnp.full((2, 3), value) for name in ("a", "b")}
    state = make_state()._replace(params=params, ema=params)
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.save(state, META)
    checkpoints.close()


# ---- checkpoints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_under_any_name_is_restored(tmp_path, name):
    folder = tmp_path / ".." / tmp_path.name / name / "tuned"
    save(folder, 0.25)
    shapes = {name: np.zeros((2, 3), np.float32) for name in ("a", "b")}
    restored = Checkpoints(folder).restore_weights("ema", shapes)
    np.testing.assert_array_equal(restored["b"], np.full((2, 3), 0.25, np.float32))
    assert (folder / "checkpoints/0/state/manifest.ocdbt").is_file()


def test_a_folder_named_like_a_pattern_does_not_match_other_runs(tmp_path):
    for name, value in (("lr1", 1.0), ("lr2", 2.0), ("lr[12]", 5.0), ("lr*", 7.0)):
        save(tmp_path / name, value)
    for name, value in (("lr1", 1.0), ("lr[12]", 5.0), ("lr*", 7.0)):
        shapes = {name: np.zeros((2, 3), np.float32) for name in ("a", "b")}
        restored = Checkpoints(tmp_path / name).restore_weights("params", shapes)
        assert restored["a"].tolist() == [[value] * 3] * 2


def test_literal_path_globs_only_below_itself(tmp_path):
    for name in ("x1/process_0", "x[1]/process_1"):
        (tmp_path / name).mkdir(parents=True)
    path = LiteralPath(tmp_path / "x[1]")
    assert list(path.glob("process_*")) == [path / "process_1"]
    assert isinstance(path / "a", LiteralPath)
    assert str(LiteralPath("/s3/runs")) == "/s3/runs"  # the library's own says s3://runs


def test_a_checkpoint_that_cannot_be_restored_is_not_sealed(tmp_path, monkeypatch):
    """Orbax is given its own class of paths, in place of `LiteralPath`."""
    save(tmp_path / "lr[1]", 1.0)
    monkeypatch.setattr("lct_jax.training.checkpoint.checkpoints.LiteralPath", Path)
    checkpoints = Checkpoints(tmp_path / "lr[1]", keep=2)
    with pytest.raises(InputError) as caught:
        checkpoints.save(make_state()._replace(step=jnp.int32(1)), META)
    folder = tmp_path / "lr[1]/checkpoints/1"
    assert str(caught.value) == (
        f"{folder}: cannot be saved (it could not be restored: state/manifest.ocdbt: missing); "
        "the last checkpoint is that of step 0"
    )
    checkpoints.close()
    assert not (folder / MANIFEST).exists()
    assert find_damage(folder) == "state/manifest.ocdbt: missing"


def test_a_first_checkpoint_that_cannot_be_saved_says_that_there_is_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr("lct_jax.training.checkpoint.checkpoints.LiteralPath", Path)
    checkpoints = Checkpoints(tmp_path / "lr[1]", keep=2)
    with pytest.raises(InputError, match=r"missing\); there is no other checkpoint$"):
        checkpoints.save(make_state(), META)
    checkpoints.close()


def test_an_array_that_is_not_in_the_database_is_named(tmp_path):
    save(tmp_path, 1.0)
    checkpoint = tmp_path / "checkpoints/0"
    assert find_missing(checkpoint) is None
    (checkpoint / MANIFEST).unlink()
    path = checkpoint / "state/_METADATA"
    tree = json.loads(path.read_text())
    keys = [{"key": "params", "key_type": 2}, {"key": "gone", "key_type": 2}]
    kind = {"value_type": "jax.Array", "skip_deserialize": False}
    leaf = {"key_metadata": keys, "value_metadata": kind}
    tree["tree_metadata"]["('params', 'gone')"] = leaf
    path.write_text(json.dumps(tree))
    with pytest.raises(InputError, match=r"has no array 'params\.gone', 1 of \d+ are missing"):
        seal(checkpoint)
    assert not (checkpoint / MANIFEST).exists()


# ---- what is taken and what is refused --------------------------------------------------------------


def test_a_leading_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert local_path("~/runs/a", "--workdir") == "/home/ada/runs/a"
    assert local_path("runs/~/a", "--workdir") == "runs/~/a"
    assert local_path("", "--workdir") == ""
    config = freeze({"name": "a", "training": {"init_from": "~/w.safetensors"}})
    assert config.training.init_from == "/home/ada/w.safetensors"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("gs://bucket/runs", "mount the bucket"),
        ("s3://bucket/runs", "mount the bucket"),
        ("file:///tmp/runs", "mount the bucket"),
        ("gs:/bucket", "mount the bucket"),
        ("a\\b", "without '\\\\'"),
        ("a\nb", r"without '\n'"),
        ("runs/gs:/a", "without 'gs:'"),
        ("a\udcff", "in UTF-8"),
    ],
)
def test_paths_that_a_library_cannot_use_are_refused(path, expected):
    with pytest.raises(InputError) as caught:
        local_path(path, "--workdir")
    assert str(caught.value).startswith("--workdir: found ")
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_paths_with_special_characters_are_accepted(name):
    assert local_path(f"runs/{name}", "--out") == f"runs/{name}"


REMOTE = "gs://bucket/a"
PROGRAMS = {
    "train": ["train.py", "--config=configs/film_tiny.py", "--data=set", f"--workdir={REMOTE}"],
    "train --data": ["train.py", "--config=configs/film_tiny.py", f"--data={REMOTE}", "--workdir=w"],
    "sample": ["sample.py", "--script=s.json", "--out=o", f"--checkpoint={REMOTE}"],
    "prepare": ["-m", "lct_jax.data.prepare", "--config=configs/film_tiny.py", f"--out={REMOTE}"],
    "preflight": ["-m", "lct_jax.preflight", "--config=configs/film_tiny.py", f"--workdir={REMOTE}"],
    "export": ["-m", "lct_jax.export", "--checkpoint=run", f"--out={REMOTE}"],
    "plan": ["-m", "lct_jax.plan", "--topology=v5p:8", f"--config={REMOTE}"],
    "puppets": ["-m", "lct_jax.puppets.prepare", "--config=configs/puppets.py", f"--out={REMOTE}"],
    "evaluate": ["evaluate.py", "--checkpoint=run", "--scenes=s", f"--out={REMOTE}"],
    "evaluate puppets": ["-m", "lct_jax.evaluation.puppets", "--checkpoint=run", f"--out={REMOTE}"],
    "validate": ["-m", "lct_jax.data.sets.validate", f"--data={REMOTE}"],
    "look": ["-m", "lct_jax.data.sets.contact_sheet", "--data=set", f"--out={REMOTE}"],
    "codec": ["-m", "lct_jax.codecs.train", "--config=configs/codecs/film_vae.py", f"--workdir={REMOTE}"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_refuses_a_remote_folder_before_any_work(name):
    result = run_program(*PROGRAMS[name])
    check_refused(result, REMOTE, "expected a path of this machine's file systems")


@pytest.mark.programs
def test_a_config_field_refuses_a_remote_folder(tmp_path):
    flag = "--config.training.init_from=gs://bucket/a.safetensors"
    result = run_program(*train_arguments(shared_film(), tmp_path / "run"), flag)
    check_refused(result, "training.init_from", "gs://bucket/a.safetensors")
    assert not (tmp_path / "run").exists()


# ---- the programs, one after another, in a folder of such a name ---------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lr[12] *?", "2024-01-01T12:30", "50%20 @home #1 +é ~"])
def test_prepare_train_export_and_sample_take_any_folder(tmp_path, name):
    for other in ("lr1 ab", "lr2 ab"):  # what the first name would match
        (tmp_path / other).mkdir()
    folder = tmp_path / name
    folder.mkdir()
    film = make_tiny_film(folder)
    out = folder / "set"
    run("-m", "lct_jax.data.prepare", scenes=film.scenes, config=film.config, out=out)
    run("train.py", config=film.config, data=out, workdir=folder / "run")
    weights = folder / "w.safetensors"
    run("-m", "lct_jax.export", checkpoint=folder / "run", out=weights)
    script = write_script(folder)
    codec = folder / "run/codec.safetensors"
    paths = {"checkpoint": weights, "codec": codec, "script": script, "out": folder / "scene"}
    run("sample.py", *SAMPLING, **paths)
    assert (folder / "scene/storyboard.png").is_file()
    run("-m", "lct_jax.data.sets.validate", data=out)


def test_a_folder_with_a_colon_that_begins_a_path_is_read(tmp_path, monkeypatch):
    """Of a relative `2024-01-01T12:30/film.mp4`, a decoder would take the part before the colon for a protocol."""
    from lct_jax.media.video import read_video, write_video

    monkeypatch.chdir(tmp_path)
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    for folder in ("2024-01-01T12:30", "50%03d"):
        write_video(Path(folder) / "film.mp4", frames, fps=12)
        assert read_video(Path(folder) / "film.mp4").frames.shape == (3, 16, 16, 3)
    write_video(Path("12:30.mp4"), frames, fps=12)
    assert read_video("12:30.mp4").frames.shape == (3, 16, 16, 3)


def run(*program: str, **flags: Path) -> None:
    """Runs a program with flags that are paths, and checks that it exits with 0."""
    result = run_program(*program, *(f"--{name}={path}" for name, path in flags.items()))
    assert result.code == 0, result.stderr
