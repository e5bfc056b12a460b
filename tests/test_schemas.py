"""The JSON Schemas in docs/schemas/, by which editors complete scripts, scene files and lists of cuts.

`make golden` writes them anew from the types, to be looked at and committed with the change.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic.json_schema import GenerateJsonSchema

from lct_jax.data.scene_fields import CutListFields, SceneFileFields
from lct_jax.directing.field_reader import FileFields, open_source
from lct_jax.directing.script import ScriptFields

ROOT = Path(__file__).parents[1]
SCHEMAS = ROOT / "docs" / "schemas"
KINDS = {"script": ScriptFields, "scenes": SceneFileFields, "cuts": CutListFields}
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"

each_kind = pytest.mark.parametrize("name", KINDS)


class Generate(GenerateJsonSchema):
    """Leaves out the titles of fields, which only repeat their names."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def make_schema(kind: type[FileFields]) -> dict[str, object]:
    """The JSON Schema of a kind of file."""
    schema = kind.model_json_schema(schema_generator=Generate)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}


@each_kind
def test_schema_is_as_written(name):
    file, schema = SCHEMAS / f"{name}.schema.json", make_schema(KINDS[name])
    if UPDATE:
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    assert file.is_file(), f"{file.relative_to(ROOT)} is missing: `make golden` writes it"
    written = json.loads(file.read_text(encoding="utf-8"))
    assert schema == written, "changed on purpose? `make golden`, and look at the diff"


def _find_objects(schema: dict[str, object]) -> list[dict[str, object]]:
    return [schema, *schema.get("$defs", {}).values()]


@each_kind
def test_editors_know_every_key_and_no_others(name):
    for part in _find_objects(json.loads((SCHEMAS / f"{name}.schema.json").read_text())):
        assert part["additionalProperties"] is False
        assert part["description"]
        assert [key for key, value in part["properties"].items() if not value["description"]] == []


def test_required_keys_are_those_of_the_documents():
    required = {
        name: {part["title"]: part.get("required", []) for part in _find_objects(make_schema(kind))}
        for name, kind in KINDS.items()
    }
    assert required == {
        "script": {
            "lct_jax script": ["format", "shots"],
            "ShotFields": ["prompt"],
            "CharacterFields": ["text"],
            "ConditionFields": ["file"],
            "EdgeFields": ["file"],
            "PictureFields": ["file"],
            "PlaceFields": [],
            "SamplerFields": [],
        },
        "scenes": {
            "lct_jax scene file": ["format", "film", "cast", "scenes"],
            "FilmFields": ["file", "title", "credit", "licence", "fps"],
            "AnnotatedSceneFields": [
                *("id", "split", "characters", "environment", "story", "shots"),
            ],
            "AnnotatedShotFields": ["frames", "prompt"],
        },
        "cuts": {"lct_jax list of cuts": ["format", "fps"]},
    }


@pytest.mark.parametrize("name", ["bunny_meadow", "two_strangers"])
def test_example_scripts_name_the_schema_that_is_there(name):
    path = ROOT / "examples" / "scripts" / f"{name}.json"
    fields = open_source(path).parse(ScriptFields)
    assert (path.parent / fields.json_schema).resolve() == SCHEMAS / "script.schema.json"
