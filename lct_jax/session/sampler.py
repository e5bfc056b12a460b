"""Samples what a change of a script makes necessary, and nothing else; the states of a session are kept in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from lct_jax.directing.field_reader import Source
from lct_jax.directing.save_script import to_plain
from lct_jax.directing.script import Script, read_script
from lct_jax.sampled_scene import FinishedShot, SampledScene
from lct_jax.sampling.cached_pass import CachedPass
from lct_jax.sampling.changes import find_affected, find_changed, renumber
from lct_jax.sampling.modes import MODES
from lct_jax.sampling.request import SceneRequest
from lct_jax.sampling.schedule import Window
from lct_jax.sampling.window import HeldShot

if TYPE_CHECKING:
    from lct_jax.generator import Generator


@dataclass(frozen=True)
class Take:
    """A shot as it was sampled.

    Attributes:
        tokens: its clean tokens, float32[L C].
        held: what its entry in the cache is made of; None without a cache.
        shot: the same, to be decoded.
    """

    tokens: np.ndarray
    held: HeldShot | None
    shot: FinishedShot


@dataclass(frozen=True)
class State:
    """What was done so far.

    Attributes:
        script: the script; each shot that was sampled has the history that it saw.
        request, windows: the script as it was sampled; None before the first shot.
        takes: by number of the shot, from 0; given shots have none.
        kept: the shots that are not made anew.
    """

    script: Script
    request: SceneRequest | None = None
    windows: tuple[Window, ...] = ()
    takes: Mapping[int, Take] = dataclasses.field(default_factory=dict)
    kept: frozenset[int] = frozenset()


class Change(NamedTuple):
    """A state after a change, and the shots that were sampled for it."""

    state: State
    made: tuple[FinishedShot, ...]


class StoppedAtOnce(KeyboardInterrupt):
    """A second Ctrl-C during a change, before the first one came to the end of a step: the person wants out."""


class ChangeSampler:
    """Samples the shots that a change concerns, shot after shot.

    Args:
        generator: the model.
        on_step: is called once an Euler step.

    Attributes:
        planned: the Euler steps of the change that is under way, or of the last one.
        cached: the cache of the causal mode, once there is one.
    """

    def __init__(self, generator: Generator, *, on_step: Callable[[], Any]) -> None:
        self.generator, self.on_step = generator, on_step
        self.planned = 0
        self.cached: CachedPass | None = None
        # The script by whose numbers of shots the cache has its entries.
        self._numbered: Script | None = None

    def change(self, state: State, script: Script) -> Change:
        """Samples what a script changes, and returns the state with it, and the shots that were sampled.

        Raises:
            InputError: the script is not valid or does not fit the model.
            KeyboardInterrupt: Ctrl-C, `StoppedAtOnce` the second time. The state before is as good as it was.
        """
        _check(script)
        if all(shot.given is not None for shot in script.shots):
            return Change(State(script), ())
        scene = self.generator.sample(script)
        anew = _find_anew(state, scene)
        self.planned = len(anew) * (len(scene.times) - 1)
        takes = {number: take for number, take in state.takes.items() if number not in anew}
        clean = {n: x.given for n, x in enumerate(scene.request.shots) if x.given is not None}
        clean |= {number: take.tokens for number, take in takes.items()}
        with jax.set_mesh(scene.placed.mesh), _interruptible(self.on_step) as on_step:
            executor = self._execute(scene, takes)
            for window in scene.windows:
                if not anew & {*window.denoised}:
                    continue
                for number, tokens in executor.denoise(window, clean, on_step).items():
                    held = None if self.cached is None else self.cached.cache.held[number]
                    clean[number] = tokens
                    takes[number] = Take(tokens, held, scene.finish(number, tokens))
        script = _write_histories(script, scene.windows)
        after = State(script, scene.request, scene.windows, takes, state.kept)
        return Change(after, tuple(takes[number].shot for number in sorted(anew)))

    def _execute(self, scene: SampledScene, takes: Mapping[int, Take]) -> Any:
        """Returns what samples windows of a scene; a cache is kept from one change to the next."""
        arguments = (scene.placed.denoiser, scene.inputs, scene.windows, scene.times)
        if not MODES[scene.mode].causal:
            return MODES[scene.mode].execute(*arguments)
        held = {number: take.held for number, take in takes.items()}
        if self.cached is None:
            self.cached = CachedPass(*arguments, retain="recent")
        else:
            self.cached.renumber(_match_numbers(self._numbered, scene.script))
        self._numbered = scene.script
        self.cached.change(scene.inputs, scene.windows, held)
        return self.cached


def _match_numbers(before: Script, after: Script) -> dict[int, int]:
    """Returns the numbers of shots, from 0, in a script by those in the script before it.

    Pictures of the cast are counted behind the shots, so that every new shot gives them other numbers.
    """
    own, pictures = len(after.shots), after.list_pictures()
    numbers = {number: number for number in range(min(own, len(before.shots)))}
    for place, picture in enumerate(before.list_pictures(), start=len(before.shots)):
        if picture in pictures:
            numbers[place] = own + pictures.index(picture)
    return numbers


def _find_anew(state: State, scene: SampledScene) -> set[int]:
    """Returns the shots that have to be sampled: new ones, changed ones, and those that saw these."""
    now = (scene.request, scene.windows)
    generated = {number for window in scene.windows for number in window.denoised}
    if state.request is None:
        return generated
    numbers = _match_numbers(state.script, scene.script)
    changed = find_changed(renumber(state.request, state.windows, numbers), now)
    # With a cache, a kept shot hands on what it saw, as keys and values.
    fixed = () if MODES[scene.mode].causal else state.kept
    affected = find_affected(changed, scene.windows, fixed=fixed)
    return generated.intersection(affected) - state.kept


def _check(script: Script) -> None:
    """Raises InputError where a script could not be read from a file."""
    plain = to_plain(script, folder=Path())
    if script.shots:
        read_script(Source("session", json.dumps(plain)), folder=Path())


def _write_histories(script: Script, windows: tuple[Window, ...]) -> Script:
    """Returns a script whose shots name those that they saw; pictures of the cast are not among these."""
    shots = list(script.shots)
    for window in windows:
        number, own = window.shots[-1], [n for n in window.shots[:-1] if n < len(shots)]
        if number < len(shots):
            history = tuple(sorted(other + 1 for other in own))
            shots[number] = dataclasses.replace(shots[number], history=history)
    return dataclasses.replace(script, shots=tuple(shots))


@contextlib.contextmanager
def _interruptible(on_step: Callable[[], Any]) -> Iterator[Callable[[], None]]:
    """Yields a callback for Euler steps that raises KeyboardInterrupt after Ctrl-C; a second Ctrl-C raises
    StoppedAtOnce wherever the program is.

    Between steps nothing is lost: no array is donated, and no entry half written.
    """
    asked = threading.Event()

    def step() -> None:
        on_step()
        if asked.is_set():
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield step
        return
    with _count_interrupts() as count:

        def ask(number: int, frame: Any) -> None:
            if asked.is_set() or count() > 1:
                raise StoppedAtOnce
            asked.set()

        before = signal.signal(signal.SIGINT, ask)
        try:
            yield step
        finally:
            signal.signal(signal.SIGINT, before)
    # Nobody has asked since the last step.
    if asked.is_set():
        raise KeyboardInterrupt


@contextlib.contextmanager
def _count_interrupts() -> Iterator[Callable[[], int]]:
    """Yields a function that returns the number of Ctrl-C since it was last called, at least 1.

    Python calls a handler once for all that came while it waited for a step. Each writes a byte to the wake-up
    descriptor, though, unless that belongs to somebody else, such as an event loop.
    """
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        if before != -1:
            signal.set_wakeup_fd(before)

        def count() -> int:
            with contextlib.suppress(BlockingIOError):
                return max(reader.recv(4096).count(signal.SIGINT), 1)
            return 1

        try:
            yield count
        finally:
            signal.set_wakeup_fd(before)
