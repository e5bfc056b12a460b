"""Tiny scenes and a tiny model: the builders that tests share.

A `Scene` has all data of a few shots (latents, noise, prompts, times), so that the same scene can be packed with
others, packed alone, or given to the dense reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from reference import Group

from lct_jax.backbones.registry import build_abstract
from lct_jax.config import ComputeConfig, LayoutConfig, LoraConfig, NetworkConfig, WanConfig
from lct_jax.config.network import make_network
from lct_jax.distributed.sharding import with_sharding
from lct_jax.flow import Draw
from lct_jax.layout import (
    GroupPlan,
    ScenePlan,
    SceneTokens,
    lay_out,
    pack,
    patchify,
    plan_scene,
)
from lct_jax.training.checkpoint.weights import name_leaves
from lct_jax.types import PackedBatch

TINY = make_network(
    width=32,
    depth=2,
    heads=2,
    head_dim=16,
    channels=2,
    text_width=10,
    rope_split=(4, 6, 6),
    scene_span=8,
    shot_span=6,
    time_features=16,
    dtype="float32",
    remat="none",
)
# A small Wan on the same latents and texts: any test's scenes are its scenes too.
TINY_WAN = NetworkConfig(
    backbone=WanConfig(
        width=32,
        depth=2,
        heads=2,
        head_dim=16,
        hidden=48,
        channels=2,
        text_width=10,
        text_places=16,
        rope_split=(8, 4, 4),
        time_features=16,
    ),
    layout=LayoutConfig(scene_span=8, shot_span=6, positions="temporal", prompts="own"),
    compute=ComputeConfig(dtype="float32", remat="none"),
)
# The same network, told the frame rate.
TINY_SKYREELS = replace(
    TINY_WAN, backbone=replace(TINY_WAN.backbone, release="skyreels_v2", fps=24)
)
FAMILIES = {"mmdit": TINY, "wan": TINY_WAN}
LORA = LoraConfig(rank=3, alpha=6.0, base_dtype="float32")
VIDEO_TOKENS, TEXT_TOKENS, SLOTS = 28, 26, 7  # of a row


@dataclass(frozen=True)
class Scene:
    """All data of one scene.

    Attributes:
        plan: its sizes.
        clean, noise: latents of every shot, float32 [T X Y c].
        prompts: text of every group, float32 [L E], the global prompt first if there is one.
        times: diffusion time of every shot.
    """

    plan: ScenePlan
    clean: tuple[np.ndarray, ...]
    noise: tuple[np.ndarray, ...]
    prompts: tuple[np.ndarray, ...]
    times: tuple[float, ...]

    @property
    def group_times(self) -> list[float]:
        """The time of every group: 0 for a global prompt."""
        return [0.0] * (1 - self.plan.first_shot) + list(self.times)


@dataclass(frozen=True)
class Packed:
    """Scenes packed into rows, with their time and noise."""

    batch: PackedBatch
    added: Draw


def make_scene(
    seed: int,
    *,
    shots: Sequence[tuple[int, tuple[int, int, int], float]],
    global_text: int | None = None,
    config: NetworkConfig = TINY,
) -> Scene:
    """Returns a scene of random values; each shot is (text tokens, token grid, time)."""
    rng = np.random.default_rng(seed)
    sizes = tuple(GroupPlan(text, grid) for text, grid, _ in shots)
    plan = plan_scene(config.backbone.text, global_text, sizes)

    def latents() -> tuple[np.ndarray, ...]:
        sides = [np.multiply(grid, config.backbone.patch) for _, grid, _ in shots]
        return tuple(
            rng.normal(size=(*s, config.backbone.channels)).astype(np.float32) for s in sides
        )

    prompts = (rng.normal(size=(group.text, config.backbone.text_width)) for group in plan.groups)
    return Scene(
        plan=plan,
        clean=latents(),
        noise=latents(),
        prompts=tuple(prompt.astype(np.float32) for prompt in prompts),
        times=tuple(time for _, _, time in shots),
    )


def make_scenes(seed: int = 0, *, config: NetworkConfig = TINY) -> dict[str, Scene]:
    """Returns four scenes of mixed aspect ratios; "single" is one shot without a global prompt."""
    trio = [(2, (1, 2, 3), 0.25), (4, (2, 2, 1), 0.875), (1, (1, 1, 4), 0.5)]
    pair = [(3, (1, 2, 2), 1.0), (2, (3, 1, 1), 0.375)]
    sizes = {
        "trio": {"global_text": 3, "shots": trio},
        "single": {"shots": [(5, (2, 3, 2), 0.625)]},
        "full_text": {"global_text": 8, "shots": [(6, (1, 3, 3), 0.125)]},
        "pair": {"global_text": 1, "shots": pair},
    }
    return {
        name: make_scene(10 * seed + number, config=config, **size)
        for number, (name, size) in enumerate(sizes.items())
    }


def pack_scenes(rows: Sequence[Sequence[Scene]], *, config: NetworkConfig = TINY) -> Packed:
    """Packs scenes, their noise and their times into rows of the shared budget."""
    times = np.zeros((len(rows), SLOTS), np.float32)
    for row, scenes in enumerate(rows):
        values = [time for scene in scenes for time in scene.group_times]
        times[row, : len(values)] = values
    clean, noise = (
        _pack([[_tokens(scene, part, config) for scene in row] for row in rows], config)
        for part in ("clean", "noise")
    )
    return Packed(clean, Draw(time=times, noise=noise.video.value))


def split_scenes(tokens_LC: np.ndarray, scenes: Sequence[Scene]) -> list[np.ndarray]:
    """Returns one row of video tokens cut into its scenes, dummies included."""
    sizes = [sum(group.video for group in scene.plan.groups) for scene in scenes]
    return np.split(tokens_LC[: sum(sizes)], np.cumsum(sizes)[:-1])


def to_reference(scene: Scene) -> list[Group]:
    """Returns a scene as the groups of the reference."""
    shots = zip(
        scene.prompts[-len(scene.clean) :], scene.clean, scene.noise, scene.times, strict=True
    )
    groups = [Group(*shot) for shot in shots]
    if scene.plan.global_text is not None:
        groups.insert(0, Group(scene.prompts[0], None, None, 0.0))
    return groups


def place_shapes(config: NetworkConfig, mesh: Mesh, *, dtype: str = "float32") -> Any:
    """Returns the shapes of a network's parameters, with the shardings that they have on a mesh."""
    shapes = build_abstract(config).params
    return with_sharding(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), shapes), mesh)


def randomise(shapes: Any, *, seed: int = 0) -> Any:
    """Returns random float32 parameters everywhere, zero-initialised ones included, so that no zero hides an error."""
    rng = np.random.default_rng(seed)

    def draw(name: str, leaf: Any) -> jax.Array:
        normal = rng.normal(size=leaf.shape)
        if name.endswith("kernel"):
            return normal * leaf.shape[-2] ** -0.5
        return 0.3 * normal + (1.0 if name.endswith("scale") else 0.0)

    leaves = [jnp.asarray(draw(*item), jnp.float32) for item in name_leaves(shapes).items()]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


class TinyModel:
    """A model from shapes and random weights, and its forward pass, compiled once a context and shape."""

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        self.graph, shapes = build_abstract(config)
        self.params = randomise(shapes)
        self._forward = jax.jit(self._run, static_argnames="context")

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The parameters by name."""
        return {name: np.asarray(leaf) for name, leaf in name_leaves(self.params).items()}

    def forward(self, packed: Packed, *, context: str = "full") -> np.ndarray:
        """Returns the velocity [B L C] of packed scenes at their times, corrupted by numpy alone."""
        video, time_BS = packed.batch.video, packed.added.time
        time_BL1 = np.take_along_axis(time_BS, video.index.slot, axis=1)[..., None]
        noisy = (1 - time_BL1) * video.value + time_BL1 * packed.added.noise
        noisy = video._replace(value=noisy.astype(np.float32))
        return np.asarray(
            self._forward(self.params, noisy, packed.batch.text, time_BS, context=context)
        )

    def _run(self, params: Any, video: Any, text: Any, time_BS: jax.Array, context: str) -> Any:
        network = nnx.merge(self.graph, params)
        return network(video, text, time_BS, context=context).velocity


def _tokens(scene: Scene, part: str, config: NetworkConfig) -> SceneTokens:
    """Returns one scene's tokens; the noise of a dummy is not zero, so that a test sees if it counts."""
    video = [patchify(latent, config.backbone.patch) for latent in getattr(scene, part)]
    if scene.plan.global_text is not None:
        fill = 0.0 if part == "clean" else 1.0
        video.insert(0, np.full((1, config.backbone.patch_channels), fill, np.float32))
    return SceneTokens(
        video=np.concatenate(video),
        text=np.concatenate(scene.prompts),
        layout=lay_out(scene.plan, layout=config.layout),
    )


def _pack(rows: Sequence[Sequence[SceneTokens]], config: NetworkConfig) -> PackedBatch:
    return pack(
        rows,
        video_tokens=VIDEO_TOKENS,
        text_tokens=TEXT_TOKENS,
        channels=config.backbone.patch_channels,
        text_width=config.backbone.text_width,
    )
