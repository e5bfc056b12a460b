"""Prepared scenes on disk: what `prepare` writes and the training pipeline reads.

A prepared set is a folder:

    card.json               who made it, with which codec and encoder, and what it holds
    lengths.safetensors     the table the planner works on: sizes alone, no values
    shots.array_record      one record a shot: clip_0.., still_0.. float16 [T X Y c], prompt float16 [L E]
    scenes.array_record     one record a scene: full, brief (without the story) float16 [L E]
    empty.safetensors       the encoder's empty prompt [L E]
    codec.safetensors       the codec's weights, so that samples can be decoded

Records are safetensors bytes: named, typed, and never executed. The card is written last, so a folder without
one is a preparation that did not finish.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from safetensors import SafetensorError
from safetensors.numpy import load, load_file

from lct_jax.codecs.safetensors_io import dump_tensors, save_tensors
from lct_jax.config import ModelConfig
from lct_jax.errors import InputError
from lct_jax.layout import token_grid

FORMAT = "lct_jax.records/1"
CARD_FILE = "card.json"
CODEC_FILE = "codec.safetensors"
SPLITS = ("train", "held_out")
MAKE_AGAIN = "the preparation did not finish or the set is damaged, prepare it again"


@dataclass(frozen=True)
class Card:
    """What a prepared set says of itself.

    Attributes:
        codec, encoder: identities; training and sampling refuse others.
        channels, text_width: widths of latents and text tokens. height, width: of the frames, in pixels.
        fps: frames a second. credit: to be shown with anything made from the set.
        scenes: names, in record order. names: of shots, in record order.
    """

    codec: str
    encoder: str
    channels: int
    text_width: int
    height: int
    width: int
    fps: float
    credit: str
    scenes: tuple[str, ...]
    shots: tuple[str, ...]


@dataclass(frozen=True)
class LengthTable:
    """Sizes of everything in a set, as flat int32 columns; shots of a scene are consecutive.

    Attributes:
        scene_split: [scenes] position in `SPLITS`. scene_start: [scenes + 1] first shot of each scene.
        scene_full, scene_brief: [scenes] text tokens of the global prompt with and without its story.
        shot_text: [shots] text tokens. shot_still: [shots] stills.
        clip_start: [shots + 1] first clip of each shot. clip_grid: [clips, 3] latent grid.
        empty_text: [1] tokens of the empty prompt.
    """

    scene_split: np.ndarray
    scene_start: np.ndarray
    scene_full: np.ndarray
    scene_brief: np.ndarray
    shot_text: np.ndarray
    shot_still: np.ndarray
    clip_start: np.ndarray
    clip_grid: np.ndarray
    empty_text: np.ndarray

    def shots_of(self, scene: int) -> range:
        """Shot numbers of a scene."""
        return range(int(self.scene_start[scene]), int(self.scene_start[scene + 1]))

    def scenes_of(self, split: str) -> np.ndarray:
        """Scene numbers of a split; raises InputError when there are none."""
        scenes = np.flatnonzero(self.scene_split == SPLITS.index(split))
        if not len(scenes):
            raise InputError(f"prepared set: found no {split} scene, expected at least one")
        return scenes


@dataclass(frozen=True)
class ShotRecord:
    """One shot: clips and stills as latents float32 [T X Y c], its prompt float32 [L E]."""

    clips: tuple[np.ndarray, ...]
    stills: tuple[np.ndarray, ...]
    prompt: np.ndarray


@dataclass(frozen=True)
class SceneRecord:
    """One scene: its global prompt with and without the story, float32 [L E] each, split and shots."""

    name: str
    split: str
    full: np.ndarray
    brief: np.ndarray
    shots: tuple[ShotRecord, ...]


def write_set(
    folder: Path, scenes: Sequence[SceneRecord], *, card: Card, empty: np.ndarray
) -> None:
    """Writes records, table and card (the card last)."""
    folder.mkdir(parents=True, exist_ok=True)
    shots = [shot for scene in scenes for shot in scene.shots]
    _write_records(folder / "shots.array_record", [_shot_bytes(shot) for shot in shots])
    _write_records(folder / "scenes.array_record", [_scene_bytes(scene) for scene in scenes])
    save_tensors(folder / "empty.safetensors", {"prompt": empty.astype(np.float32)})
    save_tensors(folder / "lengths.safetensors", asdict(_measure(scenes, empty)))
    text = json.dumps({"format": FORMAT, **asdict(card)}, indent=1)
    _replace(folder / CARD_FILE, text)


class PreparedSet:
    """A prepared set opened for reading; it travels to worker processes, which open the files again.

    Raises:
        InputError: a file of the set is missing, damaged or cut short, or the preparation did not finish.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.card = read_card(self.folder)
        columns = tuple(field.name for field in fields(LengthTable))
        self.lengths = LengthTable(**_load(self.folder / "lengths.safetensors", columns))
        self.empty = _load(self.folder / "empty.safetensors", ("prompt",))["prompt"]
        self._readers: dict[str, ArrayRecordReader] = {}
        for kind in ("shots", "scenes"):
            self._open(kind)

    def check_model(self, model: ModelConfig) -> None:
        """Raises InputError unless latents, patches and texts of the set fit a model."""
        for field, found, expected in (
            ("channels", model.channels, self.card.channels),
            ("text_width", model.text_width, self.card.text_width),
        ):
            if found != expected:
                raise InputError(
                    f"model.{field}: found {found}, expected {expected} of {self.folder}"
                )
        for grid in np.unique(self.lengths.clip_grid, axis=0).tolist():
            try:
                token_grid(grid, model.patch)
            except InputError as error:
                raise InputError(
                    f"model.patch: found {model.patch}; {self.folder}: {error}"
                ) from None
        for field, lengths, names in (
            ("scene_span", self.lengths.scene_full, self.card.scenes),
            ("shot_span", self.lengths.shot_text, self.card.shots),
        ):
            span, longest = getattr(model, field), int(lengths.argmax())
            if lengths[longest] > span:
                raise InputError(
                    f"model.{field}: found {span}, expected at least {lengths[longest]}, "
                    f"the tokens in the prompt of {names[longest]} in {self.folder}"
                )

    def copy_codec(self, folder: Path) -> None:
        """Puts the codec's weights beside a run, which must be sampled long after its data has gone."""
        shutil.copyfile(self.folder / CODEC_FILE, folder / CODEC_FILE)

    def read_latent(self, shot: int, *, clip: int | None, still: int | None) -> np.ndarray:
        """One clip or one still of a shot: float32 [T X Y c]."""
        name = f"clip_{clip}" if still is None else f"still_{still}"
        return self._read("shots", shot)[name].astype(np.float32)

    def read_prompt(self, shot: int) -> np.ndarray:
        """The prompt of a shot: float32 [L E]."""
        return self._read("shots", shot)["prompt"].astype(np.float32)

    def read_global(self, scene: int, *, story: bool) -> np.ndarray:
        """The global prompt of a scene, with or without its story: float32 [L E]."""
        return self._read("scenes", scene)["full" if story else "brief"].astype(np.float32)

    def _read(self, kind: str, number: int) -> dict[str, np.ndarray]:
        if kind not in self._readers:
            self._open(kind)
        try:
            return load(self._readers[kind].read([number])[0])
        except RuntimeError as error:  # ArrayRecord's word for a checksum that does not agree
            raise InputError(f"{self._path(kind)}: record {number} is damaged ({error})") from None

    def _open(self, kind: str) -> None:
        self._readers[kind] = ArrayRecordReader(str(self._path(kind)))
        found, expected = self._readers[kind].num_records(), len(getattr(self.card, kind))
        if found != expected:  # a file that is missing or cut short reads as one without records
            raise InputError(
                f"{self._path(kind)}: found {found} records, expected {expected}: {MAKE_AGAIN}"
            )

    def _path(self, kind: str) -> Path:
        return self.folder / f"{kind}.array_record"

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_readers": {}}


def read_card(folder: Path) -> Card:
    """The card of a prepared set; raises InputError where there is none or it is of another format."""
    path = folder / CARD_FILE
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        unfinished = f": {MAKE_AGAIN}" if any(folder.glob("*.array_record*")) else ""
        raise InputError(
            f"{path}: not found, expected a set made by lct_jax.data.prepare{unfinished}"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    found = values.pop("format", None) if isinstance(values, dict) else None
    if found != FORMAT:
        raise InputError(f"{path}: found format {found!r}, expected {FORMAT!r}")
    names = {field.name for field in fields(Card)}
    if values.keys() != names:
        differing = ", ".join(sorted(values.keys() ^ names))
        raise InputError(f"{path}: missing or unknown keys: {differing}")
    return Card(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _load(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named tensors of a safetensors file, whatever their shapes."""
    try:
        found = load_file(path)
        return {name: found[name] for name in names}
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{path}: cannot be read ({error}): {MAKE_AGAIN}") from None


def _measure(scenes: Sequence[SceneRecord], empty: np.ndarray) -> LengthTable:
    shots = [shot for scene in scenes for shot in scene.shots]
    clips = [clip.shape[:3] for shot in shots for clip in shot.clips]
    column = lambda values: np.asarray(list(values), np.int32)  # noqa: E731
    starts = lambda counts: column(np.cumsum([0, *counts]))  # noqa: E731
    return LengthTable(
        scene_split=column(SPLITS.index(scene.split) for scene in scenes),
        scene_start=starts(len(scene.shots) for scene in scenes),
        scene_full=column(len(scene.full) for scene in scenes),
        scene_brief=column(len(scene.brief) for scene in scenes),
        shot_text=column(len(shot.prompt) for shot in shots),
        shot_still=column(len(shot.stills) for shot in shots),
        clip_start=starts(len(shot.clips) for shot in shots),
        clip_grid=column(clips).reshape(-1, 3),
        empty_text=column([len(empty)]),
    )


def _shot_bytes(shot: ShotRecord) -> bytes:
    latents = {f"clip_{i}": clip for i, clip in enumerate(shot.clips)}
    latents |= {f"still_{i}": still for i, still in enumerate(shot.stills)}
    return dump_tensors(
        {name: x.astype(np.float16) for name, x in (latents | {"prompt": shot.prompt}).items()}
    )


def _scene_bytes(scene: SceneRecord) -> bytes:
    return dump_tensors(
        {"full": scene.full.astype(np.float16), "brief": scene.brief.astype(np.float16)}
    )


def _write_records(path: Path, records: Sequence[bytes]) -> None:
    partial = path.with_name(path.name + ".partial")
    writer = ArrayRecordWriter(str(partial), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    partial.replace(path)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)
