"""What the project's documents and docstrings say that can be checked: commands, paths and links."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
_DOCUMENTS = ("*.md", "docs/*.md", "*/README.md", "examples/*/README.md")
_SOURCES = ("*.py", "lct_jax/**/*.py", "benchmarks/*.py", "configs/**/*.py", "tests/*.py")
DOCUMENTS = sorted({path for pattern in _DOCUMENTS for path in ROOT.glob(pattern)})
SOURCES = sorted({path for pattern in _SOURCES for path in ROOT.glob(pattern)})
_ROOMS = "lct_jax|docs|tests|configs|benchmarks|examples|results|notebooks"
_COMMAND = re.compile(r"(?:^|[\s`\"])(?:[\w./]*/)?python3? ((?:-m [\w.]+|[\w/]+\.py)[^`#;]*)")
# Numbers with their intervals, as tables and text have them; a line may end within one.
_MEASURED = re.compile(r"-?\d+\.\d\d\s+\(-?\d+\.\d\d\s+to\s+-?\d+\.\d\d\)")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)")


class Command(NamedTuple):
    """A command line of one of our programs.

    Attributes:
        where: the document. program: "train.py" or "lct_jax.plan". arguments: behind it. partial: whether the document
            leaves some of them out.
    """

    where: str
    program: str
    arguments: tuple[str, ...]
    partial: bool


def find_commands() -> list[Command]:
    """Returns the commands of documents and of the docstrings of modules that run a program of this repository."""
    found = []
    for path in [*DOCUMENTS, *SOURCES]:
        for line in _join_lines(_read_words(path)):
            for match in _COMMAND.finditer(line):
                command = _read_command(str(path.relative_to(ROOT)), match[1])
                found += [command] if command else []
    return found


def find_paths(path: Path) -> Iterator[str]:
    """Yields what a file calls by the path that it has in this repository."""
    pattern = (
        rf"(?<![\w/.:-])((?:\.\./)*(?:{_ROOMS})/[\w./*-]+|(?<!/)\b[a-z]\w*\.(?:py|md))(?![\w/*(-])"
    )
    for match in re.finditer(pattern, _read_words(path)):
        if not re.search(r"\b[A-Z]+\b(?!\.md)", match[1]):  # NAME stands for any name
            yield match[1].rstrip(".")


def find_links(path: Path) -> Iterator[Path]:
    """Yields the files that a document links to."""
    for match in _LINK.finditer(path.read_text()):
        if "://" not in match[1]:
            yield path.parent / match[1]


def find_outputs(path: Path) -> list[tuple[str, str]]:
    """Returns the commands of a document whose whole output follows in a block of its own, and that output."""
    pattern = r"```sh\n((?:(?!```).)*)```\n\n```text\n((?:(?!```).)*)```"
    return re.findall(pattern, path.read_text(), flags=re.DOTALL)


def _read_words(path: Path) -> str:
    """Returns a document, or the docstrings and comments of a source."""
    text = path.read_text()
    if path.suffix != ".py":
        return text
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    comments = re.findall(r"^\s*# (.*)$", text, flags=re.MULTILINE)
    return "\n".join([*(ast.get_docstring(node) or "" for node in nodes), *comments])


def _join_lines(text: str) -> list[str]:
    """Returns lines with those joined to them that go on: behind a backslash, or that begin with flags."""
    text = re.sub(r"\\\n\s*", " ", text)
    # In a docstring, what a backslash has joined is blanks alone.
    return re.sub(r"(\n\s+| +)(?=\[?--\w)", " ", text).splitlines()


def _read_command(where: str, text: str) -> Command | None:
    text = re.split(r"\s{3,}|\s[|>]\s|\s-> ", text.strip())[0]
    try:
        words = shlex.split(text)
    except ValueError:  # an apostrophe of the prose behind the command
        words = text.split()
    module = words[0] == "-m"
    program, *rest = words[1:] if module else words
    ours = program.startswith(("lct_jax.", "benchmarks.")) if module else program in _SCRIPTS
    if not ours:
        return None
    rest = ["" if ".." in word else word.strip("[]").rstrip(",.:)") for word in rest]
    flags = tuple(word for word in rest if re.fullmatch(r"--[\w.]+(=[^.].*|=)?", word))
    return Command(where, program.rstrip(".,:"), flags, partial=len(flags) < len(rest) or not rest)


_SCRIPTS = ("train.py", "sample.py", "evaluate.py")


def check_log(page: str, name: str, log: Path, *, steps: int) -> None:
    """Asserts that a shipped log is that of a whole run, and that a page's row of it has its steps and its last loss on
    held-out scenes."""
    reports = [json.loads(line) for line in log.read_text().splitlines()]
    held_out = [report for report in reports if "held_out/loss" in report]
    assert reports[-1]["step"] == held_out[-1]["step"] == steps
    (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
    cells = [cell.strip() for cell in row.split("|")]
    assert f"{steps:,}" in cells
    assert f"{held_out[-1]['held_out/loss']:.3f}" in cells


def find_measured(text: str) -> set[str]:
    """Returns all numbers with an interval that a text has."""
    return {" ".join(found.split()) for found in _MEASURED.findall(text)}


def leave_out_tables(text: str) -> str:
    """Returns the lines of a document that are in no table."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("|"))


def list_titles(text: str) -> list[str]:
    """Returns the first cell of every table of a text."""
    return re.findall(r"^\| (.+?) \|.*\n\|\s?---", text, flags=re.MULTILINE)


def list_cells(text: str, title: str) -> dict[tuple[str, str], str]:
    """Returns the cells of the table with a title, by row and column."""
    start = text.index(f"| {title} |")
    lines = text[start:].split("\n\n")[0].splitlines()
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    return {
        (row[0], name): cell for row in rows for name, cell in list(zip(head, row, strict=True))[1:]
    }
