"""The ways of directing that are measured on puppet scenes: what each part draws, how it is sampled, what is judged.

A part samples every scene in several ways from the same noise, so that ways are compared in pairs. The first way, "as
drawn", is no sample: it is what was drawn, through the codec, and so the most that could be reached.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from lct_jax.directing.prompts import Condition
from lct_jax.directing.script import CastPicture, Script
from lct_jax.evaluation.directing_cases import (
    Cases,
    judge_cast,
    judge_columns,
    judge_continued,
    judge_seams,
)
from lct_jax.evaluation.puppet_measures import judge_scene
from lct_jax.puppets.motion import read_shot
from lct_jax.puppets.render import render_shot
from lct_jax.puppets.scene import (
    OF_ENVIRONMENT,
    Drawing,
    Environment,
    PuppetScene,
    PuppetShot,
)
from lct_jax.puppets.words import write_script
from lct_jax.puppets.writing import NAMES

DRAWN = "as drawn"
# Steps of the solution that others are compared with.
FINE = 128
# A time at which a picture shows its large areas of colour, and little of where they are.
CAST_TIME = 0.7


class Sampler(Protocol):
    """Samples scripts of a puppet scene, always from the noise of that scene."""

    def sample(
        self,
        scene: PuppetScene,
        script: Script,
        *,
        in_turn: bool = False,
        given: Mapping[int, np.ndarray] | None = None,
        **fields: Any,
    ) -> list[Any]:
        """Returns the sampled shots with their `frames` and their `latent`, in order of the script.

        Args:
            in_turn: whether shots are sampled one after another; else they are where the weights are causal.
            given: the frames of given shots, by number from 0.
            fields: fields of the sampling config.
        """
        ...

    def through_codec(self, frames: np.ndarray) -> np.ndarray:
        """Returns frames as the codec gives them back."""
        ...


@dataclass(frozen=True)
class Part:
    """What is measured together.

    Attributes:
        title: what it is, for the table.
        drawing: the scenes. wanted: which of them are taken.
        measure: returns the cases of every way of a scene.
    """

    title: str
    drawing: Drawing
    measure: Callable[[Sampler, PuppetScene], dict[str, Cases]]
    wanted: Callable[[PuppetScene], bool] = lambda scene: True


def measure_first_frame(sampler: Sampler, scene: PuppetScene) -> dict[str, Cases]:
    """Holds the first frame of the first shot, of four, and compares the frames behind it with the drawn ones."""
    drawn, script = render_shot(scene, scene.shots[0]), write_script(scene)
    with tempfile.TemporaryDirectory() as folder:
        picture = _write_picture(Path(folder) / "first.png", drawn[0])
        held = _replace_shots(script, {0: {"first": picture}})
        found = {
            DRAWN: sampler.through_codec(drawn),
            "no picture": sampler.sample(scene, script)[0].frames,
            "first frame held": sampler.sample(scene, held)[0].frames,
        }
    return {way: judge_continued(drawn, frames) for way, frames in found.items()}


def measure_extension(sampler: Sampler, scene: PuppetScene) -> dict[str, Cases]:
    """Samples a take of four shots without a cut, and judges its three seams."""
    script, count = write_script(scene), len(scene.shots)
    film = {0: render_shot(scene, scene.shots[0])}
    drawn = [sampler.through_codec(render_shot(scene, shot)) for shot in scene.shots]
    cases = {
        DRAWN: judge_seams(scene, drawn, [0] * count),
        # A given video is in the film as it is, and what follows it is not: that alone makes a seam.
        "as drawn, behind a given video": judge_seams(scene, [film[0], *drawn[1:]], [0] * count),
    }
    ways: dict[str, tuple[int, dict[str, Any]]] = {
        "every shot alone": (0, {"window": 1}),
        "without a cut": (0, {}),
        "overlap of 1 frame": (1, {}),
        "overlap of 5 frames": (5, {}),
        "given video, overlap of 1": (1, {"given": film}),
        "given video, overlap of 5": (5, {"given": film}),
    }
    for way, (overlap, how) in ways.items():
        shots = {number: {"overlap": overlap} for number in range(1, count)}
        made = sampler.sample(scene, _replace_shots(script, shots), in_turn=True, **how)
        frames = [shot.frames for shot in made]
        if "given" in how:
            frames = [film[0], *frames]
        cases[way] = judge_seams(scene, frames, [0, *[overlap] * (count - 1)])
    return cases


def measure_pool(sampler: Sampler, scene: PuppetScene) -> dict[str, Cases]:
    """Samples twenty shots, each of which sees three others: the last ones, or the most relevant ones."""
    script = write_script(scene)
    # The first shot that shows a character alone is sampled before the others.
    keys = {_find_alone(scene, n) for n in range(1, len(scene.characters) + 1)}
    pool = _replace_shots(script, {number: {"key": True} for number in keys})
    ways = {
        "recent": (script, {"history": "recent"}),
        "relevant": (script, {"history": "relevant"}),
        "relevant, from a pool": (pool, {"history": "relevant"}),
    }
    found = {DRAWN: [sampler.through_codec(render_shot(scene, shot)) for shot in scene.shots]}
    for way, (directed, fields) in ways.items():
        made = sampler.sample(scene, directed, in_turn=True, history_shots=3, **fields)
        found[way] = [shot.frames for shot in sorted(made, key=lambda shot: shot.number)]
    columns = ("environment agrees", "characters agree", "returning characters agree", "who")
    return {way: _judge(scene, shots, columns) for way, shots in found.items()}


def measure_cast(sampler: Sampler, scene: PuppetScene) -> dict[str, Cases]:
    """Gives each character a close-up picture, with another background than that of the scene or with none."""
    behind = _choose_other(scene.environment)
    named = {name for name in scene.withheld if "." in name}
    told = dataclasses.replace(scene, withheld=frozenset(named))
    untold = dataclasses.replace(scene, withheld=frozenset({*named, *OF_ENVIRONMENT}))
    drawn = [sampler.through_codec(render_shot(scene, shot)) for shot in scene.shots]
    cases = {DRAWN: judge_cast(told, drawn, behind=behind, told=True)}
    with tempfile.TemporaryDirectory() as folder:
        cast = _draw_cast(scene, behind, Path(folder))
        cut_out = _draw_cast(scene, behind, Path(folder), cut_out=True)
        said = tuple(_say_behind(picture, behind) for picture in cast)
        noisy = tuple(_hold_at(picture, CAST_TIME) for picture in cast)
        for way, shown, pictures in (
            ("no pictures", told, ()),
            ("pictures", told, cast),
            ("pictures, whose prompts tell their background", told, said),
            ("pictures without a background", told, cut_out),
            (f"pictures, held at {CAST_TIME}", told, noisy),
            ("no pictures, place untold", untold, ()),
            ("pictures, place untold", untold, cast),
            ("pictures without a background, place untold", untold, cut_out),
        ):
            script = dataclasses.replace(write_script(shown), pictures=pictures)
            shots = [shot.frames for shot in sampler.sample(shown, script)]
            cases[way] = judge_cast(shown, shots, behind=behind, told=shown is told)
    return cases


def measure_solvers(sampler: Sampler, scene: PuppetScene) -> dict[str, Cases]:
    """Samples four shots by two solvers with as many evaluations, and compares both with many small steps."""
    script = write_script(scene)
    fine = sampler.sample(scene, script, steps=FINE)
    ways = {f"Euler, {FINE} evaluations": fine}
    for steps in (16, 8, 4):
        for solver in ("euler", "heun"):
            way = f"{solver.capitalize()}, {steps} evaluations"
            ways[way] = sampler.sample(scene, script, solver=solver, steps=steps)
    columns = ("environment agrees", "characters agree", "characters obey", "who", "framing")
    cases = {}
    for way, shots in ways.items():
        cases[way] = _judge(scene, [shot.frames for shot in shots], columns)
        if shots is not fine:
            pairs = zip(shots, fine, strict=True)
            cases[way]["distance"] = [_measure_distance(*pair) for pair in pairs]
    return cases


PARTS = {
    "first_frame": Part(
        "A given first frame is gone on from",
        Drawing(shots=(4, 4), sizes=((32, 32),), frames=(9,)),
        measure_first_frame,
    ),
    "extension": Part(
        "A take without cuts",
        Drawing(shots=(4, 4), sizes=((32, 32),), frames=(9,), cast=(1, 1)),
        measure_extension,
        wanted=lambda scene: not any(shot.cut for shot in scene.shots[1:]),
    ),
    "pool": Part(
        "Twenty shots by recency and by relevance",
        Drawing(shots=(20, 20), sizes=((32, 32),), frames=(5,), absence=6),
        measure_pool,
    ),
    "cast": Part(
        "A cast with pictures",
        Drawing(shots=(6, 6), withhold=0.75, sizes=((32, 32),), frames=(5,), cast=(2, 2)),
        measure_cast,
    ),
    "solvers": Part(
        "Solvers at equal evaluations",
        Drawing(shots=(4, 4), sizes=((32, 32),), frames=(5,)),
        measure_solvers,
    ),
}


def _judge(scene: PuppetScene, shots: Sequence[np.ndarray], columns: Sequence[str]) -> Cases:
    return judge_columns(judge_scene(scene, [read_shot(frames) for frames in shots]), columns)


def _replace_shots(script: Script, changes: Mapping[int, Mapping[str, Any]]) -> Script:
    """Returns a script with other fields of some shots, by number from 0."""
    shots = list(script.shots)
    for number, fields in changes.items():
        shots[number] = dataclasses.replace(shots[number], **fields)
    return dataclasses.replace(script, shots=tuple(shots))


def _find_alone(scene: PuppetScene, number: int) -> int:
    """Returns the first shot, from 0, that shows a character alone after a cut; 0 where there is none."""
    alone = (i for i, shot in enumerate(scene.shots) if shot.subjects == (number,) and shot.cut)
    return next(alone, 0)


def _choose_other(place: Environment) -> Environment:
    """Returns a background that differs in everything."""
    values = {}
    for name, known in OF_ENVIRONMENT.items():
        values[name] = known[(known.index(getattr(place, name)) + 1) % len(known)]
    return Environment(**values)


def _draw_cast(
    scene: PuppetScene, behind: Environment, folder: Path, *, cut_out: bool = False
) -> tuple[CastPicture, ...]:
    """Returns pictures of all characters in front of a background, or of nothing, which is shown as white."""
    away, cast = dataclasses.replace(scene, environment=behind), []
    for number in range(1, len(scene.characters) + 1):
        frame, nobody = (
            render_shot(away, PuppetShot("close", who, "stands", 1, True, 0.5, 0.0))[0]
            for who in ((number,), ())
        )
        if cut_out:
            frame = np.where((frame == nobody).all(-1, keepdims=True), np.uint8(255), frame)
        picture = _write_picture(folder / f"{number}_{cut_out}.png", frame)
        text = f"Close-up: Character {NAMES[number]} stands."
        cast.append(CastPicture(picture, text, character=NAMES[number]))
    return tuple(cast)


def _hold_at(picture: CastPicture, time: float) -> CastPicture:
    return dataclasses.replace(picture, condition=dataclasses.replace(picture.condition, time=time))


def _say_behind(picture: CastPicture, place: Environment) -> CastPicture:
    """Returns a picture whose prompt tells its background as well, as prompts of single shots do."""
    sun = "no sun" if place.sun == "none" else f"sun on the {place.sun}"
    text = f"{picture.text} {place.sky.capitalize()} sky, {place.ground} ground, {sun}, a {place.landmark}."
    return dataclasses.replace(picture, text=text)


def _write_picture(path: Path, frame: np.ndarray) -> Condition:
    Image.fromarray(frame).save(path)
    return Condition(str(path))


def _measure_distance(one: Any, other: Any) -> float:
    """Returns the root mean square difference of two shots' latents, in standard deviations of the second."""
    difference = one.latent.astype(np.float64) - other.latent
    return float(np.sqrt(np.square(difference).mean()) / other.latent.std())
