"""Compares the stages on the film example, without its scene file, with what was found by hand."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_film import ROOT, run_program

from benchmarks.scene_boundaries import place_boundaries, score_boundaries
from lct_jax.cli import load_config
from lct_jax.config import Config, freeze
from lct_jax.data.footage.takes import REASONS, Takes
from lct_jax.data.prepare import prepare_videos
from lct_jax.data.runner import run_here
from lct_jax.data.scene_file import load_scene_file
from lct_jax.data.sets.records import PreparedSet
from lct_jax.data.sets.validate import find_problems

EXAMPLE = ROOT / "examples/big_buck_bunny"
SCENES = json.loads((EXAMPLE / "scenes.json").read_text())["scenes"]
SHOTS = [shot for scene in SCENES for shot in scene["shots"]]
FIRST, CREDITS, END = 28, (5887, 6960), 5863  # the story, and the credits after it
# Two places were checked by eye: at 3016 hands fly into view, at 4046 a log that sweeps the lens has passed.
NO_CUTS = [3016, 4046]
# With them preparing the film takes little beside finding its cuts.
PREPARED = {
    "codec": "patch",
    "codec_from": str(EXAMPLE / "patch_codec.safetensors"),
    "clips": 1,
    "stills": 1,
}
# A title fades out, or the picture comes out of black: these are no hard cuts.
FADES = {28, 364, 3614, 5552}


@pytest.fixture(scope="module")
def config() -> Config:
    """Returns the film's config with a codec that takes no time, for cuts and scenes are found before it."""
    config = freeze(load_config(str(ROOT / "configs/film_tiny.py")))
    return dataclasses.replace(config, prepare=dataclasses.replace(config.prepare, **PREPARED))


@pytest.fixture(scope="module")
def out(tmp_path_factory, config) -> Path:
    """Returns the film prepared from its mp4 and captions by the second, which come from the hand-made scene file."""
    folder = tmp_path_factory.mktemp("film")
    shutil.copy(EXAMPLE / "big_buck_bunny_160x90_12fps.mp4", folder / "bunny.mp4")
    cast = json.loads((EXAMPLE / "scenes.json").read_text())["cast"]
    # Every scene describes the whole cast in a few words, because detected scenes are not those of the file.
    short = {name: " ".join(text.split()[:8]) for name, text in cast.items()}
    lines = []
    for scene in SCENES:
        ends = {
            "start": scene["shots"][0]["frames"][0] / 12,
            "end": scene["shots"][-1]["frames"][1] / 12,
        }
        about = {key: scene[key] for key in ("environment", "story")}
        lines.append({**ends, "characters": short, **about})
        for shot in scene["shots"]:
            start, end = (frame / 12 for frame in shot["frames"])
            lines.append({"start": start, "end": end, "prompt": shot["prompt"]})
    (folder / "bunny.captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    runner = run_here
    report = prepare_videos(folder, folder / "set", config, runner=runner)
    assert report.rows[0].outcome == "prepared"
    return folder / "set"


@pytest.fixture(scope="module")
def takes(out) -> Takes:
    (path,) = out.glob("work/*/takes-*.safetensors")
    return Takes.load(path)


@pytest.mark.slow
def test_hard_cuts_are_found_within_two_frames_and_false_ones_are_listed(takes):
    cuts = {shot["frames"][0] for shot in SHOTS if shot["cut"] and shot["frames"][0] < END} - FADES
    found = takes.frames[:, 0]
    missed = {cut for cut in cuts if np.abs(found - cut).min() > 2}
    assert missed == set()
    assert len(cuts) == 122
    inside = [
        int(start)
        for start, reason in zip(found, takes.reason, strict=True)
        if not reason
        and any(shot["frames"][0] + 2 < start < shot["frames"][1] - 2 for shot in SHOTS)
    ]
    assert inside == NO_CUTS


@pytest.mark.slow
def test_scenes_agree_with_those_made_by_hand(out):
    """The F1 of boundaries is that exactly at the cut, and at most a shot away; docs/data.md states what it misses."""
    (path,) = [p for p in out.glob("work/*/scenes-*.json") if not p.name.endswith("report.json")]
    annotated = load_scene_file(EXAMPLE / "scenes.json")
    found, made = (
        place_boundaries([scene.ranges[0].start for scene in scenes[1:]], annotated)
        for scenes in (load_scene_file(path).scenes, annotated.scenes)
    )
    exact, near = (score_boundaries(found, made, within=n) for n in (0, 1))
    assert exact >= 0.54
    assert near >= 0.7
    assert score_boundaries([1, 5, 9], [1, 6, 20], within=0) == 2 / 6
    assert score_boundaries([1, 5, 7, 9], [1, 6, 20], within=1) == 4 / 7  # each is matched once


@pytest.mark.slow
def test_credits_and_black_frames_are_left_out(takes):
    gone = np.zeros(takes.film[0], bool)
    for (start, end), reason in zip(takes.frames, takes.reason, strict=True):
        gone[start:end] = REASONS[reason] in ("black", "titles or credits")
    kept = takes.frames[takes.reason == 0]
    assert all(end <= CREDITS[0] or start >= CREDITS[1] for start, end in kept)
    assert gone[CREDITS[0] + 5 : CREDITS[1]].mean() > 0.99
    lost = [
        shot["frames"] for shot in SHOTS
        if not any(a < shot["frames"][1] and shot["frames"][0] < b for a, b in kept)
    ]  # fmt: skip
    assert lost == []


@pytest.mark.programs
@pytest.mark.slow
def test_the_set_trains_with_no_further_step(out, tmp_path, config):
    prepared = PreparedSet(out)
    assert list(find_problems(prepared)) == []
    prepared.check_fits(config.backbone, config.layout)
    assert prepared.card.counts["held_out"]["films"] == 0  # a film is never divided
    flags = {"config": "configs/film_tiny.py", "data": out, "workdir": tmp_path}
    training = {"steps": 3, "warmup": 1, "eval_batches": 0, "init_from": ""}
    result = run_program(
        "train.py",
        *(f"--{name}={value}" for name, value in flags.items()),
        *(f"--config.training.{name}={value}" for name, value in training.items()),
        *(f"--config.prepare.{name}={value}" for name, value in PREPARED.items()),
        "--config.backbone.depth=1",
    )
    assert result.code == 0, result.stderr
