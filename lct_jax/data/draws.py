"""Draws samples from the lengths of a set; every sample is a function of the random stream it is given.

A draw decides between single shot and scene, which consecutive shots, which clip, frame substitution, story and text
dropout [LCT supplement A.1].
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from lct_jax.config import DataConfig, TextPlace
from lct_jax.data.mix import Mix, draw_member
from lct_jax.data.sets.lengths import LengthTable
from lct_jax.layout import GroupPlan, ScenePlan, plan_scene


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
        scene: the scene whose global prompt it carries; None for a single shot without one.
        story: whether that prompt has its story. written: False replaces all text by the empty prompt.
        shots: its shots in order. plan: the sizes of the whole. left_out: the number of shots that were drawn and that
            an empty row does not hold.
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
        """Returns what it takes of a row: int64 (video tokens, text tokens, group slots)."""
        groups = self.plan.groups
        return np.array([sum(g.video for g in groups), sum(g.text for g in groups), len(groups)])


# These are the fields of DataConfig in the order of `SampleDraw.cost`.
BUDGET = ("video_tokens", "text_tokens", "groups")


class SampleDrawer:
    """Draws samples of a set.

    Args:
        lengths: the table of the set. config: what to draw. mix: the sets and shares to draw from.
        grids: int[clips, 3], the token grid of every clip.
        budget: the most that an empty row holds, in the order of `BUDGET`.
        text: where the text of a shot stands.
    """

    def __init__(
        self,
        lengths: LengthTable,
        config: DataConfig,
        mix: Mix,
        *,
        grids: np.ndarray,
        budget: np.ndarray,
        text: TextPlace = "joint",
    ) -> None:
        self.text = text
        self.lengths, self.config, self.mix = lengths, config, mix
        self.grids, self.budget = grids, budget

    def draw(self, rng: np.random.Generator) -> SampleDraw:
        """Returns the sample that a random stream gives."""
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
        """Returns a run of consecutive shots that can be shown; the chance of a count is proportional to the count."""
        shots = self.lengths.shots_of(scene)
        counts = np.arange(1, min(self.config.max_shots, len(shots)) + 1)
        count = int(rng.choice(counts, p=counts / counts.sum()))
        # There is always a run of one shot.
        while not (starts := self._find_starts(shots, count)):
            count -= 1
        start = starts[int(rng.integers(len(starts)))]
        return list(range(start, start + count))

    def _find_starts(self, shots: range, count: int) -> list[int]:
        """Returns the first shots of runs in which every shot that is joined on both sides is one clip long.

        Such a shot is shown from its beginning to its end. If it were longer, frames would be missing before the next
        shot, and no prompt would say so.
        """
        cut, clip = self.lengths.shot_cut, self.lengths.clip_start
        torn = [
            shot for shot in shots[1:-1]
            if not cut[shot] and not cut[shot + 1] and clip[shot + 1] - clip[shot] > 1
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
        grid = tuple(self.grids[first + clip].tolist())
        if frame:
            grid = (1, *grid[1:])
        text = self._text_length(shot, single=single) if written else self.lengths.empty_text[0]
        plan = GroupPlan(text=int(text), grid=grid)
        return ShotDraw(shot, None if frame else clip, still if frame else None, plan)

    def _join_takes(self, draws: list[ShotDraw]) -> list[ShotDraw]:
        """Lets a clip without a cut continue where the clip before it ends: its first one, after the last one.

        A still has no motion to join: it may be any still of its shot, and the clip beside it any clip.
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
        """Returns the same draw with the first or the last clip of its shot."""
        first, end = self.lengths.clip_start[draw.shot : draw.shot + 2]
        clip = int(end - first) - 1 if last else 0
        plan = dataclasses.replace(draw.plan, grid=tuple(self.grids[first + clip].tolist()))
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
        """Returns the text tokens of a shot; a single shot has the caption that stands alone, where there is one."""
        alone = int(self.lengths.shot_alone[shot])
        return alone if single and alone > 0 else int(self.lengths.shot_text[shot])

    def _global_length(self, scene: int, story: bool, written: bool) -> int:
        if not written:
            # Beside video, the empty prompt is that of the shot alone, as in a sample without a global prompt.
            return int(self.lengths.empty_text[0]) if self.text == "joint" else 0
        column = self.lengths.scene_full if story else self.lengths.scene_brief
        return int(column[scene])
