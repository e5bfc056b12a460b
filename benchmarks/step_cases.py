"""Defines the cases of `train_step.py`: models, and the scenes in every row of a batch.

Two cases have a fixed shape, with rows without padding: a full row of `configs/film_tiny.py`, and four blocks of width
512. One has mixed lengths, in two forms: scenes drawn like the paper's data and packed by the planner, and the same
scenes with a row each, padded to the longest.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np

from benchmarks.made_up_lengths import draw_lengths
from lct_jax.backbones.registry import count_costs
from lct_jax.cli import load_config
from lct_jax.config import Config, DataConfig, NetworkConfig, freeze
from lct_jax.config.network import change
from lct_jax.costs.flops import BACKWARD, Flops, count_forward, count_work
from lct_jax.data.planner import Planner
from lct_jax.data.sets.lengths import LengthTable
from lct_jax.layout import GroupPlan, ScenePlan, SceneTokens, lay_out, pack
from lct_jax.types import PackedBatch

Rows = tuple[tuple[ScenePlan, ...], ...]
# Mixed lengths have a hundredth of the paper's tokens: sides of a picture and texts have a tenth.
SHRINK = 10


@dataclass(frozen=True)
class Case:
    """Holds a model and the scenes of every row.

    Attributes:
        video_tokens, text_tokens, slots: the length of a row in both streams and in groups, padding included.
    """

    model: NetworkConfig
    rows: Rows
    video_tokens: int
    text_tokens: int
    slots: int

    @property
    def scenes(self) -> list[ScenePlan]:
        """Returns the scenes of all rows."""
        return [scene for row in self.rows for scene in row]

    @property
    def tokens(self) -> int:
        """Returns the tokens of a batch, padding included."""
        return len(self.rows) * (self.video_tokens + self.text_tokens)

    @property
    def useful(self) -> int:
        """Returns the tokens of a batch that are no padding."""
        return sum(group.video + group.text for scene in self.scenes for group in scene.groups)

    def count(self) -> Flops:
        """Returns the useful FLOPs of a step: forward and backward over scenes alone, each of which sees all of
        itself."""
        total = Flops(0.0, 0.0)
        for scene in self.scenes:
            total = total.plus(count_forward(count_costs(self.model), scene, context="full"))
        return total.times(1.0 + BACKWARD)


def make_case(model: NetworkConfig, rows: Rows) -> Case:
    """Returns a case whose rows are as long as the longest needs."""
    count = lambda part: max(sum(part(scene) for scene in row) for row in rows)
    return Case(
        model,
        rows,
        video_tokens=count(lambda scene: sum(group.video for group in scene.groups)),
        text_tokens=count(lambda scene: sum(group.text for group in scene.groups)),
        slots=count(lambda scene: len(scene.groups)),
    )


def film_tiny() -> Case:
    """Returns rows of `configs/film_tiny.py` with a scene of five shots of 17 frames: 1,126 video, 400 text tokens."""
    config = _load("configs/film_tiny.py")
    scene = ScenePlan(150, (GroupPlan(50, (5, 5, 9)),) * 5)
    return make_case(config.network, ((scene,),) * config.data.rows)


def width_512() -> Case:
    """Returns four blocks of width 512 and one row: a shot of 1,024 video and 128 text tokens."""
    model = change(_load("configs/film_tiny.py").network, width=512, heads=8, shot_span=128)
    return make_case(model, ((ScenePlan(None, (GroupPlan(128, (4, 16, 16)),)),),))


def tiny() -> Case:
    """Returns one block of width 32, to try things out."""
    model = change(
        _load("configs/film_tiny.py").network, width=32, depth=1, heads=1, head_dim=32,
        rope_split=(8, 12, 12), text_width=16, time_features=16,
    )  # fmt: skip
    return make_case(model, ((ScenePlan(3, (GroupPlan(5, (2, 3, 4)),)),),) * 2)


def mixed() -> tuple[Case, Case]:
    """Returns scenes of mixed lengths, packed by the planner and with a row each; two blocks of film_tiny's width."""
    model = change(_load("configs/film_tiny.py").network, depth=2)
    data = DataConfig(rows=2, video_tokens=1_536, text_tokens=256, groups=32, pool=16)
    cost = functools.partial(count_work, count_costs(model), context="full")
    planner = Planner(shrink(draw_lengths(2_000)), data, patch=model.backbone.patch, cost=cost)
    # The batch is that of median work in a pool, by the work of its scenes alone.
    batches = [planner.batch(number) for number in range(data.pool)]
    work = [sum(map(planner.work, batch)) for batch in batches]
    batch = batches[int(np.argsort(work)[data.pool // 2])]
    rows = tuple(tuple(sample.plan for sample in row) for row in batch)
    packed = Case(model, rows, data.video_tokens, data.text_tokens, data.groups)
    return packed, make_case(model, tuple((scene,) for scene in packed.scenes))


def shrink(lengths: LengthTable) -> LengthTable:
    """Returns the same films at a smaller size: sides of pictures and lengths of texts are divided, times are kept."""
    t, x, y = lengths.clip_grid.T
    side = lambda length: np.maximum(length // (2 * SHRINK), 1) * 2
    text = lambda length: -(-length // SHRINK)
    return dataclasses.replace(
        lengths,
        clip_grid=np.stack([t, side(x), side(y)], axis=1),
        scene_full=text(lengths.scene_full),
        scene_brief=text(lengths.scene_brief),
        shot_text=text(lengths.shot_text),
    )


def make_batch(case: Case, *, seed: int = 0) -> PackedBatch:
    """Returns random values at the places of the case's tokens."""
    rng = np.random.default_rng(seed)

    def fill(scene: ScenePlan) -> SceneTokens:
        layout = lay_out(scene, layout=case.model.layout)
        draw = lambda index, width: rng.standard_normal((len(index.shot), width), np.float32)
        video = draw(layout.video, case.model.backbone.patch_channels)
        return SceneTokens(video, draw(layout.text, case.model.backbone.text_width), layout)

    return pack(
        [[fill(scene) for scene in row] for row in case.rows],
        video_tokens=case.video_tokens,
        text_tokens=case.text_tokens,
        channels=case.model.backbone.patch_channels,
        text_width=case.model.backbone.text_width,
    )


def _load(path: str) -> Config:
    return freeze(load_config(path))


CASES = {
    "film_tiny": film_tiny,
    "width_512": width_512,
    "tiny": tiny,
    "packed": lambda: mixed()[0],
    "padded": lambda: mixed()[1],
}
