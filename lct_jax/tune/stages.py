"""The stages from a published base to a scene model: their commands, and which of them are done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lct_jax.data.scene_file import load_scene_file
from lct_jax.files import hash_file, replace_atomically

STAGES = ("check", "plan", "prepare", "scenes", "causal", "sample", "export", "evaluate")
# Scenes that are evaluated, each sampled in two or three ways.
EVALUATED = 4
# Where `lct_jax.plan` gets a topology that is not known yet.
UNKNOWN = "CHIPS"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        base: the folder of the published pipeline.
        out: the folder of everything that is made.
        videos, scenes: the footage: a folder of videos, or a scene file.
        config: the config to tune with; None takes that of the base's family.
        script: the script to sample; None makes one of a held-out scene.
        topology: the chips to plan for; None takes those that the check found.
        lora: whether a LoRA is trained, and exported alone.
        causal: whether the network is tuned with causal context after that.
        until: the last stage.
        edits: flags `--config.SECTION.FIELD=VALUE` for every stage that takes a config.
    """

    base: str
    out: Path
    videos: str | None
    scenes: str | None
    config: str | None
    script: str | None
    topology: str | None
    lora: bool
    causal: bool
    until: str
    edits: tuple[str, ...]

    def find_setting(self, section: str, field: str) -> Any:
        """Returns the value of a field: that of the last edit, else that of OUT/config.json."""
        for edit in reversed(self.edits):
            name, _, value = edit.partition("=")
            if name.lstrip("-") == f"config.{section}.{field}":
                return value
        return json.loads((self.out / "config.json").read_text())[section][field]


class Stage(NamedTuple):
    """One command.

    Attributes:
        name: of the stage.
        command: what is run, without the interpreter.
        inputs: identifies the user's files that it reads; with others it is done again.
        everywhere: whether it runs on every host, where there are several.
    """

    name: str
    command: tuple[str, ...]
    inputs: str = ""
    everywhere: bool = False


def list_stages(request: Request) -> list[Stage]:
    """Returns the stages that are asked for, in their order, as far as they are known now.

    The topology of the plan is `UNKNOWN` before the base was checked, and where no chip of this machine is known.
    """
    out, last = request.out, "causal" if request.causal else "scenes"
    config = (f"--config={out / 'config.json'}", *request.edits)
    given = () if request.config is None else (f"--config={request.config}",)
    # One process: each would hold the text encoder, and chips have one owner.
    videos = (f"--videos={request.videos}", "--processes=1")
    footage = videos if request.videos else (f"--scenes={request.scenes}",)
    after_scenes = (
        f"--config.training.init_from={out / 'scenes'}",
        "--config.training.context=causal",
    )
    train = lambda name, *more: (
        str(ROOT / "train.py"), *config, *more, f"--data={out / 'set'}", f"--workdir={out / name}"
    )  # fmt: skip
    stages = [
        Stage(
            "check",
            (
                *("-m", "lct_jax.check_base", f"--base={request.base}", *given, f"--out={out}"),
                *(() if request.topology is None else (f"--topology={request.topology}",)),
            ),
            inputs=_hash([request.config]),
        ),
        Stage(
            "plan",
            ("-m", "lct_jax.plan", *config, f"--topology={_find_topology(request)}", "--must_fit"),
        ),
        Stage(
            "prepare",
            ("-m", "lct_jax.data.prepare", *footage, *config, f"--out={out / 'set'}"),
            inputs=_identify_footage(request),
        ),
        Stage("scenes", train("scenes"), everywhere=True),
        Stage("causal", train("causal", *after_scenes), everywhere=True),
        Stage(
            "sample",
            (
                str(ROOT / "sample.py"),
                f"--checkpoint={out / last}",
                f"--script={request.script or out / 'script.json'}",
                f"--mode={'causal' if request.causal else 'joint'}",
                f"--out={out / 'sample'}",
            ),
            inputs=_hash([request.script]),
            everywhere=True,
        ),
        Stage(
            "export",
            (
                *("-m", "lct_jax.export", f"--checkpoint={out / last}", "--dtype=bfloat16"),
                *(
                    ("--layout=peft", f"--out={out / 'weights/lora.safetensors'}")
                    if request.lora
                    else ("--layout=diffusers", f"--out={out / 'weights/transformer'}")
                ),
            ),
        ),
    ]
    stages.append(
        Stage(
            "evaluate",
            (
                *(str(ROOT / "evaluate.py"), f"--checkpoint={out / 'scenes'}"),
                *((f"--causal={out / 'causal'}",) if request.causal else ()),
                f"--rows=independent,joint{',causal' if request.causal else ''}",
                *(f"--scenes={_find_evaluated(request)}", f"--count={EVALUATED}"),
                f"--out={out / 'evaluation'}",
            ),
        )
    )
    wanted = STAGES[: STAGES.index(request.until) + 1]
    skipped = () if request.causal else ("causal",)
    return [stage for stage in stages if stage.name in wanted and stage.name not in skipped]


def is_done(out: Path, stage: Stage) -> bool:
    """Returns whether a stage was done, by this command and with these inputs."""
    path = _mark(out, stage.name)
    return path.is_file() and json.loads(path.read_text()) == _describe(stage)


def mark_done(out: Path, stage: Stage) -> None:
    """Notes that a stage is done."""
    with replace_atomically(_mark(out, stage.name)) as unfinished:
        unfinished.write_text(json.dumps(_describe(stage), indent=1) + "\n")


def forget(out: Path, name: str) -> None:
    """Forgets that a stage and those after it are done: they may change with it."""
    for later in STAGES[STAGES.index(name) :]:
        _mark(out, later).unlink(missing_ok=True)


def has_all_steps(request: Request, name: str) -> bool:
    """Returns whether a run has the checkpoint of its last step; a run that was told to stop exits with 0 as well."""
    if name not in ("scenes", "causal"):
        return True
    steps = request.find_setting("training", "steps")
    return (request.out / name / "checkpoints" / str(steps)).is_dir()


def _mark(out: Path, name: str) -> Path:
    return out / "done" / f"{name}.json"


def _describe(stage: Stage) -> dict[str, Any]:
    return {"command": list(stage.command), "inputs": stage.inputs}


def _find_topology(request: Request) -> str:
    found, about = request.topology, request.out / "base.json"
    if found is None and about.is_file():
        found = json.loads(about.read_text())["topology"]
    return found or UNKNOWN


def _find_evaluated(request: Request) -> str | Path:
    """Returns the scene file, where its held-out scenes can be sampled jointly, else the script that is sampled."""
    if request.script is not None or request.scenes is None:
        return request.script or request.out / "script.json"
    scenes = load_scene_file(request.scenes).scenes
    sizes = [len(scene.script.shots) for scene in scenes if scene.split == "held_out"]
    known = (request.out / "config.json").is_file()
    if not sizes or (known and max(sizes) > int(request.find_setting("sampling", "window"))):
        return request.out / "script.json"
    return request.scenes


def _identify_footage(request: Request) -> str:
    """Returns the hash of a scene file, or names, sizes and times of the files of a folder of videos."""
    if request.videos is None:
        return _hash([request.scenes])
    folder = Path(request.videos)
    stats = [(str(path.relative_to(folder)), path.stat()) for path in sorted(folder.rglob("*"))]
    return json.dumps([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats])


def _hash(paths: list[str | None]) -> str:
    return " ".join(hash_file(path)[:16] for path in paths if path)
