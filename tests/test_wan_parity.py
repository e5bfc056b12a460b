"""Our Wan against diffusers' `WanTransformer3DModel`: the published network is a scene of one shot.

These need torch and diffusers (`make install-parity`), imported where they are used. Weights are random everywhere, so
that no norm, bias or table is neutral. Differences are of the largest value of the velocity.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest
from wan_parity import (
    NAMES,
    SIZES,
    Both,
    check_gradients,
    check_near,
    cut,
    draw_shot,
    make_both,
    make_tokens,
    pack_rows,
    run_ours,
    run_theirs,
    run_theirs_by_token,
)

from lct_jax.backbones.load import save_published
from lct_jax.backbones.registry import build_abstract
from lct_jax.backbones.wan.published import read_config, write_config
from lct_jax.config import WanConfig
from lct_jax.config.network import change

# What other libraries warn of at import is theirs.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", params=SIZES)
def both(request, tmp_path_factory) -> Both:
    sizes = dict(zip(NAMES, SIZES[request.param], strict=True))
    return make_both(tmp_path_factory.mktemp("base"), **sizes)


@pytest.mark.parametrize("text", [1, 7, 77, 512])
@pytest.mark.parametrize("latent", [(3, 10, 14), (2, 6, 10), (5, 4, 6), (1, 2, 2)])
def test_a_scene_of_one_shot_is_the_published_network(both, latent, text):
    shot = draw_shot(1, latent, text, 0.625)
    batch = pack_rows(both, [[make_tokens(both, [shot])]])
    found = run_ours(both, batch, np.full((1, 1), shot.time, np.float32))
    check_near(cut(both, found[0], [shot])[0], run_theirs(both.theirs, shot))


def test_a_batch_of_several_with_times_of_their_own(both):
    shots = [draw_shot(n, (2, 6, 10), 5 + 9 * n, 0.2 + 0.3 * n) for n in range(3)]
    batch = pack_rows(both, [[make_tokens(both, [shot])] for shot in shots])
    found = run_ours(both, batch, np.array([[s.time] for s in shots], np.float32))
    for row, shot in enumerate(shots):
        check_near(cut(both, found[row], [shot])[0], run_theirs(both.theirs, shot))


def test_shots_that_see_themselves_alone_are_published_runs_wherever_they_lie(both):
    """Three shots of other sizes, texts and times in one row, far from the origin."""
    shots = [
        draw_shot(1, (3, 10, 14), 7, 0.9),
        draw_shot(2, (2, 6, 10), 31, 0.4),
        draw_shot(3, (5, 4, 6), 1, 0.05),
    ]
    batch = pack_rows(both, [[make_tokens(both, [shot]) for shot in shots]])
    slot_L = batch.video.index.slot[0]
    for slot, place in enumerate([(517, 300, 411), (3, 90, 8), (44, 44, 44)]):
        batch.video.index.coord[0, slot_L == slot] += np.array(place, np.int32)
    found = run_ours(both, batch, np.array([[s.time for s in shots]], np.float32))
    for ours, shot in zip(cut(both, found[0], shots), shots, strict=True):
        check_near(ours, run_theirs(both.theirs, shot))


def test_two_shots_jointly_are_one_clip_with_a_time_a_token(both):
    """Time runs on over the cut, both have one text, and each its own diffusion time: diffusers' `expand_timesteps`."""
    shots = [draw_shot(1, (2, 6, 10), 9, 0.8), draw_shot(2, (3, 6, 10), 9, 0.3)]
    shots[1] = shots[1]._replace(text=shots[0].text)
    batch = pack_rows(both, [[make_tokens(both, shots)]])
    assert batch.video.index.coord[0, 2 * 15].tolist() == [2, 0, 0]
    found = run_ours(both, batch, np.array([[s.time for s in shots]], np.float32))
    expected = run_theirs_by_token(both.theirs, shots)
    check_near(np.concatenate(cut(both, found[0], shots)), expected)


def test_diffusers_loads_what_we_write_and_gives_our_velocity(both, tmp_path):
    from diffusers import WanTransformer3DModel
    from safetensors.torch import load_file

    params = jax.tree.map(lambda x: 1.25 * x, both.params)
    save_published(tmp_path / "ours", params, both.config, shard_bytes=100_000)
    # What `from_pretrained` does, which for this class needs accelerate.
    theirs = WanTransformer3DModel.from_config(WanTransformer3DModel.load_config(tmp_path / "ours"))
    files = sorted((tmp_path / "ours").glob("*.safetensors"))
    tensors = {name: x for file in files for name, x in load_file(file).items()}
    theirs.eval().load_state_dict(tensors, strict=True)
    shot = draw_shot(4, (2, 6, 10), 11, 0.5)
    batch = pack_rows(both, [[make_tokens(both, [shot])]])
    found = run_ours(both._replace(params=params), batch, np.full((1, 1), shot.time, np.float32))
    check_near(cut(both, found[0], [shot])[0], run_theirs(theirs, shot))


def test_what_diffusers_saves_comes_back_bit_for_bit(both, tmp_path):
    import torch
    from safetensors.torch import load_file

    save_published(tmp_path / "ours", both.params, both.config)
    expected = both.theirs.state_dict()
    found = load_file(tmp_path / "ours" / "diffusion_pytorch_model.safetensors")
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_gradients_are_those_of_torch(both):
    check_gradients(both)


def test_kernels_of_accelerators_give_the_published_velocity(both):
    shot = draw_shot(7, (2, 6, 10), 40, 0.35)
    batch = pack_rows(both, [[make_tokens(both, [shot])]])
    expected = run_theirs(both.theirs, shot)
    for kernel in ("mosaic", "triton"):
        config = change(both.config, kernel=kernel)
        other = both._replace(graph=build_abstract(config).graph, config=config)
        found = run_ours(other, batch, np.full((1, 1), shot.time, np.float32))
        check_near(cut(both, found[0], [shot])[0], expected)


def test_the_defaults_are_those_of_the_smaller_published_network():
    import torch
    from diffusers import WanTransformer3DModel

    with torch.device("meta"):
        theirs = WanTransformer3DModel(num_attention_heads=12, num_layers=30, ffn_dim=8960)
    assert read_config(dict(theirs.config), "config.json") == WanConfig()
    ours = write_config(WanConfig())
    del ours["_class_name"]
    for name, value in ours.items():
        found = theirs.config[name]
        assert value == (list(found) if isinstance(found, tuple) else found), name
