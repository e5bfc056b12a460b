"""Writes and reads prepared sets, which `prepare` makes and the training pipeline reads.

A prepared set is a folder:

    card.json               how it was made, with which codec and encoder, and what it holds (`set_info.py`)
    lengths.safetensors     the table the planner works on: sizes alone, no values (`lengths.py`)
    shards.safetensors      the index of the shards: how many records and bytes each has (`record_files.py`)
    shards/NAME/            records of one film (`shards.py`)
    empty.safetensors       the encoder's empty prompt [L E]
    codec.safetensors       the codec's weights, so that samples can be decoded
    checksums.json          of the small files above (`checksums.py`)

The card is written last, so a folder without one is a preparation that did not finish.
"""

from __future__ import annotations

import functools
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from lct_jax.config import BackboneConfig, LayoutConfig
from lct_jax.data.mix import SetChoice, SetPart
from lct_jax.data.sets.checksums import check_checksums, write_checksums
from lct_jax.data.sets.lengths import MAKE_AGAIN, SPLITS, LengthTable
from lct_jax.data.sets.record_files import INDEX_FILE, RecordFiles, write_index
from lct_jax.data.sets.set_info import (
    CARD_FILE,
    PIXELS,
    Card,
    Made,
    read_card,
    render_card,
    write_card,
)
from lct_jax.data.sets.shards import SceneRecord, ShardAbout, read_about, write_shard
from lct_jax.errors import InputError
from lct_jax.files import hash_file, hash_of, replace_atomically
from lct_jax.layout import token_grid
from lct_jax.tensors import load_tensors_of, save_tensors

CODEC_FILE, LENGTHS_FILE = "codec.safetensors", "lengths.safetensors"


@dataclass(frozen=True)
class SetInfo(Made):
    """Says with what records are made, and holds the encoder's empty prompt float32 [L E]."""

    empty: np.ndarray


def write_set(folder: Path, scenes: Sequence[SceneRecord], *, info: SetInfo, credit: str) -> None:
    """Writes a whole set from scenes in memory, in one shard, for other pipelines than `prepare`."""
    write_shard(
        folder / "shards" / "all", scenes, empty=len(info.empty), film="all", credit=credit,
        size=(info.height, info.width), aspect_error=0.0,
    )  # fmt: skip
    finish_set(folder, ["all"], info=info)


def finish_set(folder: Path, shards: Sequence[str], *, info: SetInfo) -> Card:
    """Completes a set whose shards are written: writes the table, the empty prompt, and last the card."""
    tables = [LengthTable.load(folder / "shards" / name / "lengths.safetensors") for name in shards]
    abouts = [read_about(folder / "shards" / name) for name in shards]
    lengths = LengthTable.join(tables)
    save_tensors(folder / "empty.safetensors", {"prompt": info.empty.astype(np.float32)})
    save_tensors(folder / LENGTHS_FILE, asdict(lengths))
    write_index(folder, shards, tables)
    known = {field.name: getattr(info, field.name) for field in fields(Made)}
    card = Card(
        **known,
        credit="; ".join(dict.fromkeys(about.credit for about in abouts if about.credit)),
        shards=tuple(shards),
        **_count(tables, abouts, fps=info.fps),
        aspect_error=max(about.aspect_error for about in abouts),
    )
    # The card is written last.
    small = ("empty.safetensors", LENGTHS_FILE, INDEX_FILE)
    write_checksums(folder, small, coming={CARD_FILE: render_card(card)})
    write_card(folder, card)
    return card


class PreparedSet:
    """Reads a prepared set; it can be sent to worker processes, which open the files again.

    Raises:
        InputError: a file of the set is missing, damaged or cut short, or the preparation did not finish.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.card = read_card(self.folder)
        self.lengths = LengthTable.load(self.folder / LENGTHS_FILE)
        try:
            self.empty = load_tensors_of(self.folder / "empty.safetensors", ("prompt",))["prompt"]
        except InputError as error:
            raise InputError(f"{error}: {MAKE_AGAIN}") from None
        expected = {"shots": len(self.lengths.shot_text), "scenes": len(self.lengths.scene_split)}
        self._files = RecordFiles(self.folder, self.card.shards, expected)
        check_checksums(self.folder)

    @functools.cached_property
    def identity(self) -> str:
        """Returns 16 hex digits, the hash of the card, which names shards by their content, and of the table of
        lengths."""
        return hash_of([hash_file(self.folder / name) for name in (CARD_FILE, LENGTHS_FILE)])

    @functools.cached_property
    def abouts(self) -> tuple[ShardAbout, ...]:
        """Returns the description of each shard: names of scenes and shots, and more."""
        return tuple(read_about(self.folder / "shards" / name) for name in self.card.shards)

    @property
    def scene_names(self) -> list[str]:
        """Returns the names of scenes, in record order."""
        return [name for about in self.abouts for name in about.scenes]

    @property
    def shot_names(self) -> list[str]:
        """Returns the names of shots, in record order."""
        return [name for about in self.abouts for name in about.shots]

    def check_fits(self, backbone: BackboneConfig, layout: LayoutConfig) -> None:
        """Raises InputError unless latents, patches and texts of the set fit a network and its spans."""
        if self.card.codec == PIXELS:
            raise InputError(
                f"{self.folder}: found a set of pixels, expected latents "
                f"(lct_jax.data.prepare --pixels={self.folder})"
            )
        for field, found, expected in (
            ("channels", backbone.channels, self.card.channels),
            ("text_width", backbone.text_width, self.card.text_width),
        ):
            if found != expected:
                raise InputError(
                    f"backbone.{field}: found {found}, expected {expected} of {self.folder}"
                )
        if backbone.fps not in (0, self.card.fps):
            raise InputError(
                f"backbone.fps: found {backbone.fps}, expected {self.card.fps:g} of {self.folder}"
            )
        for grid in np.unique(self.lengths.clip_grid, axis=0).tolist():
            try:
                token_grid(grid, backbone.patch)
            except InputError as error:
                raise InputError(
                    f"backbone.patch: found {backbone.patch}; {self.folder}: {error}"
                ) from None
        for field, lengths, kind in (
            ("scene_span", self.lengths.scene_full, "scene_names"),
            ("shot_span", self.lengths.shot_text, "shot_names"),
        ):
            span, longest = getattr(layout, field), int(lengths.argmax())
            if lengths[longest] > span:
                raise InputError(
                    f"layout.{field}: found {span}, expected at least {lengths[longest]}, "
                    f"the tokens in the prompt of {getattr(self, kind)[longest]} in {self.folder}"
                )

    def copy_codec(self, folder: Path) -> None:
        """Copies the codec's weights into the folder of a run, which must be able to sample when its data is gone."""
        with replace_atomically(folder / CODEC_FILE) as unfinished:
            shutil.copyfile(self.folder / CODEC_FILE, unfinished)

    def read_shot(self, shot: int) -> Mapping[str, np.ndarray]:
        """Returns the record of a shot, as stored: `clip_0`.., `still_0`.., `prompt`, `text`."""
        return self._files.read("shots", shot)

    def read_scene(self, scene: int) -> Mapping[str, np.ndarray]:
        """Returns the record of a scene, as stored: `full`, `brief`, `full_text`, `brief_text`."""
        return self._files.read("scenes", scene)

    def read_latent(self, shot: int, *, clip: int | None, still: int | None) -> np.ndarray:
        """Returns one clip or one still of a shot: float32 [T X Y c]."""
        name = f"clip_{clip}" if still is None else f"still_{still}"
        return self.read_shot(shot)[name].astype(np.float32)

    def read_prompt(self, shot: int, *, alone: bool = False) -> np.ndarray:
        """Returns the prompt of a shot, or with `alone` the caption it has as a single shot: float32 [L E]."""
        own = alone and self.lengths.shot_alone[shot] > 0
        return self.read_shot(shot)["alone" if own else "prompt"].astype(np.float32)

    @property
    def parts(self) -> tuple[SetPart, ...]:
        """Returns the roles of a set that is used alone: both."""
        return (SetPart(SetChoice(str(self.folder)), 0, len(self.lengths.scene_split)),)

    def read_global(self, scene: int, *, story: bool) -> np.ndarray:
        """Returns the global prompt of a scene, with or without its story: float32 [L E]."""
        return self.read_scene(scene)["full" if story else "brief"].astype(np.float32)


def _count(
    tables: Sequence[LengthTable], abouts: Sequence[ShardAbout], *, fps: float
) -> dict[str, Mapping[str, object]]:
    """Returns the counts, hours and histograms of a card."""
    counts = {split: Counter(films=0, scenes=0, shots=0) for split in SPLITS}
    hours = dict.fromkeys(SPLITS, 0.0)
    shots_a_scene, seconds, sizes = Counter(), Counter(), Counter()
    for table, about in zip(tables, abouts, strict=True):
        for number, split in enumerate(SPLITS):
            scenes = np.flatnonzero(table.scene_split == number)
            frames = [about.frames[shot] for scene in scenes for shot in table.shots_of(scene)]
            counts[split].update(films=bool(len(scenes)), scenes=len(scenes), shots=len(frames))
            hours[split] += sum(frames) / fps / 3600
        shots_a_scene.update(np.diff(table.scene_start).tolist())
        seconds.update(int(frames / fps) for frames in about.frames)
        sizes[about.size] += len(about.frames)
    sort = lambda c: {str(key): c[key] for key in sorted(c)}
    sizes = Counter({f"{size[0]}x{size[1]}": count for size, count in sizes.items()})
    return {
        "counts": {split: dict(counter) for split, counter in counts.items()},
        "hours": {split: round(value, 6) for split, value in hours.items()},
        "histograms": {
            "shots of a scene": sort(shots_a_scene),
            "seconds of a shot": sort(seconds),
            "size": sort(sizes),
        },
    }
