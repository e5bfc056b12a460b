"""The reference of cached sampling: the same windows with no cache between steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from lct_jax.sampling.backbone import CausalBackbone
from lct_jax.sampling.cached_pass import CachedPass, drop_padding
from lct_jax.sampling.euler import run_steps
from lct_jax.sampling.schedule import Window
from lct_jax.sampling.window import SamplingScene, put_back


class UncachedPass(CachedPass):
    """Runs windows without a cache between steps, as the reference that `CachedPass` must equal.

    Before every Euler step the entries that a window depends on are made again, each by its own pass in its own window.
    """

    def __init__(
        self,
        backbone: CausalBackbone,
        scene: SamplingScene,
        plan: Sequence[Window],
        times: np.ndarray,
    ) -> None:
        super().__init__(backbone, scene, plan, times, retain="all")

    def _run(
        self,
        window: Window,
        clean: Mapping[int, np.ndarray],
        on_step: Callable[[], None],
        *,
        keeps: bool,
    ) -> np.ndarray:
        shot = window.shots[-1]
        start = self.scene.start(shot, clean)
        batch, inputs = self._start(shot, start)
        noisy_LC = jnp.asarray(batch.video.value[0])
        for step in np.arange(len(self.times) - 1, dtype=np.int32):
            if keeps and self._reuses and step == self._step_to_keep():
                self._hold_step(start, shot, batch, noisy_LC, step)
            self.cache.drop(self.cache.list())
            for other in self._rests_on(window):
                self.cache.make(other)
            velocity = self.backbone.denoise(self.cache.gather(shot, self.branches))
            noisy_LC = run_steps(
                velocity, inputs, noisy_LC, step, step + np.int32(1), self.scene.scheme
            )
            on_step()
        return put_back(drop_padding(batch, noisy_LC), start.parts)

    def _rests_on(self, window: Window) -> list[int]:
        """Returns the shots whose entries a window sees, and those that these saw, in order of the plan."""
        below = set(window.shots[:-1])
        for other in reversed(self.plan[: self.plan.index(window)]):
            if other.shots[-1] in below:
                below |= set(other.shots[:-1])
        return [w.shots[-1] for w in self.plan if w.shots[-1] in below]
