"""Judges by pixels what a person directs: a picture that is gone on from, a take without cuts, a cast with pictures.

Each function returns cases by name: 1 where it is right and 0 where it is not, or a number where that is said. What
cannot be read in a sampled frame is wrong; what cannot be read in the drawn one is left out. The same is asked of drawn
shots that went through the codec, which says how often the reader or the codec is to blame.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from lct_jax.evaluation.puppet_measures import Tally, show_attribute
from lct_jax.evaluation.puppet_table import COLUMNS
from lct_jax.media.seams import go_on
from lct_jax.puppets.motion import read_shot
from lct_jax.puppets.read import SeenCharacter, SeenFrame, read_frame
from lct_jax.puppets.scene import OF_ENVIRONMENT, Environment, PuppetScene

Cases = dict[str, list[float]]

# What is this near to its place, in widths or heights of a frame, has kept it: three pixels of 32.
NEAR = 0.1
# A difference of one grey level in 255 is not seen.
UNSEEN = 1.0


def judge_continued(drawn: np.ndarray, found: np.ndarray) -> Cases:
    """Compares a shot whose first frame was given with the drawn shot, frame by frame behind the first.

    Args:
        drawn, found: uint8[frames, height, width, 3].
    """
    cases: Cases = defaultdict(list)
    for one, other in zip(drawn[1:], found[1:], strict=True):
        wanted, seen = read_frame(one), read_frame(other)
        for name in OF_ENVIRONMENT:
            if (value := getattr(wanted, name)) is not None:
                cases["background"].append(getattr(seen, name) == value)
        for name, x in wanted.anchor.items():
            at = seen.anchor.get(name)
            cases["background in place"].append(at is not None and abs(at - x) < NEAR)
        for who in wanted.characters:
            same = _find(seen, who.colour)
            cases["characters"].append(same is not None)
            cases["characters in place"].append(same is not None and _is_near(same, who))
            # The codec leaves nothing of a hat in frames behind the first.
            if who.shape is not None:
                cases["shapes"].append(same is not None and same.shape == who.shape)
    return _to_numbers(cases)


def judge_seams(scene: PuppetScene, shots: Sequence[np.ndarray], overlaps: Sequence[int]) -> Cases:
    """Judges the seams of shots that go on without a cut.

    A seam has no jump where its two frames in the film differ by no more than the neighbouring frames that differ most
    within the two shots, as they were sampled, or by so little more that it is not seen.

    Args:
        shots: uint8[frames, height, width, 3] each, as sampled.
        overlaps: how many frames of each shot are those of the shot before, and not in the film.
    """
    cases: Cases = defaultdict(list)
    film = [shots[0]]
    for shot, overlap in zip(shots[1:], overlaps[1:], strict=True):
        film.append(go_on(film[-1], shot, overlap))
    for number, (before, after) in enumerate(itertools.pairwise(shots), start=1):
        own = max(_steps(before).max(), _steps(after).max())
        last, seen = film[number - 1][-1], film[number]
        step = _difference(last, seen[0])
        cases["no jump"].append(step <= own + UNSEEN)
        cases["seam to largest step"].append(step / max(own, UNSEEN))
        decoded = _difference(before[-1], after[overlaps[number]])
        cases["no jump as decoded"].append(decoded <= own + UNSEEN)
        old, new = read_frame(last), read_frame(seen[0])
        for name in OF_ENVIRONMENT:
            if (value := getattr(old, name)) is not None:
                cases["background kept"].append(getattr(new, name) == value)
        for who in old.characters:
            same = _find(new, who.colour)
            cases["character in place"].append(same is not None and _is_near(same, who))
        # The last frame that is taken over is where the motion of the shot begins.
        moving = read_shot(np.concatenate([last[None], seen]) if overlaps[number] else seen)
        cases["motion"].append(moving.action == scene.shots[number].action)
    return _to_numbers(cases)


def judge_cast(
    scene: PuppetScene, shots: Sequence[np.ndarray], *, behind: Environment, told: bool
) -> Cases:
    """Judges shots of characters that have pictures: who they are, and that they are not where the pictures are.

    Args:
        shots: uint8[frames, height, width, 3] each.
        behind: the background of the pictures, in nothing the same as that of the scene.
        told: whether prompts say where the scene plays.
    """
    seen = [read_shot(frames) for frames in shots]
    cases: Cases = defaultdict(list)
    attributes = scene.attributes()
    for name in sorted(scene.withheld & attributes.keys()):
        if "." in name:
            attribute = name.split(".")[1]
            shown = show_attribute(scene, seen, name).values()
            cases[f"{attribute}s"] += [value == attributes[name] for value in shown]
    for name in OF_ENVIRONMENT:
        shown = show_attribute(scene, seen, name).values()
        if told:
            cases["place as told"] += [value == attributes[name] for value in shown]
        cases["place of the pictures"] += [value == getattr(behind, name) for value in shown]
    return _to_numbers(cases)


def judge_columns(tallies: Mapping[str, Tally], columns: Sequence[str]) -> Cases:
    """Returns some columns of the table of puppets as cases; as there, what cannot be read is left out."""
    cases: Cases = {}
    for column in columns:
        chosen = [tally for name, tally in tallies.items() if COLUMNS[column](name)]
        right, readable = (sum(tally[place] for tally in chosen) for place in (0, 1))
        cases[column] = [1.0] * right + [0.0] * (readable - right)
    return cases


def _find(frame: SeenFrame, colour: str) -> SeenCharacter | None:
    return next((who for who in frame.characters if who.colour == colour), None)


def _is_near(one: SeenCharacter, other: SeenCharacter) -> bool:
    return abs(one.x - other.x) < NEAR and abs(one.feet - other.feet) < NEAR


def _steps(frames: np.ndarray) -> np.ndarray:
    """Returns the mean differences of neighbouring frames in grey levels of 255, float64[frames - 1]."""
    return np.array([_difference(one, other) for one, other in itertools.pairwise(frames)])


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.float64) - other).mean())


def _to_numbers(cases: Cases) -> Cases:
    return {name: [float(case) for case in found] for name, found in cases.items()}
