"""The capacity plan warns of rows that would be left empty and of scenes that would be cut short."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from planning import MIXED, make_planner, make_table
from tiny_film import CONFIG, shared_film

from lct_jax.config import Config, freeze, read_beside
from lct_jax.data.fill import describe_cuts
from lct_jax.plan.topology import parse_topology
from lct_jax.plan.training import plan_training
from lct_jax.plan.warnings import count_set, warn_of_sizes
from lct_jax.plan.workload import SceneTarget, find_grid


def load(name: str = "lct_3b") -> Config:
    return freeze(read_beside("configs/lct_3b.py", name).get_config())


def change(config: Config, **values: int) -> Config:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **values))


def test_nine_full_shots_of_every_ratio_fit_a_row_of_the_shipped_config():
    config = load()
    most = 0
    for aspect in np.arange(0.40, 2.4501, 0.0005):
        frames, height, width, grid = find_grid(config, SceneTarget(aspect=float(aspect)))
        assert frames == 125
        assert abs(height * width / 480**2 - 1) < 0.07
        most = max(most, 9 * int(np.prod(grid)) + 1)
    assert most == 267_841  # of 930 tokens a frame
    assert config.data.video_tokens == 267_904 == -(-most // 128) * 128


@pytest.mark.parametrize("name", ["lct_3b", "lct_3b_causal"])
def test_shipped_configs_have_no_warnings_and_fit_the_papers_gpus(name):
    config = load(name)
    assert warn_of_sizes(config) == []
    plan = plan_training(config, parse_topology("h100:128"), SceneTarget(), steps=1)
    assert plan.shards == (32, 4)
    assert plan.fits
    assert plan.workload.scene_text == 10 * 256  # padded, the global prompt too


def test_cut_scenes_and_empty_rows_are_warned_of():
    assert warn_of_sizes(change(load(), video_tokens=259_328, text_tokens=3_072)) == [
        "warning: 9 shots of 125 frames do not fit a row of 259,328 video tokens at 2:3, 3:4, 4:5, 5:4, 4:3, "
        "1.85:1, 2.35:1, the last shots are left out; expected data.video_tokens=267904",
        "warning: a row of single shots of 41 frames is filled to 46% of its video tokens, for its text or slots run "
        "out first: data.text_tokens: found 3072, expected about 6706",
        "warning: a row of scenes of 41 frames is filled to 38% of its video tokens, for its text or slots run out "
        "first: data.text_tokens: found 3072, expected about 8047",
    ]
    assert warn_of_sizes(change(load(), groups=8, text_tokens=2_048))[:2] == [
        "warning: scenes of 9 shots do not fit a row, the last ones are left out: data.text_tokens: found 2048, "
        "expected at least 2560",
        "warning: scenes of 9 shots do not fit a row, the last ones are left out: data.groups: found 8, expected at "
        "least 10",
    ]


def test_a_run_reports_the_scenes_that_it_cuts():
    tight = dataclasses.replace(MIXED, video_tokens=700)
    planner = make_planner(make_table((9,) * 10), tight)
    samples = [s for k in range(tight.pool) for row in planner.batch(k) for s in row]
    whole = make_planner(make_table((9,) * 10), MIXED)
    lost = [s.left_out for s in samples]
    for sample in samples:
        assert len(sample.shots) + sample.left_out in range(1, 10)
        assert (sample.left_out > 0) == (sample.short_of == "video_tokens")
    cut = sum(n > 0 for n in lost)
    assert cut > 20
    shots = sum(len(s.shots) for s in samples) + sum(lost)
    assert describe_cuts(planner) == [
        f"{cut} of {len(samples)} samples do not fit a row, {sum(lost)} of {shots:,} shots are left out from their "
        f"ends (data.video_tokens 700 for {cut})"
    ]
    assert describe_cuts(whole) == []


def test_samples_of_a_prepared_set_are_counted():
    lines = count_set(str(shared_film().prepared), CONFIG)
    assert lines[0].startswith(f"{shared_film().prepared}: 2 batches hold ")
    assert "token fill" in lines[0]
