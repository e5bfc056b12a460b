"""A causal run that starts from a bidirectional one, and scenes sampled from it in the causal modes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from shared_folder import make_once
from tiny_film import (
    CONFIG,
    run_program,
    shared_film,
    shared_run,
    write_config,
)
from uncached_pass import UncachedPass

import lct_jax
from lct_jax.backbones.mmdit.names import decays
from lct_jax.backbones.registry import build_abstract
from lct_jax.base import find_base
from lct_jax.config import Config
from lct_jax.config.network import change, sections
from lct_jax.distributed.sharding import make_mesh
from lct_jax.errors import InputError
from lct_jax.sampling.modes import MODES, Mode
from lct_jax.sampling.schedule import plan_causal
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.start import TrainedWeights, start_state
from lct_jax.training.optimizer import make_optimizer

pytestmark = pytest.mark.programs


def make_config(**model: object) -> Config:
    """Returns the shared run's config with causal context and a schedule of its own, starting from the shared run."""
    training = dataclasses.replace(
        CONFIG.training,
        context="causal",
        steps=2,
        learning_rate=1e-3,
        init_from=str(shared_run()),
        eval_batches=0,
    )
    return dataclasses.replace(
        CONFIG,
        name="tiny_causal",
        training=training,
        **sections(change(CONFIG.network, **model)),
    )


def causal_run() -> tuple[Path, str]:
    """Returns the work folder of a causal run, and what the run printed."""
    folder = make_once("causal", _train)
    return folder / "run", (folder / "printed.txt").read_text()


def _train(folder: Path) -> None:
    write_config(folder / "tiny_causal.py", make_config())
    paths = {
        "config": folder / "tiny_causal.py",
        "data": shared_film().prepared,
        "workdir": folder / "run",
    }
    result = run_program("train.py", *(f"--{name}={path}" for name, path in paths.items()))
    assert result.code == 0, result.stderr
    (folder / "printed.txt").write_text(result.stdout)


def start(config: Config, workdir: Path):
    """Returns the state that a run of this config starts from."""
    shapes = build_abstract(config.network).params
    meta = dataclasses.replace(TrainedWeights(shared_run()).meta, config=config)
    checkpoints = Checkpoints(workdir, keep=1)
    try:
        return start_state(
            checkpoints,
            meta,
            config.training,
            shapes,
            make_optimizer(config.training, decays=decays),
            make_mesh(devices=jax.devices()[:1]),
            initialize=lambda: pytest.fail("random weights"),
            read=find_base(meta, checkpoints).read_trained,
        )
    finally:
        checkpoints.close()


@pytest.mark.slow
def test_a_causal_run_says_where_it_starts_from():
    workdir, printed = causal_run()
    assert f"starting from {shared_run()} (tiny, context full, ema of step 8)" in printed
    config = TrainedWeights(workdir).meta.config
    assert (config.training.context, config.training.steps) == ("causal", 2)


@pytest.mark.parametrize("which", ["ema", "params"])
def test_causal_run_starts_from_ema_or_raw_weights(which, tmp_path, capsys):
    config = make_config()
    training = dataclasses.replace(config.training, init_weights=which)
    state = start(dataclasses.replace(config, training=training), tmp_path)
    assert f"{which} of step 8" in capsys.readouterr().out
    expected = TrainedWeights(shared_run(), which=which).read(build_abstract(config.network).params)
    jax.tree.map(np.testing.assert_array_equal, state.params, expected)
    assert int(state.step) == 0


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        start(make_config(depth=2), tmp_path)
    assert str(caught.value) == f"{shared_run()}: made with backbone.depth 1, found 2"


def sample(run: Path, out: Path, mode: str, *flags: str):
    script = out.parent / "script.json"
    shots = [{"prompt": "Rain."}, {"prompt": "Character 1 waits.", "frames": 1}, {"prompt": "Sun."}]
    scene = {"characters": {"1": "A man."}, "environment": "A quay.", "shots": shots}
    script.write_text(json.dumps({"format": "lct_jax.script/1", **scene}))
    size = ("--frames=5", "--height=32", "--width=48", "--steps=3")
    return run_program(
        "sample.py",
        f"--checkpoint={run}",
        f"--script={script}",
        f"--mode={mode}",
        f"--out={out}",
        *size,
        *flags,
    )


@pytest.mark.slow
def test_the_program_samples_what_a_reference_without_a_cache_does(tmp_path, monkeypatch):
    workdir, _ = causal_run()
    result = sample(workdir, tmp_path / "out", "causal")
    assert result.code == 0, result.stderr
    found = load_file(tmp_path / "out" / "latents.safetensors")
    assert found.keys() == {"shot_01", "shot_02", "shot_03"}
    monkeypatch.setitem(MODES, "causal", Mode(plan_causal, UncachedPass, causal=True))
    scene = lct_jax.load(workdir).sample(
        tmp_path / "script.json", mode="causal", frames=5, height=32, width=48, steps=3
    )
    for shot in scene:
        latent = found[f"shot_{shot.number + 1:02d}"]
        np.testing.assert_allclose(latent, shot.latent, atol=1e-4)


def test_a_bidirectional_run_is_refused_in_a_causal_mode(tmp_path):
    result = sample(shared_run(), tmp_path / "out", "causal")
    expected = f"{shared_run()} was trained with training.context 'full', expected 'causal'"
    assert (result.code, result.stderr) == (2, f"error: --mode=causal: {expected}\n")


@pytest.mark.slow
def test_more_shards_than_devices_are_refused(tmp_path):
    result = sample(causal_run()[0], tmp_path / "out", "causal", "--shards=2")
    message = "sampling.shards: found 2, expected a divisor of 2 heads and at most 1 devices"
    assert (result.code, result.stderr) == (2, f"error: {message}\n")
