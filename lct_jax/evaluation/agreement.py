"""Measures how far the shots of a scene agree, beside how far they are merely the same picture.

Agreement is a cosine of image features. By itself it rewards a model that shows one picture again and again, so that is
counted too: pairs of shots that are copies, what agreement is left without them, and how alike shots of *different*
scenes are, which nothing asks to agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from lct_jax.evaluation.samples import Cases, SampledShots, SeenShots
from lct_jax.media.video import resize

# Two shots are copies if some frames of them differ by less than this mean of grey levels (0 to 255) as small pictures.
COPY = 6.0
ABOVE = "above other scenes"
# Gaps, in shots, over which agreement with the last shot of the same character or place is measured: [first, last].
GAPS = ((1, 1), (2, 3), (4, 7), (8, 15), (16, 30))

Lpips = Callable[[np.ndarray, np.ndarray], np.ndarray]


def measure_within(seen: SeenShots) -> Cases:
    """Returns how alike the frames of each shot are.

    It is VBench's consistency of a subject (arXiv 2311.17982), over other features: the mean over frames of the
    cosines with the first frame and with the one before.
    """
    cases: list[float] = []
    for units in seen.units:
        if len(units) > 1:
            first, before = units[1:] @ units[0], np.sum(units[1:] * units[:-1], axis=-1)
            cases.append(float((first + before).mean() / 2))
    return {"shot consistency": cases}


def measure_across(shots: SampledShots, seen: SeenShots) -> Cases:
    """Returns how alike the shots of a scene are, a case for each pair with a cut between."""
    cuts = np.cumsum([False, *(shot.cut for shot in shots.script.shots[1:])])
    found: Cases = {
        name: [] for name in ("cross-shot consistency", "copied shots", "without copies")
    }
    for one, other in itertools.combinations(range(len(seen.units)), 2):
        if cuts[one] == cuts[other]:
            continue
        agreement, copied = seen.agree(one, other), is_copied(seen.thumbs[one], seen.thumbs[other])
        found["cross-shot consistency"].append(agreement)
        found["copied shots"].append(float(copied))
        if not copied:
            found["without copies"].append(agreement)
    return found


def measure_over_gaps(shots: SampledShots, seen: SeenShots) -> Cases:
    """Returns agreement with the last shot that shows the same character or place, by how many shots ago that was."""
    found: Cases = {name_gap(*gap): [] for gap in GAPS}
    last: dict[str, int] = {}
    for number in range(len(seen.units)):
        shown = shots.find_who_and_where(number)
        for before in (last[name] for name in shown if name in last):
            for first, furthest in GAPS:
                if first <= number - before <= furthest:
                    found[name_gap(first, furthest)].append(seen.agree(before, number))
        last |= dict.fromkeys(shown, number)
    return found


def name_gap(first: int, last: int) -> str:
    """Returns the name of the measure of a gap."""
    return f"seen {first if first == last else f'{first}-{last}'} shots ago"


def measure_seeds(of_seeds: Sequence[SeenShots]) -> Cases:
    """Returns how alike the same shot is with different seeds: 1 where a prompt always gives one picture."""
    cases = [
        float(one.units[shot].mean(axis=0) @ other.units[shot].mean(axis=0))
        for one, other in itertools.combinations(of_seeds, 2)
        for shot in range(len(one.units))
    ]
    return {"across seeds": cases}


def measure_between(scenes: Sequence[SeenShots]) -> list[Cases]:
    """Returns for each scene how alike its shots are to those of the other scenes."""
    means = [np.mean([units.mean(axis=0) for units in seen.units], axis=0) for seen in scenes]
    return [
        {"between scenes": [float(own @ other) for n, other in enumerate(means) if n != number]}
        for number, own in enumerate(means)
    ]


def measure_above(cases: Cases) -> Cases:
    """Returns how much more alike the shots of a scene are than they are to those of other scenes, one case a scene."""
    inside, outside = (cases.get(name, []) for name in ("cross-shot consistency", "between scenes"))
    known = len(inside) > 0 and len(outside) > 0
    return {ABOVE: [float(np.mean(inside) - np.mean(outside))] if known else []}


def measure_perceptually(shots: SampledShots, lpips: Lpips) -> Cases:
    """Returns LPIPS distances: of neighbouring frames of each shot, and of the middle frames of pairs of shots."""
    found: Cases = {"LPIPS in a shot": [], "LPIPS across shots": []}
    for frames in shots.frames:
        if len(frames) > 1:
            found["LPIPS in a shot"].append(float(lpips(frames[1:], frames[:-1]).mean()))
    size = shots.frames[0].shape[1:3]
    middle = np.stack([resize(frames[len(frames) // 2], *size) for frames in shots.frames])
    for one, other in itertools.combinations(range(len(middle)), 2):
        pair = lpips(middle[one : one + 1], middle[other : other + 1])
        found["LPIPS across shots"].append(float(pair[0]))
    return found


def is_copied(one: np.ndarray, other: np.ndarray) -> bool:
    """Returns whether some frames of two shots are the same picture, by small pictures [frames, 9, 16, 3]."""
    differences = np.abs(one[:, None] - other[None]).mean(axis=(2, 3, 4))
    return bool(differences.min() < COPY)
