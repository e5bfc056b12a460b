"""Schedules of sampling: which shots a pass sees, and which of them are denoised, in which order.

A plan is a sequence of windows. Joint sampling is one window in which every shot is denoised; shot-after-shot sampling
has a window for each new shot, with its history as conditions. One sampler runs all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lct_jax.config import SamplingConfig
from lct_jax.sampling.history import choose_history, sampling_order
from lct_jax.sampling.request import RequestError, SceneRequest


@dataclass(frozen=True)
class Window:
    """Shots of one pass.

    Attributes:
        shots: all of them (0-based, in order).
        denoised: those that are generated; the others are conditions at a low time.
    """

    shots: tuple[int, ...]
    denoised: tuple[int, ...]

    @property
    def holds(self) -> bool:
        """Whether there are conditions, finished or given shots."""
        return len(self.shots) > len(self.denoised)


def plan_joint(request: SceneRequest, config: SamplingConfig) -> tuple[Window, ...]:
    """Returns one window of all shots, in which given shots are conditions.

    Raises:
        RequestError: more shots than a window holds, or one that needs the end of another before it begins.
    """
    if len(request.shots) > config.window:
        raise RequestError(
            f"found {len(request.shots)} shots, joint sampling sees at most {config.window} at once "
            "(sampling.window); autoregressive sampling takes any number"
        )
    _check_some(request)
    for number, shot in enumerate(request.shots):
        if shot.overlap and request.shots[number - 1].given is None:
            raise RequestError(
                "the shot before is not finished when this one is sampled jointly with it, expected "
                "a given one, or autoregressive or causal sampling",
                shot=number,
                name="overlap",
            )
    shots = _in_window(request, range(len(request.shots)))
    return (Window(shots=shots, denoised=_to_generate(request, shots)),)


def plan_autoregressive(request: SceneRequest, config: SamplingConfig) -> tuple[Window, ...]:
    """Returns a window for each new shot, in which it and its history stand in the order of the script.

    Given shots that come later in the script may be part of a history: an image at the end of a script can lead the
    shots to it. Pictures of characters and places come before the shots.
    """
    _check_some(request)
    plans = []
    for shot in _to_generate(request, sampling_order(request)):
        seen = choose_history(request, shot, config)
        plans.append(Window(shots=_in_window(request, (*seen, shot)), denoised=(shot,)))
    return tuple(plans)


def plan_causal(request: SceneRequest, config: SamplingConfig) -> tuple[Window, ...]:
    """Returns a window for each shot, which comes last in it, after its history; windows are in the order of sampling.

    A given shot has a window in which nothing is denoised. A given shot that comes later in the script than a shot that
    sees it has its window before that of the other shot, and comes before all other shots there; the others keep the
    script's order. So the shot that a new one may go on from is always right before it.
    """
    _check_some(request)
    plans, made = [], []
    for shot in sampling_order(request):
        if shot in made:
            continue
        is_given = request.shots[shot].given is not None
        seen = choose_history(request, shot, config)
        # A given shot sees pictures of whom it names, as it did where it was sampled and then kept.
        pictured = lambda other: bool(request.shots[other].links.picture_of)
        early = [o for o in seen if o not in made and (pictured(o) or not is_given)]
        for new in (*early, shot):
            # A picture of the cast shows its owner alone, whatever was sampled before a shot needs it.
            ready = [] if pictured(new) else [o for o in made if o in seen]
            before = sorted(_in_window(request, ready), key=lambda o: o < new)
            plans.append(Window(shots=(*before, new), denoised=_to_generate(request, [new])))
            made.append(new)
    return tuple(plans)


def plan_references(request: SceneRequest, config: SamplingConfig) -> tuple[Window, ...]:
    """Returns a window for each picture alone, then one for each shot behind the pictures that it sees.

    Raises:
        RequestError: a shot names more than a window holds.
    """
    plans = plan_autoregressive(request, config)
    for window in plans:
        others = [shot for shot in window.shots if shot not in window.denoised]
        assert all(request.shots[other].links.picture_of for other in others), window
    return plans


def plan_apart(request: SceneRequest, config: SamplingConfig) -> tuple[Window, ...]:
    """Returns a window for each shot alone, of which pictures that others begin with come first."""
    del config
    _check_some(request)
    order = _to_generate(request, sampling_order(request))
    return tuple(Window(shots=(shot,), denoised=(shot,)) for shot in order)


def plan_key_frames(request: SceneRequest, config: SamplingConfig) -> tuple[Window, ...]:
    """Returns one window of all pictures that shots begin with, then one for each shot alone."""
    frames = tuple(sorted({shot.begins.shot for shot in request.shots if shot.begins}))
    alone = [w for w in plan_apart(request, config) if w.shots[0] not in frames]
    return (*([Window(shots=frames, denoised=frames)] if frames else []), *alone)


def drop_pictures(
    request: SceneRequest, plan: Sequence[Window], *, own: int, done: Collection[int]
) -> tuple[Window, ...]:
    """Returns a plan without the windows of pictures that no shot needs any more.

    Args:
        own: how many shots the film has; those from this number on are pictures.
        done: the shots that are finished.
    """
    left = [w for w in plan if any(shot < own and shot not in done for shot in w.denoised)]
    needed = {shot for window in left for shot in window.shots}
    needed |= {request.shots[s].begins.shot for s in needed if request.shots[s].begins}
    keep = lambda window: not window.denoised or min(window.denoised) < own
    return tuple(w for w in plan if keep(w) or needed & {*w.denoised})


def _in_window(request: SceneRequest, shots: Sequence[int]) -> tuple[int, ...]:
    """Returns shots in the order in which they stand in a window: pictures of the cast, then the script's order."""
    return tuple(sorted(shots, key=lambda s: (not request.shots[s].links.picture_of, s)))


def _to_generate(request: SceneRequest, shots: Sequence[int]) -> tuple[int, ...]:
    return tuple(shot for shot in shots if request.shots[shot].given is None)


def _check_some(request: SceneRequest) -> None:
    if not _to_generate(request, range(len(request.shots))):
        raise RequestError("every shot is given, expected at least one to generate")
