"""YAML as people write scripts in it: read to the values that JSON has, with the line of every value, and written.

Plain words mean what they mean in YAML 1.2, so that `16:9` and `no` are texts and no number and no truth value, and a
key is always the text that stands in the file. Tags that would build other objects are refused.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

from lct_jax.errors import InputError

_PLAIN = {
    "tag:yaml.org,2002:null": (r"(?:~|null|Null|NULL|)", "~nN\0"),
    "tag:yaml.org,2002:bool": (r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    "tag:yaml.org,2002:int": (r"[-+]?[0-9]+", "-+0123456789"),
    "tag:yaml.org,2002:float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
        "-+.0123456789",
    ),
}
# What a person most likely meant, by the problem that PyYAML names.
_HINTS = {
    "mapping values are not allowed here": " (text with ': ' in it stands in quotes, "
    "and the fields of one object begin in one column)",
    "found character '\\t' that cannot start any token": " (a tab: indent with spaces)",
}


class _Loader(yaml.SafeLoader):
    """Builds null, truth values, numbers, texts, lists and objects, and nothing else."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
    yaml_constructors: ClassVar[dict[str, Any]] = {}


class _Dumper(yaml.SafeDumper):
    """Writes texts so that `_Loader` and other programs read texts."""

    def ignore_aliases(self, data: Any) -> bool:
        # A script is to be read by people, who would look for what *id001 is.
        return True


def _build(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    """Returns the value of a node; raises InputError where a key is no plain one, or stands there twice."""
    if isinstance(node, yaml.SequenceNode):
        return [loader.construct_object(item, deep=True) for item in node.value]
    members: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise InputError(f"line {key.start_mark.line + 1}: found a list or object as a key")
        if key.value in members:
            raise InputError(
                f"line {key.start_mark.line + 1}: key {key.value!r} is written twice in one object"
            )
        members[key.value] = loader.construct_object(value, deep=True)
    return members


def _build_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    try:
        return int(text)
    except ValueError:  # Python reads no more than some thousands of digits
        line = node.start_mark.line + 1
        raise InputError(f"line {line}: found a number of {len(text):,} digits") from None


def _build_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node))


def _refuse_tag(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    raise InputError(f"line {node.start_mark.line + 1}: found the tag {node.tag!r}, expected none")


for _tag, (_pattern, _first) in _PLAIN.items():
    for _loaded in (_Loader, _Dumper):
        _letters = [letter if letter != "\0" else "" for letter in _first]
        _loaded.add_implicit_resolver(_tag, re.compile(f"^{_pattern}$"), _letters)
_Loader.add_constructor("tag:yaml.org,2002:null", yaml.SafeLoader.construct_yaml_null)
_Loader.add_constructor("tag:yaml.org,2002:bool", yaml.SafeLoader.construct_yaml_bool)
_Loader.add_constructor("tag:yaml.org,2002:int", _build_integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _build_number)
_Loader.add_constructor("tag:yaml.org,2002:str", yaml.SafeLoader.construct_yaml_str)
_Loader.add_constructor("tag:yaml.org,2002:seq", _build)
_Loader.add_constructor("tag:yaml.org,2002:map", _build)
_Loader.add_constructor(None, _refuse_tag)


def parse_yaml(text: str) -> Any:
    """Returns the value of a YAML document; raises InputError, with the line, where it is none."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}"
        hint = _HINTS.get(str(error.problem), "")
        raise InputError(f"not YAML at {place}: {error.problem}{hint}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(
            f"not YAML at line {line}: found the character {chr(error.character)!r}"
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        problem = str(error).splitlines()[0]
        raise InputError(f"not YAML: {problem}") from None


def find_yaml_line(text: str, path: tuple[str | int, ...]) -> int:
    """Returns the line, counted from 1, of the value at `path`; where it leads nowhere, of the last one on the way."""
    node = yaml.compose(text, Loader=_Loader)
    for step in path:
        members = enumerate(node.value) if isinstance(node, yaml.SequenceNode) else ()
        if isinstance(node, yaml.MappingNode):
            members = ((key.value, value) for key, value in node.value)
        found = next((value for name, value in members if name == step), None)
        if found is None:
            break
        node = found
    return node.start_mark.line + 1


def write_yaml(value: Any) -> str:
    """Returns plain values as YAML, in the order of their keys, with long texts folded."""
    return yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        default_flow_style=False,
    )
