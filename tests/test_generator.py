"""The front door from Python: a model is loaded from a run or from exported weights, and samples scenes."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from test_programs import SCRIPT, shared_scene, write_script
from tiny_film import CONFIG, HEIGHT, WIDTH, run_program, shared_folder, shared_run

import lct_jax
from lct_jax.backbones.registry import build_abstract
from lct_jax.directing.script import load_script
from lct_jax.distributed.sharding import make_mesh, state_sharding
from lct_jax.errors import InputError
from lct_jax.generator import Generator
from lct_jax.sampling.modes import MODES
from lct_jax.training.checkpoint.start import TrainedWeights
from lct_jax.training.checkpoint.weights import save_weights

pytestmark = pytest.mark.programs

# Those that `test_programs.py` gives to sample.py as flags.
SETTINGS = {"steps": 2, "frames": 9, "height": HEIGHT, "width": WIDTH, "history_time": 0.1}


@functools.cache
def generator() -> Generator:
    return lct_jax.load(shared_run())


@functools.cache
def exported() -> Path:
    """The moving average of the shared run's weights, as one file."""
    trained = TrainedWeights(shared_run())
    path = shared_folder() / "exported.safetensors"
    save_weights(path, trained.read(build_abstract(CONFIG.network).params), trained.meta)
    return path


def sample_latents(model: Generator, **settings: object) -> dict[int, np.ndarray]:
    scene = model.sample(shared_scene() / "script.json", **{**SETTINGS, **settings})
    return {shot.number: shot.latent for shot in scene}


def check_same(found: dict[int, np.ndarray], expected: dict[int, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for number, latent in expected.items():
        np.testing.assert_array_equal(found[number], latent)


def test_import_brings_nothing_of_jax():
    heavy = ("jax", "flax", "numpy", "av", "cv2")
    code = f"import sys, lct_jax; print(*(name for name in {heavy} if name in sys.modules))"
    result = run_program("-c", code)
    assert (result.code, result.stdout, result.stderr) == (0, "\n", "")
    assert "jax" in sys.modules


def test_shots_come_as_they_are_finished_and_are_kept():
    steps: list[None] = []
    scene = generator().sample(
        shared_scene() / "script.json", on_step=lambda: steps.append(None), **SETTINGS
    )
    assert (scene.steps, steps, scene.shots) == (2, [], {})
    shots = list(scene)
    assert [shot.number for shot in shots] == [0, 2]  # the one between them is given
    assert len(steps) == scene.steps
    assert [shot.latent.shape for shot in shots] == [(3, 4, 6, 8), (2, 4, 6, 8)]
    assert {shot.latent.dtype for shot in shots} == {np.dtype(np.float32)}
    assert [len(shot.frames) for shot in shots] == [9, 5]
    assert shots[0].frames.dtype == np.uint8
    assert shots[0].frames.shape[3] == 3
    assert list(scene) == shots
    assert list(scene.shots.values()) == shots


def test_a_shot_is_there_before_the_next_one_is_sampled():
    scene = generator().sample(shared_scene() / "script.json", mode="autoregressive", **SETTINGS)
    first = next(iter(scene))
    assert scene.shots == {first.number: first}
    assert [shot.number for shot in scene] == [0, 2]


def test_save_writes_the_files_that_sample_py_writes(tmp_path):
    """Videos are compared by name alone: of equal latents their bytes differ in some runs.

    Whether the frames or the encoder differ is not known; within a process the encoder writes equal files of equal
    frames.
    """
    script, joint = shared_scene() / "script.json", shared_scene() / "joint"
    code = (
        f"import lct_jax; scene = lct_jax.load({str(shared_run())!r}).sample({str(script)!r}, **{SETTINGS}); "
        f"print(*(path.name for path in scene.save({str(tmp_path)!r})))"
    )
    result = run_program("-c", code)
    assert result.code == 0, result.stderr
    names = [
        *("scene.mp4", "storyboard.png", "index.html", "latents.safetensors", "manifest.json"),
    ]
    assert result.stdout.split() == names
    files = {path.relative_to(joint) for path in joint.rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()} == files
    # The page has the videos in it, and the manifest names files from where it lies.
    for file in ("storyboard.png", "latents.safetensors"):
        assert (tmp_path / file).read_bytes() == (joint / file).read_bytes(), file


def test_a_scene_that_was_sampled_is_saved_without_sampling_again(tmp_path):
    steps: list[None] = []
    scene = generator().sample(
        shared_scene() / "script.json", on_step=lambda: steps.append(None), **SETTINGS
    )
    latents = {f"shot_{shot.number + 1:02}": shot.latent for shot in scene}
    scene.save(tmp_path)
    assert len(steps) == scene.steps
    saved = load_file(tmp_path / "latents.safetensors")
    assert {name: saved[name].tobytes() for name in latents} == {
        name: latent.tobytes() for name, latent in latents.items()
    }


def test_the_same_seed_gives_the_same_latents_and_another_one_does_not():
    first, again, other = (sample_latents(generator(), seed=seed) for seed in (3, 3, 4))
    check_same(again, first)
    assert all((other[number] != first[number]).any() for number in first)


def test_a_key_takes_the_place_of_the_seed():
    seeded = sample_latents(generator(), seed=3)
    check_same(sample_latents(generator(), seed=4, key=jax.random.key(3)), seeded)


def test_exported_weights_sample_what_their_run_does():
    model = lct_jax.load(exported(), codec=shared_run() / "codec.safetensors")
    check_same(sample_latents(model), sample_latents(generator()))


def test_parameters_sample_something_else_than_their_average():
    last = sample_latents(lct_jax.load(shared_run(), weights="params"))
    assert any((latent != last[n]).any() for n, latent in sample_latents(generator()).items())


def test_settings_override_those_of_the_run():
    scene = generator().sample(shared_scene() / "script.json", **{**SETTINGS, "frames": 5})
    assert (scene.sampling.frames, scene.sampling.steps) == (5, 2)
    assert scene.sampling.guidance == CONFIG.sampling.guidance
    assert generator().config.sampling == CONFIG.sampling
    assert [len(shot.frames) for shot in scene] == [5, 5]


def test_a_shift_of_sampling_takes_the_place_of_that_of_training():
    usual = sample_latents(generator())
    check_same(sample_latents(generator(), shift=CONFIG.flow.shift), usual)
    other = sample_latents(generator(), shift=9.0)
    assert np.abs(other[0] - usual[0]).max() > 1e-3


def test_a_script_that_was_loaded_and_pictures_that_are_given(tmp_path):
    script = load_script(write_script(tmp_path))
    picture = np.full((1, HEIGHT, WIDTH, 3), 90, np.uint8)
    scene = generator().sample(script, given={1: picture}, **SETTINGS)
    assert [shot.number for shot in scene] == [0, 2]


def test_another_number_of_shards_moves_the_weights_and_leaves_the_scene():
    model = lct_jax.load(shared_run())
    one = sample_latents(model, shards=1)
    first = model.place(1)
    assert model.place(1) is first
    two = sample_latents(model, shards=2)
    assert model.place(2).mesh.shape["seq"] == 2
    for number, latent in one.items():
        np.testing.assert_allclose(two[number], latent, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, model.place(2).params, first.params)


def test_weights_lie_where_the_mesh_wants_them_and_nowhere_else():
    model = lct_jax.load(shared_run())
    placed = model.place(1)
    shapes = build_abstract(CONFIG.network).params
    mesh = make_mesh(devices=jax.devices()[:1])
    assert jax.tree.map(lambda x: x.sharding, placed.params) == state_sharding(shapes, mesh)
    held = [value for value in vars(model).values() if value is not placed]
    assert not any(isinstance(x, (np.ndarray, jax.Array)) for x in jax.tree.leaves(held))


# ---- mistakes: one line each ---------------------------------------------------------------------


def refusal(call: object, *arguments: object, **settings: object) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_mode_that_does_not_exist_is_refused():
    found = refusal(generator().sample, shared_scene() / "script.json", mode="sideways")
    assert found == f"mode: found 'sideways', expected one of {', '.join(sorted(MODES))}"


def test_a_causal_mode_of_weights_of_full_context_is_refused():
    found = refusal(generator().sample, shared_scene() / "script.json", mode="causal")
    assert "training.context 'full', expected 'causal'" in found


def test_a_setting_that_does_not_exist_is_refused():
    found = refusal(generator().sample, shared_scene() / "script.json", stepz=3)
    assert found.startswith("sampling.stepz: no such field; there are ")


def test_a_setting_of_a_wrong_value_is_refused():
    found = refusal(generator().sample, shared_scene() / "script.json", steps=0)
    assert found.startswith("sampling.steps: found 0, expected ")


def test_exported_weights_without_their_codec_are_refused():
    found = refusal(lct_jax.load, exported())
    assert found.startswith("--codec: missing, expected the codec of the run that ")


def test_what_is_not_there_is_refused(tmp_path):
    assert "not found" in refusal(lct_jax.load, tmp_path / "run")
    assert "not found" in refusal(lct_jax.load, tmp_path)
    assert str(tmp_path / "no.json") in refusal(generator().sample, tmp_path / "no.json")


def test_an_interval_of_guidance_that_holds_no_time_is_refused():
    interval = {"guidance_from": 0.8, "guidance_to": 0.3}
    found = refusal(generator().sample, shared_scene() / "script.json", **interval)
    assert found.startswith("sampling.guidance_from: found 0.8, expected at most sampling.guida")


def test_a_script_of_more_shots_than_were_trained_is_refused_with_its_name(tmp_path):
    script = write_script(tmp_path, shots=SCRIPT["shots"] * 2)
    found = refusal(generator().sample, script, window=2, **SETTINGS)
    assert found.startswith(f"{script}: shots: found ") and "(sampling.window)" in found


def test_a_film_without_a_shot_is_refused_before_anything_is_sampled(tmp_path):
    shots = [{**shot, "shown": False} for shot in SCRIPT["shots"]]
    script = write_script(tmp_path, format="lct_jax.script/2", shots=shots)
    scene = generator().sample(script, **SETTINGS)
    assert refusal(scene.save, tmp_path / "out").startswith(f"{script}: shots: the film has none")
    assert list((tmp_path / "out").iterdir()) == []
