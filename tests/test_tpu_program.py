"""The compiled programs for a TPU: kernels, collectives and sizes. They need libtpu and no TPU."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from collectives import list_collectives
from compile_for_tpu import ATTENTION, LONG, MODEL, ROWS, TEXT, VIDEO

from lct_jax.backbones.layers import MODULATIONS
from lct_jax.plan.hlo import find_collectives

pytestmark = [pytest.mark.slow, pytest.mark.programs]
TOKENS = TEXT + VIDEO


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> dict[str, str]:
    """Returns the texts of the compiled programs by name."""
    folder, script = tmp_path_factory.mktemp("tpu"), Path(__file__).with_name("compile_for_tpu.py")
    root = script.parents[1]
    done = subprocess.run(
        [sys.executable, script, folder],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {path.stem: path.read_text() for path in folder.iterdir()}


def _count_kernels(program: str) -> list[int]:
    """Returns the calls of the attention kernels: forward, and gradients of queries, keys and values in one."""
    calls = [line for line in program.splitlines() if " custom-call(" in line]
    names = ("mosaic_forward", "mosaic_backward")
    return [sum(name in line.split(" = ")[0] for line in calls) for name in names]


@pytest.mark.parametrize("name", ["step", *ATTENTION])
def test_attention_runs_two_kernels_and_none_twice(programs, name):
    assert _count_kernels(programs[name]) == [1, 1]


@pytest.mark.parametrize(
    ("name", "length"), [("step", TOKENS), *((name, LONG) for name in ATTENTION)]
)
def test_no_array_has_the_size_of_all_token_pairs(programs, name, length):
    shapes = re.findall(r"(?:f32|s32|u32|pred|bf16|s8)\[([\d,]+)\]", programs[name])
    assert max(math.prod(map(int, shape.split(","))) for shape in shapes) < length**2


def test_weights_are_gathered_and_activations_exchanged_in_bfloat16(programs):
    found = [c for c in list_collectives(programs["step"]) if c.in_layer]
    gathered = [result for c in found if c.kind == "all-gather" for result in c.results]
    wide, inner = MODEL.backbone.width, MODEL.backbone.heads * MODEL.backbone.head_dim
    hidden, table = MODEL.backbone.mlp_ratio * wide, MODULATIONS * wide  # the table is float32
    weights = {(wide, 3 * inner), (inner, wide), (wide, hidden), (hidden, wide)}
    large = [(dtype, shape) for dtype, shape in gathered if math.prod(shape) > table]
    assert {tuple(side for side in shape if side > 1) for _, shape in large} == weights
    assert {dtype for dtype, _ in large} == {"bf16"}
    # A device has half of the rows: all tokens of its head, or its tokens of both heads; never all of both.
    exchanged = [result for c in found if c.kind == "all-to-all" for result in c.results]
    each = ROWS // 2 * MODEL.backbone.heads * TOKENS * MODEL.backbone.head_dim // 2
    assert {(dtype, math.prod(shape)) for dtype, shape in exchanged} == {("bf16", each)}
    # Forward, backward, and forward again to recompute what surrounds the kernel.
    assert len(exchanged) == 4 + 4 + 4


def test_exchanges_and_most_gathers_may_run_beside_computation(programs):
    """The program begins and ends them apart; without `COMPILER_OPTIONS` it does so for none of them."""
    found = find_collectives(programs["step"], data=2, seq=2)
    count = lambda kind, hidden: sum(
        c.sent for c in found if c.kind == kind and c.hidden in (True, hidden)
    )
    assert count("all-to-all", True) == count("all-to-all", False) > 0
    assert count("all-gather", True) > 0.7 * count("all-gather", False)
