"""requirements.txt, which `make` installs, says what pyproject.toml says."""

import re
import tomllib
from pathlib import Path

import pytest

import lct_jax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_requirements_are_those_of_the_project():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    assert sorted(listed) == sorted(wanted)


def test_every_requirement_is_pinned():
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    assert [line for line in wanted if not re.fullmatch(r"[\w-]+==[\d.]+", line)] == []


@pytest.mark.parametrize(("extra", "variable"), [("ray", "RAY"), ("tpu", "LIBTPU")])
def test_make_installs_what_the_extra_does(extra, variable):
    assert PROJECT["optional-dependencies"][extra] == re.findall(
        rf"^{variable} := (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE
    )


def test_version_is_the_same_everywhere():
    assert lct_jax.__version__ == PROJECT["version"]
    assert f"## [{lct_jax.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
