"""Our Wan against diffusers' `SkyReelsV2Transformer3DModel`: a time a frame, and a frame rate that it is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from wan_parity import (
    CHANNELS,
    NAMES,
    SIZES,
    TEXT_WIDTH,
    Both,
    ShotCase,
    check_gradients,
    check_near,
    cut,
    draw_shot,
    make_both,
    make_tokens,
    pack_rows,
    run_as_one_clip,
    run_ours,
)

from lct_jax.backbones.registry import build_abstract
from lct_jax.config.network import change

# What other libraries warn of at import is theirs.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", params=[True, False], ids=["told the rate", "not told"])
def both(request, tmp_path_factory) -> Both:
    sizes = dict(zip(NAMES, SIZES["3 heads of 20, 3 blocks"], strict=True))
    folder = tmp_path_factory.mktemp("base")
    return make_both(
        folder, "SkyReelsV2Transformer3DModel", inject_sample_info=request.param, **sizes
    )


def run_frames(model: Any, shots: list[ShotCase]) -> np.ndarray:
    """The published pass over shots as one clip, each frame at its shot's time, at 24 frames a second."""
    frames = [len(shot.latent) for shot in shots]
    return run_as_one_clip(model, shots, frames, enable_diffusion_forcing=True, fps=[1])


@pytest.mark.parametrize("text", [1, 77, 512])
def test_a_scene_of_one_shot_is_the_published_network(both, text):
    shot = draw_shot(1, (3, 10, 14), text, 0.625)
    batch = pack_rows(both, [[make_tokens(both, [shot])]])
    found = run_ours(both, batch, np.full((1, 1), shot.time, np.float32))
    check_near(cut(both, found[0], [shot])[0], run_frames(both.theirs, [shot]))


def test_shots_with_a_time_each_are_one_clip_with_a_time_a_frame(both):
    """Time runs on over the cuts, and all have one text."""
    cases = (2, 0.8), (3, 0.3), (1, 0.0)
    shots = [draw_shot(frames, (frames, 6, 10), 9, time) for frames, time in cases]
    shots = [shot._replace(text=shots[0].text) for shot in shots]
    batch = pack_rows(both, [[make_tokens(both, shots)]])
    found = run_ours(both, batch, np.array([[s.time for s in shots]], np.float32))
    found = np.concatenate(cut(both, found[0], shots))
    assert found.shape[-1] == CHANNELS
    check_near(found, run_frames(both.theirs, shots))


def test_gradients_are_those_of_torch(both):
    """Those of the frame rate's weights too; the row of the other rate has none."""
    check_gradients(both, fps=[1])


@pytest.mark.parametrize("both", [True], indirect=True, ids=["told the rate"])
def test_another_frame_rate_is_another_row_of_the_embedding(both):
    """At 16 frames a second the network is told row 0. One time a clip is what the text-to-video release takes."""
    import torch

    slow = both._replace(graph=build_abstract(change(both.config, fps=16)).graph)
    shot = draw_shot(1, (2, 6, 10), 7, 0.4)
    batch = pack_rows(both, [[make_tokens(both, [shot])]])
    found = run_ours(slow, batch, np.full((1, 1), shot.time, np.float32))
    padded = np.zeros((1, 512, TEXT_WIDTH), np.float32)
    padded[0, :7] = shot.text
    latent = torch.from_numpy(shot.latent).permute(3, 0, 1, 2)[None]
    with torch.no_grad():
        out = both.theirs(latent, torch.tensor([400.0]), torch.from_numpy(padded), fps=[0]).sample
    check_near(cut(both, found[0], [shot])[0], out[0].permute(1, 2, 3, 0).numpy())
