"""Writes the shards of a prepared set, one for each film, each whole or not at all.

The scenes of a film are written shot by shot into a folder that is renamed into place when it is complete:

    shots.array_record      one record a shot: clip_0.., still_0.. float16 [T X Y c], prompt float16 [L E], text;
                            where a single shot needs another caption: alone float16 [L E], alone_text
    scenes.array_record     one record a scene: full, brief (without the story) float16 [L E], their texts
    lengths.safetensors     the `LengthTable` of the shard
    shard.json              the film, names of scenes and shots, frames of each shot, picture size
    checksums.json          of the last two (`checksums.py`)

Records are safetensors bytes, texts among them as bytes: named, typed, and never executed. The same scenes give the
same bytes. In a set of pixels clip_0 is the whole shot, uint8 [frames height width 3], and prompts have no tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from lct_jax.data.sets.checksums import write_checksums
from lct_jax.data.sets.lengths import MAKE_AGAIN, NAMES_PEOPLE, SPLITS, LengthTable
from lct_jax.directing.prompts import SHOT_CUT_TAG, find_characters
from lct_jax.errors import InputError, one_line
from lct_jax.files import replace_folder
from lct_jax.tensors import dump_tensors, save_tensors

KINDS = ("shots", "scenes")
LENGTHS_FILE, ABOUT_FILE = "lengths.safetensors", "shard.json"
# A chunk holds one record and is not compressed: half-precision noise does not compress, and reading is three times as
# fast.
_WRITING = "group_size:1,uncompressed"


@dataclass(frozen=True)
class ShotRecord:
    """Holds one shot: clips and stills as latents float32 [T X Y c], its prompt float32 [L E], and what it was encoded
    from.

    `alone` is the caption for a single shot, float32 [L E], where the prompt names people whom only the global prompt
    describes, and None elsewhere.
    """

    clips: tuple[np.ndarray, ...]
    stills: tuple[np.ndarray, ...]
    prompt: np.ndarray
    text: str
    frames: int
    alone: np.ndarray | None = None
    alone_text: str = ""


@dataclass(frozen=True)
class SceneRecord:
    """Holds one scene: its global prompt with and without the story, float32 [L E] and as text, split and shots."""

    name: str
    split: str
    full: np.ndarray
    brief: np.ndarray
    full_text: str
    brief_text: str
    shots: Iterable[ShotRecord]


@dataclass(frozen=True)
class ShardAbout:
    """Describes a shard.

    Attributes:
        film: its name. credit: the credit line of the film. size: height and width of its pictures. aspect_error: their
            stretch.
        scenes, shots: names in record order. frames: the number of frames of footage in each shot.
    """

    film: str
    credit: str
    size: tuple[int, int]
    aspect_error: float
    scenes: tuple[str, ...]
    shots: tuple[str, ...]
    frames: tuple[int, ...]


def write_shard(
    folder: Path,
    scenes: Iterable[SceneRecord],
    *,
    empty: int,
    film: str,
    credit: str,
    size: tuple[int, int],
    aspect_error: float,
) -> None:
    """Writes a shard, one shot in memory at a time.

    Args:
        empty: the number of tokens of the empty prompt. The others are those of `ShardAbout`.
    """
    with replace_folder(folder) as unfinished:
        writers = {
            kind: ArrayRecordWriter(str(unfinished / f"{kind}.array_record"), _WRITING)
            for kind in KINDS
        }
        measure, frames, shot_names, scene_names = _Measure(), [], [], []
        for scene in scenes:
            count = 0
            for count, shot in enumerate(scene.shots, start=1):
                with _naming(folder):
                    writers["shots"].write(_shot_bytes(shot))
                measure.add_shot(shot)
                frames.append(shot.frames)
                shot_names.append(f"{scene.name}/{count}")
            with _naming(folder):
                writers["scenes"].write(_scene_bytes(scene))
            measure.add_scene(scene, count)
            scene_names.append(scene.name)
        with _naming(folder):
            for writer in writers.values():
                writer.close()
        save_tensors(unfinished / LENGTHS_FILE, asdict(measure.table(empty)))
        about = ShardAbout(
            film, credit, size, aspect_error, tuple(scene_names), tuple(shot_names), tuple(frames)
        )
        text = json.dumps(asdict(about), indent=1)
        (unfinished / ABOUT_FILE).write_text(text, encoding="utf-8")
        write_checksums(unfinished, (LENGTHS_FILE, ABOUT_FILE))


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Turns what a writer of records raises, such as on a full disk, into one line."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # The library's reason comes first, and its own places in the file behind a semicolon.
        raise InputError(
            f"{folder}: cannot be written: {one_line(error).partition(';')[0]}"
        ) from None


def read_about(folder: Path) -> ShardAbout:
    """Returns the description of a shard; raises InputError where it is missing or damaged."""
    path = folder / ABOUT_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return ShardAbout(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)}): {MAKE_AGAIN}") from None


def text_bytes(text: str) -> np.ndarray:
    """Returns a text as uint8 [bytes], so that it can be stored among the tensors of a record."""
    return np.frombuffer(text.encode(), np.uint8)


class _Measure:
    """Collects the table of lengths as records are written."""

    def __init__(self) -> None:
        self._scenes: list[Sequence[int]] = []
        self._shots: list[Sequence[int]] = []
        self._clips: list[Sequence[int]] = []

    def add_shot(self, shot: ShotRecord) -> None:
        cut = shot.text.startswith(SHOT_CUT_TAG)
        alone = NAMES_PEOPLE if find_characters(shot.text) else 0
        alone = alone if shot.alone is None else len(shot.alone)
        self._shots.append((len(shot.prompt), len(shot.stills), len(shot.clips), cut, alone))
        self._clips += [clip.shape[:3] for clip in shot.clips]

    def add_scene(self, scene: SceneRecord, shots: int) -> None:
        split = SPLITS.index(scene.split)
        self._scenes.append((split, shots, len(scene.full), len(scene.brief)))

    def table(self, empty: int) -> LengthTable:
        column = lambda values: np.asarray(values, np.int32)
        scenes = column(self._scenes).reshape(-1, 4)
        shots = column(self._shots).reshape(-1, 5)
        return LengthTable(
            scene_split=scenes[:, 0],
            scene_start=column(np.cumsum([0, *scenes[:, 1]])),
            scene_full=scenes[:, 2],
            scene_brief=scenes[:, 3],
            shot_text=shots[:, 0],
            shot_still=shots[:, 1],
            shot_cut=shots[:, 3],
            clip_start=column(np.cumsum([0, *shots[:, 2]])),
            clip_grid=column(self._clips).reshape(-1, 3),
            empty_text=column([empty]),
            shot_alone=shots[:, 4],
        )


def _shot_bytes(shot: ShotRecord) -> bytes:
    latents = {f"clip_{i}": clip for i, clip in enumerate(shot.clips)}
    latents |= {f"still_{i}": still for i, still in enumerate(shot.stills)}
    texts = {"text": shot.text} | ({"alone_text": shot.alone_text} if shot.alone_text else {})
    if shot.alone is not None:
        latents["alone"] = shot.alone
    return _half(latents | {"prompt": shot.prompt}, texts)


def _scene_bytes(scene: SceneRecord) -> bytes:
    texts = {"full_text": scene.full_text, "brief_text": scene.brief_text}
    return _half({"full": scene.full, "brief": scene.brief}, texts)


def _half(tensors: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> bytes:
    keep = lambda x: x if x.dtype == np.uint8 else x.astype(np.float16)
    halves = {name: keep(tensor) for name, tensor in tensors.items()}
    return dump_tensors(halves | {name: text_bytes(text) for name, text in texts.items()})
