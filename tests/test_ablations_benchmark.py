"""Tests the plot and table of ablations, and that each fault of the guard changes what it should."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ablations import read_results, to_markdown
from benchmarks.broken import BREAKS
from benchmarks.puppets_picture import describe, draw
from lct_jax.errors import InputError
from lct_jax.evaluation.puppets import DRAWING, SEED
from lct_jax.puppets.render import render_shot
from lct_jax.puppets.scene import draw_scene

ROOT = Path(__file__).parents[1]
SHARE = {"value": 0.5, "low": 0.25, "high": 0.75, "told": 1.0, "count": 8}


def test_results_are_read_by_sampling_mode_and_run(tmp_path):
    for name in ("own.joint", "reference.joint", "reference.autoregressive", "other.joint"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"shares": {"cuts": SHARE}}))
    results = read_results(tmp_path)
    assert {row: list(runs) for row, runs in results.items()} == {
        "joint": ["reference", "own"],
        "autoregressive": ["reference"],
    }
    lines = to_markdown(results["joint"]).splitlines()
    assert lines[-1].startswith("| own and global prompts only | - |")
    assert lines[-1].endswith("| 0.50 (0.25 to 0.75) |")


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"--results: {tmp_path}: found no RUN.ROW.json"):
        read_results(tmp_path)


def test_picture_has_a_row_for_each_mode_and_a_column_for_each_shot():
    scene = draw_scene(SEED, 0, DRAWING)
    frames = [render_shot(scene, shot)[0] for shot in scene.shots]
    one, two = (draw(dict.fromkeys(names, frames), "text") for names in ("a", "ab"))
    assert one.width == two.width > 8 * 3 * 32
    assert two.height - one.height == 3 * 32 + 6
    told, withheld = describe(scene).splitlines()
    assert all(name in withheld for name in scene.withheld)
    assert not any(name in told.split() for name in scene.withheld)


# The probe runs one forward pass on a scene of two shots, and finds what the velocity of the first one depends on.
PROBE = """
import dataclasses, json, sys
import numpy as np
sys.path.insert(0, "tests")
from scenes import TINY, TinyModel, make_scene, pack_scenes
model = TinyModel(TINY)
scene = make_scene(0, shots=[(2, (1, 2, 3), 0.25), (2, (1, 2, 3), 0.75)], global_text=3)
first, second = scene.clean
scene = dataclasses.replace(scene, noise=scene.clean)  # whatever the time, the same tokens
def velocity(clean=scene.clean, times=scene.times):
    changed = dataclasses.replace(scene, clean=clean, noise=clean, times=times)
    return model.forward(pack_scenes([[changed]]))[0, 1:7].reshape(2, 3, -1)
differ = lambda one, other: bool(np.abs(one - other).max() > 1e-4)
whole, rolled = velocity(), np.roll(first, TINY.backbone.patch[2], axis=2)
print(json.dumps({
    "shots": differ(velocity(clean=(first, -second)), whole),
    "places": differ(np.roll(velocity(clean=(rolled, second)), -1, axis=1), whole),
    "time": differ(velocity(times=(0.5, 0.75)), whole),
    "velocity": whole.ravel().tolist(),
}))
"""


def probe(folder: Path, fault: str) -> dict:
    """Returns what the velocity of a model in another process depends on, with a fault or without."""
    script = folder / "probe.py"
    script.write_text(PROBE)
    broken = ["-m", "benchmarks.broken", fault] if fault else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, *broken, str(script)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.programs
@pytest.mark.slow
def test_every_fault_changes_only_what_it_should(tmp_path):
    whole = probe(tmp_path, "")
    assert whole["shots"] and whole["places"] and whole["time"]
    missing = {"attention": "shots", "rope": "places", "time": "time"}
    for fault in BREAKS:
        found = probe(tmp_path, fault)
        assert not np.allclose(found["velocity"], whole["velocity"], atol=1e-3), fault
        lost = [name for name in missing.values() if not found[name]]
        assert lost == ([missing[fault]] if fault in missing else []), fault
