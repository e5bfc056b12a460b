"""Stories of StoryMem and EntityBench: scenes with a list of prompts each, and whether each begins with a cut.

StoryMem has `story_name`, `story_overview` and `scenes`, of which each has `scene_num`, `video_prompts`, `cut` and
`first_frame_prompt` (Kevin-thu/StoryMem at e027735: README.md and its story folder). EntityBench adds who and what is
in every shot, as `entity_descriptions` and `entity_schedule`, and the prompts without descriptions as
`action_descriptions` (Catherine-R-He/EntityBench at 3776439: README.md and its data folder). Neither has a global
prompt: descriptions stand before the prompts.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from lct_jax.directing.formats.values import (
    Exported,
    Imported,
    TheirFields,
    check_fields,
    check_texts,
    describe_cast,
    describe_missing,
    end_sentence,
    name_unread,
    name_unwritten,
)
from lct_jax.directing.prompts import GlobalPrompt, NotEmpty, ShotPrompt, find_characters
from lct_jax.directing.script import Script
from lct_jax.errors import InputError

STORIES = ("entitybench", "storymem")
# What follows from the rest.
_COUNTS = {"_num_scenes", "_num_shots", "_name_map", "_window_shot_ids"}


def _read_cut(value: Any) -> Any:
    """Returns true or false, where it is written as a text or a number: StoryMem's instruction says "True"."""
    return {"true": True, "false": False, "1": True, "0": False}.get(str(value).lower(), value)


class Entity(TheirFields):
    """Who or what appears in a story, under a label such as "Character 1"."""

    name: NotEmpty
    description: str = ""


class Presence(TheirFields):
    """Who and what is in a shot, by name."""

    characters: list[str] = Field(default_factory=list)
    places: list[str] = Field(default_factory=list)
    objects: list[str] = Field(default_factory=list)


class Scene(TheirFields):
    """A scene of a story."""

    scene_num: int | str | None = None
    video_prompts: list[str] | None = None
    action_descriptions: list[str] | None = None
    cut: list[Annotated[bool, BeforeValidator(_read_cut)]] | None = None


class Story(TheirFields):
    """A story, but for its scenes, each of which is checked by itself."""

    story_overview: str = ""
    scenes: list[Any]
    entity_descriptions: dict[str, Entity] = Field(default_factory=dict)
    entity_schedule: dict[str, Presence] = Field(default_factory=dict)


def read_story(values: Any) -> Imported:
    """Returns the script in a story; raises InputError naming the scene that is not one.

    Names of EntityBench become `Character ID`, and what it says of places becomes the environment.
    """
    fields = check_fields(Story, values, "story")
    if not fields.scenes:
        raise InputError("scenes: found [], expected a list of scenes")
    people = {label: x for label, x in fields.entity_descriptions.items() if _is_person(label)}
    ids = {x.name: _make_id(label) for label, x in people.items()}
    if len({*ids.values()}) < len(people):
        listed = ", ".join(map(repr, people))
        raise InputError(f"entity_descriptions: {listed} are not all different as names and as IDs")
    notes = _name_unread(values)
    shots: list[ShotPrompt] = []
    for number, scene in enumerate(fields.scenes):
        made, unread = _read_scene(scene, number, ids, fields.entity_schedule)
        shots += made
        notes += unread
    notes += _name_objects(fields)
    story = _write_ids(" ".join(fields.story_overview.split()), ids)
    described = {
        label: x for label, x in fields.entity_descriptions.items() if x.description.strip()
    }
    characters = {
        _make_id(label): x.description for label, x in described.items() if label in people
    }
    places = [x for label, x in described.items() if label.startswith("Location ")]
    everybody = [f"Character {name}" for name in ids.values()]
    notes += describe_missing(characters, [story, *(shot.text for shot in shots), *everybody])
    prompt = GlobalPrompt(
        characters=characters,
        environment=" ".join(f"{x.name}: {end_sentence(x.description)}" for x in places),
        story=story,
    )
    return Imported(Script(prompt, tuple(shots)), tuple(dict.fromkeys(notes)))


def write_story(script: Script, name: str, *, layout: str) -> Exported:
    """Returns a script as a story, in NAME.json.

    Shots that follow one another in one place are a scene. Each prompt begins with the descriptions of those whom it
    names and of the environment, since nothing else says them.

    Args:
        script, name: the script and the name of the story. layout: "storymem" or "entitybench".
    """
    detailed = layout == "entitybench"
    groups = [list(own) for _, own in itertools.groupby(script.shots, key=lambda shot: shot.place)]
    prompt = script.prompt or GlobalPrompt({}, "", "")
    values: dict[str, Any] = {
        "story_name": name,
        "story_overview": prompt.story,
        "scenes": [
            {
                "scene_num": number,
                "video_prompts": [_write_prompt(script, shot) for shot in group],
                "cut": [shot.cut for shot in group],
            }
            | ({"action_descriptions": [shot.text for shot in group]} if detailed else {})
            for number, group in enumerate(groups, start=1)
        ],
    }
    if detailed:
        values |= _write_entities(prompt, groups)
    notes = name_unwritten(script, written={"cut", "place"}, layout=layout)
    named = {name for shot in script.shots for name in find_characters(shot.text)}
    if not detailed:
        notes += [
            f"characters: Character {own}, whom no shot names: has no place in {layout}"
            for own in prompt.characters
            if own not in named
        ]
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    return Exported({f"{name}.json": text}, tuple(notes))


def _read_scene(
    value: Any, number: int, ids: Mapping[str, str], schedule: Mapping[str, Presence]
) -> tuple[list[ShotPrompt], list[str]]:
    """Returns the shots of a scene, and notes about what is left of it."""
    where = f"scenes[{number}]"
    scene = check_fields(Scene, value, where)
    own = scene.action_descriptions is not None
    key = "action_descriptions" if own else "video_prompts"
    texts = check_texts(getattr(scene, key), f"{where}.{key}")
    cuts = [True] * len(texts) if scene.cut is None else scene.cut
    if len(cuts) != len(texts):
        raise InputError(f"{where}.cut: found {cuts!r:.60}, expected one for each of the prompts")
    shots, notes = [], name_unread(value, Scene.model_fields, "scenes[].")
    called = number + 1 if scene.scene_num is None else scene.scene_num
    for place, (text, cut) in enumerate(zip(texts, cuts, strict=True), start=1):
        seen = schedule.get(f"{called}:{place}", Presence())
        if len(seen.places) > 1:
            notes.append("entity_schedule: a shot has one place here, the first")
        unknown = [name for name in seen.characters if name not in ids]
        notes += [f"entity_schedule: {name!r} is in no entity_descriptions" for name in unknown]
        text = _write_ids(text, ids)
        named = find_characters(text)
        present = [ids[name] for name in seen.characters if name in ids]
        shots.append(
            ShotPrompt(
                text,
                cut=cut,
                place=seen.places[0] if seen.places else "" if schedule else f"scene {number + 1}",
                refers=tuple(name for name in present if name not in named),
            )
        )
    return shots, notes


def _name_unread(story: Mapping[str, Any]) -> list[str]:
    """Returns notes about fields of a story, and of its entities and schedule, that are read by nobody."""
    notes = name_unread(story, Story.model_fields.keys() | _COUNTS)
    known = {
        "entity_descriptions": {"label", *Entity.model_fields},
        "entity_schedule": Presence.model_fields,
    }
    for key, own in known.items():
        for value in (story.get(key) or {}).values():
            notes += name_unread(value, own, f"{key}[].")
    return notes


def _name_objects(fields: Story) -> list[str]:
    entities, schedule = fields.entity_descriptions, fields.entity_schedule
    objects = {x.name for label, x in entities.items() if label.startswith("Object ")}
    objects |= {name for seen in schedule.values() for name in seen.objects}
    listed = ", ".join(sorted(objects))
    return [
        f"entity_descriptions, entity_schedule: objects ({listed}) have no place in a script"
    ] * bool(objects)


def _is_person(label: str) -> bool:
    return not label.startswith(("Location ", "Object "))


def _make_id(label: str) -> str:
    """Returns the ID of a character that is labelled "Character 1", or "Gen_Leo" as a few are."""
    return re.sub(r"\W", "_", label.removeprefix("Character "))


def _write_ids(text: str, ids: Mapping[str, str]) -> str:
    """Returns a text in which characters are named by ID; of two names that fit, the longer one counts."""
    if not ids:
        return text
    pattern = "|".join(map(re.escape, sorted(ids, key=len, reverse=True)))
    return re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", lambda found: f"Character {ids[found[0]]}", text)


def _write_prompt(script: Script, shot: ShotPrompt) -> str:
    lines = describe_cast(script, shot.text)
    if script.prompt is not None and script.prompt.environment:
        lines.append(f"Environment: {script.prompt.environment}")
    return "\n".join([*lines, *[""] * bool(lines), shot.text])


def _write_entities(prompt: GlobalPrompt, groups: Sequence[Sequence[ShotPrompt]]) -> dict[str, Any]:
    """Returns who and what is in every shot, in EntityBench's words."""
    places = list(dict.fromkeys(g[0].place for g in groups if g[0].place))
    entities = {f"Character {name}": text for name, text in prompt.characters.items()}
    names = {label: label for label in entities}
    for number, place in enumerate(places, start=1):
        entities[f"Location {number}"] = prompt.environment
        names[f"Location {number}"] = place
    return {
        "entity_descriptions": {
            label: {"name": names[label], "label": label, "description": text}
            for label, text in entities.items()
        },
        "entity_schedule": {
            f"{scene}:{number}": {
                "characters": [f"Character {name}" for name in find_characters(shot.text)],
                "places": [shot.place] if shot.place else [],
                "objects": [],
            }
            for scene, group in enumerate(groups, start=1)
            for number, shot in enumerate(group, start=1)
        },
        "_num_scenes": len(groups),
        "_num_shots": sum(map(len, groups)),
        "_name_map": names,
    }
