"""A tiny model overfit on one scene: three shots of a square that moves over a plain ground.

It is deterministic and takes some ten seconds on two idle cores. The tests that need a model which has learnt something
share the trained weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lct_jax import flow
from lct_jax.backbones.mmdit.names import decays
from lct_jax.backbones.mmdit.network import MMDiT
from lct_jax.config import FlowConfig, NetworkConfig, TrainingConfig
from lct_jax.config.network import make_network
from lct_jax.layout import GroupPlan, ScenePlan, SceneTokens, lay_out, pack, patchify
from lct_jax.training.optimizer import make_optimizer
from lct_jax.training.state import init_state
from lct_jax.training.step import make_backbone, make_step
from lct_jax.types import PackedBatch

MODEL = make_network(
    width=64,
    depth=2,
    heads=2,
    head_dim=32,
    channels=4,
    text_width=8,
    rope_split=(8, 12, 12),
    scene_span=8,
    shot_span=8,
    time_features=32,
    dtype="float32",
    remat="none",
)
TRAINING = TrainingConfig(steps=300, warmup=20, learning_rate=6e-3, ema=0.98)
GRIDS = ((2, 3, 4), (1, 4, 4), (3, 3, 2))  # tokens; two aspect ratios and a still
TIMES = (0.2, 0.4, 0.6, 0.8, 1.0)  # of the losses
ROWS, SLOTS = 2, 4  # the same scene in every row, each at its own times


@dataclass(frozen=True)
class Overfit:
    """A model that has learnt one scene.

    Attributes:
        config: the model's config.
        graph, params: the NNX split of the model, with the EMA of the weights.
        plan: the scene's plan.
        clean: its latents, float32 [T X Y c] a shot.
        prompts: [L E] a group.
        before, after: mean loss at each of `TIMES`, with the same noise.
    """

    config: NetworkConfig
    graph: Any
    params: Any
    plan: ScenePlan
    clean: tuple[np.ndarray, ...]
    prompts: tuple[np.ndarray, ...]
    before: np.ndarray
    after: np.ndarray


def draw_square(shot: int, grid: tuple[int, int, int]) -> np.ndarray:
    """Returns a latent [T X Y c] of unit scale: a ground and a square, in the shot's own colours, moving right."""
    frames, rows, columns = np.multiply(grid, MODEL.backbone.patch)
    rng = np.random.default_rng(shot)
    ground, square = rng.choice([-1.0, 1.0], size=(2, MODEL.backbone.channels))
    latent = np.tile(ground.astype(np.float32), (frames, rows, columns, 1))
    for frame in range(frames):
        latent[frame, 1:4, frame + shot : frame + shot + 3] = square
    return latent


def overfit_scene() -> Overfit:
    """Trains the model; the losses before and after are taken at the same fixed times and noise."""
    plan = ScenePlan(3, tuple(GroupPlan(2 + shot, grid) for shot, grid in enumerate(GRIDS)))
    clean = tuple(draw_square(shot, grid) for shot, grid in enumerate(GRIDS))
    rng = np.random.default_rng(7)
    prompts = tuple(
        rng.normal(size=(group.text, MODEL.backbone.text_width)).astype(np.float32)
        for group in plan.groups
    )
    batch = _pack(plan, clean, prompts)
    graph = nnx.split(nnx.eval_shape(_make_model))[0]
    optimizer = make_optimizer(TRAINING, decays=decays)
    state = jax.jit(lambda: init_state(nnx.state(_make_model()), optimizer))()
    step = jax.jit(
        make_step(
            graph, optimizer, flow_config=FlowConfig(), training=TRAINING, slots=SLOTS, samples=ROWS
        ),
        donate_argnums=0,
    )
    losses = jax.jit(lambda params: _losses(graph, params, batch))
    before = np.asarray(losses(state.params))
    key = jax.random.key(0)
    for _ in range(TRAINING.steps):
        state, _ = step(state, None, batch, key)
    after = np.asarray(losses(state.ema))
    return Overfit(MODEL, graph, state.ema, plan, clean, prompts, before, after)


def _make_model() -> MMDiT:
    return MMDiT(MODEL, rngs=nnx.Rngs(0))


def _pack(plan: ScenePlan, clean: tuple, prompts: tuple) -> PackedBatch:
    dummy = np.zeros((1, MODEL.backbone.patch_channels), np.float32)
    scene = SceneTokens(
        video=np.concatenate(
            [dummy, *(patchify(latent, MODEL.backbone.patch) for latent in clean)]
        ),
        text=np.concatenate(prompts),
        layout=lay_out(plan, layout=MODEL.layout),
    )
    return pack(
        [[scene]] * ROWS,
        video_tokens=len(scene.video),
        text_tokens=len(scene.text),
        channels=MODEL.backbone.patch_channels,
        text_width=MODEL.backbone.text_width,
    )


def _losses(graph: Any, params: Any, batch: PackedBatch) -> jax.Array:
    """Returns the mean loss at each of `TIMES`."""
    noise_BLC = jax.random.normal(jax.random.key(1), batch.video.value.shape)
    weight_BL = flow.loss_weights(batch.video.index, SLOTS)

    def at(time: jax.Array) -> jax.Array:
        time_BS = jnp.zeros((ROWS, SLOTS)).at[:, 1:].set(time)
        backbone = make_backbone(graph, params, TRAINING.context)
        added = flow.Draw(time=time_BS, noise=noise_BLC)
        return (weight_BL * flow.token_errors(backbone, batch, added)).sum() / ROWS

    return jax.lax.map(at, jnp.asarray(TIMES))
