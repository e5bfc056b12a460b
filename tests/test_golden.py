"""Every config and the parameters of its model, written out, so that a changed experiment shows in a diff.

`make golden` writes tests/golden/ anew, to be reviewed and committed with the change.
"""

import ast
import dataclasses
import os
from pathlib import Path

import jax
import pytest

from lct_jax.backbones.registry import build, build_abstract
from lct_jax.config import Config, freeze, read_beside
from lct_jax.config.network import put
from lct_jax.tensors import name_leaves

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).with_name("golden")
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"

each_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


def load_config(path: Path) -> Config:
    """Returns the checked config of a file under configs/."""
    return freeze(read_beside(path, path.stem).get_config())


def flatten(values: dict, prefix: str = "") -> list[str]:
    """Returns `path = value` lines of nested dictionaries."""
    lines = []
    for name, value in values.items():
        path = prefix + name
        lines += flatten(value, f"{path}.") if isinstance(value, dict) else [f"{path} = {value!r}"]
    return lines


def describe_parameters(config: Config) -> list[str]:
    """Returns `name dtype[shape]` lines and the number of parameters, from shapes alone."""
    leaves = name_leaves(build_abstract(config.network).params)
    lines = sorted(f"{name} {x.dtype}{list(x.shape)}" for name, x in leaves.items())
    return [*lines, f"total {sum(x.size for x in leaves.values()):,}"]


def compare(name: str, lines: list[str]) -> None:
    """Compares lines with tests/golden/NAME, or writes them there with UPDATE_GOLDEN."""
    file, text = GOLDEN / name, "".join(f"{line}\n" for line in lines)
    if UPDATE:
        file.write_text(text)
    assert file.is_file(), f"{file.relative_to(ROOT)} is missing: `make golden` writes it"
    assert text == file.read_text(), "changed on purpose? `make golden`, and look at the diff"


@each_config
def test_config_differs_from_the_defaults_as_written(path):
    """Since only differences are written, a new default changes one line."""
    usual = set(flatten(dataclasses.asdict(Config(name=""))))
    lines = flatten(dataclasses.asdict(load_config(path)))
    compare(f"{path.stem}.config.txt", sorted(line for line in lines if line not in usual))


def test_defaults_are_as_written():
    compare("defaults.config.txt", sorted(flatten(dataclasses.asdict(Config(name="")))))


@each_config
def test_parameters_are_as_written(path):
    compare(f"{path.stem}.params.txt", describe_parameters(load_config(path)))


@each_config
def test_docstring_has_the_command(path):
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert f"python train.py --config=configs/{path.stem}.py" in text


def test_every_golden_file_has_a_config():
    expected = {f"{path.stem}.{kind}.txt" for path in CONFIGS for kind in ("config", "params")}
    expected.add("defaults.config.txt")
    assert {path.name for path in GOLDEN.iterdir()} == expected


def test_golden_parameters_equal_those_of_a_real_model():
    """One small model is built for real, and has the parameters of its description."""
    config = load_config(ROOT / "configs/film_tiny.py")
    small = put(config, width=16, depth=2, heads=2, head_dim=8, rope_split=(4, 2, 2), text_width=8)
    lines = describe_parameters(small)
    params = build(small.network, key=0).params
    assert lines[-1] == f"total {sum(leaf.size for leaf in jax.tree.leaves(params)):,}"
    assert "blocks.video.qkv.kernel float32[2, 16, 48]" in lines
