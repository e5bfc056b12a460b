"""A scene that is directed shot by shot, with the model and its cache in memory.

    session = generator.session(
        characters={"1": "A fisherman in a yellow coat."}, environment="A harbour at dawn."
    )
    session.shot("Wide shot: Character 1 walks onto the pier.")     # in a notebook it is shown
    session.shot("Character 1 sits down on a crate.", cut=False)
    session.redo()
    session.edit(1, "Wide shot: Character 1 runs onto the pier.")
    session.undo()
    session.save("runs/harbour")

What was done is a script at any time, and `sample.py` on it gives the same latents, bit for bit: every shot of the
script names the shots that it saw and, once it was made anew, a seed of its own. A change makes anew exactly the shots
that saw what was changed. Ctrl-C ends a shot at the next pause between Euler steps, and the session is as before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lct_jax.config import SamplingConfig
from lct_jax.directing.prompts import Condition, GlobalPrompt, ShotPrompt
from lct_jax.directing.save_script import save_script
from lct_jax.directing.script import CLOSE_UP, CastPicture, Script, give_shots
from lct_jax.errors import InputError
from lct_jax.sampled_scene import FinishedShot
from lct_jax.sampling.encode_script import choose_settings
from lct_jax.scene_files.record import MANIFEST, SceneRecord, Take
from lct_jax.scene_files.writer import SceneWriter
from lct_jax.session.sampler import ChangeSampler, State
from lct_jax.tensors import save_tensors
from lct_jax.versions import read_versions

if TYPE_CHECKING:
    from lct_jax.generator import Generator

SCRIPT_FILE = "script.yaml"
# The latents of kept shots.
KEPT_FILE = "kept.safetensors"


class Session:
    """Samples shots of a scene as they are asked for; `Generator.session` makes it.

    Args:
        generator: the model.
        script: what all shots share, and shots that are sampled at once.
        mode: "autoregressive", or "causal" with a cache.
        settings: fields of the sampling config, which become part of the script.
        on_step: is called once an Euler step.

    Raises:
        InputError: the mode samples all shots at once.
    """

    def __init__(
        self,
        generator: Generator,
        script: Script,
        *,
        mode: str,
        settings: Mapping[str, Any],
        on_step: Callable[[], Any] = lambda: None,
    ) -> None:
        if mode not in ("autoregressive", "causal"):
            raise InputError(
                f"mode: found {mode!r}, which samples no shot behind another, expected autoregressive or causal"
            )
        self.generator = generator
        self._sampler = ChangeSampler(generator, on_step=on_step)
        self._highest_seed = 0
        sampler = {**script.sampler, **settings, "mode": mode}
        self._states = [State(dataclasses.replace(script, shots=(), sampler=sampler))]
        for shot in script.shots:
            self._add(shot)

    @property
    def script(self) -> Script:
        """What was done. Kept shots stand in it as they were sampled; `save` gives their latents."""
        return self._states[-1].script

    @property
    def shots(self) -> list[FinishedShot]:
        """The sampled shots, in order."""
        return [take.shot for _, take in sorted(self._states[-1].takes.items())]

    @property
    def planned(self) -> int:
        """The Euler steps of the change that is under way, for a progress bar."""
        return self._sampler.planned

    @property
    def sampling(self) -> SamplingConfig:
        """The settings of sampling."""
        return choose_settings(self.script, self.generator.config.sampling, {})

    def describe(
        self,
        *,
        characters: Mapping[str, str] | None = None,
        environment: str | None = None,
        story: str | None = None,
    ) -> tuple[FinishedShot, ...]:
        """Changes what all shots share; what is None stays. Returns the shots that were made anew: all but kept ones.

        Args:
            characters: descriptions by ID; an empty one removes the character.
        """
        old = self.script.prompt or GlobalPrompt({}, "", "")
        cast = {**old.characters, **(characters or {})}
        cast = {name: text for name, text in cast.items() if text}
        prompt = GlobalPrompt(
            characters=cast,
            environment=old.environment if environment is None else environment,
            story=old.story if story is None else story,
        )
        pictures = tuple(p for p in self.script.pictures if p.place or p.character in cast)
        return self._change(dataclasses.replace(self.script, prompt=prompt, pictures=pictures))

    def picture(
        self, character: str, file: str | Path, *, time: float | None = None
    ) -> tuple[FinishedShot, ...]:
        """Gives a character another picture, which shots that name it see; returns those, made anew.

        Args:
            time: the time at which it is held; None takes `sampling.condition_time`.

        Raises:
            InputError: nobody described the character, or the picture cannot be read.
        """
        cast = {} if self.script.prompt is None else self.script.prompt.characters
        if character not in cast:
            known = ", ".join(cast) or "nobody"
            raise InputError(
                f"found character {character!r}, expected one of those described: {known}"
            )
        condition = Condition(str(file), time)
        picture = CastPicture(condition, CLOSE_UP.format(character), character)
        # They stand in the order in which a file has them, so that the saved script has the same latents.
        place = lambda known: len(cast) if known.place else list(cast).index(known.character)
        pictures = tuple(sorted((*self.script.pictures, picture), key=place))
        return self._change(dataclasses.replace(self.script, pictures=pictures))

    def shot(
        self, text: str, *, cut: bool = True, history: tuple[int, ...] | None = None, **fields: Any
    ) -> FinishedShot | None:
        """Samples the next shot and returns it; None for a given one.

        Args:
            text: the prompt.
            cut: whether it starts with a cut.
            history: the shots that it sees, by number from 1; None lets `sampling.history` choose.
            fields: other fields of `ShotPrompt`, such as `frames`, `seed`, `place` and `given`.

        Raises:
            InputError: the shot does not fit the model, or nothing says what all shots share.
            KeyboardInterrupt: Ctrl-C; the session is as before.
        """
        made = self._add(ShotPrompt(text, cut=cut, history=history, **fields))
        return made[-1] if made else None

    def redo(
        self, number: int | None = None, *, seed: int | None = None
    ) -> tuple[FinishedShot, ...]:
        """Makes a shot anew from another seed, and those that saw it; returns them.

        Args:
            number: the shot, from 1; None takes the last one. seed: None takes one that no shot has.
        """
        place = self.find_shot(number)
        shot = self.script.shots[place]
        if shot.given is not None:
            raise InputError(f"shot {place + 1}: is given, expected one that was sampled")
        # Takes that were undone count, too: another take is one that was not seen before.
        used = (self._highest_seed, self.sampling.seed, *(x.seed or 0 for x in self.script.shots))
        seed = max(used) + 1 if seed is None else seed
        self._highest_seed = max(*used, seed)
        return self._change(self._replace(place, dataclasses.replace(shot, seed=seed)))

    def edit(self, number: int, text: str) -> tuple[FinishedShot, ...]:
        """Changes the prompt of a shot, from 1; returns it and those that saw it, made anew."""
        place = self.find_shot(number)
        shot = dataclasses.replace(self.script.shots[place], text=text)
        return self._change(self._replace(place, shot))

    def keep(self, number: int | None = None) -> None:
        """Keeps a shot as it is, from 1 (None: the last one): no later change makes it anew.

        Raises:
            InputError: it is no shot that was sampled, it begins with frames of the one before it, which a given shot
                cannot, or `sampling.cache` is "reuse", which makes other entries of given shots.
        """
        place = self.find_shot(number)
        shot = self.script.shots[place]
        if shot.given is not None or shot.overlap:
            raise InputError(
                f"shot {place + 1}: is given or has an overlap, expected one that can be given"
            )
        if self.sampling.cache == "reuse" and self.script.sampler["mode"] == "causal":
            raise InputError("sampling.cache: found 'reuse', expected 'renoise' to keep shots")
        state = self._states[-1]
        self._states.append(dataclasses.replace(state, kept=state.kept | {place}))

    def undo(self) -> bool:
        """Takes the last change back; returns whether there was one."""
        if len(self._states) > 1:
            self._states.pop()
            return True
        return False

    def save(self, folder: str | Path) -> list[Path]:
        """Writes the film and what belongs to it as `sample.py` does, and the script; returns the paths.

        A folder may be saved to again after any change. `sample.py --manifest` makes the same latents, where there is a
        shot that is not kept: kept ones are given in the manifest, as in the script.

        Raises:
            InputError: no shot was sampled, or the folder cannot be written to.
        """
        folder, state = Path(folder), self._states[-1]
        if not state.takes:
            raise InputError("found no shots to save, expected at least one")
        paths = self.save_script(folder)
        left = state.takes.keys() - state.kept
        scene = self.generator.sample(self._give_kept(folder / KEPT_FILE) if left else self.script)
        saw = {number + 1: self.script.shots[number].history for number in state.takes}
        if left:
            record = SceneRecord.begin(folder, scene.describe(folder), read_versions())
            for number in sorted(left):
                record.add(number + 1, state.takes[number].shot.latent, Take(saw[number + 1]))
            paths.append(folder / MANIFEST)
        else:
            SceneRecord.remove(folder)
        given = {n: shot for n, shot in scene.given.items() if n not in state.takes}
        meta = self.generator.meta
        writer = SceneWriter(folder, self.script, given=given, fps=meta.fps, credit=meta.credit)
        for number, take in sorted(state.takes.items()):
            writer.add(number, latent=take.shot.latent, frames=take.shot.frames)
        return [*writer.finish(mode=scene.mode, saw=saw), *paths]

    def save_script(self, folder: str | Path) -> list[Path]:
        """Writes the script, and the latents of kept shots, which are given in it; returns the paths."""
        folder, state = Path(folder), self._states[-1]
        kept = {f"shot_{n + 1:02d}": state.takes[n].shot.latent for n in sorted(state.kept)}
        if kept:
            save_tensors(folder / KEPT_FILE, kept)
        save_script(folder / SCRIPT_FILE, self._give_kept(folder / KEPT_FILE))
        return [folder / KEPT_FILE] * bool(kept) + [folder / SCRIPT_FILE]

    def _give_kept(self, latents: Path) -> Script:
        """Returns the script in which kept shots are given by their latents, at the time at which others saw them."""
        time = self.sampling.history_time
        kept = {
            place: Condition(str(latents), time=time, tensor=f"shot_{place + 1:02d}")
            for place in self._states[-1].kept
        }
        return give_shots(self.script, kept)

    def _repr_html_(self) -> str:
        """Returns the shots, in order, for a notebook."""
        return "".join(shot._repr_html_() for shot in self.shots)

    def _add(self, shot: ShotPrompt) -> tuple[FinishedShot, ...]:
        script = self.script
        before = len(script.shots)
        if shot.overlap and shot.history is not None and before not in shot.history:
            raise InputError(f"history: expected shot {before} in it, whose end begins this one")
        return self._change(dataclasses.replace(script, shots=(*script.shots, shot)))

    def find_shot(self, number: int | None) -> int:
        """Returns the place of shot `number`, from 1, or of the last one; raises InputError where there is none."""
        count = len(self.script.shots)
        place = count - 1 if number is None else number - 1
        if not 0 <= place < count:
            found = "no shots" if count == 0 else f"shot {number}, and there are {count}"
            raise InputError(f"found {found}, expected the number of a shot")
        return place

    def _replace(self, place: int, shot: ShotPrompt) -> Script:
        if place in self._states[-1].kept:
            raise InputError(f"shot {place + 1}: is kept, expected another one, or undo")
        shots = list(self.script.shots)
        shots[place] = shot
        return dataclasses.replace(self.script, shots=tuple(shots))

    def _change(self, script: Script) -> tuple[FinishedShot, ...]:
        """Samples what a script changes, and makes it the state; where that fails, the state is as before."""
        if script.prompt is None or not any(vars(script.prompt).values()):
            # Without a global prompt, a scene of one shot is another sample than the first shot of a longer scene.
            raise InputError(
                "environment: is empty, expected an environment, a story or characters before the first shot"
            )
        state, made = self._sampler.change(self._states[-1], script)
        self._states.append(state)
        return made
