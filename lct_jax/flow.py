"""Rectified flow over scenes: a diffusion time for every shot, corruption, velocity, and the loss.

    noisy = (1 - t) clean + t noise,   velocity = noise - clean,   t in [0, 1] with 1 pure noise

(Rectified flow, arXiv 2209.03003; LCT section 3.1.) Each shot draws its own t (LCT section 3.3). Group 0, the global
prompt with its dummy video, always has t = 0, so what the model computes for it does not change while shots are
denoised.

The loss is the mean over a shot's tokens, then over a sample's shots [LCT section 3.3], then over samples. Batches of
equal cost contain very different numbers of samples. With a mean over each batch's own samples, a sample would weigh
more in a batch of few samples, which are the large ones. So an update is the sum over the global batch, divided by the
mean number of samples in a batch of the plan [D], which is a constant: all samples of a run weigh the same, single
shots and scenes as they are drawn. Where noise dominates the gradient, equal weights also give the least noise. What
remains is that a step is longer, before clipping, where a batch has more samples. The reported loss is the mean over
the samples of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lct_jax.config import FlowConfig
from lct_jax.types import GLOBAL_SHOT, PADDING_SCENE, PackedBatch, TokenIndex, Tokens

# The highest time of frames that are held in training; sampling holds what is given at 0.1 (`sampling.condition_time`).
HELD_UNTIL = 0.2
# The share of shots with held frames in which all of them are first ones, as where a shot goes on from a picture.
HELD_FIRST = 0.7

# Buckets of equal width over diffusion times from 0 to 1.
TIME_BUCKETS = 10

# (video, text, time_BS) -> velocity_BLC
Backbone = Callable[[Tokens, Tokens, jax.Array], jax.Array]


class Groups(NamedTuple):
    """What each group slot of a row holds: int32[B S] each, with scene 0 where the slot is empty."""

    scene: jax.Array
    shot: jax.Array


class Breakdown(NamedTuple):
    """The loss by time and by shot: float32 sums of weights (row 0) and of weighted errors (row 1), to be added up.

    Attributes:
        time: [2 TIME_BUCKETS], by diffusion time.
        shot: [2 S], by the number of the shot in its sample, from 1 on.
    """

    time: jax.Array
    shot: jax.Array


class Draw(NamedTuple):
    """What a step draws for a batch: float32 diffusion time [B S] and noise [B L C]."""

    time: jax.Array
    noise: jax.Array


class Held(NamedTuple):
    """A batch in which some frames are held: their tokens have slots of their own, S behind those of their shots.

    Attributes:
        batch: the batch.
        added: its noise, and the times of all 2 S slots.
        tokens: bool[B L], which tokens are held.
    """

    batch: PackedBatch
    added: Draw
    tokens: jax.Array


def find_groups(index: TokenIndex, slots: int) -> Groups:
    """Returns the groups of every row, read from its video tokens; each group has some, and group 0 has its dummy."""
    rows = jnp.arange(index.scene.shape[0])[:, None]
    empty = jnp.zeros((index.scene.shape[0], slots), jnp.int32)
    write = lambda values: empty.at[rows, index.slot].max(values)
    return Groups(scene=write(index.scene), shot=write(index.shot))


def shift_time(time: jax.Array, shift: float) -> jax.Array:
    """Returns SD3's timestep shift (arXiv 2403.03206, section 5.3.2): s t / (1 + (s - 1) t)."""
    return shift * time / (1.0 + (shift - 1.0) * time)


def draw_time(key: jax.Array, groups: Groups, config: FlowConfig) -> jax.Array:
    """Returns the shifted logit-normal time of every group slot, float32[B S]; 0 for global prompts and empty slots.

    Shots of a scene that share one time take the time of the slot whose number is that of their scene.
    """
    normal = config.mean + config.std * jax.random.normal(key, groups.shot.shape)
    of_scene = lambda slots_BS: jnp.take_along_axis(slots_BS, groups.scene - 1, axis=1, mode="clip")
    if config.times == "per_scene":
        normal = of_scene(normal)
    elif config.times == "mixed":
        together = jax.random.bernoulli(jax.random.fold_in(key, 1), config.together, normal.shape)
        normal = jnp.where(of_scene(together), of_scene(normal), normal)
    time = shift_time(jax.nn.sigmoid(normal), config.shift)
    return jnp.where((groups.scene != PADDING_SCENE) & (groups.shot != GLOBAL_SHOT), time, 0.0)


def draw(key: jax.Array, batch: PackedBatch, *, slots: int, config: FlowConfig) -> Draw:
    """Returns time and noise for a batch."""
    time_key, noise_key = jax.random.split(key)
    return Draw(
        time=draw_time(time_key, find_groups(batch.video.index, slots), config),
        noise=jax.random.normal(noise_key, batch.video.value.shape),
    )


def hold_frames(
    key: jax.Array, batch: PackedBatch, added: Draw, *, slots: int, config: FlowConfig
) -> Held:
    """Holds first or last latent frames of some shots at a low time, as sampling does with frames that are given.

    One frame at least is left. Shots of one frame, and global prompts, have none that is held.
    """
    index = batch.video.index
    frame_BL, frames_BS = _find_frames(index, slots)
    keys = jax.random.split(key, 4)
    uniform = [jax.random.uniform(k, frames_BS.shape) for k in keys]
    holds_BS = (uniform[0] < config.hold) & (frames_BS > 1)
    count_BS = 1 + jnp.floor(uniform[1] * jnp.maximum(frames_BS - 1, 1)).astype(jnp.int32)
    first_BS = jnp.where(uniform[2] < HELD_FIRST, count_BS, count_BS // 2)
    of_token = lambda value_BS: jnp.take_along_axis(value_BS, index.slot, axis=1)
    last_BS = count_BS - first_BS
    edge_BL = (frame_BL < of_token(first_BS)) | (frame_BL >= of_token(frames_BS - last_BS))
    held_BL = edge_BL & of_token(holds_BS) & (index.scene != PADDING_SCENE)
    slot_BL = jnp.where(held_BL, index.slot + slots, index.slot)
    time_BS = jnp.concatenate([added.time, HELD_UNTIL * uniform[3]], axis=1)
    video = batch.video._replace(index=index._replace(slot=slot_BL))
    return Held(batch._replace(video=video), added._replace(time=time_BS), held_BL)


def _find_frames(index: TokenIndex, slots: int) -> tuple[jax.Array, jax.Array]:
    """Returns the frame of every token within its shot, int32[B L] from 0, and how many every slot has, int32[B S].

    Frames follow one another along the first axis of positions, whatever these are otherwise.
    """
    rows, place_BL = jnp.arange(index.scene.shape[0])[:, None], index.coord[..., 0]
    far = jnp.iinfo(jnp.int32).max
    real_BL = index.scene != PADDING_SCENE
    blank = jnp.full((index.scene.shape[0], slots), far, jnp.int32)
    start_BS = blank.at[rows, index.slot].min(jnp.where(real_BL, place_BL, far))
    end_BS = jnp.full_like(blank, -1).at[rows, index.slot].max(jnp.where(real_BL, place_BL, -1))
    frame_BL = place_BL - jnp.take_along_axis(start_BS, index.slot, axis=1)
    return frame_BL, jnp.where(end_BS < 0, 0, end_BS - start_BS + 1)


def corrupt(clean: Tokens, noise_BLC: jax.Array, time_BS: jax.Array) -> Tokens:
    """Returns tokens with noise mixed in at the time of their group; dummies, at t = 0, stay as they are."""
    time_BL1 = jnp.take_along_axis(time_BS, clean.index.slot, axis=1)[..., None]
    return clean._replace(value=(1.0 - time_BL1) * clean.value + time_BL1 * noise_BLC)


def loss_weights(index: TokenIndex, slots: int, *, held_BL: jax.Array | None = None) -> jax.Array:
    """Returns the share of a video token in its sample, float32[B L]; every sample's weights sum to 1.

    The loss is a mean over a shot's tokens, then over a sample's shots [LCT section 3.3]. Dummies, padding and tokens
    that are held have weight 0. Sums of the weights over any set of rows count samples, so packing, accumulation and
    sharding change nothing.
    """
    rows = jnp.arange(index.scene.shape[0])[:, None]
    counts = (index.scene != PADDING_SCENE) & (index.shot != GLOBAL_SHOT)
    counts = counts if held_BL is None else counts & ~held_BL
    zeros = jnp.zeros((index.scene.shape[0], slots + 1), jnp.float32)
    tokens_BS = zeros.at[rows, index.slot].add(counts)
    share_BL = counts / jnp.maximum(jnp.take_along_axis(tokens_BS, index.slot, axis=1), 1.0)
    # A row has at most as many scenes as groups.
    shots_BS = zeros.at[rows, index.scene].add(share_BL)
    return share_BL / jnp.maximum(jnp.take_along_axis(shots_BS, index.scene, axis=1), 1.0)


def count_samples(batch: PackedBatch) -> jax.Array:
    """Returns the number of samples in a batch, at least 1; the scenes of a row are numbered from 1."""
    scenes = jnp.where(batch.video.index.scene != PADDING_SCENE, batch.video.index.scene, 0)
    return jnp.maximum(scenes.max(axis=1).sum().astype(jnp.float32), 1.0)


def token_errors(backbone: Backbone, batch: PackedBatch, added: Draw) -> jax.Array:
    """Returns the mean squared velocity error of every video token, float32[B L].

    Args:
        backbone: the network.
        batch: clean tokens.
        added: time and noise.
    """
    noisy = corrupt(batch.video, added.noise, added.time)
    velocity_BLC = backbone(add_condition(noisy, batch), batch.text, added.time)
    target_BLC = added.noise - batch.video.value
    return jnp.square(velocity_BLC.astype(jnp.float32) - target_BLC).mean(-1)


def add_condition(noisy: Tokens, batch: PackedBatch) -> Tokens:
    """Returns noisy tokens with the batch's condition channels appended, where it has any."""
    if batch.condition is None:
        return noisy
    return noisy._replace(value=jnp.concatenate([noisy.value, batch.condition], axis=-1))


def break_down(
    error_BL: jax.Array, weight_BL: jax.Array, index: TokenIndex, time_BS: jax.Array
) -> Breakdown:
    """Returns the sums behind the loss, by time and by shot; once added over batches, errors over weights are means."""
    slots = time_BS.shape[1]
    sums_BS = [sum_groups(x, index.slot, slots) for x in (weight_BL, weight_BL * error_BL)]
    bucket_BS = jnp.minimum((time_BS * TIME_BUCKETS).astype(jnp.int32), TIME_BUCKETS - 1)
    # Global prompts and padding have weight 0, so it does not matter where they are counted.
    place_BS = jnp.maximum(find_groups(index, slots).shot, 1) - 1

    def add_up(place_BS: jax.Array, count: int) -> jax.Array:
        return jnp.stack([jnp.zeros(count).at[place_BS].add(x_BS) for x_BS in sums_BS])

    return Breakdown(time=add_up(bucket_BS, TIME_BUCKETS), shot=add_up(place_BS, slots))


def sum_groups(value_BL: jax.Array, group_BL: jax.Array, slots: int) -> jax.Array:
    """Returns sums over the tokens of every group slot, [B S]; a scatter of all tokens would be slow on TPU."""
    member_BLS = group_BL[..., None] == jnp.arange(slots)[None, None]
    return jnp.where(member_BLS, value_BL[..., None], 0).sum(axis=1)
