"""Samples shots of a folder again, and reproduces a folder from its manifest.

A shot is sampled again while all others are kept: these are given, as their latents, at the time at which a new shot
sees finished ones, so that the new take agrees with what comes before it and behind it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from lct_jax.directing.prompts import Condition
from lct_jax.directing.script import Script, give_shots
from lct_jax.errors import InputError
from lct_jax.generator import Generator
from lct_jax.media.storyboard import StoryboardRow, draw_storyboard
from lct_jax.sampled_scene import SampledScene
from lct_jax.scene_files.record import MANIFEST, Redo, SceneRecord, Take, find_difference
from lct_jax.scene_files.writer import list_cast

# Is called with every scene before it is sampled, such as to tell a progress bar of its steps.
Watch = Callable[[SampledScene], Any]


def retake(
    generator: Generator,
    folder: Path,
    shots: Sequence[int],
    *,
    seed: int | None = None,
    on_step: Callable[[], Any] = lambda: None,
    watch: Watch = lambda scene: None,
) -> list[Path]:
    """Samples shots of a folder again, chooses the new takes, and returns the files of the film.

    What was killed goes on with what is missing when it is asked for again.

    Args:
        shots: their numbers, from 1.
        seed: of their noise; None takes one that was not used.

    Raises:
        InputError: the folder was not sampled into to the end, or by other weights; a number is none of a sampled shot;
            a kept shot begins with frames of one that is sampled again.
    """
    record = SceneRecord.read(folder / MANIFEST)
    script = record.script()
    _check_shots(record, script, shots)
    last = record.redos[-1] if record.redos else None
    finished = last is None or {*last.shots} == {*record.find_redo(len(record.redos) - 1)}
    same = not finished and {*last.shots} == {*shots} and seed in (None, last.seed)
    if not same:
        used = [record.made["sampling"]["seed"], *(redo.seed for redo in record.redos)]
        used += [shot.seed or 0 for shot in script.shots]
        beside = {n: take for n, take in record.chosen.items() if n not in shots}
        record.redos.append(
            Redo(tuple(sorted(shots)), max(used) + 1 if seed is None else seed, beside)
        )
        record.write()
    _run_redo(generator, record, script, len(record.redos) - 1, on_step=on_step, watch=watch)
    return _sample(generator, record, script, on_step=on_step).save(folder, watch=watch)


def reproduce(
    generator: Generator,
    manifest: Path,
    folder: Path,
    *,
    on_step: Callable[[], Any] = lambda: None,
    watch: Watch = lambda scene: None,
) -> list[Path]:
    """Samples into another folder what a manifest says, every take of it, and returns the files of the film.

    Raises:
        InputError: the manifest is damaged, or of other weights.
    """
    origin = SceneRecord.read(manifest)
    script = origin.script()
    paths = _sample(generator, origin, script, on_step=on_step).save(folder, watch=watch)
    record = SceneRecord.read(folder / MANIFEST)
    for number, redo in enumerate(origin.redos):
        if number == len(record.redos):
            record.redos.append(redo)
        elif record.redos[number] != redo:
            raise InputError(f"{folder / MANIFEST}: redos: found others than {manifest} has")
        record.write()
        _run_redo(generator, record, script, number, on_step=on_step, watch=watch)
    if origin.redos:
        record.chosen = {n: take for n, take in origin.chosen.items() if n in record.takes}
        record.write()
        paths = _sample(generator, origin, script, on_step=on_step).save(folder, watch=watch)
    return paths


def preview_script(script: Script) -> Script:
    """Returns a script whose generated shots are single frames: a quick look at what a scene will show."""
    still = {"frames": 1, "seconds": None, "first": None, "last": None, "overlap": 0}
    shots = tuple(
        dataclasses.replace(shot, **(still if shot.given is None else {})) for shot in script.shots
    )
    return dataclasses.replace(script, shots=shots)


def draw_preview(scene: SampledScene, folder: Path) -> Path:
    """Samples a scene and draws it as `preview.png`; the files of a scene in the folder stay as they are."""
    frames = {number: given.frames for number, given in scene.given.items()}
    frames |= {shot.number: shot.frames for shot in scene}
    meta, path = scene.generator.meta, folder / "preview.png"
    rows = [
        StoryboardRow(
            frames=frames[number],
            prompt=shot.text,
            fps=meta.fps,
            label="given" if number in scene.given else "preview",
            cut=shot.cut,
        )
        for number, shot in enumerate(scene.script.shots)
    ]
    if not jax.process_index():
        cast = list_cast(scene.script, scene.given)
        title, prompt = "Preview, one frame a shot", scene.script.prompt
        draw_storyboard(path, title, rows, meta.credit, prompt, cast=cast)
    return path


def _check_shots(record: SceneRecord, script: Script, shots: Sequence[int]) -> None:
    """Raises InputError unless these shots can be sampled again."""
    path = record.folder / MANIFEST
    made = [n for n, shot in enumerate(script.shots, start=1) if shot.given is None]
    if missing := [str(number) for number in made if number not in record.takes]:
        raise InputError(
            f"{path}: shots {', '.join(missing)} are not sampled yet, expected a whole scene: the "
            "same command without --redo goes on with it"
        )
    for number in shots:
        if number not in made:
            raise InputError(
                f"--redo: found {number}, expected one of the sampled shots {', '.join(map(str, made))}"
            )
        if number < len(script.shots) and script.shots[number].overlap and number + 1 not in shots:
            raise InputError(
                f"--redo: found {number}, but shot {number + 1} begins with its last frames, expected "
                f"both: --redo={number},{number + 1}"
            )


def _run_redo(
    generator: Generator,
    record: SceneRecord,
    script: Script,
    number: int,
    *,
    on_step: Callable[[], Any],
    watch: Watch,
) -> None:
    """Samples the takes of a redo that are missing."""
    redo, made = record.redos[number], record.find_redo(number)
    if {*redo.shots} == {*made}:
        return
    time = record.made["sampling"]["history_time"]
    given = {
        n - 1: Condition(str(record.path(n, take)), time, tensor="latent")
        for n, take in redo.beside.items()
    }
    shots = list(give_shots(script, given).shots)
    for n in redo.shots:
        shots[n - 1] = dataclasses.replace(shots[n - 1], seed=redo.seed, history=None)
    scene = _sample(
        generator, record, dataclasses.replace(script, shots=tuple(shots)), on_step=on_step
    )
    scene.restore({n - 1: record.load(n, take) for n, take in made.items()})
    watch(scene)
    for shot in scene:
        if shot.number + 1 not in made:
            record.add(
                shot.number + 1, shot.latent, Take(scene.find_seen(shot.number), redo=number)
            )


def _sample(
    generator: Generator, record: SceneRecord, script: Script, *, on_step: Callable[[], Any]
) -> SampledScene:
    """Returns the scene of a script with the settings of a record; raises InputError for other weights."""
    made = record.made
    difference = find_difference(made["model"], generator.identify(), name="model")
    if difference is not None:
        name, before, now = difference
        raise InputError(
            f"{record.folder / MANIFEST}: {name}: was sampled with {before}, found {now}"
        )
    key = jax.random.wrap_key_data(jax.numpy.asarray(made["key"], jax.numpy.uint32))
    return generator.sample(script, mode=made["mode"], key=key, on_step=on_step, **made["sampling"])
