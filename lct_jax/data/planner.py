"""Rows planned before they are read: from lengths, a seed and a number to the samples of a global batch.

Nothing is read here. A sample is drawn from `(seed, pool, position)` alone: single shot or scene, which
consecutive shots, which clip, frame substitution, story and text dropout [LCT supplement A.1]. Samples of a
pool of batches are packed together into its rows. Rows equally full of tokens can differ several times in
time, since attention grows with the square of a sample, and a step lasts as long as its slowest row: so a batch is
formed of rows of neighbouring cost, and the batches of a pool come in a drawn order. Batch k is a function of seed
and k; every host computes the same plan, and a run resumes from one integer.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lct_jax.config import DataConfig, TextPlace
from lct_jax.data.mix import SetChoice, SetPart, draw_member, make_mix
from lct_jax.data.sets.lengths import LengthTable
from lct_jax.errors import InputError
from lct_jax.layout import DUMMY_GRID, GroupPlan, ScenePlan, plan_scene, token_grid


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
        shots: in order. plan: the sizes of the whole. left_out: shots that were drawn and do not fit an empty row.
        short_of: the field of the budget that they exceed, "" where none is left out.
    """

    scene: int | None
    story: bool
    written: bool
    shots: tuple[ShotDraw, ...]
    plan: ScenePlan
    left_out: int = 0
    short_of: str = ""

    @property
    def cost(self) -> np.ndarray:
        """What it takes of a row: int64 (video tokens, text tokens, group slots)."""
        groups = self.plan.groups
        return np.array([sum(g.video for g in groups), sum(g.text for g in groups), len(groups)])


Row = tuple[SampleDraw, ...]
BUDGET = (
    "video_tokens",
    "text_tokens",
    "groups",
)  # fields of DataConfig, in the order of `SampleDraw.cost`
Cost = Callable[[ScenePlan], float]


class Planner:
    """The plan of a prepared set under a DataConfig.

    Args:
        lengths: table of the set. config: what to draw and how to pack it. patch: latent patch of a token.
        cost: work of a sample, in any unit, such as the FLOPs of its forward pass.
        text: where the text of a shot stands.
        split: "train" or "held_out". parts: what the sets of the table are drawn for; None: one set, for both roles.

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
        self.grids = [token_grid(grid, patch) for grid in lengths.clip_grid]
        self._check_budget()
        self._pool: tuple[int, list[Row]] | None = None

    def batch(self, number: int) -> tuple[Row, ...]:
        """The rows of global batch `number`."""
        pool, place = divmod(number, self.config.pool)
        kept = self._pool  # once: another thread may ask for a batch of another pool meanwhile
        if kept is None or kept[0] != pool:
            kept = self._pool = (pool, self._plan_pool(pool))
        start = place * self.config.rows
        return tuple(kept[1][start : start + self.config.rows])

    @functools.cached_property
    def samples_a_batch(self) -> float:
        """Samples of a global batch, averaged over the first pool: what the sum of a batch's losses is divided by."""
        batches = [self.batch(number) for number in range(self.config.pool)]
        return sum(len(row) for rows in batches for row in rows) / self.config.pool

    def work(self, row: Row) -> float:
        """Work of a row, in the unit of `cost`: samples of a row do not see each other."""
        return sum(self.cost(sample.plan) for sample in row)

    def samples(self, pool: int) -> Iterator[SampleDraw]:
        """The endless stream of samples from which a pool is packed."""
        position = 0
        while True:
            yield self._draw(np.random.default_rng([self.config.seed, pool, position]))
            position += 1

    def _plan_pool(self, pool: int) -> list[Row]:
        """Packs a beginning of the pool's stream that fills its rows.

        No sample of that beginning is left out: passing over what does not fit would favour small samples, and the
        shares of single shots, shot counts and frames would no longer be those of the config.
        """
        count = self.config.pool * self.config.rows
        samples = self._draw_enough(pool, count)
        bins, length = None, len(samples)
        while bins is None:  # any sample fits an empty row, so `count` of them always do
            bins = self._pack(samples[:length], count)
            length = max(count, length - max(1, length // 64)) if bins is None else length
        while length < len(samples) and bins.add(samples[length], self.cost(samples[length].plan)):
            length += 1
        return self._form_batches(bins, np.random.default_rng([self.config.seed, pool]))

    def _form_batches(self, bins: _Bins, rng: np.random.Generator) -> list[Row]:
        """Batch after batch: rows of neighbouring work in each, batches and rows within them in a drawn order."""
        by_work = np.argsort(bins.work, kind="stable").reshape(-1, self.config.rows)
        order = rng.permuted(rng.permutation(by_work), axis=1)
        return [tuple(bins.rows[place]) for place in order.ravel()]

    def _draw_enough(self, pool: int, count: int) -> list[SampleDraw]:
        """The pool's samples up to where their sizes add up to more than `count` rows hold."""
        samples, total = [], np.zeros(3, np.int64)
        for sample in self.samples(pool):
            total += sample.cost
            if len(samples) >= count and (total > count * self.budget).any():
                return samples
            samples.append(sample)

    def _pack(self, samples: Sequence[SampleDraw], count: int) -> _Bins | None:
        """Largest work first, each sample into the row of least work that has room; None where one has none."""
        bins = _Bins(count, self.budget)
        work = [self.cost(sample.plan) for sample in samples]
        for place in np.argsort(np.negative(work), kind="stable"):
            if not bins.add(samples[place], work[place]):
                return None
        return bins

    def _draw(self, rng: np.random.Generator) -> SampleDraw:
        single = rng.random() < self.mix.single_share
        story = rng.random() >= self.config.drop_story
        written = rng.random() >= self.config.drop_text
        if single:
            scene, shots = None, [draw_member(self.mix.single, rng)]
        else:
            scene = draw_member(self.mix.scenes, rng)
            shots = self._consecutive(scene, rng)
        draws = [self._draw_shot(shot, rng, written, single=single) for shot in shots]
        return self._cut_to_budget(scene, story, written, self._join_takes(draws))

    def _consecutive(self, scene: int, rng: np.random.Generator) -> list[int]:
        """A run of consecutive shots that can be shown; the chance of a count is proportional to the count."""
        shots = self.lengths.shots_of(scene)
        counts = np.arange(1, min(self.config.max_shots, len(shots)) + 1)
        count = int(rng.choice(counts, p=counts / counts.sum()))
        while not (starts := self._find_starts(shots, count)):  # of one shot there always is one
            count -= 1
        start = starts[int(rng.integers(len(starts)))]
        return list(range(start, start + count))

    def _find_starts(self, shots: range, count: int) -> list[int]:
        """First shots of the runs of a count in which every shot that is joined on both sides is one clip long.

        Such a shot is shown from its beginning to its end, and what follows would else be a leap of which the prompt
        does not tell.
        """
        cut, clips = self.lengths.shot_cut, np.diff(self.lengths.clip_start)
        torn = [
            shot for shot in shots[1:-1]
            if not cut[shot] and not cut[shot + 1] and clips[shot] > 1
        ]  # fmt: skip
        starts = shots[: len(shots) - count + 1]
        return [s for s in starts if not any(s < shot < s + count - 1 for shot in torn)]

    def _draw_shot(
        self, shot: int, rng: np.random.Generator, written: bool, *, single: bool
    ) -> ShotDraw:
        """Draws a clip of a shot or, in a scene, one of its stills [LCT supplement A.1: of scene data alone]."""
        first, end = self.lengths.clip_start[shot : shot + 2]
        clip = int(rng.integers(end - first))
        still = int(rng.integers(max(self.lengths.shot_still[shot], 1)))
        frame = rng.random() < self.config.frame_probability and self.lengths.shot_still[shot] > 0
        frame = frame and not single
        grid = self.grids[first + clip]
        if frame:
            grid = (1, *grid[1:])
        text = self._text_length(shot, single=single) if written else self.lengths.empty_text[0]
        plan = GroupPlan(text=int(text), grid=grid)
        return ShotDraw(shot, None if frame else clip, still if frame else None, plan)

    def _join_takes(self, draws: list[ShotDraw]) -> list[ShotDraw]:
        """Lets a clip without a cut go on where the clip before it ends: its first one, after the last one.

        A still has no motion to join: it is any one of its shot's, and so is the clip beside it.
        """
        joined = draws[:1]
        for draw in draws[1:]:
            before = joined[-1]
            moving = before.still is None and draw.still is None
            if moving and not self.lengths.shot_cut[draw.shot]:
                joined[-1], draw = (
                    self._show_edge(before, last=True),
                    self._show_edge(draw, last=False),
                )
            joined.append(draw)
        return joined

    def _show_edge(self, draw: ShotDraw, *, last: bool) -> ShotDraw:
        """The same draw, showing the first or the last clip of its shot."""
        first, end = self.lengths.clip_start[draw.shot : draw.shot + 2]
        clip = int(end - first) - 1 if last else 0
        plan = dataclasses.replace(draw.plan, grid=self.grids[first + clip])
        return dataclasses.replace(draw, clip=clip, plan=plan)

    def _cut_to_budget(
        self, scene: int | None, story: bool, written: bool, draws: list[ShotDraw]
    ) -> SampleDraw:
        """Drops shots from the end until the sample fits an empty row; one shot always does."""
        length = None if scene is None else self._global_length(scene, story, written)
        short_of = ""
        for count in range(len(draws), 0, -1):
            plan = plan_scene(self.text, length, tuple(draw.plan for draw in draws[:count]))
            left_out, kept = len(draws) - count, tuple(draws[:count])
            sample = SampleDraw(scene, story, written, kept, plan, left_out, short_of)
            over = sample.cost > self.budget
            if not over.any():
                return sample
            short_of = short_of or BUDGET[int(over.argmax())]
        raise AssertionError("one shot fits an empty row, as was checked")

    def _text_length(self, shot: int, *, single: bool) -> int:
        """Text tokens of a shot; as a single shot it has the caption that stands alone, where there is one."""
        alone = int(self.lengths.shot_alone[shot])
        return alone if single and alone > 0 else int(self.lengths.shot_text[shot])

    def _global_length(self, scene: int, story: bool, written: bool) -> int:
        if not written:
            # Beside video, the empty prompt is that of the shot alone, as for a sample without a global prompt.
            return int(self.lengths.empty_text[0]) if self.text == "joint" else 0
        column = self.lengths.scene_full if story else self.lengths.scene_brief
        return int(column[scene])

    def _check_budget(self) -> None:
        """Any single shot with the longest global prompt must fit a row."""
        video = (
            max(GroupPlan(0, grid).video for grid in self.grids) + GroupPlan(0, DUMMY_GRID).video
        )
        empty = int(self.lengths.empty_text[0])
        text = max(int(self.lengths.shot_text.max()), int(self.lengths.shot_alone.max()), empty)
        if (
            self.mix.single_share == 1.0 or self.text == "beside"
        ):  # there is no group of a global prompt
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
    """Rows that are being filled: what lies in each, the work of it, and the room that is left."""

    def __init__(self, count: int, budget: np.ndarray) -> None:
        self.rows: list[list[SampleDraw]] = [[] for _ in range(count)]
        self.work = np.zeros(count)
        self._room = np.tile(budget[:, None], (1, count))

    def add(self, sample: SampleDraw, work: float) -> bool:
        """Puts a sample into the row of least work that has room for it; False where none has."""
        cost = sample.cost[:, None]
        fits = (self._room >= cost).all(axis=0)
        row = int(np.where(fits, self.work, np.inf).argmin())
        if not fits[row]:
            return False
        self.rows[row].append(sample)
        self.work[row] += work
        self._room[:, row] -= cost[:, 0]
        return True
