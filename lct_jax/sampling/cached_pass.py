"""Sampling shot after shot with a cache: only the new shot passes through the model, and sees the others as cached
keys.

It must agree with a pass over the same windows without a cache (`tests/uncached_pass.py`). When a prompt is edited
afterwards, only the entries that saw it are computed again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lct_jax.distributed.sharding import count_shards, fetch
from lct_jax.errors import InputError
from lct_jax.sampling.backbone import CausalBackbone
from lct_jax.sampling.cache_slots import Retain, needed_after
from lct_jax.sampling.changes import find_affected, find_changed, is_same, renumber
from lct_jax.sampling.euler import (
    LoopInputs,
    all_rows,
    make_loop_inputs,
    run_steps,
    take_step,
    times_of_groups,
)
from lct_jax.sampling.guidance import Branch, choose_branches, scale_steps
from lct_jax.sampling.passes import Shot, run_all_steps
from lct_jax.sampling.request import Prompt
from lct_jax.sampling.schedule import Window
from lct_jax.sampling.shot_cache import ShotCache
from lct_jax.sampling.window import HeldShot, SamplingScene, put_back
from lct_jax.types import GLOBAL_SHOT, PADDING_SCENE, PackedBatch


class CachedPass:
    """Runs windows of one new shot each, with a cache.

    Args:
        backbone: the model, tuned with causal context.
        scene: the scene.
        plan: all windows.
        times: the times of the Euler steps.
        retain: "needed" frees entries that no later window sees; "recent" keeps as many of them as a window has, for
            windows that are added later; "all" keeps them, so that prompts can be edited afterwards.
    """

    def __init__(
        self,
        backbone: CausalBackbone,
        scene: SamplingScene,
        plan: Sequence[Window],
        times: np.ndarray,
        *,
        retain: Retain = "needed",
    ) -> None:
        self.backbone, self.plan, self.times, self.retain = backbone, tuple(plan), times, retain
        self.cache = ShotCache(backbone, scene, plan, retain=retain)

    def denoise(
        self, window: Window, clean: Mapping[int, np.ndarray], on_step: Callable[[], None]
    ) -> dict[int, np.ndarray]:
        """Denoises the last shot of a window, unless it is given, and caches it if another window sees it."""
        shot, later = window.shots[-1], needed_after(self.plan, self.plan.index(window))
        keeps = self.retain != "needed" or shot + 1 in later
        self.cache.drop({shot + 1})
        self._make_seen(window, clean)
        runs = window.denoised and shot not in clean
        made = {shot: self._run(window, clean, on_step, keeps=keeps)} if runs else {}
        if keeps:
            if shot not in made or not self._reuses:
                self.cache.held[shot] = self.scene.hold(shot, made.get(shot, clean.get(shot)))
            self.cache.make(shot)
        if self.retain == "needed":
            self.cache.drop(self.cache.list() - later - {GLOBAL_SHOT})
        return made

    def edit(self, shot: int | None, prompt: Prompt) -> tuple[int, ...]:
        """Changes the prompt of a shot (None: the global one), and recomputes only the entries that saw it.

        Latents stay as they are; `resample` samples them again. This needs `retain="all"`.

        Returns:
            The shots whose entries saw the prompt, directly or through entries that they saw, in order of the plan.

        Raises:
            InputError: a global prompt for a scene that has none.
        """
        scene = dataclasses.replace(self.scene, request=self._replace(shot, prompt))
        cached = self.cache.list()
        affected = self.change(scene, self.plan)
        for other in affected:
            if other + 1 in cached:
                self.cache.make(other)
        return affected

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Gives shots other numbers, from 0, so that their entries stay theirs; those without one are gone.

        `change` must follow, with a scene and a plan that have these numbers.
        """
        request, self.plan = renumber(self.scene.request, self.plan, numbers)
        self.cache.renumber(numbers, dataclasses.replace(self.scene, request=request))

    def change(
        self,
        scene: SamplingScene,
        plan: Sequence[Window],
        held: Mapping[int, HeldShot] | None = None,
    ) -> tuple[int, ...]:
        """Takes another scene and plan, and frees exactly the entries that saw what differs.

        That is a prompt, a size, given tokens, or which shots a shot sees. Latents stay as they are.

        Args:
            scene, plan: the scene and its windows from now on; shots may have been added or taken away at the end.
            held: the tokens of entries that are to be made of others than before, and their time.

        Returns:
            The shots of the plan whose entries saw a difference, directly or through entries that they saw, in order of
            the plan; new ones are among them.
        """
        held = held or {}
        changed = find_changed((self.scene.request, self.plan), (scene.request, plan))
        changed |= {n for n, shot in held.items() if shot is not self.cache.held.get(n)}
        affected = find_affected(changed, plan)
        kept = {window.shots[-1] + 1 for window in plan} - {shot + 1 for shot in affected}
        if is_same(scene.request.prompt, self.scene.request.prompt):
            kept.add(GLOBAL_SHOT)
        self.plan = tuple(plan)
        self.cache.change(scene, plan)
        self.cache.drop(self.cache.list() - kept)
        self.cache.held |= held
        return affected

    def resample(self, shots: Sequence[int], clean: Mapping[int, np.ndarray]) -> Iterator[Shot]:
        """Samples the latents of generated shots again, and their entries with them, in order of the plan."""
        for window in self.plan:
            if set(window.denoised) & set(shots):
                others = {n: tokens for n, tokens in clean.items() if n not in window.denoised}
                for number, tokens in self.denoise(window, others, lambda: None).items():
                    yield Shot(number, tokens)

    @property
    def scene(self) -> SamplingScene:
        """The scene, with its current prompts."""
        return self.cache.scene

    @property
    def branches(self) -> tuple[Branch, ...]:
        """What the rows of a step compute; the first shot has as many rows as others, so that all share a program."""
        return choose_branches(self.scene.config, held=True, spread=count_shards("B"))

    @property
    def _reuses(self) -> bool:
        return self.scene.config.cache == "reuse"

    def _make_seen(self, window: Window, clean: Mapping[int, np.ndarray]) -> None:
        """Makes the entries that a window sees and the cache has not, and before them those that they see."""
        missing, sees = [], set(window.shots[:-1])
        for earlier in reversed(self.plan[: self.plan.index(window)]):
            shot = earlier.shots[-1]
            if shot in sees and shot + 1 not in self.cache.list():
                missing.insert(0, earlier)
                sees |= set(earlier.shots[:-1])
        for place, earlier in enumerate(missing):
            shot = earlier.shots[-1]
            self.cache.needed = needed_after([*missing, window], place)
            if shot not in self.cache.held:
                self.cache.held[shot] = self.scene.hold(shot, clean[shot])
            self.cache.make(shot)
        self.cache.needed = {other + 1 for other in window.shots[:-1]}

    def _run(
        self,
        window: Window,
        clean: Mapping[int, np.ndarray],
        on_step: Callable[[], None],
        *,
        keeps: bool,
    ) -> np.ndarray:
        """Runs all Euler steps of a window; where the cache stores one of them, that step's pass is not repeated."""
        shot, first = window.shots[-1], np.int32(0)
        start, scheme = self.scene.start(shot, clean), self.scene.scheme
        batch, inputs = self._start(shot, start)
        noisy_LC = jnp.asarray(batch.video.value[0])
        history = self.cache.gather(shot, self.branches)
        velocity = self.backbone.denoise(history)
        if keeps and self._reuses:
            kept = self._step_to_keep()
            noisy_LC = run_steps(velocity, inputs, noisy_LC, first, kept, scheme)
            self._hold_step(start, shot, batch, noisy_LC, kept)
            time_BS = times_of_groups(inputs, self.times[kept])
            video = all_rows(inputs, noisy_LC)
            seen = self.backbone.prefill(history, video, batch.text, time_BS)
            self.cache.store(shot + 1, batch, seen.kept)
            noisy_LC, first = take_step(inputs, noisy_LC, seen.velocity, kept, scheme), kept + 1
        done = run_all_steps(velocity, inputs, noisy_LC, on_step, scheme=scheme, first=first)
        return put_back(drop_padding(batch, done), start.parts)

    def _start(self, shot: int, start: HeldShot) -> tuple[PackedBatch, LoopInputs]:
        batch, held = self.cache.pack(shot, start, self.branches)
        guidance = scale_steps(self.scene.config, self.times, self.branches)
        return batch, make_loop_inputs(batch, held=held, times=self.times, guidance=guidance)

    def _step_to_keep(self) -> np.int32:
        """Returns the Euler step whose time, always above 0, is nearest to the time of a history."""
        return np.int32(np.abs(self.times[:-1] - self.scene.config.history_time).argmin())

    def _hold_step(
        self, start: HeldShot, shot: int, batch: PackedBatch, noisy_LC: jax.Array, step: int
    ) -> None:
        # The tokens stay on the device, so that the host does not wait for them.
        tokens = noisy_LC[: _count(batch)]
        self.cache.held[shot] = HeldShot(float(self.times[step]), tokens, start.parts)

    def _replace(self, shot: int | None, prompt: Prompt) -> object:
        request = self.scene.request
        if shot is not None:
            shots = list(request.shots)
            shots[shot] = dataclasses.replace(shots[shot], prompt=prompt)
            return dataclasses.replace(request, shots=tuple(shots))
        if request.prompt is None:
            raise InputError("global prompt: found none in this scene, expected one to edit")
        return dataclasses.replace(request, prompt=prompt)


def drop_padding(batch: PackedBatch, tokens_LC: jax.Array) -> np.ndarray:
    """Returns tokens without the padding of a batch."""
    return fetch(tokens_LC)[: _count(batch)]


def _count(batch: PackedBatch) -> int:
    """Returns the number of video tokens of the one group in a batch; padding comes after them."""
    return int((batch.video.index.scene[0] != PADDING_SCENE).sum())
