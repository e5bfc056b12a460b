"""Passes of the systems that the paper compares itself with: pictures as references, and attention shared at random.

Both are full passes in which tables say which shot sees which (`Visibility`). Defaults are those of the public code of
VideoStudio (github.com/FuchenUSTC/VideoStudio) and StoryDiffusion (github.com/HVision-NKU/StoryDiffusion).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from lct_jax.errors import InputError
from lct_jax.sampling.backbone import TableBackbone
from lct_jax.sampling.euler import LoopInputs, run_steps
from lct_jax.sampling.passes import Executor, FullPass, run_all_steps
from lct_jax.sampling.request import SceneRequest
from lct_jax.sampling.schedule import Window
from lct_jax.sampling.window import SamplingScene
from lct_jax.types import Visibility

# Weights of the attention to a picture of a character and of a place (videostudio_img/infer_videostudio_img.py).
CHARACTER_WEIGHT, PLACE_WEIGHT = 0.50, 0.33
# How many key frames of a character others read (`id_length` of the public demo).
BANK = 2
# The share of a frame's tokens that others see (`sa32`, `sa64`), redrawn in every step.
SHARE = 0.5
# The chance that a block asks, before and after this share of the steps (20 of 50), and never in the first step.
EARLY, LATE, TURN = 0.7, 0.9, 0.4


class ReferencePass(FullPass):
    """Samples a shot that sees pictures of whom and what it names, with a weight, and no other shot.

    Pictures see themselves alone, as they were sampled.
    """

    def __init__(self, backbone: TableBackbone, scene: SamplingScene, times: np.ndarray) -> None:
        _check_one_device(scene)
        # Pictures are held shots, and the public code guides by text alone.
        config = replace(scene.config, history_guidance=1.0)
        super().__init__(backbone.forward, replace(scene, config=config), times)
        self.backbone = backbone

    def run(
        self, window: Window, inputs: LoopInputs, noisy_LC: jax.Array, on_step: Callable[[], None]
    ) -> jax.Array:
        """Runs all steps of a packed window and returns its tokens."""
        visibility = weigh_references(
            self.scene.request, window, layers=self.backbone.spec.cache.layers
        )
        velocity = self.backbone.see(visibility)
        return run_all_steps(velocity, inputs, noisy_LC, on_step, scheme=self.scene.scheme)


class SharedPass(FullPass):
    """Samples key frames together, whose video sees a random half of that of others in some blocks and steps.

    The frames of a bank, which the public code samples first, and those that read it are one window here: the former
    see none of the latter, so that it is the same computation. All frames lie at the place of a single shot, as the
    public network does not tell frames apart. Other shots are sampled alone.
    """

    def __init__(self, backbone: TableBackbone, scene: SamplingScene, times: np.ndarray) -> None:
        _check_one_device(scene)
        layout = replace(scene.layout, positions="same")
        super().__init__(backbone.forward, replace(scene, layout=layout), times)
        self.backbone = backbone

    def run(
        self, window: Window, inputs: LoopInputs, noisy_LC: jax.Array, on_step: Callable[[], None]
    ) -> jax.Array:
        """Runs all steps of a packed window and returns its tokens."""
        if len(window.shots) == 1:
            return super().run(window, inputs, noisy_LC, on_step)
        request, steps = self.scene.request, len(self.times) - 1
        bias_GG = find_bias_of_banks(request, window.shots)
        # Noise has the numbers of shots.
        key = jax.random.fold_in(self.scene.key, len(request.shots))
        for step in range(steps):
            drawn = draw_shared(
                jax.random.fold_in(key, step),
                bias_GG,
                chance=find_chance(step, steps),
                layers=self.backbone.spec.cache.layers,
                tokens=len(noisy_LC),
            )
            velocity, number = self.backbone.see(drawn), np.int32(step)
            noisy_LC = run_steps(velocity, inputs, noisy_LC, number, number + 1, self.scene.scheme)
            jax.block_until_ready(noisy_LC)
            on_step()
        return noisy_LC


class TwoNetworks:
    """Samples pictures with one executor, and the shots that begin with them with another.

    Args:
        pictures, videos: the executors. request: the scene.
    """

    def __init__(self, pictures: Executor, videos: Executor, request: SceneRequest) -> None:
        self.pictures, self.videos, self.request = pictures, videos, request

    def denoise(
        self, window: Window, clean: Mapping[int, np.ndarray], on_step: Callable[[], None]
    ) -> dict[int, np.ndarray]:
        """Returns clean tokens of the shots that a window denoises."""
        begins = any(self.request.shots[shot].begins for shot in window.denoised)
        executor = self.videos if begins else self.pictures
        return executor.denoise(window, clean, on_step)


def weigh_references(request: SceneRequest, window: Window, *, layers: int) -> Visibility:
    """Returns who sees whom in a window of pictures and of a shot behind them."""
    size = len(window.shots) + 1
    bias_GG = np.full((size, size), -np.inf, np.float32)
    np.fill_diagonal(bias_GG, 0.0)
    for place, shot in enumerate(window.shots, start=1):
        for other_place, other in enumerate(window.shots, start=1):
            owner = request.shots[other].links.picture_of
            if place != other_place and owner and not request.shots[shot].links.picture_of:
                is_character = owner in request.shots[shot].links.characters
                weight = CHARACTER_WEIGHT if is_character else PLACE_WEIGHT
                bias_GG[place, other_place] = np.log(weight)
    return Visibility(bias_GG, np.ones(layers, bool), np.ones((1, 1), bool))


def find_bias_of_banks(request: SceneRequest, frames: Sequence[int]) -> np.ndarray:
    """Returns `Visibility.bias_GG` of key frames: those of a bank see each other, the others read the banks of whom and
    what they show.
    """
    shown = {frame: _find_elements(request, frame) for frame in frames}
    elements = sorted({element for of_frame in shown.values() for element in of_frame})
    bank = {element: _choose_bank(shown, element) for element in elements}
    bias_GG = np.full((len(frames) + 1, len(frames) + 1), -np.inf, np.float32)
    np.fill_diagonal(bias_GG, 0.0)
    for place, frame in enumerate(frames, start=1):
        mine = [element for element in elements if frame in bank[element]]
        for element in mine or shown[frame]:
            for other in bank[element]:
                bias_GG[place, 1 + frames.index(other)] = 0.0
    return bias_GG


def find_chance(step: int, steps: int) -> float:
    """Returns the chance that a block asks in a step, counted from 0."""
    if step == 0:
        return 0.0
    return EARLY if step < TURN * steps else LATE


def draw_shared(
    key: jax.Array, bias_GG: np.ndarray, *, chance: float, layers: int, tokens: int
) -> Visibility:
    """Returns which blocks ask in a step, none of the first half, and which video tokens are shown.

    All rows of guidance have the same.
    """
    coins, choices = jax.random.split(key)
    asks_N = jax.random.uniform(coins, (layers,)) < chance
    later_N = jnp.arange(layers) >= layers - layers // 2
    shown_1L = jax.random.uniform(choices, (1, tokens)) < SHARE
    return Visibility(bias_GG, asks_N & later_N, shown_1L)


def _find_elements(request: SceneRequest, frame: int) -> frozenset[str]:
    """Returns the characters and the place of a key frame."""
    links = request.shots[frame].links
    return links.characters | links.named | ({links.place} if links.place else set())


def _choose_bank(shown: Mapping[int, frozenset[str]], element: str) -> list[int]:
    """Returns the first frames of a character or a place; those that show fewest others come first."""
    of_element = [frame for frame in shown if element in shown[frame]]
    return sorted(of_element, key=lambda frame: len(shown[frame]))[:BANK]


def _check_one_device(scene: SamplingScene) -> None:
    if scene.config.shards != 1:
        raise InputError(
            f"sampling.shards: found {scene.config.shards}, expected 1 in this mode, whose attention is no kernel's"
        )
