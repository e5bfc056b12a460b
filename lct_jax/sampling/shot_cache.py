"""The cache of a scene in causal sampling: it has an entry for every finished group, gathered when a shot begins.

An *entry* is what the cache holds of a group: keys and values of one pass over its tokens at a low time, which sees the
group's own history. The global prompt is entry 0, made at t = 0; shot s of the script (from 0) is entry s + 1. A
history is a choice of entries that a group sees [LCT section 3.4; how it is chosen, and which pass is cached, are
ours].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import jax
import numpy as np

from lct_jax.sampling import cache_slots
from lct_jax.sampling.backbone import CausalBackbone
from lct_jax.sampling.guidance import BOTH_TEXTS, TEXTS, Branch
from lct_jax.sampling.schedule import Window
from lct_jax.sampling.window import (
    HeldShot,
    SamplingScene,
    Separated,
    lay_out_texts,
    make_dummy,
    pack_group,
    separate_parts,
)
from lct_jax.types import GLOBAL_SHOT, History, KeyValues, PackedBatch, Prediction


class ShotCache:
    """The entries of one scene in a cache of fixed capacity.

    Args:
        backbone: the model.
        scene: the scene.
        plan: all its windows.
        retain: which entries there is room for.

    Attributes:
        held: by shot, the tokens and the time of the pass that makes its entry.
        needed: the entries that stay when room is made for another one, besides that of the global prompt.
        passes: the entries made so far, in order.
    """

    def __init__(
        self,
        backbone: CausalBackbone,
        scene: SamplingScene,
        plan: Sequence[Window],
        *,
        retain: cache_slots.Retain,
    ) -> None:
        self.backbone, self._retain, self._longest = backbone, retain, 0
        self.held: dict[int, HeldShot] = {}
        self.needed: set[int] = set()
        # The entries in the order in which they were made or seen last.
        self._seen: list[int] = []
        self.passes: list[int] = []
        capacity = self._plan(scene, plan)
        self._cache = backbone.make_cache(
            rows=TEXTS, capacity=capacity, kept_as=scene.config.kv_dtype
        )

    def change(self, scene: SamplingScene, plan: Sequence[Window]) -> None:
        """Takes another scene and plan; entries stay as they are, and the cache grows where it is too small."""
        self._grow(self._plan(scene, plan))

    def _plan(self, scene: SamplingScene, plan: Sequence[Window]) -> int:
        """Sets what depends on the plan, and returns the capacity that it needs."""
        self.scene, self.plan = scene, tuple(plan)
        self._windows = {window.shots[-1]: window.shots for window in plan}
        # A shorter history than before is read from the same program.
        self._longest = max(self._longest, cache_slots.history_capacity(scene, plan))
        return cache_slots.cache_capacity(scene, plan, retain=self._retain)

    @property
    def capacity(self) -> int:
        """The slots of a row."""
        return self._cache.index.scene.shape[1]

    def list(self) -> set[int]:
        """Returns the entries that are in the cache."""
        return cache_slots.list_entries(self._cache.index)

    def drop(self, entries: Iterable[int]) -> None:
        """Frees the slots of entries."""
        index = cache_slots.free(self._cache.index, set(entries))
        self._cache = self._cache._replace(index=index)

    def renumber(self, numbers: Mapping[int, int], scene: SamplingScene) -> None:
        """Gives the entries of shots the numbers that these have in `scene`, and frees those of shots without one."""
        self.scene = scene
        entries = {GLOBAL_SHOT: GLOBAL_SHOT} | {old + 1: new + 1 for old, new in numbers.items()}
        self.drop(self.list() - entries.keys())
        self._cache = self._cache._replace(
            index=cache_slots.rename_entries(self._cache.index, entries)
        )
        self.held = {new: self.held[old] for old, new in numbers.items() if old in self.held}
        self._seen = [entries[entry] for entry in self._seen if entry in entries]

    def make(self, shot: int) -> None:
        """Makes the entry of a shot from its `held` tokens, by a pass in its own window, unless the cache has it
        already.
        """
        if shot + 1 in self.list():
            return
        held = self.held[shot]
        (batch, parts), history = self.pack(shot, held), self.gather(shot)
        # The shot itself is in slot 0 of its own pass.
        times = {0: held.time} | parts
        self.store(shot + 1, batch, self._prefill(history, batch, times).kept)

    def store(self, entry: int, batch: PackedBatch, kept: KeyValues) -> None:
        """Writes the keys and values of a group into free slots, those of a row for each text alone."""
        if len(batch.video.value) > TEXTS:
            batch = jax.tree.map(lambda leaf: leaf[:TEXTS], batch)
            kept = jax.tree.map(lambda leaf: leaf[:, :TEXTS], kept)
        self._make_room(cache_slots.size_of(self.scene, entry))
        index, place_BL = cache_slots.take_slots(
            self._cache.index,
            batch,
            entry,
            keeps_text=self.scene.keeps_text,
            text=self.scene.request.text,
        )
        self._cache = self.backbone.store(self._cache, kept, index, place_BL)
        self.passes.append(entry)
        self._touch([entry])

    def gather(self, shot: int, branches: Sequence[Branch] = BOTH_TEXTS) -> History:
        """Returns the history of a shot, rotated to the places it takes in the shot's window, in a row for each branch;
        those that stand apart have the global prompt alone.
        """
        if GLOBAL_SHOT not in self.list() and self.scene.request.prompt is not None:
            self._make_global()
        shots = self._windows[shot]
        before = {number: other + 1 for number, other in enumerate(shots[:-1], start=1)}
        self._touch(before.values())
        return self._gather_groups(shots, {GLOBAL_SHOT: GLOBAL_SHOT} | before, branches)

    def pack(
        self, shot: int, video: HeldShot, branches: Sequence[Branch] = BOTH_TEXTS
    ) -> Separated:
        """Returns a shot alone as a batch, with its position in its window, and the times of its held parts."""
        shots = self._windows[shot]
        batch = pack_group(self.scene, shots, len(shots), video.tokens, branches=branches)
        return separate_parts(batch, {len(shots): video.parts})

    def _touch(self, entries: Iterable[int]) -> None:
        entries = list(entries)
        self._seen = [entry for entry in self._seen if entry not in entries] + entries

    def _make_room(self, size: int) -> None:
        """Frees entries that are not needed until so many slots are free, those first that nobody saw for longest.

        Where the others leave too few, the cache grows: a window of entries that were kept and one of entries that are
        made again, for a shot that goes far back, are the most.
        """
        free = lambda: cache_slots.count_free(self._cache.index)
        kept = {*self.needed, GLOBAL_SHOT}
        while free() < size and (old := [e for e in self._seen if e in self.list() - kept]):
            self.drop({old[0]})
        self._grow(self.capacity + cache_slots.round_up(size - free()) if free() < size else 0)

    def _grow(self, capacity: int) -> None:
        if capacity > self.capacity:
            self._cache = self.backbone.grow(self._cache, capacity)

    def _make_global(self) -> None:
        """Makes the entry of the global prompt, which sees no history."""
        shots = self.plan[0].shots
        batch = pack_group(self.scene, shots, GLOBAL_SHOT, make_dummy(self.scene.request))
        seen = self._prefill(self._gather_groups(shots, {}), batch, {0: 0.0})
        self.store(GLOBAL_SHOT, batch, seen.kept)

    def _gather_groups(
        self,
        shots: Sequence[int],
        groups: dict[int, int],
        branches: Sequence[Branch] = BOTH_TEXTS,
    ) -> History:
        layouts = lay_out_texts(self.scene, shots)
        found = cache_slots.find_slots(
            self._cache.index,
            layouts,
            groups,
            branches,
            capacity=self._longest,
            keeps_text=self.scene.keeps_text,
        )
        return self.backbone.gather(self._cache, *found)

    def _prefill(self, history: History, batch: PackedBatch, times: dict[int, float]) -> Prediction:
        time_BS = np.array([[times[slot] for slot in sorted(times)]] * TEXTS, np.float32)
        return self.backbone.prefill(history, batch.video, batch.text, time_BS)
