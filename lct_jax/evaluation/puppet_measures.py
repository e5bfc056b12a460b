"""Measures sampled puppet shots: counts for each scene, and shares with bootstrap intervals over scenes.

A scene's labels are compared with what was read from its shots. The result is a `Tally` for each measure, and the
tallies of many scenes give a `Share`:

    obeys/sky         stated attributes: shots that show what the prompt says
    agrees/sky        withheld attributes: pairs of shots that show the same; /1, /2, ..: by distance in shots
    keeps/sky         withheld attributes: shots that show the same as the shot whose picture was given
    returns/1.hat     both, for pairs between which a character was away for at least `AWAY` shots
    shows/sky=blue    withheld attributes: shots that show this value, among those in which one can be read
    who, framing, action, cut    shots that show the requested characters, framing, motion and beginning
    expression        shots whose only character has the requested face, in worlds that have faces

Given shots are not judged themselves. A pair or shot whose value cannot be read is left out of the share; how often it
could be read is counted beside it.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lct_jax.evaluation.bootstrap import BOUNDS, resample_sums
from lct_jax.puppets.motion import SeenShot, goes_on
from lct_jax.puppets.scene import OF_CHARACTER, OF_ENVIRONMENT, PuppetScene
from lct_jax.puppets.worlds import find_world

AWAY = 2


class Tally(NamedTuple):
    """Counts the cases of one measure in one scene: right ones, those that could be read, and all."""

    right: int
    readable: int
    asked: int


@dataclass(frozen=True)
class Share:
    """A measure over many scenes.

    Attributes:
        value: the share of right cases among the readable ones, None where no case could be read.
        low, high: the 95% interval of `value`.
        told: the share of readable cases among all, under the name it has in files. count: the number of readable ones.
    """

    value: float | None
    low: float | None
    high: float | None
    told: float
    count: int


Tallies = dict[str, Tally]


def judge_scene(
    scene: PuppetScene, seen: Sequence[SeenShot], *, given: Collection[int] = ()
) -> Tallies:
    """Counts every measure in one scene.

    Args:
        seen: what was read from its shots, in order. given: the shots (from 0) that were given and not sampled.
    """
    found: dict[str, list[bool | None]] = defaultdict(list)
    for name, value in scene.attributes().items():
        shown = show_attribute(scene, seen, name)
        if name not in scene.withheld:
            sampled = (v for shot, v in shown.items() if shot not in given)
            found[f"obeys/{name}"] += [None if v is None else v == value for v in sampled]
            continue
        for one, other in itertools.combinations(sorted(shown), 2):
            if one in given and other in given:
                continue
            pair = (shown[one], shown[other])
            same = None if None in pair else pair[0] == pair[1]
            kind = "keeps" if one in given or other in given else "agrees"
            found[f"{kind}/{name}"].append(same)
            found[f"{kind}/{name}/{other - one}"].append(same)
            if "." in name and _was_away(scene, int(name[0]), one, other):
                found[f"returns/{name}"].append(same)
    for name, hits in _judge_shots(scene, seen, given):
        found[name].append(hits)
    return {name: count_hits(hits) for name, hits in found.items()}


def count_values(scene: PuppetScene, seen: Sequence[SeenShot]) -> Tallies:
    """Counts how many shots of one scene show each value of the attributes that no text mentions."""
    labels, tallies = find_world(scene.world).labels, {}
    for name in sorted(scene.withheld):
        shown = list(show_attribute(scene, seen, name).values())
        readable = [value for value in shown if value is not None]
        for value in {**labels.of_environment, **labels.of_character}[name.split(".")[-1]]:
            counts = (readable.count(value), len(readable), len(shown))
            tallies[f"shows/{name}={value}"] = Tally(*counts)
    return tallies


def show_attribute(
    scene: PuppetScene, seen: Sequence[SeenShot], name: str
) -> dict[int, str | None]:
    """Returns what each shot (from 0) shows of an attribute; a character's is read from shots that ask for it alone."""
    if "." not in name:
        return {i: getattr(shot.first, name) for i, shot in enumerate(seen)}
    number, attribute = name.split(".")
    alone = [i for i, shot in enumerate(scene.shots) if shot.subjects == (int(number),)]
    only = {i: seen[i].first.characters for i in alone}
    return {i: getattr(c[0], attribute) if len(c) == 1 else None for i, c in only.items()}


def chance_of(name: str) -> float:
    """Returns the agreement or obedience that values drawn at random would have, by the name of an attribute."""
    attribute = name.split(".")[-1]
    return 1.0 / len((OF_ENVIRONMENT | OF_CHARACTER)[attribute])


def measure(
    scenes: Sequence[Mapping[str, Tally]], wanted: Callable[[str], bool], *, seed: int = 0
) -> Share:
    """Returns the share over all measures whose name is wanted; scenes are resampled whole, as their shots are
    dependent."""
    table = np.zeros((len(scenes), 3))
    for row, tallies in zip(table, scenes, strict=True):
        row += np.sum([t for name, t in tallies.items() if wanted(name)] or [np.zeros(3)], axis=0)
    right, readable, asked = table.sum(axis=0)
    if not readable:
        return Share(None, None, None, 0.0, 0)
    drawn = resample_sums(table, seed=seed)
    low, high = np.percentile(drawn[:, 0] / np.maximum(drawn[:, 1], 1), BOUNDS)
    return Share(
        float(right / readable), float(low), float(high), float(readable / asked), int(readable)
    )


def _judge_shots(
    scene: PuppetScene, seen: Sequence[SeenShot], given: Collection[int]
) -> Iterator[tuple[str, bool | None]]:
    for number, (shot, shown) in enumerate(zip(scene.shots, seen, strict=True)):
        if number in given:
            continue
        yield "who", len(shown.first.characters) == len(shot.subjects)
        if shot.subjects:
            yield "framing", None if shown.framing is None else shown.framing == shot.framing
        if shot.expression and len(shot.subjects) == 1:
            only = shown.first.characters
            face = only[0].expression if len(only) == 1 else None
            yield "expression", None if face is None else face == shot.expression
        yield "action", None if shown.action is None else shown.action == shot.action
    for first, second in itertools.pairwise(range(len(scene.shots))):
        old, new = scene.shots[first], scene.shots[second]
        if first in given or second in given:
            continue
        if not new.cut or (old.subjects, old.framing) != (new.subjects, new.framing):
            continues = goes_on(seen[first], seen[second])
            yield "cut", None if continues is None else continues == (not new.cut)


def _was_away(scene: PuppetScene, number: int, one: int, other: int) -> bool:
    between = scene.shots[one + 1 : other]
    return len(between) >= AWAY and all(number not in shot.subjects for shot in between)


def count_hits(hits: Sequence[bool | None]) -> Tally:
    """Returns the tally of cases, of which None could not be read."""
    readable = [hit for hit in hits if hit is not None]
    return Tally(sum(readable), len(readable), len(hits))
