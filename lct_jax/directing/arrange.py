"""Scripts as other systems take them: pictures that are sampled first, prompts that stand alone, captions of panels.

The own shots of a script stay the first ones, in their order. What is added behind them are shots of one frame, which
are sampled before those that need them and are no part of the film. docs/baselines.md says which systems these are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lct_jax.directing.prompts import (
    Begin,
    GlobalPrompt,
    ShotPrompt,
    find_characters,
    render_global,
)
from lct_jax.directing.script import Script
from lct_jax.errors import InputError

# Pictures that stand one above the other in one (movie-shots of github.com/ali-vilab/In-Context-LoRA).
PANELS = 3
# The name of a place where the script names none.
SOMEWHERE = "the place"


def add_references(script: Script) -> Script:
    """Returns a script with a picture to be sampled of every character and every place of which it gives none.

    A shot sees the pictures of whom it names and of where it plays, and no other shot. Where no shot has a `place`, the
    environment of the scene is the place of all of them.
    """
    owned = {picture.owner for picture in script.list_pictures()}
    shots = [replace(shot, history=()) for shot in script.shots]
    if script.prompt and script.prompt.environment and not any(shot.place for shot in shots):
        shots = [replace(shot, place=SOMEWHERE) for shot in shots]
    names = dict.fromkeys(name for shot in shots for name in find_characters(shot.text))
    faces = {name: f"Close-up: Character {name} stands still." for name in names}
    places = dict.fromkeys(shot.place for shot in shots if shot.place)
    views = {
        name: "Wide shot: nobody." if name == SOMEWHERE else f"Wide shot: {name}, nobody."
        for name in places
    }
    shape = {"aspect": shots[0].aspect, "size": shots[0].size}
    pictures = [
        ShotPrompt(text, frames=1, key=True, shown=False, picture_of=name, **shape)
        for name, text in {**faces, **views}.items()
        if name not in owned
    ]
    return replace(script, shots=(*shots, *pictures), added=len(pictures))


def tell_apart(script: Script) -> Script:
    """Returns a script of shots that are scenes of their own: each prompt describes whom it names, and the place."""
    shots = tuple(_stand_alone(shot, script.prompt) for shot in script.shots)
    return replace(script, prompt=None, shots=shots, apart=True)


def add_key_frames(script: Script) -> Script:
    """Returns a script of shots apart, each of which begins with a picture that is sampled with its own prompt.

    A shot that begins with something else already has none.
    """
    apart = tell_apart(script)
    shots, pictures = list(apart.shots), []
    for number in _list_open(apart):
        shots[number] = replace(shots[number], begins=Begin(len(shots) + len(pictures)))
        pictures.append(_make_still(apart.shots[number]))
    return replace(apart, shots=(*shots, *pictures), added=len(pictures))


def add_panels(script: Script) -> Script:
    """Returns a script of shots apart, of which three at a time begin with the panels of one sampled picture.

    Raises:
        InputError: shots that share a picture have different shapes.
    """
    apart = tell_apart(script)
    shared = "" if script.prompt is None else render_global(script.prompt, story=False)
    shots, pictures, numbers = list(apart.shots), [], _list_open(apart)
    for group in group_panels(len(numbers)):
        members = [numbers[place] for place in group]
        _check_shapes(apart, members)
        caption = caption_panels(shared, [script.shots[number].text for number in members])
        own = len(shots) + len(pictures)
        still = replace(_make_still(apart.shots[members[0]]), text=caption, cut=False)
        pictures.append(replace(still, panels=PANELS))
        for panel, number in enumerate(members):
            if shots[number].begins is None:
                shots[number] = replace(shots[number], begins=Begin(own, panel, PANELS))
    return replace(apart, shots=(*shots, *pictures), added=len(pictures))


def group_panels(count: int) -> list[tuple[int, ...]]:
    """Returns which of `count` shots share a picture: three by three, the last ones with some before them if need be.

    Fewer than three shots are repeated.
    """
    if count == 0:
        return []
    if count < PANELS:
        return [tuple(min(place, count - 1) for place in range(PANELS))]
    starts = sorted({*range(0, count - PANELS + 1, PANELS), count - PANELS})
    return [tuple(range(start, start + PANELS)) for start in starts]


def caption_panels(shared: str, prompts: Sequence[str]) -> str:
    """Returns the caption of a picture of panels: what all share, then every prompt behind a marker of its number."""
    marked = [f"[SCENE-{number}] {text}" for number, text in enumerate(prompts, start=1)]
    return " ".join([*([shared] if shared else []), *marked])


def describe_alone(script: Script) -> ShotPrompt | None:
    """Returns the first shot with the characters that it names described before it, in the form of the global prompt.

    Returns None where it names nobody, or where nobody is described.
    """
    shot, prompt = script.shots[0], script.prompt
    names = find_characters(shot.text)
    if not names or prompt is None:
        return None
    told = GlobalPrompt({name: prompt.characters[name] for name in names}, "", "")
    return replace(shot, text=f"{render_global(told)} {shot.text}")


def _stand_alone(shot: ShotPrompt, prompt: GlobalPrompt | None) -> ShotPrompt:
    names = find_characters(shot.text)
    shot = replace(shot, refers=(*shot.refers, *(n for n in names if n not in shot.refers)))
    if shot.alone:
        # The caption of a single shot stands as it was written.
        return replace(shot, text=shot.alone, cut=False)
    if prompt is None:
        return shot
    told = GlobalPrompt({name: prompt.characters[name] for name in names}, prompt.environment, "")
    return replace(shot, text=f"{render_global(told)} {shot.text}".strip())


def _list_open(script: Script) -> list[int]:
    """Returns the shots that begin with nothing given."""
    return [
        number
        for number, shot in enumerate(script.shots)
        if not (shot.given or shot.first or shot.overlap)
    ]


def _make_still(shot: ShotPrompt) -> ShotPrompt:
    return replace(
        shot, frames=1, seconds=None, last=None, key=True, shown=False, history=None, alone=""
    )


def _check_shapes(script: Script, numbers: Sequence[int]) -> None:
    shapes = [(script.shots[number].aspect, script.shots[number].size) for number in numbers]
    for number, shape in zip(numbers, shapes, strict=True):
        if shape != shapes[0]:
            with script.at(number):
                raise InputError(
                    f"found another shape than that of shot {numbers[0] + 1}, with which it shares a picture, "
                    "expected the same"
                )
