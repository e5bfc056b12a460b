"""The programs of scripts as a user starts them: a director's script, scripts of other projects, and remarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chat_server import ChatServer, answer, message, serve_chat, stream
from test_director import GOOD, PROSE, SCRIPT, shot
from tiny_film import Result, start_program

from lct_jax.directing.script import load_script

pytestmark = pytest.mark.programs

PICTURE = Path(__file__).parents[1] / "examples/scripts/pictures/tom.png"


def run(*arguments: str | Path, server: ChatServer | None = None) -> Result:
    """Runs a program to its end, with the address of a chat endpoint in its environment."""
    names = {"LCT_CHAT_URL": server.url if server else "", "LCT_CHAT_MODEL": "m"}
    process = start_program("-m", *arguments, environment=names)
    stdout, stderr = process.communicate(timeout=300)
    return Result(process.returncode, stdout, stderr)


def test_an_idea_becomes_a_script_with_the_answer_beside_it(tmp_path):
    out = tmp_path / "fishing.yaml"
    bad = answer(shot("She lifts a rod."))
    with serve_chat([bad, message(content=PROSE)]) as server:
        found = run("lct_jax.direct", "Fishing.", "--shots=2", f"--out={out}", server=server)
    assert (found.code, found.stderr) == (0, "")
    assert found.stdout == f"{out}: 2 requests, 5 tokens written\n"
    assert out.with_name("fishing.yaml.answer.txt").read_text() == PROSE
    script = load_script(out)
    assert (script.prompt, len(script.shots)) == (SCRIPT.prompt, 2)
    assert "temperature" not in server.asked[0]


def test_a_streamed_answer_is_shown_and_images_become_given_shots(tmp_path):
    out = tmp_path / "fishing.json"
    text = json.dumps({**GOOD, "images": ["A close-up of Character 1."]})
    with serve_chat([stream(text[:9], text[9:])]) as server:
        found = run(
            *("lct_jax.direct", "Fishing.", "--shots=2", "--stream", "--chat.max_tokens=900"),
            *(f"--images={PICTURE}", f"--out={out}"),
            server=server,
        )
    assert found.code == 0, found.stderr
    assert found.stderr.startswith(text)
    assert server.asked[0]["max_tokens"] == 900
    first = load_script(out).shots[0]
    assert Path(first.given.file).samefile(PICTURE)
    assert first.text == "A close-up of Character 1."


def test_no_script_is_one_line_that_names_the_answer(tmp_path):
    out = tmp_path / "fishing.yaml"
    with serve_chat([answer("Gladly.")]) as server:
        found = run("lct_jax.direct", "Fishing.", f"--out={out}", server=server)
    assert found.code == 2
    assert found.stderr == (
        "error: 3 answers were refused, the last one because found no JSON object, and no lines that begin with "
        f"Shot 1, Shot 2, ... (the last answer is in {out}.answer.txt)\n"
    )
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out=a.yaml"], "found --flag=value alone on the command line, expected an idea too"),
        (["One", "two", "--out=a.yaml"], "two: found on the command line, expected an idea in"),
        (["An idea", "--out=a.txt"], "--out: found 'a.txt', expected a name in .yaml, .yml or"),
        (["An idea", "--out=a.yaml"], "LCT_CHAT_URL: not set in the environment"),
    ],
    ids=["no idea", "words", "name", "endpoint"],
)
def test_mistakes_are_one_line(arguments, said):
    found = run("lct_jax.direct", *arguments)
    assert found.code == 2
    assert found.stderr.startswith(f"error: {said}")
    assert found.stderr.count("\n") == 1


def test_scripts_are_converted_there_and_back(tmp_path):
    walk = "examples/scripts/puppets_walk.json"
    found = run(
        *("lct_jax.directing.convert", f"--script={walk}", "--to=shotstream", f"--out={tmp_path}")
    )
    assert found.code == 0, found.stderr
    table = tmp_path / "puppets_walk.csv"
    assert found.stdout.splitlines()[0] == str(table)
    table.write_text(
        "\n".join([*table.read_text().splitlines(), table.read_text().splitlines()[1]])
    )
    found = run("lct_jax.directing.convert", f"--script={table}", f"--out={tmp_path / 'films'}")
    assert found.code == 0, found.stderr
    assert found.stdout.splitlines() == [str(tmp_path / f"films/000{n}.yaml") for n in (1, 2)]
    scripts = [load_script(path) for path in sorted((tmp_path / "films").iterdir())]
    assert scripts == [load_script(walk)] * 2
    found = run("lct_jax.directing.convert", f"--script={table}", f"--out={tmp_path / 'x.yaml'}")
    assert found.stderr == "error: --out: found a file for 2 scripts, expected a folder\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            b'{"scene": 1}',
            "found keys ['scene'], expected one of format, prompt, shot_captions, global_caption or"
            " scenes",
        ),
        (b"[1]", "top level: found a list [...], expected an object {...}"),
        (b'{"shot_captions": ["\xe9"]}', "not UTF-8 text (byte 20)"),
        (
            b'{"shot_captions": ["Rain."], "height": -3, "width": 8}',
            "as a script: sampler.height: found -3, expected a number above 0",
        ),
    ],
    ids=["keys", "list", "latin-1", "no script"],
)
def test_a_file_of_no_known_layout_is_one_line(tmp_path, data, said):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    found = run("lct_jax.directing.convert", f"--script={path}", f"--out={tmp_path / 'b.yaml'}")
    assert found.stderr == f"error: {path}: {said}\n"
    assert not (tmp_path / "b.yaml").exists()


def test_remarks_are_printed_a_line_each():
    found = run("lct_jax.directing.review", "--script=examples/scripts/puppets_day.yaml")
    assert found.code == 0
    assert found.stdout.splitlines()[:1] == [
        "examples/scripts/puppets_day.yaml: shots[2].prompt: nothing changes in it: name a movement of somebody or of "
        "the camera"
    ]
