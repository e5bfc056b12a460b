"""Nothing of a sampling is lost: a scene goes on where it ended, shots are taken again, manifests reproduced."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_generator import make_generator

from lct_jax.directing.prompts import Condition, GlobalPrompt, ShotPrompt
from lct_jax.directing.script import Script
from lct_jax.errors import InputError
from lct_jax.retake import preview_script, reproduce, retake
from lct_jax.sampled_scene import SampledScene
from lct_jax.scene_files.record import MANIFEST, SceneRecord

MODES = {"joint": "full", "autoregressive": "full", "causal": "causal"}
SHOTS = (
    ShotPrompt("A wide quay."),
    ShotPrompt("A boat leaves.", cut=False, overlap=1),
    ShotPrompt("A gull lands.", seed=5),
)
SCRIPT = Script(GlobalPrompt({}, "A harbour.", ""), SHOTS)
JOINT = dataclasses.replace(SCRIPT, shots=(SHOTS[0], SHOTS[2], ShotPrompt("A man waves.")))

each_mode = pytest.mark.parametrize("mode", MODES)


def scene(mode: str, **settings: object) -> SampledScene:
    script = JOINT if mode == "joint" else SCRIPT
    return make_generator(MODES[mode]).sample(script, mode=mode, **settings)


def latents(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "latents.safetensors")


def check_same(found: Path, expected: Path) -> None:
    one, other = latents(found), latents(expected)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@contextlib.contextmanager
def stopped_after_one_shot(
    monkeypatch: pytest.MonkeyPatch, by: BaseException | None = None
) -> Iterator[None]:
    """Ctrl-C, or another exception, as soon as a second shot is finished, which is not kept."""
    by = by or KeyboardInterrupt()
    add, left = SceneRecord.add, [1]

    def stop(self, *arguments):
        if not left:
            raise by
        left.pop()
        add(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(type(by)):
        patch.setattr(SceneRecord, "add", stop)
        yield


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "by"),
    [*((mode, None) for mode in MODES), ("causal", OSError(errno.ENOSPC, "No space left"))],
)
def test_a_scene_goes_on_where_it_ended_to_the_same_latents(tmp_path, mode, by, monkeypatch):
    scene(mode).save(tmp_path / "whole")
    with stopped_after_one_shot(monkeypatch, by):
        scene(mode).save(tmp_path / "parts")
    assert [*SceneRecord.read(tmp_path / "parts" / MANIFEST).takes] == [1]
    steps = []
    again = scene(mode)
    again.save(tmp_path / "parts", watch=lambda scene: steps.append(scene.missing_steps))
    # Shots that are sampled jointly see each other, and are sampled again together.
    assert steps == [{"joint": 2}.get(mode, 4)]
    check_same(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.slow
@each_mode
def test_a_shot_is_taken_again_between_kept_ones_and_the_manifest_gives_all_again(tmp_path, mode):
    generator, folder = make_generator(MODES[mode]), tmp_path / "scene"
    scene(mode).save(folder)
    before = latents(folder)
    asked = 1 if mode == "joint" else 3
    retake(generator, folder, [asked], seed=7)
    after = latents(folder)
    assert {name for name in after if (after[name] != before[name]).any()} == {f"shot_0{asked}"}
    record = SceneRecord.read(folder / MANIFEST)
    assert record.takes[asked][1].saw == tuple(n for n in (1, 2, 3) if n != asked)
    assert {path.name for path in (folder / "shots").iterdir()} == {
        *(f"shot_0{n}.mp4" for n in (1, 2, 3)),
        f"shot_0{asked}.take_02.mp4",
    }
    # The first take again, as its number in the manifest says.
    record.chosen[asked] = 1
    record.write()
    scene(mode).save(folder)
    np.testing.assert_array_equal(latents(folder)[f"shot_0{asked}"], before[f"shot_0{asked}"])
    record.chosen[asked] = 2
    record.write()
    reproduce(generator, folder / MANIFEST, tmp_path / "again")
    found = latents(tmp_path / "again")
    for name, latent in after.items():
        np.testing.assert_array_equal(found[name], latent)


@pytest.mark.slow
def test_a_retake_that_was_stopped_goes_on(tmp_path, monkeypatch):
    generator, folder = make_generator("full"), tmp_path
    scene("autoregressive").save(folder)
    with stopped_after_one_shot(monkeypatch):
        retake(generator, folder, [1, 2])
    steps = []
    retake(generator, folder, [1, 2], watch=lambda scene: steps.append(scene.missing_steps))
    assert steps == [2, 0]
    record = SceneRecord.read(folder / MANIFEST)
    assert [(redo.shots, redo.seed) for redo in record.redos] == [((1, 2), 6)]
    assert record.chosen == {1: 2, 2: 2, 3: 1}


@pytest.mark.parametrize(
    ("shots", "expected"),
    [
        ([4], "--redo: found 4, expected one of the sampled shots 1, 2, 3"),
        (
            [1],
            "--redo: found 1, but shot 2 begins with its last frames, expected both: --redo=1,2",
        ),
    ],
)
def test_a_shot_that_cannot_be_taken_again_is_named(tmp_path, shots, expected):
    scene("autoregressive").save(tmp_path)
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        retake(make_generator("full"), tmp_path, shots)


def test_a_folder_that_is_not_finished_has_nothing_to_take_again(tmp_path):
    sampled = scene("autoregressive")
    SceneRecord.open(tmp_path, sampled.describe(tmp_path), {})
    with pytest.raises(InputError, match=r"shots 1, 2, 3 are not sampled yet, expected a whole"):
        retake(make_generator("full"), tmp_path, [1])


def test_other_settings_are_not_sampled_into_the_same_folder(tmp_path):
    scene("autoregressive").save(tmp_path)
    with pytest.raises(InputError, match=r"sampling\.guidance: was sampled with 3\.0, found 2\.0"):
        scene("autoregressive", guidance=2.0).save(tmp_path)


def test_a_preview_has_one_frame_of_every_generated_shot():
    given = ShotPrompt("a", given=Condition("a.mp4"))
    script = dataclasses.replace(SCRIPT, shots=(*SHOTS, given))
    shots = preview_script(script).shots
    assert [(shot.frames, shot.overlap) for shot in shots[:3]] == [(1, 0)] * 3
    assert shots[3] == given
