"""Damaged checkpoints: how they are found and reported, which one is used instead, and where they are moved."""

from __future__ import annotations

import functools
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_resume import check_same_end, finish, finished
from tiny_film import CONFIG, shared_run, start_program

from lct_jax.backbones.mmdit.names import decays
from lct_jax.backbones.registry import build_abstract
from lct_jax.errors import InputError
from lct_jax.training.checkpoint import integrity
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.integrity import MANIFEST, Choice, choose, find_damage
from lct_jax.training.checkpoint.start import TrainedWeights
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.state import TrainState, init_state

pytestmark = pytest.mark.programs

SHAPES = build_abstract(CONFIG.network).params


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    """Flips one bit of the middle byte."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "truncated": truncate,
    "missing": Path.unlink,
    "flipped": flip,
}
EXPECTED = {"truncated": "found", "missing": "missing", "flipped": "SHA-256"}
META, ARRAYS = "meta/metadata", "state/ocdbt.process_0/d"


@pytest.fixture
def run(tmp_path) -> Path:
    """Returns a copy of the shared run, with checkpoints of steps 6 and 8."""
    return Path(shutil.copytree(shared_run(), tmp_path / "run"))


def largest(run: Path, step: int) -> Path:
    """Returns the largest file of array data."""
    folder = run / "checkpoints" / str(step) / ARRAYS
    return max(folder.iterdir(), key=lambda path: path.stat().st_size)


@functools.cache
def make_state() -> TrainState:
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5), SHAPES)
    return init_state(params, make_optimizer(CONFIG.training, decays=decays))


# ---- found ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_to_any_file_is_found_and_named(run, kind):
    checkpoint = run / "checkpoints/8"
    assert find_damage(checkpoint) is None
    names = [str(p.relative_to(checkpoint)) for p in checkpoint.rglob("*") if p.is_file()]
    assert {META, MANIFEST, "_CHECKPOINT_METADATA", "state/_METADATA"} <= set(names)
    assert any(name.startswith(ARRAYS) for name in names)
    for name in names:
        path = checkpoint / name
        kept = path.read_bytes()
        DAMAGE[kind](path)
        found = find_damage(checkpoint)
        if name != MANIFEST:
            assert found is not None and found.startswith(f"{name}: "), name
            assert EXPECTED[kind] in found
        elif kind == "missing":
            # Earlier checkpoints have no manifest either.
            assert found is None
        else:
            assert found is not None and found.startswith(MANIFEST)
        path.write_bytes(kept)
        assert find_damage(checkpoint) is None


def test_any_flipped_bit_of_the_manifest_is_found(run):
    path = run / "checkpoints/8" / MANIFEST
    kept = path.read_bytes()
    for place in range(0, len(kept), 7):
        path.write_bytes(kept[:place] + bytes([kept[place] ^ 1]) + kept[place + 1 :])
        assert find_damage(path.parent) is not None, (place, kept[place : place + 1])


def test_missing_files_are_found_without_a_manifest(run):
    checkpoint = run / "checkpoints/8"
    (checkpoint / MANIFEST).unlink()
    (checkpoint / META).unlink()
    assert find_damage(checkpoint) == f"{META}: missing"


# ---- what is used instead ------------------------------------------------------------------------


def test_a_run_resumes_from_the_checkpoint_before_a_damaged_one(run):
    """The damaged checkpoint is reported in one line, and kept."""
    damaged = largest(run, 8)
    flip(damaged)
    result = finish(run)
    lines = [line for line in result.stderr.splitlines() if "damaged" in line]
    name = damaged.relative_to(run / "checkpoints/8")
    folder = run / "checkpoints/8"
    assert lines == [
        f"{folder}: damaged, {name}: its bytes are not those that were saved (SHA-256); "
        f"moved to {run}/damaged/8; going back to step 6"
    ]
    assert "going on from step 6" in result.stdout
    assert (run / "damaged/8" / name).exists()
    check_same_end(run)


def test_each_damaged_checkpoint_is_named_and_moved(run, capsys):
    shutil.copytree(run / "checkpoints/8", run / "checkpoints/7")
    # An earlier damaged checkpoint is there already.
    (run / "damaged/8").mkdir(parents=True)
    truncate(run / "checkpoints/7" / META)
    (run / "checkpoints/8/state/_METADATA").unlink()
    checkpoints = Checkpoints(run, keep=2)
    assert checkpoints.latest == 6
    checkpoints.close()
    first, second = capsys.readouterr().err.splitlines()
    assert "checkpoints/8: damaged, state/_METADATA: missing, expected" in first
    assert f"checkpoints/7: damaged, {META}: found" in second
    assert sorted(path.name for path in (run / "damaged").iterdir()) == ["7", "8", "8.2"]
    assert finished(run) == [6]


def test_if_all_checkpoints_are_damaged_each_is_named_and_none_moved(run):
    flip(largest(run, 6))
    truncate(run / "checkpoints/8/state/_METADATA")
    for keep in (None, 2):
        with pytest.raises(InputError) as caught:
            Checkpoints(run, keep=keep)
        message = str(caught.value)
        assert message.startswith(f"{run}/checkpoints: found no whole checkpoint, expected one (8:")
        assert "8: state/_METADATA: found" in message
        assert f"; 6: {ARRAYS}" in message
    assert finished(run) == [6, 8]


def test_reading_a_run_skips_damaged_checkpoints_and_changes_nothing(run, capsys):
    """sample.py, lct_jax.export and training.init_from read a run in this way."""
    expected = TrainedWeights(run).read(SHAPES)
    flip(largest(run, 8))
    assert TrainedWeights(run).describe().endswith("ema of step 6)")
    assert TrainedWeights(run).meta.config == CONFIG
    older = TrainedWeights(run).read(SHAPES)
    pairs = zip(jax.tree.leaves(older), jax.tree.leaves(expected), strict=True)
    assert any((old != new).any() for old, new in pairs)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, "said once, although it is opened for everything anew"
    assert "checkpoints/8: damaged" in lines[0] and lines[0].endswith("going back to step 6")
    assert finished(run) == [6, 8]
    assert not (run / "damaged").exists()


def test_a_checkpoint_without_a_manifest_is_used_with_a_note(run, capsys):
    (run / "checkpoints/8" / MANIFEST).unlink()
    assert Checkpoints(run).latest == 8
    assert capsys.readouterr().err == (
        f"{run}/checkpoints/8: has no manifest.json, so it is used unchecked\n"
    )


def test_unfinished_saves_are_ignored_and_removed_by_their_run_only(run):
    half = run / "checkpoints/9.orbax-checkpoint-tmp"
    shutil.copytree(run / "checkpoints/8", half)
    assert Checkpoints(run).latest == 8
    assert half.exists()
    checkpoints = Checkpoints(run, keep=2)
    assert checkpoints.latest == 8
    checkpoints.close()
    assert not half.exists()


# ---- when it is written --------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["cpu", "tpu"])
def test_every_save_gets_its_manifest(tmp_path, monkeypatch, backend):
    """On an accelerator the checkpoint and its manifest are written during training."""
    meta = TrainedWeights(shared_run()).meta
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        assert checkpoints.save(make_state()._replace(step=jnp.int32(step)), meta) > 0
    checkpoints.close()
    assert checkpoints.latest == 3
    assert finished(tmp_path) == [2, 3]
    for step in (2, 3):
        assert (tmp_path / "checkpoints" / str(step) / MANIFEST).exists()
        assert find_damage(tmp_path / "checkpoints" / str(step)) is None


@pytest.mark.parametrize(
    ("broadcast", "expected"),
    [([6, 1, 0], Choice(6, True, {})), ([-1, 0, 0], Choice(None, False, {}))],
)
def test_other_processes_receive_the_chosen_checkpoint_by_broadcast(
    run, monkeypatch, broadcast, expected
):
    flip(largest(run, 8))
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    send = lambda mine: np.array(broadcast)
    monkeypatch.setattr(integrity.multihost_utils, "broadcast_one_to_all", send)
    assert choose(run / "checkpoints", owner=True) == expected
    assert finished(run) == [6, 8]


def test_other_processes_end_too_if_all_checkpoints_are_damaged(run, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    send = lambda mine: np.array([-1, 0, 1])
    monkeypatch.setattr(integrity.multihost_utils, "broadcast_one_to_all", send)
    with pytest.raises(InputError, match=r"no whole checkpoint, .* \(the first process names"):
        choose(run / "checkpoints", owner=True)


TWO_PROCESSES = """
import sys
from pathlib import Path
import jax
number, address, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
jax.distributed.initialize(address, num_processes=2, process_id=number)
from lct_jax.training.checkpoint.integrity import choose
print("chosen", choose(folder, owner=True).step)
"""


@pytest.mark.slow
def test_two_processes_choose_the_same_checkpoint(run):
    """Two real processes start, and only the first one reports the damage and moves the checkpoint."""
    flip(largest(run, 8))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = [address, run / "checkpoints"]
    pair = [start_program("-c", TWO_PROCESSES, str(number), *arguments) for number in (0, 1)]
    (first, told), (second, silent) = (process.communicate(timeout=300) for process in pair)
    assert [process.returncode for process in pair] == [0, 0], told + silent
    # The first line is Gloo's, about its connection.
    assert first.splitlines()[-1] == second.splitlines()[-1] == "chosen 6"
    assert "checkpoints/8: damaged" in told and "damaged" not in silent
    assert finished(run) == [6]
    assert (run / "damaged/8").is_dir()
