"""Sampling a scene: an executor runs a plan of windows.

`FullPass` passes all tokens of a window through the model: a joint plan has one such window, and shot-after-shot plans
have one for every new shot. `lct_jax.sampling.cached_pass.CachedPass` passes the new shot alone, which sees cached keys
and values of the others. Both denoise with the same Euler loop.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from lct_jax.distributed.sharding import count_shards, fetch
from lct_jax.sampling.euler import LoopInputs, Scheme, make_loop_inputs, run_steps
from lct_jax.sampling.guidance import choose_branches, scale_steps
from lct_jax.sampling.schedule import Window
from lct_jax.sampling.window import SamplingScene, pack_window, put_back, separate_parts
from lct_jax.types import GLOBAL_SHOT

# The steps of a window are dispatched in this many parts, so that a progress bar can move.
SEGMENTS = 8


@dataclass(frozen=True)
class Shot:
    """A finished shot: its number (0-based) and clean tokens float32[T X Y, C]."""

    number: int
    tokens: np.ndarray


class Executor(Protocol):
    """Runs windows one after another."""

    def denoise(
        self, window: Window, clean: Mapping[int, np.ndarray], on_step: Callable[[], None]
    ) -> dict[int, np.ndarray]:
        """Returns clean tokens of the shots that a window denoises; `clean` has those of given and finished shots.

        A shot that is in `clean` already is finished: it is not denoised.
        """
        ...


def sample_scene(
    executor: Executor,
    scene: SamplingScene,
    plan: Sequence[Window],
    *,
    on_step: Callable[[], None] = lambda: None,
    done: Mapping[int, np.ndarray] | None = None,
) -> Iterator[Shot]:
    """Runs a plan and yields each shot when its window is done.

    Args:
        on_step: is called once a step.
        done: clean tokens of shots that were finished before; they are not sampled again, nor yielded.
    """
    clean = {n: s.given for n, s in enumerate(scene.request.shots) if s.given is not None}
    clean |= done or {}
    for window in plan:
        made = executor.denoise(window, clean, on_step)
        clean |= made
        for number, tokens in made.items():
            yield Shot(number=number, tokens=tokens)


class FullPass:
    """Runs windows by passing all of their tokens through the model in every step.

    Args:
        forward: the model, (video, text, time_BS) -> velocity.
        scene: the scene.
        times: the times of the Euler steps.
    """

    def __init__(self, forward: Partial, scene: SamplingScene, times: np.ndarray) -> None:
        self.forward, self.scene, self.times = forward, scene, times

    def denoise(
        self, window: Window, clean: Mapping[int, np.ndarray], on_step: Callable[[], None]
    ) -> dict[int, np.ndarray]:
        """Returns clean tokens of the denoised shots.

        These start as noise and share a time that goes from 1 to 0, but for parts that are held; the others keep their
        low time.
        """
        scene, numbers = self.scene, {s: n for n, s in enumerate(window.shots, start=1)}
        first = GLOBAL_SHOT if scene.request.prompt is not None else 1
        starts = {s: scene.start(s, clean) for s in window.denoised if s not in clean}
        if not starts:
            return {}
        held = {s: scene.hold(s, clean[s]) for s in window.shots if s not in starts}
        video = [(starts | held)[s].tokens for s in window.shots]
        branches = choose_branches(scene.config, held=bool(held), spread=count_shards("B"))
        packed = pack_window(
            scene, window.shots, video, branches=branches, held=[numbers[s] for s in held]
        )
        batch, held_parts = separate_parts(packed, {numbers[s]: x.parts for s, x in starts.items()})
        inputs = make_loop_inputs(
            batch,
            held={numbers[s] - first: h.time for s, h in held.items()} | held_parts,
            times=self.times,
            guidance=scale_steps(scene.config, self.times, branches),
        )
        done = self.run(window, inputs, jnp.asarray(batch.video.value[0]), on_step)
        tokens_LC, shot_L = fetch(done), batch.video.index.shot[0]
        return {s: put_back(tokens_LC[shot_L == numbers[s]], x.parts) for s, x in starts.items()}

    def run(
        self, window: Window, inputs: LoopInputs, noisy_LC: jax.Array, on_step: Callable[[], None]
    ) -> jax.Array:
        """Runs all steps of a packed window and returns its tokens."""
        return run_all_steps(self.forward, inputs, noisy_LC, on_step, scheme=self.scene.scheme)


def run_all_steps(
    velocity: Partial,
    inputs: LoopInputs,
    noisy_LC: jax.Array,
    on_step: Callable[[], None],
    *,
    scheme: Scheme,
    first: int = 0,
) -> jax.Array:
    """Runs all steps from `first` on; the host dispatches all of them and then waits only to report progress.

    Steps before `first` are reported with the others.
    """
    steps = len(inputs.times) - 1
    cuts = np.linspace(first, steps, min(SEGMENTS, steps - first) + 1).round().astype(np.int32)
    parts = []
    for start, end in itertools.pairwise(cuts):
        noisy_LC = run_steps(velocity, inputs, noisy_LC, start, end, scheme)
        parts.append((noisy_LC, end - start))
    for _ in range(first):
        on_step()
    for part, count in parts:
        jax.block_until_ready(part)
        for _ in range(count):
            on_step()
    return noisy_LC
