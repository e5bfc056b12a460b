"""Directs a scene shot by shot at a prompt: a line is the next shot, and a word changes what was done.

    python -m lct_jax.interactive --checkpoint=DIR [--codec=FILE] [--script=FILE] [--mode=causal] [--out=DIR]

The model, and in causal mode its cache, stay in memory. A finished shot is written to `--out` at once, and so is the
script of what was done, from which `sample.py` makes the same latents. `help` lists the words. Ctrl-C during a shot
goes back to the prompt once the step is finished, and nothing is lost; a second one before that ends the program with
exit code 130, and finished shots and the script are on disk. Without `--script`, `environment TEXT` (or `story`, or
`character 1 TEXT`) comes first: it says what all shots share.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from tqdm import tqdm

import lct_jax
from lct_jax.cli import define_path, define_sampling, run
from lct_jax.directing.prompts import Condition
from lct_jax.directing.save_script import to_plain
from lct_jax.directing.script_fields import check_frames
from lct_jax.directing.yaml_text import write_yaml
from lct_jax.errors import InputError, describe, make_folder
from lct_jax.sampled_scene import FinishedShot
from lct_jax.scene_files.writer import SceneWriter
from lct_jax.session.sampler import StoppedAtOnce
from lct_jax.session.session import Session
from lct_jax.startup import define_compilation_cache, use_compilation_cache

HELP = """\
TEXT               the next shot, after a cut; `shot TEXT` where TEXT begins with one of these words
+ TEXT             the next shot, which goes on from the one before it
given FILE TEXT    an image or a video as the next shot
redo [N]           shot N, or the last one, from another seed
edit N TEXT        another prompt for shot N
undo               takes the last change back
keep [N]           no later change makes shot N, or the last one, anew
character ID TEXT  who plays; environment TEXT, story TEXT: where, and what happens
picture ID FILE    another picture of a character, for shots that name it; a number behind FILE is its time
history N N ..     the shots that the next shot sees; `history` alone: those that the model chooses
seed N             the seed of the next shot, or of the next redo
frames N           the length of the shots to come; `frames` alone: the usual one
script             shows what was done; save [DIR]: writes it and the whole scene
quit               ends"""


class Director:
    """Does what the lines of a person say.

    Args:
        session: the session.
        out: the folder to write to.
        say: shows a line.
    """

    def __init__(self, session: Session, out: Path, *, say: Callable[[str], Any] = print) -> None:
        self.session, self.out, self.say = session, out, say
        self._history: tuple[int, ...] | None = None
        self._seed: int | None = None
        self._frames: int | None = None
        self._written: dict[int, FinishedShot] = {}
        self._words: dict[str, Callable[[str], None]] = {
            "+": lambda text: self._shoot(text, cut=False),
            "shot": self._shoot,
            "given": self._give,
            "redo": self._redo,
            "edit": self._edit,
            "undo": self._undo,
            "keep": self._keep,
            "character": self._describe,
            "picture": self._picture,
            "environment": lambda text: self._set_scene(environment=text),
            "story": lambda text: self._set_scene(story=text),
            "history": self._choose_history,
            "seed": self._choose_seed,
            "frames": self._choose_frames,
            "script": lambda _: self.say(write_yaml(to_plain(session.script, folder=out))),
            "save": self._save,
            "help": lambda _: self.say(HELP),
        }

    def do(self, line: str) -> bool:
        """Does what a line says, and returns whether to go on; mistakes and Ctrl-C are shown and change nothing, and a
        second Ctrl-C before the first one had its effect raises StoppedAtOnce."""
        word, _, rest = line.strip().partition(" ")
        if not word:
            return True
        if word in ("quit", "exit"):
            return False
        before = self.session.script
        try:
            self._words.get(word, lambda _: self._shoot(line.strip()))(rest.strip())
        except (InputError, OSError) as error:
            # Where the disk is full, what could not be written is written after the next line.
            said, _ = describe(error)
            self.say(said)
        except StoppedAtOnce:
            raise
        except KeyboardInterrupt:
            if self.session.script is before:
                self.say("stopped: the scene is as before")
            else:
                self.say("the scene was changed before it could be stopped; undo takes it back")
                self.show()
        return True

    def _shoot(self, text: str, *, cut: bool = True) -> None:
        self.session.shot(
            text, cut=cut, history=self._history, seed=self._seed, frames=self._frames
        )
        self._history = self._seed = None
        self.show()

    def _give(self, rest: str) -> None:
        file, *words = _split(rest, "given: expected FILE TEXT, a name with spaces in quotes")
        self.session.shot(" ".join(words), given=Condition(file))
        self.show()

    def _picture(self, rest: str) -> None:
        expected = "picture: expected ID FILE or ID FILE TIME, a name with spaces in quotes, a time from 0 to 1"
        name, *words = _split(rest, expected)
        if len(words) not in (1, 2):
            raise InputError(expected)
        try:
            time = float(words[1]) if words[1:] else None
        except ValueError:
            raise InputError(expected) from None
        self.session.picture(name, words[0], time=time)
        self.show()

    def _redo(self, rest: str) -> None:
        self.session.redo(_read_number(rest, "redo"), seed=self._seed)
        self._seed = None
        self.show()

    def _edit(self, rest: str) -> None:
        number, _, text = rest.partition(" ")
        self.session.edit(_read_number(number, "edit N TEXT", needed=True), text)
        self.show()

    def _undo(self, _: str) -> None:
        if not self.session.undo():
            raise InputError("undo: nothing was done")
        self.show()

    def _keep(self, rest: str) -> None:
        self.session.keep(_read_number(rest, "keep"))
        self.show()

    def _describe(self, rest: str) -> None:
        name, _, text = rest.partition(" ")
        self._set_scene(characters={name: text})

    def _set_scene(self, **changes: Any) -> None:
        self.session.describe(**changes)
        self.show()

    def _choose_history(self, rest: str) -> None:
        words = rest.replace(",", " ").split()
        numbers = [_read_number(word, "history", needed=True) for word in words]
        self._history = tuple(self.session.find_shot(number) + 1 for number in numbers) or None

    def _choose_seed(self, rest: str) -> None:
        self._seed = _read_number(rest, "seed")

    def _choose_frames(self, rest: str) -> None:
        number = _read_number(rest, "frames")
        self._frames = None if number is None else check_frames(number)

    def _save(self, rest: str) -> None:
        for path in self.session.save(rest or self.out):
            self.say(str(path))

    def show(self) -> None:
        """Writes shots that are not yet there and the script as it is now, and says where new shots are."""
        make_folder(self.out)
        meta, script = self.session.generator.meta, self.session.script
        writer = SceneWriter(self.out, script, given={}, fps=meta.fps, credit=meta.credit)
        shots = {shot.number: shot for shot in self.session.shots}
        for number, shot in shots.items():
            if self._written.get(number) is shot:
                continue
            path = writer.add(number, latent=shot.latent, frames=shot.frames)
            seen = script.shots[number].history
            sees = f", sees {', '.join(map(str, seen))}" if seen else ""
            self.say(f"shot {number + 1}: {path}{sees}")
        self._written = shots
        if script.shots:
            self.session.save_script(self.out)


class Progress:
    """A progress bar for each change, whose number of steps the session knows once it begins."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self._bar: tqdm | None = None

    def step(self) -> None:
        """Counts an Euler step."""
        if self._bar is None:
            total = None if self.session is None else self.session.planned
            self._bar = tqdm(total=total, unit="step", leave=False)
        self._bar.update()

    def say(self, line: str) -> None:
        """Shows a line in place of the bar."""
        # Ctrl-C may come while the bar closes; the next change has a bar of its own all the same.
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
        print(line)


def find_folder() -> Path:
    """Returns the first of runs/session, runs/session_2, .. that is not there yet."""
    folder, number = Path("runs/session"), 1
    while folder.exists():
        number += 1
        folder = Path(f"runs/session_{number}")
    return folder


def _split(text: str, expected: str) -> list[str]:
    """Returns the words of a line, of which there is at least one; raises InputError with `expected` otherwise."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if not words:
        raise InputError(expected)
    return words


def _read_number(text: str, word: str, *, needed: bool = False) -> int | None:
    if not text and not needed:
        return None
    if not text.isdecimal():
        raise InputError(f"{word}: found {text!r}, expected a number")
    return int(text)


def main(argv: Sequence[str]) -> None:
    del argv
    use_compilation_cache()
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  arrow keys and earlier lines at the prompt
    generator = lct_jax.load(
        CHECKPOINT.value, codec=CODEC.value, encoder=ENCODER.value, weights=WEIGHTS.value
    )
    progress = Progress()
    session = generator.session(SCRIPT.value, mode=MODE.value, on_step=progress.step, **SETTINGS())
    progress.session = session
    out = Path(OUT.value) if OUT.value else find_folder()
    director = Director(session, out, say=progress.say)
    if session.shots:
        director.show()
    progress.say(f"{session.script.sampler['mode']}, into {out}; help lists the words")
    going = True
    while going:
        try:
            line = input("> ")
        except KeyboardInterrupt:
            print()
            continue
        except EOFError:
            break
        try:
            going = director.do(line)
        except StoppedAtOnce:
            raise
        except KeyboardInterrupt:  # while what was stopped is written
            print()


if __name__ == "__main__":
    # The flags are not defined at the top, because a test that imports this would have them too.
    CHECKPOINT = define_path("checkpoint", "Run folder, weights or published base.", required=True)
    CODEC = define_path("codec", "Codec weights; default: those in the run's folder.")
    ENCODER = define_path("encoder", "Folder of the text encoder, where it was moved.")
    SCRIPT = define_path("script", "Script to begin with; its shots are sampled first.")
    OUT = define_path("out", "Folder to write to; default: a new one, runs/session.")
    MODE = flags.DEFINE_enum(
        "mode",
        None,
        ["autoregressive", "causal"],
        "How shots are sampled; default: as the weights were trained.",
    )
    WEIGHTS = flags.DEFINE_enum("weights", "ema", ["ema", "params"], "Which weights of a run.")
    define_compilation_cache()
    SETTINGS = define_sampling()
    run(main)
