"""Which shots a new shot sees: the most recent or the most relevant ones, within a budget.

Candidates are the given shots and those that are sampled before it; of the pictures of characters and places, those of
whom and what it names. "recent" takes the shot before, then given pictures, which show what a person or a place looks
like for the whole scene, then the nearest. "relevant" takes, in this order, the one that a shot goes on from; those
that a script refers to by number; those that share a character or a place it refers to; given pictures; and then the
others, by characters and places in common and by the similarity of the prompts.
In the paper, people choose the history by hand [LCT section 3.4], as a script may, too; this ranking is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lct_jax.config import SamplingConfig
from lct_jax.errors import InputError
from lct_jax.sampling.request import RequestError, SceneRequest, ShotRequest


def choose_history(request: SceneRequest, shot: int, config: SamplingConfig) -> tuple[int, ...]:
    """Returns the shots (from 0, in order) that a shot is to see.

    They are the best ones that fit `history_shots`, the window and `history_tokens`; a shot that is too large for what
    is left of the tokens is skipped. A history that the script names is taken as it is, with pictures of what it names.

    Raises:
        InputError: a history that the script names does not fit the window; or a shot is to be made that goes on,
            without a cut, from one that is too large for `history_tokens` or is sampled later.
    """
    if request.shots[shot].links.picture_of:
        return ()
    if (named := request.shots[shot].links.history) is not None:
        return _take_named(request, shot, named, config)
    room = min(config.history_shots, config.window - 1)
    tokens = config.history_tokens or float("inf")
    chosen = []
    for other in _RANK[config.history](request, shot):
        size = count_tokens(request.shots[other])
        if len(chosen) < room and size <= tokens:
            chosen.append(other)
            tokens -= size
    if room:
        _check_goes_on(request, shot, chosen, config)
    return tuple(sorted(chosen))


def _check_goes_on(
    request: SceneRequest, shot: int, chosen: Sequence[int], config: SamplingConfig
) -> None:
    """Raises InputError where a shot to be made does not see the one that it goes on from."""
    here, before = request.shots[shot], shot - 1
    if not here.links.goes_on or here.given is not None or before in (-1, *chosen):
        return
    if before in rank_recent(request, shot):
        raise InputError(
            f"sampling.history_tokens: found {config.history_tokens}, expected at least"
            f" {count_tokens(request.shots[before])}: shots[{shot}] of the script goes on from shots[{before}]"
            " without a cut and must see it"
        )
    raise RequestError(
        f"found true where the shot goes on from shots[{before}], which is sampled later, expected "
        "a cut, or a key shot before it",
        shot=shot,
        name="key",
    )


def _take_named(
    request: SceneRequest, shot: int, named: tuple[int, ...], config: SamplingConfig
) -> tuple[int, ...]:
    pictures = {
        other
        for other, known in enumerate(request.shots)
        if known.links.picture_of and other != shot and _may_see(request, shot, other)
    }
    seen = sorted(pictures | {*named})
    if len(seen) >= config.window:
        raise RequestError(
            f"found {len(seen)} shots and pictures, expected at most {config.window - 1} "
            "(sampling.window)",
            shot=shot,
            name="history",
        )
    return tuple(seen)


def count_tokens(shot: ShotRequest) -> int:
    """Returns the tokens of text and video that a shot adds to a history."""
    return len(shot.prompt.text) + int(np.prod(shot.grid))


def sampling_order(request: SceneRequest) -> list[int]:
    """Returns all shots in the order of sampling: key shots first, then the others, each in the script's order."""
    return sorted(range(len(request.shots)), key=lambda s: not request.shots[s].links.is_key)


def rank_recent(request: SceneRequest, shot: int) -> list[int]:
    """Returns the candidates in the order of "recent".

    It is the shot before, then given pictures, then the shot behind, then the other shots before and those after, each
    nearest first.
    """
    order = sampling_order(request)
    ready = {*order[: order.index(shot)]} | {
        other for other, known in enumerate(request.shots) if known.given is not None
    }
    ready = {other for other in ready - {shot} if _may_see(request, shot, other)}
    nearest = [*reversed(range(shot)), *range(shot + 1, len(request.shots))]
    return sorted(
        (other for other in nearest if other in ready),
        key=lambda o: (o != shot - 1, not is_picture(request.shots[o]), o != shot + 1),
    )


def _may_see(request: SceneRequest, shot: int, other: int) -> bool:
    """Returns whether another shot is one of the film, or a picture of whom or what a shot names."""
    owner, links = request.shots[other].links.picture_of, request.shots[shot].links
    return not owner or owner in links.characters | links.named | {links.place}


def is_picture(shot: ShotRequest) -> bool:
    """Returns whether a shot is a given picture, such as one of a face or of a place, and no video."""
    return shot.given is not None and shot.grid[0] == 1


def rank_relevant(request: SceneRequest, shot: int) -> list[int]:
    """Returns the same candidates by their links to a shot; of equal ones the nearer comes first."""
    ranks = {other: _tie(request, shot, other) for other in rank_recent(request, shot)}
    # The sort is stable, so that equal ones stay nearest first.
    return sorted(ranks, key=ranks.__getitem__, reverse=True)


def _tie(request: SceneRequest, shot: int, other: int) -> tuple[bool, bool, bool, bool, float]:
    new, old = request.shots[shot], request.shots[other]
    mine, theirs = new.links, old.links
    # Nothing can go on from a shot that it does not see.
    continued = mine.goes_on and other == shot - 1
    named = bool(mine.named & (theirs.characters | {theirs.place}))
    every = mine.characters | theirs.characters
    shared = len(mine.characters & theirs.characters) / len(every) if every else 0.0
    same_place = mine.place != "" and mine.place == theirs.place
    return (
        continued,
        other in mine.shots,
        named,
        is_picture(old),
        shared + same_place + _likeness(new.prompt.text, old.prompt.text),
    )


def _likeness(one_LE: np.ndarray, other_LE: np.ndarray) -> float:
    """Returns the cosine of the mean token vectors of two prompts, as sentence encoders compare texts."""
    one, other = one_LE.mean(0), other_LE.mean(0)
    return float(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-12))


_RANK = {"recent": rank_recent, "relevant": rank_relevant}
