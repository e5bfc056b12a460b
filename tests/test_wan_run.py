"""From published weights to a scene model and out again, by the programs that a user runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from scenes import TINY_WAN, randomise
from tiny_film import CONFIG, HEIGHT, WIDTH, run_program, shared_film, write_config

import lct_jax
from lct_jax.backbones.load import is_published, load_published, save_published
from lct_jax.backbones.registry import build_abstract, count_costs
from lct_jax.config import LayoutConfig
from lct_jax.data.pipeline import make_source, read_held_out
from lct_jax.tensors import name_leaves
from lct_jax.training.checkpoint.checkpoints import Checkpoints

WAN = dataclasses.replace(
    CONFIG,
    # The sizes of the shared film's latents and texts.
    backbone=dataclasses.replace(TINY_WAN.backbone, channels=8, text_width=16, text_places=512),
    layout=LayoutConfig(scene_span=64, shot_span=32, stride=2, positions="temporal", prompts="own"),
    training=dataclasses.replace(CONFIG.training, context="causal", steps=4),
)
SCRIPT = {
    "format": "lct_jax.script/1",
    "characters": {"1": "A woman in a red coat."},
    "environment": "A quay at night.",
    "shots": [{"prompt": "Character 1 waits."}, {"prompt": "Rain on the quay.", "frames": 5}],
}


@pytest.fixture(scope="module")
def prepared():
    return shared_film().prepare()


def test_a_batch_gives_every_shot_the_global_prompt_and_its_own(prepared):
    """No group of the global prompt: its tokens are the first of every shot's."""
    source = make_source(prepared, WAN, count_costs(WAN.network))
    scenes = 0
    for number in range(4):
        batch, rows = source[number], source.planner.batch(number)
        assert batch.video.index.shot[batch.video.index.scene > 0].min() == 1
        for row, samples in enumerate(rows):
            start = slot = 0
            for sample in samples:
                for draw in sample.shots:
                    alone = sample.scene is None
                    parts = [prepared.read_prompt(draw.shot, alone=alone)]
                    if not sample.written:
                        parts = [prepared.empty]
                    elif not alone:
                        parts.insert(0, prepared.read_global(sample.scene, story=sample.story))
                        scenes += 1
                    expected = np.concatenate(parts)
                    place = slice(start, start + len(expected))
                    np.testing.assert_array_equal(batch.text.value[row, place], expected)
                    assert set(batch.text.index.slot[row, place]) == {slot}
                    start, slot = place.stop, slot + 1
            assert not batch.text.index.scene[row, start:].any()
    assert scenes > 3
    assert read_held_out(prepared, WAN, count_costs(WAN.network))


@pytest.mark.slow
def test_published_weights_are_tuned_sampled_and_published_again(prepared, tmp_path):
    base, run = tmp_path / "base", tmp_path / "run"
    params = randomise(build_abstract(WAN.network).params)
    save_published(base, params, WAN.network, shard_bytes=40_000)
    training = dataclasses.replace(WAN.training, init_from=str(base))
    write_config(tmp_path / "wan.py", dataclasses.replace(WAN, training=training))
    paths = {"config": tmp_path / "wan.py", "data": shared_film().prepared, "workdir": run}
    arguments = [f"--{name}={path}" for name, path in paths.items()]
    result = run_program("train.py", *arguments)
    assert result.code == 0, result.stderr
    assert f"starting from {base} (published weights)" in result.stdout
    assert "4 steps done" in result.stdout

    other = [*arguments[:2], f"--workdir={tmp_path / 'other'}", "--config.backbone.hidden=64"]
    result = run_program("train.py", *other)
    assert result.code == 2
    assert f"backbone.hidden: found 64, expected 48 of {base}" in result.stderr

    out = tmp_path / "out"
    export = ["-m", "lct_jax.export", f"--checkpoint={run}", f"--out={out}", "--layout=diffusers"]
    result = run_program(*export, "--weights=params")
    assert result.code == 0, result.stderr
    shapes = build_abstract(WAN.network).params
    expected = Checkpoints(run).restore_weights("params", shapes)
    found = load_published(out, WAN.network, shapes)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    before, after = (name_leaves(tree)["blocks.cross.q.kernel"] for tree in (params, found))
    assert np.abs(np.asarray(after) - np.asarray(before)).max() > 1e-4

    (tmp_path / "script.json").write_text(json.dumps(SCRIPT))
    generator = lct_jax.load(run)
    sizes = {"steps": 2, "frames": 9, "height": HEIGHT, "width": WIDTH}
    for mode in ("joint", "autoregressive", "causal"):
        scene = generator.sample(tmp_path / "script.json", mode=mode, **sizes)
        shots = {shot.number: shot.latent for shot in scene}
        assert [shots[n].shape for n in range(2)] == [(3, 4, 6, 8), (2, 4, 6, 8)]
        assert all(np.isfinite(latent).all() for latent in shots.values())


def test_the_folder_of_a_run_is_no_published_base(tmp_path: Path):
    assert not is_published("")
    assert not is_published(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert not is_published(tmp_path)
