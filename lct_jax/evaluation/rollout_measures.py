"""Measures puppet shots by their number in a scene: whether a long scene keeps what its first shots showed, and looks
as they did.

A scene that is sampled shot after shot is made of shots that a model has sampled itself, so what it does to a picture
adds up. For shot N, from 1, the tallies are

    environment kept/N    withheld attributes that shot N shows as the first shot in which they can be read
    characters kept/N     the same of its only character, among the shots that show it alone
    obeys/N               stated attributes that it shows as the prompt says
    who/N, framing/N      whether it shows the requested characters and framing
    pure/N                pixels that have a colour of the palette, of which all is drawn, in the world of flat puppets

The share of cases that could be read is the certainty of the reader; blurred pictures are read less often.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lct_jax.evaluation.puppet_measures import (
    Share,
    Tally,
    count_hits,
    measure,
    show_attribute,
)
from lct_jax.puppets import palette
from lct_jax.puppets.motion import SeenShot
from lct_jax.puppets.picture import colour_distance
from lct_jax.puppets.scene import PUPPETS, PuppetScene

KEPT = ("environment kept", "characters kept")
# A pixel is pure if it is nearer than this to a colour of the palette, in sRGB bytes: half the distance of brown ground
# to a tower, the nearest two colours that are not both nearly white.
PURE = 23.0
_COLOURS = np.array(
    [
        palette.SUN,
        *(
            colour
            for table in (
                palette.SKY,
                palette.GROUND,
                palette.LANDMARK,
                palette.CHARACTER,
                palette.HAT,
            )
            for colour in table.values()
        ),
    ],
    np.float64,
)


def judge_by_number(
    scene: PuppetScene, frames: Sequence[np.ndarray], seen: Sequence[SeenShot]
) -> dict[str, Tally]:
    """Counts every measure in each shot of a scene.

    Args:
        frames: its shots in order, uint8 [T, height, width, 3]. seen: what was read from them.
    """
    found: dict[str, list[bool | None]] = defaultdict(list)
    for name, value in scene.attributes().items():
        shown = show_attribute(scene, seen, name)
        if name in scene.withheld:
            kind = KEPT["." in name]
            for number, same in _compare_with_first(shown).items():
                found[f"{kind}/{number + 1}"].append(same)
        else:
            for number, other in shown.items():
                found[f"obeys/{number + 1}"].append(None if other is None else other == value)
    for number, (shot, shown) in enumerate(zip(scene.shots, seen, strict=True), start=1):
        found[f"who/{number}"].append(len(shown.first.characters) == len(shot.subjects))
        if shot.subjects:
            framing = None if shown.framing is None else shown.framing == shot.framing
            found[f"framing/{number}"].append(framing)
    tallies = {name: count_hits(hits) for name, hits in found.items()}
    if scene.world != PUPPETS.world:
        return tallies
    for number, shot in enumerate(frames, start=1):
        pure = count_pure(shot)
        tallies[f"pure/{number}"] = Tally(pure, shot[..., 0].size, shot[..., 0].size)
    return tallies


def _compare_with_first(shown: Mapping[int, str | None]) -> dict[int, bool | None]:
    """Returns whether each shot behind the first readable one shows the same; None where it cannot be read."""
    readable = [number for number, value in shown.items() if value is not None]
    if not readable:
        return {}
    first = readable[0]
    return {
        number: None if value is None else value == shown[first]
        for number, value in shown.items()
        if number > first
    }


def count_pure(frames: np.ndarray) -> int:
    """Returns how many pixels of frames, uint8 [..., 3], have a colour of the palette."""
    nearest = np.min([colour_distance(frames, colour) for colour in _COLOURS], axis=0)
    return int((nearest < PURE).sum())


def measure_numbers(
    scenes: Sequence[Mapping[str, Tally]], kinds: Sequence[str], first: int, last: int
) -> Share:
    """Returns the share of measures, such as "obeys", over the shots from `first` to `last`, both included."""
    return measure(scenes, _in_range(kinds, first, last))


def _in_range(kinds: Sequence[str], first: int, last: int) -> Callable[[str], bool]:
    names = {f"{kind}/{number}" for kind in kinds for number in range(first, last + 1)}
    return names.__contains__
