"""Our Wan against diffusers' `WanTransformer3DModel`: the published network is a scene of one shot.

These need torch and diffusers (`make install-parity`), imported where they are used. Weights are random everywhere, so
that no norm, bias or table is neutral. Differences are of the largest value of the velocity.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lct_jax.backbones.load import list_places, load_published, read_backbone, save_published
from lct_jax.backbones.registry import build_abstract
from lct_jax.backbones.wan.published import read_config, write_config
from lct_jax.config import ComputeConfig, LayoutConfig, NetworkConfig, WanConfig
from lct_jax.config.network import change
from lct_jax.layout import GroupPlan, SceneTokens, lay_out, pack, patchify, plan_scene, unpatchify
from lct_jax.tensors import name_leaves
from lct_jax.types import PackedBatch

# What other libraries warn of at import is theirs.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

TEXT_WIDTH, CHANNELS = 24, 4
TOLERANCE = 1e-5
# Heads, their width, and blocks.
SIZES = {"3 heads of 20, 3 blocks": (3, 20, 3), "2 heads of 128, 2 blocks": (2, 128, 2)}
NAMES = ("num_attention_heads", "attention_head_dim", "num_layers")
LAYOUT = LayoutConfig(scene_span=256, positions="temporal", prompts="own")


class Both(NamedTuple):
    """One network in diffusers and here."""

    theirs: Any
    graph: Any
    params: Any
    config: NetworkConfig


class ShotCase(NamedTuple):
    """A shot: latent [T X Y c], text [L E] and diffusion time from 0 to 1."""

    latent: np.ndarray
    text: np.ndarray
    time: float


def make_both(folder: Any, name: str = "WanTransformer3DModel", **sizes: Any) -> Both:
    """A random network of a class of diffusers, saved by it and read by us."""
    import diffusers
    import torch

    torch.manual_seed(0)
    settings = {"ffn_dim": 100, "text_dim": TEXT_WIDTH, "freq_dim": 32} | sizes
    settings = {"in_channels": CHANNELS, "out_channels": CHANNELS} | settings
    theirs = getattr(diffusers, name)(**settings).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    theirs.save_pretrained(folder)
    compute = ComputeConfig(dtype="float32", remat="none", kernel="chunked")
    config = NetworkConfig(read_backbone(folder), LAYOUT, compute)
    params = load_published(folder, config, build_abstract(config).params)
    return Both(theirs, build_abstract(config).graph, params, config)


@pytest.fixture(scope="module", params=SIZES)
def both(request, tmp_path_factory) -> Both:
    sizes = dict(zip(NAMES, SIZES[request.param], strict=True))
    return make_both(tmp_path_factory.mktemp("base"), **sizes)


def draw_shot(
    seed: int,
    latent: tuple[int, int, int],
    text: int,
    time: float,
    *,
    channels: int = CHANNELS,
) -> ShotCase:
    rng = np.random.default_rng(seed)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
    return ShotCase(normal(*latent, channels), normal(text, TEXT_WIDTH), time)


def run_theirs(model: Any, shot: ShotCase) -> np.ndarray:
    """The published pass over a clip, its prompt padded by zeros to 512: velocity [T X Y c]."""
    import torch

    padded = np.zeros((1, 512, shot.text.shape[1]), np.float32)
    padded[0, : len(shot.text)] = shot.text
    latent = torch.from_numpy(shot.latent).permute(3, 0, 1, 2)[None]
    with torch.no_grad():
        out = model(latent, torch.tensor([shot.time * 1000]), torch.from_numpy(padded)).sample
    return out[0].permute(1, 2, 3, 0).numpy()


def run_theirs_by_token(model: Any, shots: list[ShotCase]) -> np.ndarray:
    """The published pass over shots as one clip, with a time a token and the text of the first: velocity [T X Y c]."""
    return run_as_one_clip(model, shots, [np.prod(s.latent.shape[:3]) // 4 for s in shots])


def run_as_one_clip(
    model: Any, shots: list[ShotCase], counts: list[int], **settings: Any
) -> np.ndarray:
    """The published pass over shots as one clip, with the text of the first: velocity [T X Y c].

    Args:
        counts: how many times each shot gives: its frames or its tokens.
        settings: of the model's call.
    """
    import torch

    latent = np.concatenate([shot.latent for shot in shots])
    times = np.repeat([shot.time * 1000 for shot in shots], counts)[None]
    padded = np.zeros((1, 512, TEXT_WIDTH), np.float32)
    padded[0, : len(shots[0].text)] = shots[0].text
    with torch.no_grad():
        out = model(
            torch.from_numpy(latent).permute(3, 0, 1, 2)[None],
            torch.from_numpy(times.astype(np.float32)),
            torch.from_numpy(padded),
            **settings,
        ).sample
    return out[0].permute(1, 2, 3, 0).numpy()


def make_tokens(both: Both, shots: list[ShotCase]) -> SceneTokens:
    """A scene of shots without a global prompt."""
    patch = both.config.backbone.patch
    grids = [tuple(np.floor_divide(s.latent.shape[:3], patch).tolist()) for s in shots]
    groups = tuple(GroupPlan(len(s.text), g) for s, g in zip(shots, grids, strict=True))
    plan = plan_scene("beside", None, groups)
    video = np.concatenate([patchify(s.latent, patch) for s in shots])
    text = np.concatenate([s.text for s in shots])
    return SceneTokens(video, text, lay_out(plan, layout=both.config.layout))


def pack_rows(both: Both, rows: list[list[SceneTokens]]) -> PackedBatch:
    """Rows with some padding behind their tokens."""
    longest = lambda part: max(sum(len(getattr(s, part)) for s in row) for row in rows)
    return pack(
        rows,
        video_tokens=longest("video") + 5,
        text_tokens=longest("text") + 3,
        channels=both.config.backbone.patch_channels,
        text_width=both.config.backbone.text_width,
    )


def run_ours(
    both: Both, batch: PackedBatch, time_BS: np.ndarray, *, context: str = "full"
) -> np.ndarray:
    run = jax.jit(lambda p, *x: nnx.merge(both.graph, p)(*x, context=context).velocity)
    return np.asarray(run(both.params, batch.video, batch.text, time_BS))


def cut(both: Both, velocity_LC: np.ndarray, shots: list[ShotCase]) -> list[np.ndarray]:
    """The velocity of every shot, as latents."""
    patch, found, start = both.config.backbone.patch, [], 0
    for shot in shots:
        grid = tuple(np.floor_divide(shot.latent.shape[:3], patch).tolist())
        end = start + int(np.prod(grid))
        found.append(unpatchify(velocity_LC[start:end], grid, patch))
        start = end
    return found


def check_near(found: np.ndarray, expected: np.ndarray, *, tolerance: float = TOLERANCE) -> None:
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


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


def check_gradients(both: Both, **inputs: Any) -> None:
    """Compares gradients of the square of the velocity, for weights of every kind; `inputs` are more of theirs."""
    import torch

    shot = draw_shot(5, (2, 6, 10), 13, 0.7)
    batch = pack_rows(both, [[make_tokens(both, [shot])]])
    real = (batch.video.index.scene > 0)[..., None]
    time_BS = np.full((1, 1), shot.time, np.float32)

    def loss(params: Any) -> jax.Array:
        out = nnx.merge(both.graph, params)(*batch[:2], time_BS, context="full").velocity
        return (jnp.square(out) * real).sum()

    ours = jax.jit(jax.grad(loss))(both.params)
    padded = np.zeros((1, 512, TEXT_WIDTH), np.float32)
    padded[0, :13] = shot.text
    both.theirs.zero_grad()
    latent = torch.from_numpy(shot.latent).permute(3, 0, 1, 2)[None]
    time = torch.tensor([shot.time * 1000])
    out = both.theirs(latent, time, torch.from_numpy(padded), **inputs).sample
    out.square().sum().backward()
    expected = {name: p.grad.numpy() for name, p in both.theirs.named_parameters()}
    leaves = name_leaves(ours)
    for name, place in list_places(both.config).items():
        leaf = np.asarray(leaves[place.ours])
        found = place.turn.save(leaf if place.layer is None else leaf[place.layer])
        # Keys have a bias that no softmax hears of; what is left of its gradient is rounding.
        scale = max(np.abs(expected[name]).max(), 1e-3 * np.abs(expected["proj_out.bias"]).max())
        assert np.abs(found - expected[name]).max() <= 1e-4 * scale, name


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
