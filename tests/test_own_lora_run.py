"""A LoRA run on a network of our own, exported alone: its file is sampled and continued in place of the run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from shared_folder import make_once
from test_lora_run import begin, export, sample, train
from tiny_film import CONFIG, run_program, shared_run

from lct_jax.backbones.registry import build_abstract
from lct_jax.config import Config, LoraConfig
from lct_jax.tensors import name_leaves, read_metadata
from lct_jax.training.checkpoint.start import TrainedWeights
from lct_jax.training.state import split_params

pytestmark = pytest.mark.slow


def make_config(start: Path) -> Config:
    """A LoRA of scale 2, with a longer span for prompts than its base has."""
    training = dataclasses.replace(CONFIG.training, init_from=str(start), steps=4, save_every=4)
    layout = dataclasses.replace(CONFIG.layout, shot_span=40)
    lora = LoraConfig(rank=4, alpha=8.0, base_dtype="float32")
    return dataclasses.replace(CONFIG, name="low", training=training, layout=layout, lora=lora)


def shared_low() -> Path:
    """Returns the work folder of a LoRA run on the shared run of all weights."""

    def write(folder: Path) -> None:
        result = train(folder, make_config(shared_run()))
        assert result.code == 0, result.stderr

    return make_once("own_lora_run", write) / "run"


def check_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for latent, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(latent, wanted)


def test_the_file_of_a_lora_is_sampled_in_place_of_its_run(tmp_path):
    """The same bits, with the layout of the run; and beside the base by `loras`, whose layout is another."""
    run, codec = shared_low(), shared_low() / "codec.safetensors"
    file = export(run, tmp_path / "lora.safetensors", "--layout=peft")
    assert json.loads(read_metadata(file)["meta"])["config"]["layout"]["shot_span"] == 40
    expected = sample(run, tmp_path)
    check_equal(sample(file, tmp_path, codec=codec), expected)
    check_equal(sample(file, tmp_path, codec=codec, base=shared_run()), expected)
    before, beside = (
        sample(shared_run(), tmp_path),
        sample(shared_run(), tmp_path, loras=[str(file)]),
    )
    check_equal(beside, sample(shared_run(), tmp_path, loras=[str(run)]))
    assert all(np.any(a != b) for a, b in zip(before, beside, strict=True))
    result = run_program(
        "-m", "lct_jax.export", f"--checkpoint={run}", f"--out={tmp_path / 'x'}", "--layout=kohya"
    )
    assert result.code == 2
    assert result.stderr.startswith("error: --layout: found kohya, expected ours, or peft for a")


def test_a_run_goes_on_from_the_file_of_a_lora(tmp_path):
    file = export(shared_low(), tmp_path / "lora.safetensors", "--layout=peft")
    start = begin(make_config(file), tmp_path / "on")
    assert start.base == TrainedWeights(shared_low()).meta.base
    shapes = split_params(build_abstract(make_config(file).network).params).trained
    found, expected = start.read_trained(shapes), TrainedWeights(shared_low()).read(shapes)
    for name, leaf in name_leaves(expected).items():
        np.testing.assert_array_equal(name_leaves(found)[name], leaf)


def test_the_file_of_what_more_than_the_run_trained_stands_for_no_run(tmp_path):
    more = f"--add_lora={shared_low()}:0.5"
    file = export(shared_low(), tmp_path / "sum.safetensors", "--layout=peft", more)
    assert "meta" not in read_metadata(file)
    assert len(sample(shared_run(), tmp_path, loras=[str(file)])) == 2
