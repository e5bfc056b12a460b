"""Turns a scene's plan into coordinates and groups, and packs scenes into rows. numpy only.

`lay_out` turns a `ScenePlan` (how many text tokens, which latent grids) into a `SceneLayout`: the `TokenIndex` of its
text and of its video. Training and sampling both use it, so a token has the same position in both.

Interleaved 3D positions (LCT section 3.2): every group starts at a point p of the diagonal. Its text token j is at
(p+j, p+j, p+j). Its video starts at o = p + span, where the span is reserved whatever the text's true length, and
position (f, h, w) of its grid is at (o+f, o+h, o+w). The next group starts at o + max(F, H, W), or a little further
(`layout.stride`). So positions depend on the sizes of shots alone, and editing a prompt moves nothing.

Networks that read text beside the video have no text on the diagonal and no group 0: the text of a shot is the global
prompt followed by its own, and spans are 0. If positions are temporal, starts move along time alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from einops import rearrange

from lct_jax.config import LayoutConfig, TextPlace
from lct_jax.errors import InputError
from lct_jax.types import GLOBAL_SHOT, PackedBatch, TokenIndex, Tokens

# The global prompt has a video of one token, so that group 0 is an ordinary group.
DUMMY_GRID = (1, 1, 1)


@dataclass(frozen=True)
class GroupPlan:
    """One `[text][video]` group, as its true text length and its video grid (T, X, Y), both in tokens."""

    text: int
    grid: tuple[int, int, int]

    @property
    def video(self) -> int:
        """The number of video tokens."""
        return self.grid[0] * self.grid[1] * self.grid[2]


@dataclass(frozen=True)
class ScenePlan:
    """The sizes of a scene.

    Attributes:
        global_text: the text length of its global prompt; None for a scene without one, or without a group for it.
        shots: its shots in order.
        text: where their text stands.
    """

    global_text: int | None
    shots: tuple[GroupPlan, ...]
    text: TextPlace = "joint"

    @property
    def groups(self) -> tuple[GroupPlan, ...]:
        """All groups in order; the global prompt with its dummy video comes first if there is one."""
        if self.global_text is None:
            return self.shots
        return (GroupPlan(text=self.global_text, grid=DUMMY_GRID), *self.shots)

    @property
    def first_shot(self) -> int:
        """The shot number of the first group: 0 with a global prompt, else 1."""
        return 1 if self.global_text is None else GLOBAL_SHOT


class SceneLayout(NamedTuple):
    """The indices of one scene alone; their fields have no B axis, the scene is 1, and groups count from 0."""

    video: TokenIndex
    text: TokenIndex


class SceneTokens(NamedTuple):
    """One scene ready to be packed: video patches float[L C], text float[L E] and their layout."""

    video: np.ndarray
    text: np.ndarray
    layout: SceneLayout


def plan_scene(text: TextPlace, global_text: int | None, shots: tuple[GroupPlan, ...]) -> ScenePlan:
    """Returns the sizes of a scene by where its text stands: beside video, every shot's text has the global prompt.

    Args:
        text: where. global_text: length of the global prompt, None without one. shots: with their own prompts alone.
    """
    if text == "joint":
        return ScenePlan(global_text, shots)
    read = tuple(replace(shot, text=shot.text + (global_text or 0)) for shot in shots)
    return ScenePlan(None, read, text)


def find_span(layout: LayoutConfig, *, shot: int) -> int:
    """Returns the positions reserved for the text of a shot, or of the global prompt (shot 0)."""
    return layout.scene_span if shot == GLOBAL_SHOT else layout.shot_span


def find_next_start(
    layout: LayoutConfig, start: np.ndarray, plan: GroupPlan, *, shot: int, span: int
) -> np.ndarray:
    """Returns the position (t, h, w) of the group after one that starts at `start`.

    Args:
        shot: the number of the group at `start`. span: the positions that its text takes.
    """
    if layout.positions == "same" and shot != GLOBAL_SHOT:
        return start
    temporal = layout.positions == "temporal"
    length = span + (plan.grid[0] if temporal else max(plan.grid))
    length += -length % layout.stride if layout.stride else 0
    return start + length * np.array((1, 0, 0) if temporal else (1, 1, 1), np.int32)


def lay_out(plan: ScenePlan, *, layout: LayoutConfig) -> SceneLayout:
    """Returns the position of every token of a scene.

    Args:
        plan: the scene's sizes.
        layout: spans, stride and positions of the run.

    Raises:
        InputError: a text is longer than its span, or a scene has no shot.
    """
    if not plan.shots:
        raise InputError("scene: found no shot, expected at least one")
    video, text, start = [], [], np.zeros(3, np.int32)
    for group, sizes in enumerate(plan.groups):
        shot = plan.first_shot + group
        span = find_span(layout, shot=shot) if plan.text == "joint" else 0
        if plan.text == "joint":
            _check_span(sizes.text, span=span, shot=shot)
        text.append(_index(_diagonal(start, sizes.text), shot=shot, group=group))
        video.append(_index(start + span + _grid(sizes.grid), shot=shot, group=group))
        start = find_next_start(layout, start, sizes, shot=shot, span=span)
    return SceneLayout(video=_join(video), text=_join(text))


def patchify(latent_TXYC: np.ndarray, patch: tuple[int, int, int]) -> np.ndarray:
    """Returns patches [T X Y / patch, c * patch] of a latent [T, X, Y, c]; channels are fastest within a patch."""
    t, x, y = patch
    return rearrange(latent_TXYC, "(t a) (x b) (y d) c -> (t x y) (a b d c)", a=t, b=x, d=y)


def unpatchify(
    patches_LC: np.ndarray, grid: tuple[int, int, int], patch: tuple[int, int, int]
) -> np.ndarray:
    """Returns a latent [T, X, Y, c] of the patches [L, C] of a token grid, as the inverse of `patchify`."""
    (t, x, y), (a, b, d) = grid, patch
    return rearrange(
        patches_LC, "(t x y) (a b d c) -> (t a) (x b) (y d) c", t=t, x=x, y=y, a=a, b=b, d=d
    )


def token_grid(latent_grid: Sequence[int], patch: tuple[int, int, int]) -> tuple[int, int, int]:
    """Returns the token grid of a latent grid; raises InputError where a side is not a multiple of the patch."""
    for axis, side, size in zip("TXY", latent_grid, patch, strict=True):
        if side % size:
            raise InputError(f"latent {axis} side: found {side}, expected a multiple of {size}")
    return tuple(int(side) // size for side, size in zip(latent_grid, patch, strict=True))


def token_grids(latent_grids: np.ndarray, patch: tuple[int, int, int]) -> np.ndarray:
    """Returns the token grids of many latent grids, int[N, 3]; raises InputError as `token_grid` does."""
    for grid in latent_grids[(latent_grids % patch).any(axis=1)][:1]:
        token_grid(grid, patch)
    return latent_grids // patch


def pack(
    rows: Sequence[Sequence[SceneTokens]],
    *,
    video_tokens: int,
    text_tokens: int,
    channels: int,
    text_width: int,
) -> PackedBatch:
    """Returns scenes packed one after another into rows of fixed length; the rest of a row is padding (scene 0).

    Args:
        rows: for each row its scenes, which the planner has chosen so that they fit.
        video_tokens: L of the video stream.
        text_tokens: L of the text stream.
        channels: C, width of a video patch.
        text_width: E, width of a text token.

    Returns:
        A PackedBatch of float32 values and int32 indices.
    """
    video = _empty_tokens(len(rows), video_tokens, channels)
    text = _empty_tokens(len(rows), text_tokens, text_width)
    for row, scenes in enumerate(rows):
        at_video = at_text = group = 0
        for number, scene in enumerate(scenes, start=1):
            place = {"row": row, "scene": number, "group": group}
            at_video = _write(video, scene.video, scene.layout.video, start=at_video, **place)
            at_text = _write(text, scene.text, scene.layout.text, start=at_text, **place)
            group += int(scene.layout.video.slot[-1]) + 1
    return PackedBatch(video=video, text=text)


def _check_span(length: int, *, span: int, shot: int) -> None:
    if length > span:
        name = "global prompt" if shot == GLOBAL_SHOT else f"prompt of shot {shot}"
        raise InputError(
            f"{name}: found {length} text tokens, expected at most {span} (its reserved span)"
        )


def _diagonal(start: np.ndarray, length: int) -> np.ndarray:
    return start + np.arange(length, dtype=np.int32)[:, None]


def _grid(grid: tuple[int, int, int]) -> np.ndarray:
    return np.indices(grid, dtype=np.int32).reshape(3, -1).T


def _index(coord_L3: np.ndarray, *, shot: int, group: int) -> TokenIndex:
    fill = lambda value: np.full(len(coord_L3), value, np.int32)
    return TokenIndex(scene=fill(1), shot=fill(shot), slot=fill(group), coord=coord_L3)


def _join(parts: Sequence[TokenIndex]) -> TokenIndex:
    return TokenIndex(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))


def _empty_tokens(rows: int, length: int, width: int) -> Tokens:
    zeros = lambda *shape: np.zeros((rows, length, *shape), np.int32)
    index = TokenIndex(scene=zeros(), shot=zeros(), slot=zeros(), coord=zeros(3))
    return Tokens(value=np.zeros((rows, length, width), np.float32), index=index)


def _write(
    tokens: Tokens,
    value: np.ndarray,
    index: TokenIndex,
    *,
    start: int,
    row: int,
    scene: int,
    group: int,
) -> int:
    """Copies one scene's stream into a row and returns where the next one starts."""
    end = start + len(value)
    if end > tokens.value.shape[1]:
        raise ValueError(f"row {row} is planned over its budget of {tokens.value.shape[1]} tokens")
    tokens.value[row, start:end] = value
    tokens.index.scene[row, start:end] = scene
    tokens.index.shot[row, start:end] = index.shot
    tokens.index.slot[row, start:end] = group + index.slot
    tokens.index.coord[row, start:end] = index.coord
    return end
