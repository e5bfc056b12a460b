"""Measures whether cuts are where the script puts them, by the detector of `prepare` and by TransNetV2."""

from __future__ import annotations

import numpy as np

from lct_jax.config import FootageConfig
from lct_jax.data.footage.cuts import track_film
from lct_jax.evaluation.samples import Cases, SampledShots
from lct_jax.evaluation.transnet import TransNet, find_transitions

# A detected cut belongs to a boundary that is at most this many frames away.
NEAR = 1
# What a scripted cut without any transition near it counts as, and the furthest that one may be: a second at 12 fps.
MISSED = 12


def measure_cuts(shots: SampledShots, config: FootageConfig) -> Cases:
    """Returns whether each boundary is a cut where it should be and none where it should not, and false cuts in shots.

    "cuts right" has a case for every boundary of two shots, "cuts inside shots" one for every shot: how many there are.
    """
    film, boundaries = shots.join(), shots.find_boundaries()
    found = track_film(((frame, 1) for frame in film), config).cuts
    right, inside = judge_cuts(found, boundaries, counts=[len(shot) for shot in shots.frames])
    return {"cuts right": right, "cuts inside shots": inside}


def judge_cuts(
    found: tuple[int, ...], boundaries: dict[int, bool], *, counts: list[int]
) -> tuple[list[float], list[float]]:
    """Returns for each boundary whether it is right, and for each shot how many cuts are in it.

    Args:
        found: frames that begin a shot, as detected. boundaries: frames that begin a shot by the script, and whether
            with a cut. counts: the frames of each shot.
    """
    near = lambda frame: any(abs(frame - cut) <= NEAR for cut in found)
    right = [float(near(frame) == cut) for frame, cut in boundaries.items()]
    false = [cut for cut in found if all(abs(cut - frame) > NEAR for frame in boundaries)]
    starts = np.cumsum([0, *counts])
    inside = np.histogram(false, bins=starts)[0].astype(float).tolist()
    return right, inside


def measure_transitions(shots: SampledShots, network: TransNet) -> Cases:
    """Returns Transition Deviation, by TransNetV2; cases as in `judge_transitions`."""
    transitions = find_transitions(network.score(shots.join()))
    return judge_transitions(transitions, shots.find_boundaries())


def judge_transitions(transitions: list[tuple[int, int]], boundaries: dict[int, bool]) -> Cases:
    """Returns how far transitions are from where the script has cuts.

    "transition deviation" has a case for every scripted cut: its distance in frames to the nearest transition, `MISSED`
    at most. "false transitions" has one case for the scene: the transitions more than `MISSED` frames from every cut or
    nearer to a boundary without one.

    Args:
        transitions: runs [first, last] of frames; those of a hard cut are the last frame of a shot.
        boundaries: frames that begin a shot by the script, and whether with a cut.
    """

    def distance(frame: int, run: tuple[int, int]) -> int:
        return max(run[0] - (frame - 1), (frame - 1) - run[1], 0)

    cuts = [frame for frame, cut in boundaries.items() if cut]
    deviations = [
        float(min([MISSED, *(distance(frame, run) for run in transitions)])) for frame in cuts
    ]
    false = 0
    for run in transitions:
        nearest = min(boundaries, key=lambda frame: distance(frame, run), default=None)
        false += nearest is None or not boundaries[nearest] or distance(nearest, run) >= MISSED
    return {"transition deviation": deviations, "false transitions": [float(false)]}
