"""The programs refuse another codec or encoder than that of a run's set, and name both."""

from __future__ import annotations

import json
import shutil

import pytest
from test_programs import check_refused, sample, write_script
from tiny_film import run_program, shared_film, shared_run, train_arguments

from lct_jax.codecs.patch import PatchCodec
from lct_jax.data.sets.records import PreparedSet

pytestmark = [pytest.mark.slow, pytest.mark.programs]


def write_other_codec(path) -> str:
    """Writes the codec of the shared run with another mean, and returns its identity."""
    codec = PatchCodec.load(shared_run() / "codec.safetensors", channels=8)
    other = PatchCodec(mean=codec.mean + 1, basis=codec.basis, scale=codec.scale)
    other.save(path)
    assert other.identity != codec.identity
    return other.identity


def test_sampling_refuses_another_codec(tmp_path):
    other = write_other_codec(tmp_path / "codec.safetensors")
    result = sample(
        tmp_path / "out",
        script=str(write_script(tmp_path)),
        codec=str(tmp_path / "codec.safetensors"),
    )
    mine = PreparedSet(shared_film().prepared).card.codec
    check_refused(result, f"made with codec {mine}, found {other}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["codec", "encoder"])
def test_training_refuses_a_set_of_another_codec_or_encoder(tmp_path, kind):
    film, copy = shared_film(), tmp_path / "set"
    shutil.copytree(film.prepared, copy)
    card = json.loads((copy / "card.json").read_text())
    mine, card[kind] = card[kind], "other"
    (copy / "card.json").write_text(json.dumps(card))
    (copy / "checksums.json").unlink()  # it is another set, and not a damaged one
    shutil.copytree(shared_run(), tmp_path / "run")
    arguments = train_arguments(film, tmp_path / "run")
    changed = [f"--data={copy}" if a.startswith("--data=") else a for a in arguments]
    check_refused(run_program(*changed), f"made with {kind} {mine}, found other")
