"""The directions of import between rooms, read from the source without importing it, and the lengths of files.

A room is a module or a package directly under `lct_jax/`. The table below is the whole rule; docs/architecture.md shows
the same table to readers, and a test compares the two.
"""

import ast
import functools
import itertools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lct_jax"

# Room -> what it may import: a room, or one module of a room.
MAY_IMPORT = {
    "types": (),
    "errors": (),
    "seeds": (),
    "paths": ("errors",),
    "files": ("errors",),
    "folder_lock": ("files", "errors"),
    "tensors": ("files", "errors"),
    "unpickle": ("tensors", "files", "errors"),
    "packages": ("errors",),
    "plugins": ("errors",),
    "config": ("paths", "errors"),
    "layout": ("types", "config", "errors"),
    "flow": ("types", "config"),
    "directing": ("config", "chat", "files", "errors"),
    "startup": ("errors",),
    "versions": (),
    "cli": ("config", "directing", "paths", "startup", "errors"),
    "chat": ("config", "files", "errors"),
    "media": ("directing", "files", "errors"),
    "scene_files": (
        *("layout", "config", "directing", "media", "codecs", "sampling.request", "tensors"),
        *("files", "errors"),
    ),
    "jax_internals": (),
    "distributed": ("types", "config", "jax_internals", "versions", "errors"),
    "attention": ("types", "config", "distributed", "jax_internals"),
    "costs": ("types", "layout", "config", "flow", "attention"),
    "backbones": (
        *("types", "config", "costs", "attention", "distributed", "tensors", "plugins", "files"),
        "errors",
    ),
    "codecs": (
        "paths",
        "types",
        "seeds",
        "config",
        "distributed",
        "tensors",
        "unpickle",
        "packages",
        "plugins",
        "files",
        "errors",
    ),
    "encoders": ("tensors", "unpickle", "packages", "plugins", "files", "errors"),
    # `python -m lct_jax.data.prepare` has a command line of its own, so data may import cli.
    "data": (
        *("types", "layout", "config", "costs.flops", "directing", "media", "chat", "codecs"),
        *("encoders", "cli", "startup", "paths", "tensors", "files", "folder_lock", "errors"),
    ),
    "training": (
        *(
            "types",
            "config",
            "flow",
            "costs",
            "distributed",
            "tensors",
            "files",
            "versions",
            "errors",
        ),
    ),
    "sampling": (
        *("types", "seeds", "layout", "config", "flow", "directing", "distributed", "errors"),
    ),
    "puppets": ("directing", "errors"),
    "evaluation": (
        *(
            "config",
            "directing",
            "media",
            "chat",
            "codecs.lpips",
            "data.scene_file",
            "data.sources",
        ),
        *(
            "data.footage.cuts",
            "puppets",
            "tensors",
            "unpickle",
            "packages",
            "plugins",
            "files",
            "errors",
        ),
    ),
}
# Like train.py, sample.py, evaluate.py and configs/, these see everything, and nothing imports them.
ENTRY_POINTS = (
    "generator",
    "sampled_scene",
    "retake",
    "session",
    "base",
    "loras",
    "model_files",
    "encode_texts",
    "direct",
    "interactive",
    "directing/convert",
    "directing/review",
    "check_base",
    "tune",
    "export",
    "preflight",
    "codecs/train",
    "data/sets/contact_sheet",
    "data/look",
    "data/validate",
    "plan",
    "puppets/evaluate",
    "puppets/prepare",
    "puppets/scripts",
    "evaluation/puppets",
    "evaluation/directing",
    "evaluation/sample_row",
    "evaluation/page",
    "evaluation/grid",
)


@functools.cache
def find_rooms() -> dict[str, list[Path]]:
    """Returns the source files of every room."""
    rooms = {p.stem: [p] for p in PACKAGE.glob("*.py") if p.stem != "__init__"}
    rooms |= {p.parent.name: sorted(p.parent.rglob("*.py")) for p in PACKAGE.glob("*/__init__.py")}
    # An entry point inside a room is no part of the room.
    for name in ENTRY_POINTS:
        own = find_entry(name)
        rooms = {room: [file for file in files if file not in own] for room, files in rooms.items()}
        rooms[name] = own
    return rooms


def find_entry(name: str) -> list[Path]:
    """Returns the source files of an entry point: a module, or a package with a `__main__.py`."""
    module = PACKAGE / f"{name}.py"
    return [module] if module.exists() else sorted((PACKAGE / name).rglob("*.py"))


@functools.cache
def find_import_statements(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """Returns the import statements of a source, anywhere in it."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def read_imports(path: Path) -> list[str]:
    """Returns the modules of lct_jax that a source imports anywhere in it, without the leading `lct_jax.`."""
    found = []
    for node in find_import_statements(path):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        else:
            assert not node.level, f"line {node.lineno}: a relative import, expected lct_jax..."
            whole = node.module == "lct_jax"  # `from lct_jax import flow` names a room
            found += [f"lct_jax.{a.name}" for a in node.names] if whole else [node.module]
    return [name.removeprefix("lct_jax.") for name in found if name.split(".")[0] == "lct_jax"]


def find_breaches(room: str, path: Path) -> list[str]:
    """Returns the imports of a source that its room may not make."""
    allowed = (room, *MAY_IMPORT[room])
    return [
        name
        for name in read_imports(path)
        if not any(name == entry or name.startswith(f"{entry}.") for entry in allowed)
    ]


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_room_imports_only_what_it_may(room):
    files = find_rooms()[room]
    breaches = {str(p.relative_to(ROOT)): find_breaches(room, p) for p in files}
    assert {path: names for path, names in breaches.items() if names} == {}


def test_every_room_is_in_the_table():
    assert sorted(find_rooms()) == sorted([*MAY_IMPORT, *ENTRY_POINTS])


def test_only_entry_points_import_an_entry_point():
    """`lct_jax.load` is an entry point too."""
    free = {PACKAGE / "__init__.py", *itertools.chain(*map(find_entry, ENTRY_POINTS))}
    for name in ENTRY_POINTS:
        entry = name.replace("/", ".")
        for path in {*PACKAGE.rglob("*.py")} - free:
            found = read_imports(path)
            assert not [i for i in found if i == entry or i.startswith(f"{entry}.")], path


def test_nothing_imports_the_tests_or_the_scripts():
    forbidden = {"train", "sample", "evaluate", "tests", "configs"}
    for path in PACKAGE.rglob("*.py"):
        for node in find_import_statements(path):
            whole = isinstance(node, ast.Import)
            names = [a.name for a in node.names] if whole else [node.module]
            assert not forbidden & {name.split(".")[0] for name in names}, path


def test_architecture_document_shows_the_same_table():
    text = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| `([\w/]+?)(?:\.py|/)` \|.*\| ([^|]*) \|$", text, flags=re.MULTILINE)
    shown = {room: tuple(re.findall(r"[\w.]+", cell)) for room, cell in rows}
    expected = {room: allowed or ("nobody",) for room, allowed in MAY_IMPORT.items()}
    expected |= {room: ("everything",) for room in ENTRY_POINTS}
    assert shown == expected


def test_private_names_of_jax_are_used_in_one_file_only():
    private = re.compile(
        r"jax\._src|\bjaxlib\.|import jaxlib|from jaxlib|\b(kernels|_?splash)\._\w"
    )
    sources = [*PACKAGE.rglob("*.py"), *ROOT.glob("*.py")]
    found = [path.name for path in sources if private.search(path.read_text())]
    assert found == ["jax_internals.py"]


def test_no_source_has_more_than_300_lines():
    folders = ("lct_jax", "tests", "configs", "benchmarks")
    sources = [
        *ROOT.glob("*.py"),
        *(p for folder in folders for p in (ROOT / folder).rglob("*.py")),
    ]
    lengths = {str(p.relative_to(ROOT)): p.read_text().count("\n") for p in sources}
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}
