"""The prompt of the interactive program: what its words do, and the program itself in a terminal of its own."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from interactive_terminal import Terminal
from safetensors.numpy import load_file
from tiny_film import run_program
from tiny_generator import CODEC, make_generator, write_weights
from tqdm import tqdm

from lct_jax.directing.script import load_script
from lct_jax.interactive import HELP, Director, Progress
from lct_jax.scene_files.writer import SceneWriter
from lct_jax.session.sampler import StoppedAtOnce

WORDS = """\
environment A harbour.
A wide quay.
+ A boat leaves.
history 1
seed 9
frames 5
shot undo the ropes.
redo 2
edit 3 A gull lands.
undo
keep
"""


def direct(out: Path, *lines: str) -> tuple[Director, list[str]]:
    """Returns a director who did what the lines say, and what was shown."""
    said: list[str] = []
    session = make_generator("causal").session()
    director = Director(session, out, say=said.append)
    for line in lines:
        assert director.do(line)
    return director, said


def test_words_direct_a_scene(tmp_path):
    director, said = direct(tmp_path, *WORDS.splitlines())
    shots = tmp_path / "shots"
    assert said == [
        f"shot 1: {shots / 'shot_01.mp4'}",
        f"shot 2: {shots / 'shot_02.mp4'}, sees 1",
        f"shot 3: {shots / 'shot_03.mp4'}, sees 1",
        f"shot 2: {shots / 'shot_02.mp4'}, sees 1",
        f"shot 3: {shots / 'shot_03.mp4'}, sees 1",
        f"shot 3: {shots / 'shot_03.mp4'}, sees 1",
    ]
    first, second, third = load_script(tmp_path / "script.yaml").shots
    assert (first.text, second.text, second.cut, second.seed) == (
        "A wide quay.",
        "A boat leaves.",
        False,
        10,
    )
    assert (third.text, third.given.tensor) == ("undo the ropes.", "shot_03")
    assert director.session.script.shots[2].frames == 5
    assert not director.do(" quit ")


def test_what_was_done_and_the_words_are_shown(tmp_path):
    _, said = direct(tmp_path, "help", "environment A harbour.", "", "A wide quay.", "script")
    assert said[0] == HELP
    assert "environment: A harbour." in said[-1]
    assert "history: []" in said[-1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("A wide quay.", "error: environment: is empty, expected an environment, a story or char"),
        ("redo", "error: found no shots, expected the number of a shot"),
        ("edit one A quay.", "error: edit N TEXT: found 'one', expected a number"),
        ("history one", "error: history: found 'one', expected a number"),
        ("history 1", "error: found no shots, expected the number of a shot"),
        ("frames 6", "error: found 6, expected 4n+1 frames: 5 or 9"),
        ("seed -1", "error: seed: found '-1', expected a number"),
        ("given 'a.png A wall.", "error: given: expected FILE TEXT, a name with spaces in quotes"),
        ("undo", "error: undo: nothing was done"),
        ("picture Tom", "error: picture: expected ID FILE or ID FILE TIME, a name with spaces in"),
        ("picture Tom a.png late", "error: picture: expected ID FILE or ID FILE TIME, a name with"),
        ("picture Tom a.png", "error: found character 'Tom', expected one of those described: nob"),
        ("save", "error: found no shots to save, expected at least one"),
    ],
)
def test_a_mistake_is_shown_and_the_prompt_goes_on(tmp_path, line, said):
    (found,) = direct(tmp_path, line)[1]
    assert found.startswith(said)


def test_ctrl_c_is_told_by_what_it_stopped(tmp_path, monkeypatch):
    director, said = direct(tmp_path, "environment A harbour.")

    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(director.session._sampler, "on_step", stop)
    assert director.do("A wide quay.")
    assert said == ["stopped: the scene is as before"]
    monkeypatch.undo()
    monkeypatch.setattr(director.session, "save_script", lambda _: stop())
    with pytest.raises(KeyboardInterrupt):  # the second time, by the same stand-in
        director.do("A wide quay.")
    assert said[-1] == "the scene was changed before it could be stopped; undo takes it back"


def test_a_full_disk_loses_no_shot(tmp_path, monkeypatch):
    director, said = direct(tmp_path, "environment A harbour.")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "shot_01.mp4")

    monkeypatch.setattr(SceneWriter, "add", fail)
    assert director.do("A wide quay.")
    assert said == ["error: shot_01.mp4: No space left on device"]
    monkeypatch.undo()
    assert director.do("A boat leaves.")
    assert [line.split(":")[0] for line in said[1:]] == ["shot 1", "shot 2"]
    assert len(load_script(tmp_path / "script.yaml").shots) == 2


def _strike_during_a_call() -> None:
    """Sends SIGINT twice while this thread runs no Python code, as while the program waits for a step."""

    def strike() -> None:
        for _ in range(2):
            # First the wait has to begin; then a signal has to be taken, or the system makes one of two.
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)

    striker = threading.Thread(target=strike)
    striker.start()
    # A signal that this thread takes would interrupt the wait.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        striker.join()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize("together", [False, True])
def test_a_second_ctrl_c_during_a_shot_ends_the_program_and_nothing_is_lost(
    tmp_path, monkeypatch, together
):
    director, _ = direct(tmp_path, "environment A harbour.", "A wide quay.")
    done = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def stop_twice() -> None:
        if together:
            _strike_during_a_call()
        else:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(director.session._sampler, "on_step", stop_twice)
    before, handler = director.session.script, signal.getsignal(signal.SIGINT)
    with pytest.raises(StoppedAtOnce):
        director.do("A boat leaves.")
    assert director.session.script is before
    assert signal.getsignal(signal.SIGINT) is handler
    assert signal.set_wakeup_fd(-1) == -1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == done


def test_a_bar_stopped_while_it_closes_leaves_room_for_the_next(monkeypatch, capsys):
    """Ctrl-C may come while the bar of a stopped change closes, and the next change has a bar all the same."""

    class Stopped(tqdm):
        asked = False

        def close(self) -> None:
            if not self.asked:
                self.asked = True
                raise KeyboardInterrupt
            super().close()

    progress = Progress()
    monkeypatch.setattr("lct_jax.interactive.tqdm", Stopped)
    progress.step()
    with pytest.raises(KeyboardInterrupt):
        progress.say("stopped")
    monkeypatch.undo()
    capsys.readouterr()
    progress.step()
    assert "step/s" in capsys.readouterr().err


@pytest.mark.programs
def test_the_program_in_a_terminal(tmp_path, request):
    """Ctrl-C during a shot goes back to the prompt, and a second one ends the program; what was done is on disk, and
    `sample.py` samples it to the same bits."""
    weights = write_weights(tmp_path / "weights.safetensors", "causal")
    out = tmp_path / "out"
    model = [f"--checkpoint={weights}", f"--codec={CODEC}"]
    terminal = Terminal(*model, f"--out={out}", "--steps=800", "--seed=3")
    request.addfinalizer(terminal.close)
    assert "causal, into" in terminal.wait_for("> ")
    for line in ("environment A harbour.", "A wide quay.", "A boat leaves."):
        terminal.write(f"{line}\n")
        terminal.wait_for("> ")
    terminal.write("A gull lands.\n")
    terminal.wait_for("0/800 [")  # the first steps are done
    terminal.write("\x03")
    terminal.wait_for("stopped: the scene is as before")
    terminal.wait_for("> ")
    for line in ("A man waves.", "redo 1", "edit 2 A ship leaves.", "save"):
        terminal.write(f"{line}\n")
        terminal.wait_for("> ")
    # At the prompt. Python loses a signal that comes after readline has drawn it and before it waits for keys.
    time.sleep(0.5)
    terminal.write("\x03")
    terminal.wait_for("> ")
    assert terminal.stop_twice("The quay is empty.") == 130
    script = load_script(out / "script.yaml")
    assert [shot.text for shot in script.shots] == [
        "A wide quay.",
        "A ship leaves.",
        "A man waves.",
    ]
    found = run_program(
        "sample.py", *model, f"--script={out / 'script.yaml'}", f"--out={tmp_path / 'again'}"
    )
    assert found.code == 0, found.stderr
    done, again = (load_file(f / "latents.safetensors") for f in (out, tmp_path / "again"))
    assert done.keys() == again.keys()
    for name, latent in done.items():
        np.testing.assert_array_equal(again[name], latent)
