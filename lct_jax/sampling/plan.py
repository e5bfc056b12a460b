"""Modes of sampling as plans: which shots are seen together, and which of them are denoised, in which order.

A plan is a sequence of windows. Joint sampling is one window in which every shot is denoised; shot after shot is a
window for each new shot with the finished ones before it as conditions. One sampler runs them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lct_jax.errors import InputError
from lct_jax.sampling.request import SceneRequest


@dataclass(frozen=True)
class Window:
    """Shots (0-based, in order) seen together; `denoised` are made here, the others are held as conditions."""

    shots: tuple[int, ...]
    denoised: tuple[int, ...]


def plan_joint(request: SceneRequest, *, window: int) -> tuple[Window, ...]:
    """All shots at once; given ones are conditions.

    Raises:
        InputError: more shots than a window holds.
    """
    if len(request.shots) > window:
        raise InputError(
            f"script: found {len(request.shots)} shots, joint sampling sees at most {window} at once "
            "(sampling.window); autoregressive sampling takes any number"
        )
    shots = tuple(range(len(request.shots)))
    return (Window(shots=shots, denoised=_to_generate(request, shots)),)


def plan_autoregressive(request: SceneRequest, *, window: int) -> tuple[Window, ...]:
    """Shot after shot: each sees the last `window - 1` shots before it, generated or given.

    Given shots that come later in the script are seen too, nearest first, as far as the window has room: an image
    at the end of a script can lead the shots to it.
    """
    plans = []
    for shot in _to_generate(request, range(len(request.shots))):
        before = list(range(shot))[-(window - 1) :] if window > 1 else []
        room = window - 1 - len(before)
        after = [
            s for s in range(shot + 1, len(request.shots)) if request.shots[s].given is not None
        ]
        plans.append(Window(shots=(*before, shot, *after[:room]), denoised=(shot,)))
    return tuple(plans)


PLANS = {"joint": plan_joint, "autoregressive": plan_autoregressive}


def _to_generate(request: SceneRequest, shots: Sequence[int]) -> tuple[int, ...]:
    chosen = tuple(shot for shot in shots if request.shots[shot].given is None)
    if not chosen:
        raise InputError("script: every shot is given, expected at least one to generate")
    return chosen
