"""Runs a Wan of diffusers and ours on the same shots; torch and diffusers are imported where they are used."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lct_jax.backbones.load import list_places, load_published, read_backbone
from lct_jax.backbones.registry import build_abstract
from lct_jax.config import ComputeConfig, LayoutConfig, NetworkConfig
from lct_jax.layout import GroupPlan, SceneTokens, lay_out, pack, patchify, plan_scene, unpatchify
from lct_jax.tensors import name_leaves
from lct_jax.types import PackedBatch

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


def check_gradients(both: Both, **inputs: Any) -> None:
    """Compares gradients of the square of the velocity, for weights of every kind; `inputs` are more of theirs.

    Torch computes in float64: what reaches the queries and keys of text is a small rest of large terms,
    and torch's own float32 is off by 1e-4 of it, where ours is off by 9e-6. The largest error of ours, 1.6e-5, is
    that of the time's first layer: the phase of a time of 700 is rounded to 3e-5 in float32.
    """
    import torch

    shot = draw_shot(5, (2, 6, 10), 13, 0.7)
    batch = pack_rows(both, [[make_tokens(both, [shot])]])
    real = (batch.video.index.scene > 0)[..., None]
    time_BS = np.full((1, 1), shot.time, np.float32)

    def loss(params: Any) -> jax.Array:
        out = nnx.merge(both.graph, params)(*batch[:2], time_BS, context="full").velocity
        return (jnp.square(out) * real).sum()

    ours = jax.jit(jax.grad(loss))(both.params)
    exact = copy.deepcopy(both.theirs).double()
    padded = torch.zeros(1, 512, TEXT_WIDTH, dtype=torch.float64)
    padded[0, :13] = torch.from_numpy(shot.text)
    latent = torch.from_numpy(shot.latent).permute(3, 0, 1, 2)[None].double()
    out = exact(latent, torch.tensor([shot.time * 1000]), padded, **inputs).sample
    out.square().sum().backward()
    expected = {name: p.grad.numpy() for name, p in exact.named_parameters()}
    leaves = name_leaves(ours)
    for name, place in list_places(both.config).items():
        leaf = np.asarray(leaves[place.ours])
        found = place.turn.save(leaf if place.layer is None else leaf[place.layer])
        error = np.abs(found - expected[name]).max() / np.abs(expected[name]).max()
        assert error <= 3e-5, (name, error)
