"""pyproject.toml gives ranges and requirements.txt a version within each; what make installs lies in the ranges too."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lct_jax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
RANGES = [Requirement(line) for line in [*PROJECT["dependencies"], *EXTRAS["dev"]]]
PINS = [
    Requirement(line)
    for line in (ROOT / "requirements.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
MAKEFILE = (ROOT / "Makefile").read_text()


def find_faults(ranges: list[Requirement], pins: list[Requirement]) -> list[str]:
    """Says of every package what is wrong between its range and its pin."""
    wanted = {canonicalize_name(one.name): one for one in ranges}
    pinned = {canonicalize_name(one.name): one for one in pins}
    faults = [f"{name}: in one file only" for name in wanted.keys() ^ pinned.keys()]
    for name in wanted.keys() & pinned.keys():
        version = re.fullmatch(r"==([\d.]+)", str(pinned[name].specifier))
        if version is None:
            faults.append(f"{name}: no pin: {pinned[name]}")
        elif version[1] not in wanted[name].specifier:
            faults.append(f"{name}: {version[1]} is outside {wanted[name].specifier}")
    return sorted(faults)


def find_opencv(names: set[str]) -> set[str]:
    """Returns distributions that hold OpenCV: two of them overwrite each other's `cv2`."""
    return {name for name in map(canonicalize_name, names) if name.startswith("opencv-")}


def test_every_pin_lies_in_its_range():
    assert find_faults(RANGES, PINS) == []


def test_pins_outside_their_range_and_packages_in_one_file_are_found():
    ranges = [Requirement(r) for r in ("jax>=0.10,<0.13", "av>=16,<19", "numpy>=2.3", "tqdm>=4")]
    pins = [Requirement(r) for r in ("jax==0.13.0", "av>=16", "numpy==2.4.6", "absl_py==2.5.1")]
    assert find_faults(ranges, pins) == [
        "absl-py: in one file only",
        "av: no pin: av>=16",
        "jax: 0.13.0 is outside <0.13,>=0.10",
        "tqdm: in one file only",
    ]


def test_every_range_has_both_ends_or_is_a_tool():
    ends = {r.name: {s.operator for s in r.specifier} for r in RANGES}
    assert [name for name, found in ends.items() if found != {">=", "<"}] == ["packaging"]


def test_jax_of_the_last_year_is_admitted():
    (jax,) = (requirement for requirement in RANGES if requirement.name == "jax")
    admitted = [
        v
        for v in ("0.9.2", "0.10.0", "0.10.1", "0.10.2", "0.11.2", "0.12.0.1")
        if v in jax.specifier
    ]
    assert admitted == ["0.10.2", "0.11.2", "0.12.0.1"]


@pytest.mark.parametrize(
    ("extra", "variable"),
    [("ray", "RAY"), ("sentencepiece", "PARITY"), ("evaluation", "EVALUATION")],
)
def test_what_make_installs_of_an_extra_lies_in_its_range(extra, variable):
    (line,) = re.findall(rf"^{variable} := (.+)$", MAKEFILE, flags=re.MULTILINE)
    (wanted,) = map(Requirement, EXTRAS[extra])
    (found,) = (one for one in map(Requirement, line.split()) if one.name == wanted.name)
    assert str(found.specifier).removeprefix("==") in wanted.specifier


def test_make_installs_the_libtpu_that_the_installed_jax_names():
    (line,) = re.findall(r"^LIBTPU := (.+)$", MAKEFILE, flags=re.MULTILINE)
    version = next(str(pin.specifier) for pin in PINS if pin.name == "jax").removeprefix("==")
    if metadata.version("jax") != version:
        pytest.skip(f"the pinned jax {version} is not what is installed")
    named = [r for r in map(Requirement, metadata.requires("jax")) if r.name == "libtpu"]
    assert [str(Requirement(line).specifier).removeprefix("==") in r.specifier for r in named] == [
        True
    ]


def test_only_the_headless_opencv_is_required():
    assert find_opencv({r.name for r in [*RANGES, *PINS]}) == {"opencv-python-headless"}
    cut_finders = {r.name for r in [*RANGES, *PINS] if r.name.startswith("scenedetect")}
    assert cut_finders == {"scenedetect-headless"}


def test_only_the_headless_opencv_is_installed():
    assert find_opencv({"OpenCV_Python", "opencv-python-headless", "numpy"}) == {
        "opencv-python",
        "opencv-python-headless",
    }
    installed = {dist.metadata["Name"] for dist in metadata.distributions()}
    assert find_opencv(installed) == {"opencv-python-headless"}


def test_version_is_the_same_everywhere():
    assert lct_jax.__version__ == PROJECT["version"]
    assert f"## [{lct_jax.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
