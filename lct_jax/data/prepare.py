"""Annotated footage to training records.

    python -m lct_jax.data.prepare --scenes=FILE --config=configs/film_tiny.py --out=DIR

A scene file and its film enter; a prepared set (`lct_jax.data.records`) leaves. The film is decoded twice, one
shot in memory at a time: once to fit the codec on training scenes, once to encode. A set that was made from the
same film, scene file and config is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from absl import flags
from tqdm import tqdm

from lct_jax.cli import define_config, run
from lct_jax.codecs.patch import fit_patch_codec
from lct_jax.codecs.protocols import TextEncoder, VideoCodec
from lct_jax.codecs.registry import import_codec, make_encoder
from lct_jax.codecs.safetensors_io import hash_file
from lct_jax.config import Config, PrepareConfig, freeze
from lct_jax.data.records import (
    CARD_FILE,
    CODEC_FILE,
    FORMAT,
    Card,
    SceneRecord,
    ShotRecord,
    write_set,
)
from lct_jax.data.scene_file import AnnotatedScene, SceneFile, check_ranges, load_scene_file
from lct_jax.errors import InputError
from lct_jax.media import iter_frames, resize
from lct_jax.script import render_global, render_shot

SOURCE_FILE = "source.json"


@dataclass(frozen=True)
class Footage:
    """The frames of one annotated shot: uint8 [frames, height, width, 3]."""

    scene: AnnotatedScene
    shot: int
    frames: np.ndarray


def prepare(scenes: Path, out: Path, config: Config) -> bool:
    """Makes a prepared set; returns False when `out` already holds this very one.

    Raises:
        InputError: a bad scene file, a missing or truncated film, a cut past its end, a text over its limit.
    """
    annotated = load_scene_file(scenes)
    source = _describe_source(scenes, annotated, config)
    card_file, source_file = out / CARD_FILE, out / SOURCE_FILE
    if card_file.exists() and source_file.exists() and source_file.read_text() == source:
        return False
    _make_folder(out)
    card_file.unlink(missing_ok=True)  # from here on the folder is unfinished
    encoder = make_encoder(
        config.prepare.encoder, width=config.model.text_width, folder=config.prepare.encoder_from
    )
    codec = _make_codec(annotated, config)
    codec.save(out / CODEC_FILE)
    records = _encode(annotated, config.prepare, codec, encoder)
    card = Card(
        codec=codec.identity,
        encoder=encoder.identity,
        channels=codec.channels,
        text_width=encoder.width,
        height=config.prepare.height,
        width=config.prepare.width,
        fps=annotated.film.fps,
        credit=f"{annotated.film.title} {annotated.film.credit}, {annotated.film.licence}",
        scenes=tuple(scene.id for scene in annotated.scenes),
        shots=tuple(f"{s.id}/{i + 1}" for s in annotated.scenes for i in range(len(s.ranges))),
    )
    source_file.write_text(source)
    write_set(out, records, card=card, empty=encoder.encode([""])[0])
    return True


def clip_starts(frames: int, *, length: int, clips: int) -> list[int]:
    """Where the clips of a shot begin: evenly spaced, the first at the cut, the last ending with the shot."""
    return sorted({int(start) for start in np.linspace(0, frames - length, clips)})


def fitting_length(frames: int, *, longest: int) -> int:
    """The longest 4n + 1 that neither the shot nor the limit exceeds."""
    return (min(frames, longest) - 1) // 4 * 4 + 1


def iter_footage(annotated: SceneFile, config: PrepareConfig) -> Iterator[Footage]:
    """Yields shots in the order of the film, resized; one decode pass, one shot in memory at a time."""
    places = [(r, s, i) for s in annotated.scenes for i, r in enumerate(s.ranges)]
    places.sort(key=lambda place: place[0].start)
    number, frame_at, kept = 0, iter_frames(annotated.film.file), []
    with tqdm(places, desc="shots", unit="shot", leave=False, disable=None) as bar:
        for frames, scene, shot in bar:
            kept = kept[len(kept) - max(number - frames.start, 0) :]  # shots of a split may overlap
            while number < frames.end:
                frame = next(frame_at, None)
                if frame is None:
                    check_ranges(annotated, number)
                if number >= frames.start:
                    kept.append(resize(frame, config.height, config.width))
                number += 1
            yield Footage(scene, shot, np.stack(kept[: len(frames)]))


def _make_codec(annotated: SceneFile, config: Config) -> VideoCodec:
    """Given weights, or a fit on training scenes alone: held-out footage must stay unseen."""
    limits, channels = config.prepare, config.model.channels
    if limits.codec_from:
        return import_codec(limits.codec, Path(limits.codec_from), channels=channels)
    if limits.codec != "patch":
        raise InputError(f"prepare.codec_from: empty, expected the weights of {limits.codec}")
    shots = (f for f in iter_footage(annotated, limits) if f.scene.split == "train")
    videos = (f.frames[: fitting_length(len(f.frames), longest=len(f.frames))] for f in shots)
    return fit_patch_codec(videos, channels=channels)


def _encode(
    annotated: SceneFile, config: PrepareConfig, codec: VideoCodec, encoder: TextEncoder
) -> list[SceneRecord]:
    shots: dict[tuple[str, int], ShotRecord] = {}
    for footage in iter_footage(annotated, config):
        text = render_shot(footage.scene.script.shots[footage.shot])
        where = f"scene {footage.scene.id!r}: shots[{footage.shot}]"
        prompt = _encode_text(encoder, text, where=where)
        shots[footage.scene.id, footage.shot] = _encode_shot(footage.frames, prompt, config, codec)
    records = []
    for scene in annotated.scenes:
        full, brief = (
            _encode_text(encoder, _render_scene(scene, story=story), where=f"scene {scene.id!r}")
            for story in (True, False)
        )
        of_scene = tuple(shots[scene.id, shot] for shot in range(len(scene.ranges)))
        records.append(SceneRecord(scene.id, scene.split, full, brief, of_scene))
    return records


def _encode_text(encoder: TextEncoder, text: str, *, where: str) -> np.ndarray:
    try:
        return encoder.encode([text])[0]
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _render_scene(scene: AnnotatedScene, *, story: bool) -> str:
    """Text of the global prompt; a scene of which nothing is written has the empty one."""
    prompt = scene.script.prompt
    return "" if prompt is None else render_global(prompt, story=story)


def _encode_shot(
    frames: np.ndarray, prompt: np.ndarray, config: PrepareConfig, codec: VideoCodec
) -> ShotRecord:
    length = fitting_length(len(frames), longest=config.max_frames)
    starts = clip_starts(len(frames), length=length, clips=config.clips)
    stills = clip_starts(len(frames), length=1, clips=config.stills)
    return ShotRecord(
        clips=tuple(codec.encode(frames[start : start + length]) for start in starts),
        stills=tuple(codec.encode(frames[start : start + 1]) for start in stills),
        prompt=prompt,
    )


def _describe_source(scenes: Path, annotated: SceneFile, config: Config) -> str:
    """What the set is made from, as text: equal text, equal set."""
    files = {
        "scenes": scenes,
        "film": annotated.film.file,
        "codec": config.prepare.codec_from,
        "encoder": config.prepare.encoder_from,
    }
    return json.dumps(
        {
            "format": FORMAT,
            **{name: _hash_files(Path(path)) for name, path in files.items() if path},
            "prepare": asdict(config.prepare),
            "channels": config.model.channels,
            "text_width": config.model.text_width,
        },
        indent=1,
    )


def _hash_files(path: Path) -> str | dict[str, str]:
    """The hash of a file, or of each file of a folder of weights."""
    if not path.is_dir():
        return hash_file(path)
    return {file.name: hash_file(file) for file in sorted(path.iterdir()) if file.is_file()}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder ({error.strerror})") from None


def main(argv: Sequence[str]) -> None:
    del argv
    made = prepare(Path(SCENES.value), Path(OUT.value), freeze(CONFIG.value))
    print(f"{OUT.value}: {'prepared' if made else 'already prepared, nothing to do'}")


if __name__ == "__main__":
    # Not at the top: a program that imports `prepare` has flags of its own.
    SCENES = flags.DEFINE_string("scenes", None, "Scene file (JSON) of a film.", required=True)
    OUT = flags.DEFINE_string("out", None, "Folder of the prepared set.", required=True)
    CONFIG = define_config()
    run(main)
