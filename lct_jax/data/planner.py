"""Rows planned before they are read: from lengths, a seed and a number to the samples of a global batch.

Nothing is read here. A sample is drawn from `(seed, pool, position)` alone: single shot or scene, which
consecutive shots, which clip, frame substitution, story and text dropout [LCT supplement A.1]. Samples of a
pool of batches are packed together into the pool's rows, and the rows are dealt into batches in a drawn order. So
batch k is a function of seed and k; every host computes the same plan, and a run resumes from one integer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lct_jax.config import DataConfig
from lct_jax.data.records import LengthTable
from lct_jax.errors import InputError
from lct_jax.layout import DUMMY_GRID, GroupPlan, ScenePlan, token_grid


@dataclass(frozen=True)
class ShotDraw:
    """One shot of a sample: its number, and either a clip or one still frame of it."""

    shot: int
    clip: int | None
    still: int | None
    plan: GroupPlan


@dataclass(frozen=True)
class SampleDraw:
    """One sample.

    Attributes:
        scene: whose global prompt it carries; None for a single shot without one.
        story: whether that prompt has its story. written: False replaces all text by the empty prompt.
        shots: in order. plan: the sizes of the whole.
    """

    scene: int | None
    story: bool
    written: bool
    shots: tuple[ShotDraw, ...]
    plan: ScenePlan

    @property
    def cost(self) -> np.ndarray:
        """What it takes of a row: int64 (video tokens, text tokens, group slots)."""
        groups = self.plan.groups
        return np.array([sum(g.video for g in groups), sum(g.text for g in groups), len(groups)])


Row = tuple[SampleDraw, ...]


class Planner:
    """The plan of a prepared set under a DataConfig.

    Args:
        lengths: table of the set. config: what to draw and how to pack it. patch: latent patch of a token.
        split: "train" or "held_out".

    Raises:
        InputError: the split has no scene, or its longest shot does not fit a row.
    """

    def __init__(
        self,
        lengths: LengthTable,
        config: DataConfig,
        *,
        patch: tuple[int, int, int],
        split: str = "train",
    ) -> None:
        self.lengths, self.config = lengths, config
        self.scenes = lengths.scenes_of(split)
        self.shots = np.concatenate([np.asarray(lengths.shots_of(s)) for s in self.scenes])
        self.budget = np.array([config.video_tokens, config.text_tokens, config.groups])
        self.grids = [token_grid(grid, patch) for grid in lengths.clip_grid]
        self._check_budget()
        self._pool: tuple[int, list[Row]] | None = None

    def batch(self, number: int) -> tuple[Row, ...]:
        """The rows of global batch `number`."""
        pool, place = divmod(number, self.config.pool)
        if self._pool is None or self._pool[0] != pool:
            self._pool = (pool, self._plan_pool(pool))
        start = place * self.config.rows
        return tuple(self._pool[1][start : start + self.config.rows])

    def samples(self, pool: int) -> Iterator[SampleDraw]:
        """The endless stream of samples from which a pool is packed."""
        position = 0
        while True:
            yield self._draw(np.random.default_rng([self.config.seed, pool, position]))
            position += 1

    def _plan_pool(self, pool: int) -> list[Row]:
        """Packs the longest beginning of the pool's stream that fits its rows.

        No sample of that beginning is left out: passing over what does not fit would favour small samples, and the
        shares of single shots, shot counts and frames would no longer be those of the config.
        """
        count = self.config.pool * self.config.rows
        samples = self._draw_enough(pool, count)
        fits, fails = count, len(samples) + 1  # any sample fits an empty row
        while fails - fits > 1:
            middle = (fits + fails) // 2
            if self._pack(samples[:middle], count) is None:
                fails = middle
            else:
                fits = middle
        rows = self._pack(samples[:fits], count)
        order = np.random.default_rng([self.config.seed, pool]).permutation(count)
        return [tuple(samples[place] for place in rows[row]) for row in order]

    def _draw_enough(self, pool: int, count: int) -> list[SampleDraw]:
        """The pool's samples up to where their sizes add up to more than `count` rows hold."""
        samples, total = [], np.zeros(3, np.int64)
        for sample in self.samples(pool):
            total += sample.cost
            if len(samples) >= count and (total > count * self.budget).any():
                return samples
            samples.append(sample)

    def _pack(self, samples: Sequence[SampleDraw], count: int) -> list[list[int]] | None:
        """Best fit, largest first: which samples go into each of `count` rows; None where one is left over."""
        costs = np.array([sample.cost for sample in samples])
        rows: list[list[int]] = [[] for _ in range(count)]
        room = np.tile(self.budget, (count, 1))
        for place in np.argsort(-(costs / self.budget).max(axis=1), kind="stable"):
            row = _best_fit(room, costs[place])
            if row is None:
                return None
            rows[row].append(int(place))
            room[row] -= costs[place]
        return rows

    def _draw(self, rng: np.random.Generator) -> SampleDraw:
        single = rng.random() < self.config.single_weight
        story = rng.random() >= self.config.drop_story
        written = rng.random() >= self.config.drop_text
        if single:
            scene, shots = None, [int(rng.choice(self.shots))]
        else:
            scene = int(rng.choice(self.scenes))
            shots = self._consecutive(scene, rng)
        draws = [self._draw_shot(shot, rng, written) for shot in shots]
        return self._cut_to_budget(scene, story, written, draws)

    def _consecutive(self, scene: int, rng: np.random.Generator) -> list[int]:
        """A run of consecutive shots; the chance of a count is proportional to the count."""
        shots = self.lengths.shots_of(scene)
        counts = np.arange(1, min(self.config.max_shots, len(shots)) + 1)
        count = int(rng.choice(counts, p=counts / counts.sum()))
        start = int(rng.integers(len(shots) - count + 1))
        return list(shots[start : start + count])

    def _draw_shot(self, shot: int, rng: np.random.Generator, written: bool) -> ShotDraw:
        first, end = self.lengths.clip_start[shot : shot + 2]
        clip = int(rng.integers(end - first))
        still = int(rng.integers(max(self.lengths.shot_still[shot], 1)))
        frame = rng.random() < self.config.frame_probability and self.lengths.shot_still[shot] > 0
        grid = self.grids[first + clip]
        if frame:
            grid = (1, *grid[1:])
        text = self.lengths.shot_text[shot] if written else self.lengths.empty_text[0]
        plan = GroupPlan(text=int(text), grid=grid)
        return ShotDraw(shot, None if frame else clip, still if frame else None, plan)

    def _cut_to_budget(
        self, scene: int | None, story: bool, written: bool, draws: list[ShotDraw]
    ) -> SampleDraw:
        """Drops shots from the end until the sample fits an empty row; one shot always does."""
        length = None if scene is None else self._global_length(scene, story, written)
        while True:
            plan = ScenePlan(length, tuple(draw.plan for draw in draws))
            sample = SampleDraw(scene, story, written, tuple(draws), plan)
            if (sample.cost <= self.budget).all():
                return sample
            draws = draws[:-1]

    def _global_length(self, scene: int, story: bool, written: bool) -> int:
        if not written:
            return int(self.lengths.empty_text[0])
        column = self.lengths.scene_full if story else self.lengths.scene_brief
        return int(column[scene])

    def _check_budget(self) -> None:
        """Any single shot with the longest global prompt must fit a row."""
        video = (
            max(GroupPlan(0, grid).video for grid in self.grids) + GroupPlan(0, DUMMY_GRID).video
        )
        text = int(max(self.lengths.scene_full.max(), self.lengths.empty_text[0]))
        text += int(max(self.lengths.shot_text.max(), self.lengths.empty_text[0]))
        if self.config.single_weight == 1.0:  # no scene is ever drawn, so no global prompt either
            video -= 1
            text = int(max(self.lengths.shot_text.max(), self.lengths.empty_text[0]))
        for name, found, needed in (
            ("video_tokens", self.config.video_tokens, video),
            ("text_tokens", self.config.text_tokens, text),
        ):
            if found < needed:
                raise InputError(
                    f"data.{name}: found {found}, expected at least {needed}, "
                    "the longest single shot of this set with its prompts"
                )


def _best_fit(room: np.ndarray, cost: np.ndarray) -> int | None:
    """The row that has room for all of `cost` and the fewest video tokens to spare."""
    fits = (room >= cost).all(axis=1)
    if not fits.any():
        return None
    return int(np.argmin(np.where(fits, room[:, 0], np.iinfo(np.int64).max)))
