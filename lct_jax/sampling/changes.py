"""What a change of a scene concerns: the shots that differ, and those that saw them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from lct_jax.sampling.request import SceneRequest, ShotLinks, ShotRequest
from lct_jax.sampling.schedule import Window


def find_changed(
    before: tuple[SceneRequest, Sequence[Window]], after: tuple[SceneRequest, Sequence[Window]]
) -> set[int]:
    """Returns the shots of a scene that differ from those of the scene before, each given as its request and plan.

    A shot differs in its prompt, its size, what is given of it, its seed, or the shots that it sees. Where the global
    prompt differs, all shots do.
    """
    (old, old_plan), (new, plan) = before, after
    if not is_same(old.prompt, new.prompt):
        return {window.shots[-1] for window in plan}
    seen = {window.shots[-1]: window.shots for window in old_plan}
    return {
        window.shots[-1]
        for window in plan
        if seen.get(window.shots[-1]) != window.shots
        or not is_same(_without_links(old, window.shots[-1]), _without_links(new, window.shots[-1]))
    }


def renumber(
    request: SceneRequest, plan: Sequence[Window], numbers: Mapping[int, int]
) -> tuple[SceneRequest, tuple[Window, ...]]:
    """Returns a scene and its plan in which shots have other numbers, from 0.

    Shots without a number are gone, and windows with any of them.
    """
    shots = {new: request.shots[old] for old, new in numbers.items()}
    # Nobody asks for the shots in between: they are in no window.
    some = tuple(shots.get(number, request.shots[0]) for number in range(max(shots, default=0) + 1))
    rename = lambda known: tuple(numbers[shot] for shot in known)
    windows = tuple(
        Window(rename(window.shots), rename(window.denoised))
        for window in plan
        if numbers.keys() >= set(window.shots)
    )
    return dataclasses.replace(request, shots=some), windows


def find_affected(
    changed: Collection[int], plan: Sequence[Window], *, fixed: Collection[int] = ()
) -> tuple[int, ...]:
    """Returns the changed shots and those that saw them, directly or through others, in order of the plan.

    Args:
        fixed: shots that stay as they are, so that those who see them alone are not affected.
    """
    saw = set(changed)
    for window in plan:
        if (saw - set(fixed)) & set(window.shots[:-1]):
            saw.add(window.shots[-1])
    return tuple(window.shots[-1] for window in plan if window.shots[-1] in saw)


def is_same(one: Any, other: Any) -> bool:
    """Returns whether two requests, or parts of them, ask for the same, arrays compared by their values."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.shape == other.shape and bool((one == other).all())
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if not dataclasses.is_dataclass(one):
        return bool(one == other)
    names = [field.name for field in dataclasses.fields(one)]
    return all(is_same(getattr(one, name), getattr(other, name)) for name in names)


def _without_links(request: SceneRequest, shot: int) -> ShotRequest:
    """Returns a shot without its links to others, which count by the windows that were chosen by them."""
    return dataclasses.replace(request.shots[shot], links=ShotLinks())
