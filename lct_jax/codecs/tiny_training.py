"""Trains the small VAE, or its decoder for the latents of a patch codec: the loss, the step, and the initial state.

A step takes clips [B T rows columns 3] in -1..1 and returns metrics. The loss is the absolute error, LPIPS on one frame
of each clip, and for a VAE a light KL divergence from the unit normal, which keeps latents near the size that the
diffusion model wants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lct_jax.codecs.causal_conv import Past
from lct_jax.codecs.lpips import Lpips
from lct_jax.codecs.patch import PatchCodec
from lct_jax.codecs.tiny_vae import Network, TinyVAEConfig, to_blocks
from lct_jax.errors import InputError
from lct_jax.paths import LocalPath
from lct_jax.seeds import make_key
from lct_jax.tensors import name_leaves


@dataclass(frozen=True)
class CodecTrainingConfig:
    """Holds the settings of a training of the small VAE.

    Attributes:
        name: the name of the experiment. scenes: the scene file of the film, relative to the working folder.
        world, shots: a world of drawn scenes in place of a film (`lct_jax/puppets/worlds.py`), and how many are drawn,
            of one shot each; "" has a film.
        latents_of: a file of a patch codec. Its latents are what is decoded, and no encoder is trained; "" trains one.
        latent_noise: the deviation of the noise on such latents in training, since those of a model are not exact.
        height, width: frames are resized to these, in pixels.
        held_out: share of the story, counted in annotated frames from its end, that is never trained on; nor is
            a scene that the scene file holds out.
        channels, blocks_width, blocks_depth, fine_width, fine_depth, pixel_width, pixel_depth: see `TinyVAEConfig`.
        init_from: weights of a trained VAE to start from, which may have no pixel blocks yet; "" starts from the patch
            codec.
        clip_frames: 4n + 1. crop: rows and columns of a clip. batch: clips a step. stills: share of clips of
            which every frame is the first.
        steps, warmup, learning_rate, clip, ema: AdamW with cosine decay, as in the training of the diffusion model.
        kl, lpips: weights in the loss, beside 1 for the absolute error.
        save_every, log_every: in steps. seed: of everything drawn.
    """

    name: str
    scenes: str = ""
    world: str = ""
    shots: int = 1_500
    latents_of: LocalPath = ""
    latent_noise: float = 0.05
    height: int = 80
    width: int = 144
    held_out: float = 1 / 3
    channels: int = 16
    blocks_width: int = 192
    blocks_depth: int = 3
    fine_width: int = 64
    fine_depth: int = 2
    pixel_width: int = 32
    pixel_depth: int = 0
    init_from: LocalPath = ""
    clip_frames: int = 9
    crop: int = 64
    batch: int = 6
    stills: float = 0.1
    steps: int = 2_400
    warmup: int = 50
    learning_rate: float = 1e-3
    clip: float = 1.0
    ema: float = 0.999
    kl: float = 3e-4
    lpips: float = 0.2
    save_every: int = 100
    log_every: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for field, ok, wanted in (
            ("clip_frames", self.clip_frames % 4 == 1, "4n + 1"),
            ("crop", self.crop % 8 == 0 and self.crop >= 32, "a multiple of 8, at least 32"),
            ("crop", self.crop <= min(self.height, self.width), "no more than height and width"),
            ("held_out", 0 < self.held_out < 1, "between 0 and 1"),
            ("warmup", self.warmup < self.steps, "fewer than steps"),
            ("shots", self.shots > 0, "at least 1"),
            ("init_from", not (self.init_from and self.latents_of), "nothing beside latents_of"),
        ):
            if not ok:
                raise InputError(f"{field}: found {getattr(self, field)}, expected {wanted}")

    @property
    def network(self) -> TinyVAEConfig:
        """Returns the sizes of the network."""
        return TinyVAEConfig(
            channels=self.channels,
            width=self.blocks_width,
            depth=self.blocks_depth,
            fine_width=self.fine_width,
            fine_depth=self.fine_depth,
            pixel_width=self.pixel_width,
            pixel_depth=self.pixel_depth,
            encodes=not self.latents_of,
        )


class CodecState(NamedTuple):
    """The state of a run at a step: parameters, their running mean, moments of the optimiser, and the step."""

    params: Any
    ema: Any
    optimizer: Any
    step: jax.Array


# (network, clips, key) -> latents [B, T, X, Y, channels], and the divergence from the unit normal of what they are
# drawn from, or None.
Encode = Callable[[Network, jax.Array, jax.Array], tuple[jax.Array, jax.Array | None]]
Step = Callable[[CodecState, jax.Array, jax.Array], tuple[CodecState, dict[str, jax.Array]]]


def make_optimizer(config: CodecTrainingConfig) -> optax.GradientTransformation:
    """Returns AdamW with warm-up, cosine decay and clipping."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, config.warmup, config.steps
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(rate, b1=0.9, b2=0.95, weight_decay=1e-2),
    )


def init_state(
    config: CodecTrainingConfig, patch: PatchCodec, optimizer: optax.GradientTransformation
) -> CodecState:
    """Returns random convolutions whose output starts at zero, and the linear maps of a fitted patch codec."""
    network = Network(config.network, rngs=nnx.Rngs(make_key(config.seed)))
    if config.network.encodes:
        to_latent = network.encoder.linear
        to_latent.kernel.set_value(_as_kernel(patch.basis / patch.scale))
        to_latent.bias.set_value(jnp.asarray(-patch.mean @ patch.basis / patch.scale))
    to_pixels = network.decoder.linear
    to_pixels.kernel.set_value(_as_kernel((patch.basis * patch.scale).T))
    to_pixels.bias.set_value(jnp.asarray(patch.mean))
    params = nnx.state(network, nnx.Param)
    # The step donates its input, so each array must be held once.
    copy = jax.tree.map(jnp.copy, params)
    return CodecState(params, copy, optimizer.init(params), jnp.zeros((), jnp.int32))


def continue_from(
    state: CodecState, parameters: Mapping[str, np.ndarray], where: str
) -> CodecState:
    """Returns the state before the first step with a trained codec's parameters; missing pixel blocks start at zero.

    Args:
        parameters: `TinyVAE.parameters`. where: the codec's file, for errors.

    Raises:
        InputError: they have other sizes, or some are missing.
    """
    trained = dict(parameters)
    leaves = []
    for name, leaf in name_leaves(state.params).items():
        found = trained.pop(name, None)
        if found is None and not name.startswith("decoder.pixels."):
            raise InputError(f"init_from: {where}: found no {name}, expected the config's sizes")
        if found is not None and found.shape != leaf.shape:
            raise InputError(
                f"init_from: {where}: {name}: found {found.shape}, expected {leaf.shape}"
            )
        leaves.append(leaf if found is None else jnp.asarray(found))
    if trained:
        raise InputError(f"init_from: {where}: found {min(trained)}, expected the config's sizes")
    params = jax.tree.unflatten(jax.tree.structure(state.params), leaves)
    return state._replace(params=params, ema=jax.tree.map(jnp.copy, params))


def draw_latents(network: Network, clips: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws latents of clips from what the network's encoder says, as `Encode` says."""
    mean, logvar = network.encode(clips, Past(None))
    divergence = 0.5 * (jnp.square(mean) + jnp.exp(logvar) - 1.0 - logvar).mean()
    return mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape), divergence


def make_latents_of(patch: PatchCodec, *, noise: float) -> Encode:
    """Returns what gives the latents of a patch codec, with noise of such a deviation."""

    mean, scale = (x[None, None, None, None] for x in (patch.mean, patch.scale))

    def encode(network: Network, clips: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        del network
        latents = (to_blocks(clips, at_start=True) - mean) @ patch.basis / scale
        return latents + noise * jax.random.normal(key, latents.shape), None

    return encode


def make_step(
    graph: nnx.GraphDef,
    config: CodecTrainingConfig,
    optimizer: optax.GradientTransformation,
    lpips: Lpips,
    *,
    encode: Encode = draw_latents,
) -> Step:
    """Returns a pure step (state, clips, key) -> (state, metrics); all random numbers follow from key and step."""

    def step(
        state: CodecState, clips: jax.Array, key: jax.Array
    ) -> tuple[CodecState, dict[str, jax.Array]]:
        key = jax.random.fold_in(key, state.step)
        take = lambda params: measure_loss(graph, params, clips, key, config, lpips, encode)
        grads, metrics = jax.grad(take, has_aux=True)(state.params)
        updates, moments = optimizer.update(grads, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        number = state.step + 1
        decay = jnp.minimum(config.ema, (1 + number) / (10 + number))
        ema = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.ema, params)
        metrics["gradient_norm"] = optax.tree.norm(grads)
        return CodecState(params, ema, moments, number), metrics

    return step


def measure_loss(
    graph: nnx.GraphDef,
    params: Any,
    clips: jax.Array,
    key: jax.Array,
    config: CodecTrainingConfig,
    lpips: Lpips,
    encode: Encode,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the loss of clips [B, T, rows, columns, 3] and its parts, scalars."""
    network = nnx.merge(graph, params)
    noise_key, frame_key = jax.random.split(key)
    latent, divergence = encode(network, clips, noise_key)
    made = network.decode(latent, Past(None))
    frame = jax.random.randint(frame_key, (), 0, clips.shape[1])
    error = jnp.abs(made - clips).mean()
    perceived = lpips(made[:, frame], clips[:, frame]).mean()
    loss = error + config.lpips * perceived
    parts = {"error": error, "lpips": perceived}
    if divergence is not None:
        loss, parts["kl"] = loss + config.kl * divergence, divergence
    squared = jnp.square(made - clips).mean()
    return loss, {"loss": loss, **parts, "psnr": 10.0 * jnp.log10(4.0 / squared)}


def _as_kernel(matrix: Any) -> jax.Array:
    return jnp.asarray(matrix, jnp.float32)[None, None, None]
