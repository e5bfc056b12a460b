"""Files that the code has written before its modules moved to rooms are read by the code of today, and mean the same.

`tests/former/` was made by the code of commit cb2e035, with the config `tiny.py` as it was then: a prepared set, a run
of four steps of which the checkpoint of step 3 is kept, exported weights of step 4, and the latents of a scene that was
sampled from them.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_film import run_program

import lct_jax
from lct_jax.data.sets.records import PreparedSet
from lct_jax.data.sets.validate import find_problems

FORMER = Path(__file__).with_name("former")
# Of step 4, reported by the run that was not interrupted.
LOSS, GRADIENT_NORM = 1.8720204830169678, 0.6691382527351379


@pytest.mark.programs
def test_a_former_run_goes_on_with_its_set_and_its_config(tmp_path):
    workdir = Path(shutil.copytree(FORMER / "run", tmp_path / "run"))
    paths = {"config": FORMER / "tiny.py", "data": FORMER / "set", "workdir": workdir}
    flags = [f"--{name}={path}" for name, path in paths.items()]
    # Formerly single shots were always taken from scenes.
    result = run_program("train.py", *flags, "--config.data.singles_from_scenes=true")
    assert result.code == 0, result.stderr
    assert "going on from step 3" in result.stdout
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    (last,) = (line for line in lines if line["step"] == 4 and "loss" in line)
    assert last["loss"] == pytest.approx(LOSS, rel=1e-5)
    assert last["gradient_norm"] == pytest.approx(GRADIENT_NORM, rel=1e-5)


def test_former_weights_sample_the_scene_that_they_sampled():
    generator = lct_jax.load(
        FORMER / "weights.safetensors", codec=FORMER / "run" / "codec.safetensors"
    )
    size = {"frames": 9, "height": 32, "width": 48}
    scene = generator.sample(
        FORMER / "script.json", mode="autoregressive", steps=3, seed=3, guidance=2.0, **size
    )
    expected = load_file(FORMER / "latents.safetensors")
    found = {f"shot_{shot.number + 1:02d}": shot.latent for shot in scene}
    assert found.keys() == expected.keys()
    for name, latent in expected.items():
        np.testing.assert_allclose(found[name], latent, atol=1e-5)


def test_every_record_of_a_former_set_is_read():
    assert list(find_problems(PreparedSet(FORMER / "set"))) == []


@pytest.mark.programs
def test_a_command_of_a_former_name_runs_and_names_the_new_one():
    result = run_program("-m", "lct_jax.data.validate", f"--data={FORMER / 'set'}")
    assert result.code == 0, result.stderr
    assert "lct_jax.data.validate is now lct_jax.data.sets.validate" in result.stderr


@pytest.mark.parametrize("name", ["data/validate", "data/look", "puppets/evaluate"])
def test_commands_of_former_names_lead_to_modules(name):
    source = (Path(lct_jax.__file__).parent / f"{name}.py").read_text()
    (module,) = re.findall(r'run_moved\("(.*)"\)', source)
    assert importlib.util.find_spec(module)
