"""Which stages of `lct_jax.tune` are done, and the script of a held-out scene."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from tiny_film import write_scenes

from lct_jax.directing.script import load_script
from lct_jax.errors import InputError
from lct_jax.tune.held_out import find_scene_files, write_held_out
from lct_jax.tune.stages import Request, forget, has_all_steps, is_done, list_stages, mark_done


@pytest.fixture
def request_(tmp_path) -> Request:
    write_scenes(tmp_path / "scenes.json")
    return Request(
        base="base",
        out=tmp_path / "out",
        videos=None,
        scenes=str(tmp_path / "scenes.json"),
        config=None,
        script=None,
        topology=None,
        lora=False,
        causal=False,
        until="evaluate",
        edits=("--config.training.steps=7",),
    )


def find_done(request: Request) -> list[str]:
    return [stage.name for stage in list_stages(request) if is_done(request.out, stage)]


def test_a_stage_is_done_again_with_another_command_or_other_footage(request_):
    for stage in list_stages(request_):
        mark_done(request_.out, stage)
    every = ["check", "plan", "prepare", "scenes", "sample", "export", "evaluate"]
    assert find_done(request_) == every
    edited = dataclasses.replace(request_, edits=("--config.training.steps=8",))
    assert find_done(edited) == ["check", "sample", "export", "evaluate"]
    path = Path(request_.scenes)
    path.write_text(path.read_text().replace("Rain on", "Snow on"))
    assert find_done(request_) == [name for name in every if name != "prepare"]
    forget(request_.out, "prepare")
    assert find_done(request_) == ["check", "plan"]


def test_the_base_is_checked_for_the_chips_that_are_planned_for(request_):
    found = [s.command for s in list_stages(dataclasses.replace(request_, topology="v5e:2x2"))]
    assert ["--topology=v5e:2x2" in command for command in found[:3]] == [True, True, False]
    found = [s.command for s in list_stages(request_)]
    assert not any(word.startswith("--topology=v5e") for command in found for word in command)


def test_a_lora_is_exported_alone(request_):
    find = lambda request: [s.command[4:] for s in list_stages(request) if s.name == "export"]
    out = request_.out / "weights"
    assert find(request_) == [("--layout=diffusers", f"--out={out / 'transformer'}")]
    lora = dataclasses.replace(request_, lora=True)
    assert find(lora) == [("--layout=peft", f"--out={out / 'lora.safetensors'}")]


def test_what_is_evaluated_can_be_sampled_jointly(request_, tmp_path):
    find = lambda request: list_stages(request)[-1].command[3]
    assert find(request_) == f"--scenes={request_.scenes}"
    mine = str(tmp_path / "mine.json")
    Path(mine).write_text("{}")
    assert find(dataclasses.replace(request_, script=mine)) == f"--scenes={mine}"
    for window, expected in ((1, request_.scenes), (0, request_.out / "script.json")):
        request_.out.mkdir(exist_ok=True)
        (request_.out / "config.json").write_text(json.dumps({"sampling": {"window": window}}))
        assert find(request_) == f"--scenes={expected}"


def test_new_videos_are_prepared(request_, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    filmed = dataclasses.replace(request_, videos=str(folder), scenes=None)
    before = list_stages(filmed)[2]
    assert before == list_stages(filmed)[2]
    (folder / "new.mp4").write_bytes(b"x")
    assert list_stages(filmed)[2].command == before.command
    assert list_stages(filmed)[2].inputs != before.inputs


def test_a_run_is_done_with_the_checkpoint_of_its_last_step(request_):
    assert not has_all_steps(request_, "scenes")
    (request_.out / "scenes/checkpoints/7").mkdir(parents=True)
    assert has_all_steps(request_, "scenes")
    (request_.out / "config.json").write_text(json.dumps({"training": {"steps": 9}}))
    unedited = dataclasses.replace(request_, edits=())
    assert not has_all_steps(unedited, "scenes")
    assert has_all_steps(unedited, "prepare")


def test_the_script_is_of_a_held_out_scene(tmp_path):
    write_scenes(tmp_path / "scenes.json")
    path = tmp_path / "script.json"
    assert write_held_out(path, [tmp_path / "scenes.json"], shots=2)
    script = load_script(path)
    assert [shot.text for shot in script.shots] == ["Character 1 leaves, and the dog stays."]
    assert script.prompt.characters == {"1": "A woman in a red coat."}
    assert script.prompt.environment == "A quay at night."
    write_scenes(tmp_path / "scenes.json", {("scenes", 2, "split"): "train"})
    assert not write_held_out(path, [tmp_path / "scenes.json"], shots=2)
    # Of the first scene, which has three shots.
    assert [shot.text for shot in load_script(path).shots] == [
        "Character 1 waits.",
        "Rain on the quay.",
    ]
    with pytest.raises(InputError, match=r"script\.json: no scene in the footage"):
        write_held_out(path, [], shots=2)


def test_scene_files_of_a_folder_of_videos_are_found(tmp_path):
    folder = tmp_path / "work" / "0123"
    folder.mkdir(parents=True)
    write_scenes(folder / "scenes-a.json")
    (folder / "scenes-a.report.json").write_text('{"shots": {"kept": 3}}')
    assert find_scene_files(tmp_path) == [folder / "scenes-a.json"]
