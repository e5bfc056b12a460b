"""Plans rows before they are read: maps lengths, a seed and a number to the samples of a global batch.

Nothing is read here. A sample is drawn from `(seed, pool, position)` alone (`draws.py`). Samples of a pool of batches
are packed together into its rows. Rows with equally many tokens can differ several times in time, since attention grows
with the square of a sample, and a step lasts as long as its slowest row. So a batch is formed of rows of similar cost,
and the batches of a pool come in a random order. Batch k is a function of seed and k; every host computes the same
plan, and a run resumes from one integer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lct_jax.config import DataConfig, TextPlace
from lct_jax.data.draws import BUDGET, SampleDraw, SampleDrawer
from lct_jax.data.mix import SetChoice, SetPart, make_mix
from lct_jax.data.sets.lengths import LengthTable
from lct_jax.errors import InputError
from lct_jax.layout import DUMMY_GRID, GroupPlan, ScenePlan, token_grids

Row = tuple[SampleDraw, ...]
Cost = Callable[[ScenePlan], float]


class Planner:
    """Plans the batches of a prepared set under a DataConfig.

    Args:
        lengths: the table of the set. config: what to draw and how to pack it. patch: the latent patch of a token.
        cost: returns the work of a sample, in any unit, such as the FLOPs of its forward pass.
        text: where the text of a shot stands.
        split: "train" or "held_out". parts: the roles of the sets in the table; None is one set with both roles.

    Raises:
        InputError: the split has no data of a kind that is to be drawn, or its longest shot does not fit a row.
    """

    def __init__(
        self,
        lengths: LengthTable,
        config: DataConfig,
        *,
        patch: tuple[int, int, int],
        cost: Cost,
        text: TextPlace = "joint",
        split: str = "train",
        parts: Sequence[SetPart] | None = None,
    ) -> None:
        self.lengths, self.config, self.cost, self.text = lengths, config, cost, text
        whole = (SetPart(SetChoice("the set"), 0, len(lengths.scene_split)),)
        self.mix = make_mix(whole if parts is None else parts, lengths, config, split=split)
        self.budget = np.array([getattr(config, name) for name in BUDGET])
        self.grids = token_grids(lengths.clip_grid, patch)
        self._check_budget()
        self._drawer = SampleDrawer(
            lengths, config, self.mix, grids=self.grids, budget=self.budget, text=text
        )
        self._pool: tuple[int, list[Row]] | None = None

    def batch(self, number: int) -> tuple[Row, ...]:
        """Returns the rows of global batch `number`."""
        pool, place = divmod(number, self.config.pool)
        # The pool is read once, because another thread may ask for a batch of another pool meanwhile.
        kept = self._pool
        if kept is None or kept[0] != pool:
            kept = self._pool = (pool, self._plan_pool(pool))
        start = place * self.config.rows
        return tuple(kept[1][start : start + self.config.rows])

    @functools.cached_property
    def samples_a_batch(self) -> float:
        """Returns the samples of a global batch, averaged over the first pool, by which a batch's loss is divided."""
        batches = [self.batch(number) for number in range(self.config.pool)]
        return sum(len(row) for rows in batches for row in rows) / self.config.pool

    def work(self, row: Row) -> float:
        """Returns the work of a row, in the unit of `cost`: the sum over its samples, which do not see each other."""
        return sum(self.cost(sample.plan) for sample in row)

    def samples(self, pool: int) -> Iterator[SampleDraw]:
        """Yields the endless stream of samples from which a pool is packed."""
        position = 0
        while True:
            yield self._drawer.draw(np.random.default_rng([self.config.seed, pool, position]))
            position += 1

    def _plan_pool(self, pool: int) -> list[Row]:
        """Packs a beginning of the pool's stream that fills its rows.

        No sample of that beginning is left out: passing over what does not fit would favour small samples, and the
        shares of single shots, shot counts and frames would no longer be those of the config.
        """
        count = self.config.pool * self.config.rows
        samples = self._draw_enough(pool, count)
        bins, length = None, len(samples)
        # Any sample fits an empty row, so `count` of them always fit.
        while bins is None:
            bins = self._pack(samples[:length], count)
            length = max(count, length - max(1, length // 64)) if bins is None else length
        while length < len(samples) and bins.add(samples[length], self.cost(samples[length].plan)):
            length += 1
        return self._form_batches(bins, np.random.default_rng([self.config.seed, pool]))

    def _form_batches(self, bins: _Bins, rng: np.random.Generator) -> list[Row]:
        """Returns batch after batch, rows of similar work in each; batches and rows in them are in random order."""
        by_work = np.argsort(bins.work, kind="stable").reshape(-1, self.config.rows)
        order = rng.permuted(rng.permutation(by_work), axis=1)
        return [tuple(bins.rows[place]) for place in order.ravel()]

    def _draw_enough(self, pool: int, count: int) -> list[SampleDraw]:
        """Returns the pool's first samples, until their sizes add up to more than `count` rows hold."""
        samples, total = [], np.zeros(3, np.int64)
        for sample in self.samples(pool):
            total += sample.cost
            if len(samples) >= count and (total > count * self.budget).any():
                return samples
            samples.append(sample)

    def _pack(self, samples: Sequence[SampleDraw], count: int) -> _Bins | None:
        """Packs the largest samples first, each into the row of least work with room; None if one fits no row."""
        bins = _Bins(count, self.budget)
        work = [self.cost(sample.plan) for sample in samples]
        for place in np.argsort(np.negative(work), kind="stable"):
            if not bins.add(samples[place], work[place]):
                return None
        return bins

    def _check_budget(self) -> None:
        """Raises InputError unless any single shot with the longest global prompt fits a row."""
        video = int(self.grids.prod(axis=1).max()) + GroupPlan(0, DUMMY_GRID).video
        empty = int(self.lengths.empty_text[0])
        text = max(int(self.lengths.shot_text.max()), int(self.lengths.shot_alone.max()), empty)
        # If no scene is ever drawn, or text stands beside the video, there is no group of a global prompt.
        if self.mix.single_share == 1.0 or self.text == "beside":
            video -= 1
        if self.mix.single_share < 1.0:
            text += max(int(self.lengths.scene_full.max()), empty)
        for name, found, needed in (
            ("video_tokens", self.config.video_tokens, video),
            ("text_tokens", self.config.text_tokens, text),
        ):
            if found < needed:
                raise InputError(
                    f"data.{name}: found {found}, expected at least {needed}, "
                    "the longest single shot of this set with its prompts"
                )


class _Bins:
    """Holds rows that are being filled: the samples of each, their work, and the room that is left."""

    def __init__(self, count: int, budget: np.ndarray) -> None:
        self.rows: list[list[SampleDraw]] = [[] for _ in range(count)]
        self.work = np.zeros(count)
        self._room = np.tile(budget[:, None], (1, count))

    def add(self, sample: SampleDraw, work: float) -> bool:
        """Puts a sample into the row of least work with room for it; returns False if none has room."""
        cost = sample.cost[:, None]
        fits = (self._room >= cost).all(axis=0)
        row = int(np.where(fits, self.work, np.inf).argmin())
        if not fits[row]:
            return False
        self.rows[row].append(sample)
        self.work[row] += work
        self._room[:, row] -= cost[:, 0]
        return True
