"""Slots of a cache: which are free, which make a history, and how many a schedule needs. numpy only.

The entries of a cache are numbered like groups: 0 is the global prompt, and s + 1 is shot s of the script (from 0). The
index of the cache says which slots hold which entry; it is the only record of that. Where a shot's prompt is seen by
that shot alone, its text takes no slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from lct_jax.config import TextPlace
from lct_jax.layout import SceneLayout
from lct_jax.sampling.guidance import Branch
from lct_jax.sampling.schedule import Window
from lct_jax.sampling.window import SamplingScene
from lct_jax.types import GLOBAL_SHOT, PADDING_SCENE, PackedBatch, TokenIndex

# Which entries a cache keeps: those that a later window of the plan sees; besides, as far as there is room for them,
# those that were seen last, for shots that are not planned yet; or all.
Retain = Literal["needed", "recent", "all"]
# The only scene of a cache.
SCENE = 1
# Capacities are multiples of a block of keys, so that scenes of nearly the same size share programs, and a history is
# read in the same blocks, to the same bits, whatever the capacity: a history has room for two of them at least, since
# the compiler makes another program, which rounds otherwise, where one block is all there is.
MULTIPLE = 256


class HistorySlots(NamedTuple):
    """The slots of a history.

    Attributes:
        rows: the row of the cache that each of the B rows of the history is taken from.
        slots: int32[B M].
        coord: int32[B M 3], their coordinates in the window.
        count: int32[B], how many of them are in use.
    """

    rows: tuple[int, ...]
    slots: np.ndarray
    coord: np.ndarray
    count: np.ndarray


def find_slots(
    index: TokenIndex,
    layouts: Sequence[SceneLayout],
    groups: dict[int, int],
    branches: Sequence[Branch],
    *,
    capacity: int,
    keeps_text: bool,
) -> HistorySlots:
    """Returns the slots of the entries that a window sees.

    Args:
        index: the index of the cache, whose rows are those of prompts and of negative prompts.
        layouts: the layout of the window for each of these.
        groups: the entry of each group, by its number within the window.
        branches: what the rows of the history are for; those that stand apart see the global prompt alone.
        capacity: M.
        keeps_text: whether the prompts of shots are cached.
    """
    rows = tuple(int(branch.negative) for branch in branches)
    tails = ((capacity,), (capacity, 3), ())
    found = HistorySlots(rows, *(np.zeros((len(rows), *tail), np.int32) for tail in tails))
    for row, branch in enumerate(branches):
        text, layout = rows[row], layouts[rows[row]]
        for number, entry in groups.items():
            if branch.apart and entry != GLOBAL_SHOT:
                continue
            is_entry = (index.shot[text] == entry) & (index.scene[text] != PADDING_SCENE)
            slots = np.flatnonzero(is_entry)
            parts = (
                (layout.text, layout.video)
                if has_text(entry, keeps_text=keeps_text)
                else (layout.video,)
            )
            coord = [part.coord[part.shot == number] for part in parts]
            start = found.count[row]
            found.count[row] = end = start + len(slots)
            found.slots[row, start:end] = slots
            found.coord[row, start:end] = np.concatenate(coord)
    return found


def has_text(entry: int, *, keeps_text: bool) -> bool:
    """Returns whether an entry holds its prompt: the global one does, and others do where other shots see it."""
    return entry == GLOBAL_SHOT or keeps_text


def take_slots(
    index: TokenIndex, batch: PackedBatch, entry: int, *, keeps_text: bool, text: TextPlace
) -> tuple[TokenIndex, np.ndarray]:
    """Returns the index of a group's tokens in the cache, and free slots for them (none for padding).

    Text that stands beside the video (`text`) is in no keys, so it has no place in the index.
    """
    tokens = batch.video.index
    if text == "joint":
        leaves = zip(batch.text.index, batch.video.index, strict=True)
        tokens = TokenIndex(*(np.concatenate(pair, axis=1) for pair in leaves))
    place_BL = np.full(tokens.scene.shape, index.scene.shape[1], np.int32)
    for row, scene_L in enumerate(tokens.scene):
        real = scene_L != PADDING_SCENE
        if text == "joint" and not has_text(entry, keeps_text=keeps_text):
            real[: batch.text.index.scene.shape[1]] = False
        place_BL[row, real] = np.flatnonzero(index.scene[row] == PADDING_SCENE)[: real.sum()]
    fill = lambda value: np.full_like(tokens.scene, value)
    return TokenIndex(fill(SCENE), fill(entry), fill(0), tokens.coord), place_BL


def free(index: TokenIndex, entries: set[int]) -> TokenIndex:
    """Returns the index with the slots of some entries freed."""
    gone = np.isin(index.shot, list(entries))
    return index._replace(scene=np.where(gone, PADDING_SCENE, index.scene))


def rename_entries(index: TokenIndex, entries: Mapping[int, int]) -> TokenIndex:
    """Returns the index with other numbers of the entries that a cache holds."""
    renamed = np.array(index.shot)
    for old, new in entries.items():
        renamed[index.shot == old] = new
    return index._replace(shot=renamed)


def count_free(index: TokenIndex) -> int:
    """Returns the free slots of the fullest row of a cache."""
    return int((index.scene == PADDING_SCENE).sum(axis=1).min())


def list_entries(index: TokenIndex) -> set[int]:
    """Returns the entries that a cache holds."""
    return set(index.shot[index.scene != PADDING_SCENE].tolist())


def size_of(scene: SamplingScene, entry: int) -> int:
    """Returns the slots that an entry may take when its text fills its span, so that an edited prompt fits too."""
    if entry == GLOBAL_SHOT:
        return 0 if scene.request.prompt is None else scene.layout.scene_span + 1
    text = scene.layout.shot_span if has_text(entry, keeps_text=scene.keeps_text) else 0
    return text + int(np.prod(scene.request.shots[entry - 1].grid))


def needed_after(plan: Sequence[Window], place: int) -> set[int]:
    """Returns the entries that the windows after one of the plan see."""
    return {shot + 1 for window in plan[place + 1 :] for shot in window.shots[:-1]}


def history_capacity(scene: SamplingScene, plan: Sequence[Window]) -> int:
    """Returns the slots of the longest history of a plan."""
    sizes = [sum(size_of(scene, s + 1) for s in window.shots[:-1]) for window in plan]
    return max(2 * MULTIPLE, round_up(size_of(scene, GLOBAL_SHOT) + max(sizes)))


def cache_capacity(scene: SamplingScene, plan: Sequence[Window], *, retain: Retain) -> int:
    """Returns the slots for all entries that are needed at one time, or for all entries.

    With "recent" the last one is needed too, by shots to come.
    """
    most, made = 0, set()
    for place, window in enumerate(plan):
        later = needed_after(plan, place)
        if retain == "recent" and place == len(plan) - 1:
            later = {window.shots[-1] + 1}
        made = {e for e in made | {window.shots[-1] + 1} if retain == "all" or e in later}
        # The new entry is written before those that only its own window needed are freed.
        kept = made | {shot + 1 for shot in window.shots[:-1]}
        most = max(most, sum(size_of(scene, entry) for entry in kept))
    return round_up(size_of(scene, GLOBAL_SHOT) + most)


def round_up(slots: int) -> int:
    """Returns a capacity of at least so many slots."""
    return max(1, -(-slots // MULTIPLE)) * MULTIPLE
