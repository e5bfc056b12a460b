"""A tiny scene for causal sampling: sizes, text lengths and guidance branches all differ."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from causal_reference import window_velocities
from jax.tree_util import Partial
from scenes import TINY, TinyModel

from lct_jax.backbones.denoiser import Denoiser
from lct_jax.backbones.protocol import Network
from lct_jax.backbones.registry import describe
from lct_jax.config import NetworkConfig, SamplingConfig
from lct_jax.sampling.euler import time_grid
from lct_jax.sampling.passes import Executor, sample_scene
from lct_jax.sampling.request import Prompt, SceneRequest, ShotLinks, ShotRequest
from lct_jax.sampling.schedule import Window
from lct_jax.sampling.shot_cache import ShotCache
from lct_jax.sampling.window import HeldShot, SamplingScene, pack_window

# Wide, tall and long, and one of another number of tokens: programs are shared by number.
GRIDS = ((1, 2, 3), (3, 2, 1), (1, 1, 2), (1, 6, 1))
CONFIG = SamplingConfig(steps=4, guidance=3.0, window=5, history_shots=4, condition_time=0.1)
TIMES = time_grid(4, 1.0)
# Each shot sees others than those just before it.
OUT_OF_ORDER = (
    Window((0,), (0,)),
    Window((1,), (1,)),
    Window((1, 0, 2), (2,)),
    Window((2, 0, 3), (3,)),
)


def make_prompt(rng: np.random.Generator, text: int, negative: int) -> Prompt:
    """Returns random tokens of two lengths."""
    draw = lambda length: rng.normal(size=(length, TINY.backbone.text_width)).astype(np.float32)
    return Prompt(text=draw(text), negative=draw(negative))


def make_request(
    shots: int,
    *,
    given: tuple[int, ...] = (),
    links: dict[int, ShotLinks] | None = None,
    alike: bool = False,
    bare: bool = False,
    network: NetworkConfig = TINY,
) -> SceneRequest:
    """Returns shots of four shapes in turn, or with `alike` all of one; with `bare` there is no global prompt.

    If the network reads text beside the video, the global prompt is part of every shot's.
    """
    rng = np.random.default_rng(shots)
    requests = []
    for number in range(shots):
        grid = GRIDS[0 if alike else number % len(GRIDS)]
        clean = rng.normal(size=(np.prod(grid), TINY.backbone.patch_channels)).astype(np.float32)
        requests.append(
            ShotRequest(
                prompt=make_prompt(rng, 1 + number % 5, 2),
                grid=grid,
                given=clean if number in given else None,
                links=(links or {}).get(number, ShotLinks()),
            )
        )
    prompt = None if bare else make_prompt(rng, 5, 3)
    text = network.backbone.text
    if text == "beside" and prompt is not None:
        requests = [dataclasses.replace(r, prompt=join(prompt, r.prompt)) for r in requests]
        prompt = None
    return SceneRequest(prompt, tuple(requests), TINY.backbone.patch_channels, text=text)


def join(shared: Prompt, own: Prompt) -> Prompt:
    """Two prompts, one behind the other."""
    return Prompt(
        text=np.concatenate([shared.text, own.text]),
        negative=np.concatenate([shared.negative, own.negative]),
    )


def make_sampling_scene(
    request: SceneRequest, config: SamplingConfig = CONFIG, *, network: NetworkConfig = TINY
) -> SamplingScene:
    """Returns a scene with its noise."""
    return SamplingScene(
        request,
        config,
        layout=network.layout,
        keeps_text=network.layout.prompts == "all",
        key=jax.random.key(0),
    )


@functools.cache
def make_denoiser(config: NetworkConfig = TINY) -> Denoiser:
    """Returns the tiny model with random weights everywhere and causal context; its compiled programs are shared."""
    model = TinyModel(config)
    network = Network(model.graph, model.params)
    return Denoiser(network, spec=describe(config), context="causal")


def sample(
    executor: Executor, scene: SamplingScene, plan: Sequence[Window]
) -> dict[int, np.ndarray]:
    """Returns clean tokens by shot."""
    return {shot.number: shot.tokens for shot in sample_scene(executor, scene, plan)}


def draw_clean(request: SceneRequest) -> dict[int, np.ndarray]:
    """Returns latents for every shot; those of given shots are the given ones."""
    rng = np.random.default_rng(5)
    clean = {}
    for number, shot in enumerate(request.shots):
        drawn = rng.normal(size=(int(np.prod(shot.grid)), request.channels)).astype(np.float32)
        clean[number] = drawn if shot.given is None else shot.given
    return clean


def make_cache(
    scene: SamplingScene, plan: Sequence[Window], clean: dict[int, np.ndarray], model: Denoiser
) -> ShotCache:
    """Returns the cache of all shots, with entries made from given latents."""
    cache = ShotCache(model, scene, plan, retain="all")
    for window in plan:
        shot = window.shots[-1]
        cache.held[shot] = scene.hold(shot, clean[shot])
        cache.make(shot)
    return cache


def compare_with_full_pass(
    scene: SamplingScene, plan: Sequence[Window], model: Denoiser, *, atol: float
) -> dict[int, np.ndarray]:
    """Compares the velocity of every shot with a cache with one causal pass over all shots.

    In that pass the shots before it are conditions and it has a time of its own; those after it do not matter. Returns
    the velocities with the cache, by shot.
    """
    cache = make_cache(scene, plan, draw_clean(scene.request), model)
    order, rng, found = plan[-1].shots, np.random.default_rng(6), {}
    first = 0 if scene.request.prompt is None else 1
    for place, shot in enumerate(order):
        held = [cache.held[s] for s in order]
        time, noisy = 0.9 - 0.2 * place, rng.normal(size=held[place].tokens.shape)
        noisy = noisy.astype(np.float32)
        own = cache.pack(shot, HeldShot(time, noisy)).batch
        seen = model.prefill(
            cache.gather(shot), own.video, own.text, np.full((2, 1), time, np.float32)
        )
        video = [h.tokens for h in held[:place]] + [noisy] + [h.tokens for h in held[place + 1 :]]
        whole = pack_window(scene, order, video)
        time_BS = np.zeros((2, first + len(order)), np.float32)
        time_BS[:, first:] = [h.time for h in held]
        time_BS[:, first + place] = time
        expected = np.asarray(pass_forward(model.forward, whole.video, whole.text, time_BS))
        expected = expected[:, whole.video.index.shot[0] == place + 1]
        found[shot] = np.asarray(seen.velocity)[:, own.video.index.scene[0] != 0]
        np.testing.assert_allclose(found[shot], expected, atol=atol)
        assert np.abs(expected[0] - expected[1]).max() > 0.01  # guidance has something to do
    return found


def compare_with_plain_pass(
    scene: SamplingScene,
    plan: Sequence[Window],
    model: Denoiser,
    *,
    network: NetworkConfig = TINY,
) -> None:
    """Compares the velocity of the last shot with a cache with the plain reference, for both guidance branches."""
    last = plan[-1].shots[-1]
    clean = draw_clean(scene.request)
    cache = make_cache(scene, plan, clean, model)
    noisy = np.random.default_rng(1).normal(size=clean[last].shape).astype(np.float32)
    own, time_BS = cache.pack(last, HeldShot(0.6, noisy)).batch, np.full((2, 1), 0.6, np.float32)
    found = model.prefill(cache.gather(last), own.video, own.text, time_BS)
    held = {shot: (np.asarray(kept.tokens), kept.time) for shot, kept in cache.held.items()}
    for branch, part in enumerate(("text", "negative")):
        expected = window_velocities(
            TinyModel(network).weights,
            network,
            [window.shots for window in plan],
            held | {last: (noisy, 0.6)},
            grids=[shot.grid for shot in scene.request.shots],
            prompts=[getattr(shot.prompt, part) for shot in scene.request.shots],
            global_prompt=getattr(scene.request.prompt, part),
        )
        np.testing.assert_allclose(found.velocity[branch], expected, atol=1e-5)


@jax.jit
def pass_forward(forward: Partial, *inputs: Any) -> jax.Array:
    """Returns the velocity of one pass of a model."""
    return forward(*inputs)
