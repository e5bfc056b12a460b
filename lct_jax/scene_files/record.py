"""What a folder of sampled shots holds, so that nothing of it is lost: `manifest.json` and the latents of every take.

A shot is on disk as soon as it is finished, and is named in the manifest only then. A sampling that was killed goes on
with what is missing. A shot that was sampled again is another *take*; the film is made of the takes that are `chosen`.

    manifest.json                          script, settings, weights and versions; takes, and how each was made
    latents/shot_03.safetensors            the first take
    latents/shot_03.take_02.safetensors    the second one
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lct_jax.directing.field_reader import Source
from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt, render_global, render_shot
from lct_jax.directing.script import Script, read_script
from lct_jax.errors import InputError
from lct_jax.files import replace_atomically
from lct_jax.tensors import load_tensors_of, save_tensors

MANIFEST, LATENTS = "manifest.json", "latents"
# What folders had in place of a manifest before there was one.
FORMER = "sample.json"
FORMAT = "lct_jax.sample/1"


@dataclass(frozen=True)
class Take:
    """One sampling of a shot: the shots that it saw, by number from 1, and which of `Redo` it is of (-1: of none)."""

    saw: tuple[int, ...]
    redo: int = -1


@dataclass(frozen=True)
class Redo:
    """Shots that were sampled again while all others were kept; numbers are from 1.

    Attributes:
        shots: the shots.
        seed: the seed of their noise.
        beside: the takes of the other shots, by shot.
    """

    shots: tuple[int, ...]
    seed: int
    beside: Mapping[int, int]


@dataclass
class SceneRecord:
    """The manifest of a folder.

    Attributes:
        folder: the folder.
        made: what latents depend on: "script", "mode", "sampling", "key", "given" and "model", as JSON values.
        versions: the versions of packages with which it was begun.
        takes: the takes of every sampled shot, by number from 1.
        chosen: the take of every shot that is in the film, from 1.
        redos: what was sampled again, in order.
    """

    folder: Path
    made: Mapping[str, Any]
    versions: Mapping[str, str]
    takes: dict[int, list[Take]] = field(default_factory=dict)
    chosen: dict[int, int] = field(default_factory=dict)
    redos: list[Redo] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> SceneRecord:
        """Returns the record in a manifest; raises InputError where there is none, or it is damaged."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise InputError(f"{path}: format: found {values['format']!r}, expected {FORMAT!r}")
            shots = {int(number): shot for number, shot in values["shots"].items()}
            return cls(
                folder=path.parent,
                made=values["made"],
                versions=values["versions"],
                takes={
                    n: [Take(tuple(take["saw"]), take["redo"]) for take in shot["takes"]]
                    for n, shot in shots.items()
                },
                chosen={n: shot["chosen"] for n, shot in shots.items()},
                redos=[
                    Redo(tuple(r["shots"]), r["seed"], {int(n): t for n, t in r["beside"].items()})
                    for r in values["redos"]
                ],
            )._check(path)
        except InputError:
            raise
        except FileNotFoundError:
            raise InputError(
                f"{path}: no such file, expected a folder that was sampled into"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not a manifest of sampled shots ({error})") from None

    @classmethod
    def open(
        cls, folder: Path, made: Mapping[str, Any], versions: Mapping[str, str]
    ) -> SceneRecord:
        """Returns the record of a folder in which the same is sampled, or a new one.

        Raises:
            InputError: something else was sampled into the folder.
        """
        made = json.loads(json.dumps(made))
        path = folder / MANIFEST
        if not path.exists():
            record = cls(folder, made, versions)
            record.write()
            return record
        record = cls.read(path)
        if (difference := find_difference(record.made, made)) is not None:
            name, before, now = difference
            raise InputError(
                f"{path}: {name}: was sampled with {before}, found {now}, expected the same, or another folder"
            )
        return record

    @classmethod
    def begin(
        cls, folder: Path, made: Mapping[str, Any], versions: Mapping[str, str]
    ) -> SceneRecord:
        """Returns a new record of a folder, in place of the one that is there, whose takes are removed."""
        cls.remove(folder)
        return cls.open(folder, made, versions)

    @staticmethod
    def remove(folder: Path) -> None:
        """Removes the record of a folder, and its takes, where there is one."""
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder / LATENTS, ignore_errors=True)

    def script(self) -> Script:
        """Returns the script; its paths are relative to the folder."""
        text = json.dumps(self.made["script"])
        return read_script(Source(f"{self.folder / MANIFEST}: script", text), folder=self.folder)

    def texts(self) -> tuple[str, ...]:
        """Returns the prompts as the text encoder read them: the global one, where there is one, and those of shots.

        No file that the script names has to be there.
        """
        plain = self.made["script"]
        described = {
            name: who if isinstance(who, str) else who["text"]
            for name, who in plain.get("characters", {}).items()
        }
        parts = (described, plain.get("environment", ""), plain.get("story", ""))
        shared = [render_global(GlobalPrompt(*parts))] if any(parts) else []
        shots = (ShotPrompt(shot["prompt"], cut=shot["cut"]) for shot in plain["shots"])
        return (*shared, *map(render_shot, shots))

    def add(self, number: int, latent: np.ndarray, take: Take) -> None:
        """Keeps a take of a shot, from 1, and chooses it: first its latent is written, then the manifest."""
        takes = self.takes.setdefault(number, [])
        save_tensors(self.path(number, len(takes) + 1), {"latent": latent})
        takes.append(take)
        self.chosen[number] = len(takes)
        self.write()

    def load(self, number: int, take: int) -> np.ndarray:
        """Returns the latent of a take, float32[T X Y c]."""
        return load_tensors_of(self.path(number, take), ["latent"])["latent"]

    def path(self, number: int, take: int) -> Path:
        """Returns the file of a take's latent."""
        return self.folder / LATENTS / f"{name_take(number, take)}.safetensors"

    def find_redo(self, redo: int) -> dict[int, int]:
        """Returns the takes of a redo that are finished, by shot."""
        return {
            number: place
            for number, takes in self.takes.items()
            for place, take in enumerate(takes, start=1)
            if take.redo == redo
        }

    def write(self) -> None:
        """Writes the manifest, complete or not at all."""
        shots = {
            str(number): {
                "chosen": self.chosen[number],
                "takes": [
                    {"video": f"shots/{name_take(number, place)}.mp4", **asdict(take)}
                    for place, take in enumerate(takes, start=1)
                ],
            }
            for number, takes in sorted(self.takes.items())
        }
        values = {
            "format": FORMAT,
            "made": self.made,
            "versions": dict(self.versions),
            "shots": shots,
            "redos": [asdict(redo) for redo in self.redos],
        }
        with replace_atomically(self.folder / MANIFEST) as unfinished:
            unfinished.write_text(
                json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )

    def _check(self, path: Path) -> SceneRecord:
        for number, takes in self.takes.items():
            if not 1 <= self.chosen[number] <= len(takes):
                raise InputError(
                    f"{path}: shots.{number}.chosen: found {self.chosen[number]}, expected 1 to {len(takes)}"
                )
        return self


def name_take(number: int, take: int) -> str:
    """Returns how the files of a take of a shot, both from 1, are named: the first one has no number."""
    return f"shot_{number:02d}" if take == 1 else f"shot_{number:02d}.take_{take:02d}"


def find_difference(before: Any, now: Any, *, name: str = "") -> Sequence[str] | None:
    """Returns the name of the first field in which two JSON values differ, and how both are shown, or None."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before | now:
            path = f"{name}.{key}".removeprefix(".")
            if found := find_difference(before.get(key), now.get(key), name=path):
                return found
        return None
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        found = (find_difference(*pair, name=f"{name}[{place}]") for place, pair in pairs)
        return next(filter(None, found), None)
    if before == now and type(before) is type(now):
        return None
    return name, *(_shorten(value) for value in (before, now))


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def read_texts(folder: Path) -> tuple[str, ...]:
    """Returns the prompts of a scene that was sampled into a folder: the global one, where there is one, then those of
    shots; nothing where they were not kept."""
    if (folder / MANIFEST).is_file():
        return SceneRecord.read(folder / MANIFEST).texts()
    former = folder / FORMER
    about = json.loads(former.read_text(encoding="utf-8")) if former.is_file() else {}
    return tuple(about.get("script", ()))
