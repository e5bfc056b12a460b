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
from typing import Any

from lct_jax.directing.formats.values import (
    Exported,
    Imported,
    check_object,
    check_texts,
    describe_cast,
    describe_missing,
    name_unread,
    name_unwritten,
)
from lct_jax.directing.prompts import GlobalPrompt, ShotPrompt, find_characters
from lct_jax.directing.script import Script
from lct_jax.errors import InputError

STORIES = ("entitybench", "storymem")
_SCENE = {"scene_num", "video_prompts", "cut", "action_descriptions"}
_STORY = {"story_overview", "scenes", "entity_descriptions", "entity_schedule"}
# What follows from the rest.
_COUNTS = {"_num_scenes", "_num_shots", "_name_map", "_window_shot_ids"}


def read_story(values: Any) -> Imported:
    """Returns the script in a story; raises InputError naming the scene that is not one.

    Names of EntityBench become `Character ID`, and what it says of places becomes the environment.
    """
    values = check_object(values, "story")
    scenes = values.get("scenes")
    if not isinstance(scenes, list) or not scenes:
        raise InputError(f"scenes: found {scenes!r:.60}, expected a list of scenes")
    entities = values.get("entity_descriptions", {})
    schedule = values.get("entity_schedule", {})
    ids = {x["name"]: _make_id(label) for label, x in entities.items() if _is_person(label)}
    notes = name_unread(values, _STORY | _COUNTS)
    shots: list[ShotPrompt] = []
    for number, scene in enumerate(scenes):
        scene = check_object(scene, f"scenes[{number}]")
        made, unread = _read_scene(scene, number, ids, schedule)
        shots += made
        notes += unread
    objects = [label for label in entities if label.startswith("Object ")]
    notes += [
        f"entity_descriptions, entity_schedule: {len(objects)} objects have no place in a script"
    ] * bool(objects)
    story = _write_ids(" ".join(str(values.get("story_overview", "")).split()), ids)
    places = [x for label, x in entities.items() if label.startswith("Location ")]
    characters = {
        _make_id(label): x["description"] for label, x in entities.items() if _is_person(label)
    }
    notes += describe_missing(characters, [story, *(shot.text for shot in shots)])
    prompt = GlobalPrompt(
        characters=characters,
        environment=" ".join(f"{x['name']}: {_end(x['description'])}" for x in places),
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
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    return Exported({f"{name}.json": text}, tuple(notes))


def _read_scene(
    scene: Mapping[str, Any], number: int, ids: Mapping[str, str], schedule: Mapping[str, Any]
) -> tuple[list[ShotPrompt], list[str]]:
    """Returns the shots of a scene, and notes about what is left of it."""
    where = f"scenes[{number}]"
    key = "action_descriptions" if "action_descriptions" in scene else "video_prompts"
    texts = check_texts(scene.get(key), f"{where}.{key}")
    cuts = scene.get("cut", [True] * len(texts))
    if not isinstance(cuts, list) or len(cuts) != len(texts):
        raise InputError(f"{where}.cut: found {cuts!r:.60}, expected one for each of the prompts")
    shots, notes = [], name_unread(scene, _SCENE, "scenes[].")
    for place, (text, cut) in enumerate(zip(texts, cuts, strict=True), start=1):
        seen = schedule.get(f"{scene.get('scene_num', number + 1)}:{place}", {})
        places = seen.get("places", [])
        if len(places) > 1:
            notes.append("entity_schedule: a shot has one place here, the first")
        text = _write_ids(text, ids)
        named = find_characters(text)
        present = [ids[name] for name in seen.get("characters", []) if name in ids]
        shots.append(
            ShotPrompt(
                text,
                # Their instruction writes "True" and "False", and their files true and false.
                cut=str(cut).lower() != "false",
                place=places[0] if places else "" if schedule else f"scene {number + 1}",
                refers=tuple(name for name in present if name not in named),
            )
        )
    return shots, notes


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


def _end(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
