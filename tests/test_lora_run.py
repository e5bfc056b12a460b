"""LoRA runs by the programs that a user runs: killed, resumed, continued by another stage, sampled and exported."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from scenes import randomise
from shared_folder import make_once
from test_wan_run import SCRIPT, WAN
from tiny_film import (
    HEIGHT,
    WIDTH,
    Result,
    run_program,
    shared_film,
    shared_run,
    start_program,
    write_config,
)

import lct_jax
from lct_jax.backbones.load import save_published
from lct_jax.backbones.registry import build_abstract
from lct_jax.base import find_base, open_weights
from lct_jax.config import Config, LoraConfig
from lct_jax.errors import InputError
from lct_jax.training.checkpoint.checkpoints import Checkpoints
from lct_jax.training.checkpoint.integrity import measure_size
from lct_jax.training.checkpoint.start import TrainedWeights
from lct_jax.training.state import split_params

RANK = 64  # so that the weights of a checkpoint are more than what describes them
WEIGHTS = "diffusion_pytorch_model.safetensors"


def shared_weights() -> Path:
    """Returns a published base of random weights."""

    def write(folder: Path) -> None:
        save_published(folder / "base", randomise(build_abstract(WAN.network).params), WAN.network)

    return make_once("lora_base", write) / "base"


def make_config(base: Path | str, *, context: str = "full", **lora: object) -> Config:
    training = dataclasses.replace(
        WAN.training, context=context, init_from=str(base), steps=4, save_every=2, accumulate=2
    )
    return dataclasses.replace(
        WAN, name="low", training=training, lora=LoraConfig(**{"rank": RANK, **lora})
    )


def train_arguments(folder: Path, config: Config) -> list[str]:
    """Writes the config of a run in a folder and returns the run's command line."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder / "low.py", config)
    paths = {"config": folder / "low.py", "data": shared_film().prepared, "workdir": folder / "run"}
    return ["train.py", *(f"--{name}={path}" for name, path in paths.items())]


def train(folder: Path, config: Config, *flags: str) -> Result:
    return run_program(*train_arguments(folder, config), *flags)


def shared_low() -> Path:
    """Returns the work folder of a LoRA run of four steps on the published base."""

    def write(folder: Path) -> None:
        result = train(folder, make_config(shared_weights()))
        assert result.code == 0, result.stderr
        assert f"starting from {shared_weights()} (published weights)" in result.stdout

    return make_once("lora_run", write) / "run"


def read(run: Path, which: str = "params"):
    """The LoRA of a run's last checkpoint."""
    config = TrainedWeights(run).meta.config
    shapes = split_params(build_abstract(config.network).params).trained
    return Checkpoints(run).restore_weights(which, shapes)


def check_same(found, expected) -> None:
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def sample(run: Path, folder: Path, **options: object) -> list[np.ndarray]:
    """The latents of a scene of two shots."""
    (folder / "script.json").write_text(json.dumps(SCRIPT))
    generator = lct_jax.load(run, **options)
    sizes = {"steps": 2, "frames": 9, "height": HEIGHT, "width": WIDTH}
    return [shot.latent for shot in generator.sample(folder / "script.json", **sizes)]


def copy_run(tmp_path: Path) -> Path:
    """A copy of the LoRA run whose base and config may be changed."""
    shutil.copytree(shared_low().parent, tmp_path / "copy")
    return tmp_path / "copy"


def spoil(base: Path) -> None:
    """Changes one bit of one number in the middle of the weights."""
    data = bytearray((base / WEIGHTS).read_bytes())
    data[len(data) // 2] ^= 1
    (base / WEIGHTS).write_bytes(data)


@pytest.mark.slow
def test_a_checkpoint_has_the_lora_alone_and_knows_its_base(tmp_path):
    run, base = shared_low(), shared_weights()
    meta = TrainedWeights(run).meta
    assert (meta.base.path, meta.base.merged) == (str(base), ())
    assert len(meta.base.identity) == 64
    trained = read(run)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(trained))
    # Weights, their average and two moments are four times the LoRA.
    assert 4 * 0.9 * size < measure_size(run / "checkpoints" / "4") < 5 * size
    assert any(
        np.any(a != b)
        for a, b in zip(*map(jax.tree.leaves, (trained, read(run, "ema"))), strict=True)
    )


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_bits(tmp_path):
    arguments = train_arguments(tmp_path, make_config(shared_weights()))
    process = start_program(*arguments)
    deadline = time.monotonic() + 300
    while process.poll() is None and not (tmp_path / "run/checkpoints/2/manifest.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    result = run_program(*arguments)
    assert result.code == 0, result.stderr
    assert "going on from step 2" in result.stdout or "going on from step 4" in result.stdout
    for which in ("params", "ema"):
        check_same(read(tmp_path / "run", which), read(shared_low(), which))


@pytest.mark.slow
def test_a_base_that_was_changed_is_refused_and_one_that_was_moved_is_found(tmp_path):
    folder = copy_run(tmp_path)
    moved = tmp_path / "moved"
    shutil.copytree(shared_weights(), moved)
    flags = (f"--config.training.init_from={moved}", "--config.training.steps=5")
    result = train(folder, make_config(shared_weights()), *flags)
    assert result.code == 0, result.stderr
    assert "going on from step 4" in result.stdout
    spoil(moved)
    result = train(folder, make_config(shared_weights()), *flags[:1], "--config.training.steps=6")
    assert result.code == 2
    expected = f"error: {moved}: is not the base that {folder / 'run/checkpoints'} was trained on"
    assert result.stderr.startswith(expected)
    with pytest.raises(InputError, match=r"is not the base that .* was trained on: found the hash"):
        lct_jax.load(shared_low(), base=moved)


@pytest.mark.slow
def test_another_base_or_none_is_refused(tmp_path):
    result = train(tmp_path, make_config(""))
    assert result.code == 2
    expected = f"training.init_from: missing, expected the base of lora.rank {RANK}"
    assert result.stderr.splitlines()[0] == f"error: {expected}"
    with pytest.raises(InputError, match=rf"^--base: found x, expected none: {shared_run()} has"):
        lct_jax.load(shared_run(), base="x")


@pytest.mark.slow
def test_a_stage_continues_the_lora_of_another_on_the_same_base(tmp_path):
    result = train(tmp_path, make_config(shared_low(), context="causal"))
    assert result.code == 0, result.stderr
    expected = f"starting from {shared_low()} (low, context full, ema of step 4), a LoRA on"
    assert expected in result.stdout
    meta, before = (TrainedWeights(run).meta for run in (tmp_path / "run", shared_low()))
    assert meta.base == before.base
    assert len(sample(tmp_path / "run", tmp_path)) == 2
    other = train(tmp_path / "other", make_config(shared_low(), rank=8))
    assert other.code == 2
    assert other.stderr.startswith(f"error: lora.rank: found 8, expected {RANK} of {shared_low()}")


def begin(config: Config, folder: Path):
    """What a new run of a config begins with."""
    meta = dataclasses.replace(TrainedWeights(shared_low()).meta, config=config)
    checkpoints = Checkpoints(folder, keep=1)
    try:
        return find_base(meta, checkpoints)
    finally:
        checkpoints.close()


@pytest.mark.slow
def test_a_lora_is_merged_into_what_another_stage_starts_from(tmp_path):
    """All weights are tuned from there on, or another LoRA lies on top."""
    whole = open_weights(export(shared_low(), tmp_path / "whole.safetensors"))
    shapes = build_abstract(WAN.network).params
    expected = whole.read(shapes)
    full = dataclasses.replace(make_config(shared_low()), lora=LoraConfig())
    start = begin(full, tmp_path / "full")
    assert start.base.merged == (str(shared_low()),)
    check_near(start.read_trained(shapes), expected)
    file = export(shared_low(), tmp_path / "peft.safetensors", "--layout=peft")
    for merged in ((str(shared_low()),), (str(file),), ()):
        config = make_config(shared_weights(), rank=2, base_dtype="float32", merged=merged)
        start = begin(config, tmp_path / "top")
        assert start.read_trained is None
        if merged:
            check_near(start.read_frozen(shapes), expected)
    with pytest.raises(AssertionError):
        check_near(start.read_frozen(shapes), expected)


def check_near(found, expected) -> None:
    """The base of the run was rounded to bfloat16 before its LoRA was added, that of another stage was not."""
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2**-8 * np.abs(b).max())


def export(run: Path, out: Path, *flags: str) -> Path:
    result = run_program("-m", "lct_jax.export", f"--checkpoint={run}", f"--out={out}", *flags)
    assert result.code == 0, result.stderr
    return out


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["ours", "diffusers"])
def test_a_merged_export_samples_what_the_run_does(layout, tmp_path):
    out = export(shared_low(), tmp_path / "out.safetensors", f"--layout={layout}")
    if layout == "diffusers":
        # Read as the base of a run that trains nothing further.
        config = dataclasses.replace(make_config(out), lora=LoraConfig())
        start = begin(config, tmp_path / "none")
        found = start.read_trained(build_abstract(WAN.network).params)
        expected = open_weights(export(shared_low(), tmp_path / "ours.safetensors"))
        check_same(found, expected.read(build_abstract(WAN.network).params))
        return
    found = sample(out, tmp_path, codec=shared_low() / "codec.safetensors")
    for latent, expected in zip(found, sample(shared_low(), tmp_path), strict=True):
        np.testing.assert_allclose(latent, expected, atol=1e-4)


@pytest.mark.slow
def test_a_lora_that_is_added_unmerged_samples_what_the_sum_does(tmp_path):
    """The whole of a run, and half of its LoRA once more."""
    run, codec = shared_low(), shared_low() / "codec.safetensors"
    whole = export(run, tmp_path / "whole.safetensors")
    merged = export(run, tmp_path / "sum.safetensors", f"--add_lora={run}:0.5")
    expected, before = (sample(file, tmp_path, codec=codec) for file in (merged, whole))
    found = sample(whole, tmp_path, codec=codec, loras=[f"{run}:0.5"])
    for latent, wanted, other in zip(found, expected, before, strict=True):
        np.testing.assert_allclose(latent, wanted, atol=1e-4)
        assert np.abs(latent - other).max() > 1e-2


@pytest.mark.slow
def test_a_full_run_knows_its_base_and_says_where_it_changed(tmp_path):
    base = tmp_path / "base"
    shutil.copytree(shared_weights(), base)
    config = dataclasses.replace(make_config(base), lora=LoraConfig())
    assert train(tmp_path, config, "--config.training.steps=2").code == 0
    before = TrainedWeights(tmp_path / "run").meta.base
    assert len(before.identity) == 64
    spoil(base)
    result = train(tmp_path, config, "--config.training.steps=3")
    assert result.code == 0, result.stderr
    assert f"changed since: {base} has the hash " in result.stdout
    assert TrainedWeights(tmp_path / "run").meta.base == before
    (base / WEIGHTS).unlink()
    result = train(tmp_path, config, "--config.training.steps=4")
    assert result.code == 0, result.stderr
    assert f"changed since: {base}" not in result.stdout
