"""Samples a scene from a script, and writes an mp4 a shot, the scene cut together, and a storyboard.

    python sample.py --checkpoint=DIR --script=FILE --mode=joint|autoregressive|causal --out=DIR [--guidance=3 ...]

Other modes are those of the systems that the paper compares itself with (docs/baselines.md); `--animator=WEIGHTS` then
makes videos of the pictures that `--checkpoint` samples.

`--checkpoint` is a run's folder, weights or the LoRA of a run saved by lct_jax.export with `--codec=FILE` beside them,
or the folder of a published base. `--encoder=FOLDER` names the text encoder where it is no longer in the folder that
the set was prepared with; its weights are freed before those of the network are read, and `--texts=FILE` of
lct_jax.encode_texts does without them. Every field of the run's sampling config is a flag. The same seed gives the same
latents. `--mode=causal` samples shot after shot with cached keys and values, from weights tuned with causal context.
Each `--add_lora=PATH[:WEIGHT]` lies on the weights, unmerged.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags
from tqdm import tqdm

import lct_jax
from lct_jax.cli import define_loras, define_path, define_sampling, run
from lct_jax.directing.script import load_script
from lct_jax.distributed.process_spec import define_process_flags
from lct_jax.distributed.run_distributed import run_distributed
from lct_jax.errors import InputError
from lct_jax.retake import draw_preview, preview_script, reproduce, retake
from lct_jax.sampled_scene import SampledScene
from lct_jax.sampling.modes import MODES
from lct_jax.startup import define_compilation_cache, use_compilation_cache

CHECKPOINT = define_path("checkpoint", "Run folder, weights or published base.", required=True)
define_process_flags()
CODEC = define_path("codec", "Codec weights; default: those in the run's folder.")
ENCODER = define_path("encoder", "Folder of the text encoder, where it was moved after training.")
TEXTS = define_path("texts", "File of encoded texts, in place of the encoder.")
BASE = define_path("base", "Base of a LoRA run, where it was moved after training.")
LORAS = define_loras()
ANIMATOR = define_path(
    "animator", "Weights that make videos of sampled pictures; default: --checkpoint."
)
SCRIPT = define_path("script", "Script of the scene (YAML or JSON).")
MANIFEST = define_path(
    "manifest", "Manifest of a scene, to sample all of it again, in place of a script."
)
REDO = flags.DEFINE_list("redo", None, "Shots of --out to sample again, such as 3 or 3,4.")
PREVIEW = flags.DEFINE_bool("preview", False, "Draw one frame of every shot in OUT/preview.png.")
MODE = flags.DEFINE_enum(
    "mode", None, sorted(MODES), "How shots are denoised; default: as the script says, or joint."
)
OUT = define_path("out", "Folder to write to.", required=True)
define_compilation_cache()
WEIGHTS = flags.DEFINE_enum("weights", "ema", ["ema", "params"], "Which weights of a run.")
SETTINGS = define_sampling()


def main(argv: Sequence[str]) -> None:
    del argv
    use_compilation_cache()
    generator = lct_jax.load(
        CHECKPOINT.value,
        codec=CODEC.value,
        encoder=ENCODER.value,
        texts=TEXTS.value,
        weights=WEIGHTS.value,
        base=BASE.value,
        loras=LORAS.value,
    )
    settings, out = SETTINGS(), Path(OUT.value)
    shots = check_choice(settings)
    animator = None
    if ANIMATOR.value is not None:
        animator = lct_jax.load(ANIMATOR.value, codec=CODEC.value, encoder=ENCODER.value)
    hidden = jax.process_index() > 0
    # With a delay nothing is drawn before there is a scene, so that what does not fit is said alone.
    with tqdm(unit="step", total=0, disable=hidden, delay=1e-3) as bar:
        count = StepCount(bar)
        progress = {"on_step": count.step, "watch": count.watch}
        if MANIFEST.value is not None:
            paths = reproduce(generator, Path(MANIFEST.value), out, **progress)
        elif shots:
            paths = retake(generator, out, shots, seed=settings.get("seed"), **progress)
        else:
            script = load_script(SCRIPT.value)
            if PREVIEW.value:
                script = preview_script(script)
            scene = generator.sample(
                script, mode=MODE.value, on_step=count.step, animator=animator, **settings
            )
            if PREVIEW.value:
                count.watch(scene)
                paths = [draw_preview(scene, out)]
            else:
                paths = scene.save(out, watch=count.watch)
        count.tell()
    for path in paths:
        print(path)


def check_choice(settings: dict[str, object]) -> list[int]:
    """Returns the shots of --redo; raises InputError unless one thing is asked for, with what belongs to it."""
    chosen = {"--script": SCRIPT.value, "--manifest": MANIFEST.value, "--redo": REDO.value}
    named = [name for name, value in chosen.items() if value is not None]
    if len(named) != 1:
        found = " and ".join(named) or "none of them"
        raise InputError(f"--script, --manifest, --redo: found {found}, expected one of the three")
    allowed = {"--manifest": set(), "--redo": {"seed"}}.get(named[0], settings.keys())
    other = [*sorted(settings.keys() - allowed), *(["mode"] if MODE.value else [])]
    other += ["animator"] if ANIMATOR.value else []
    if named[0] != "--script" and (other or PREVIEW.value):
        name = (other or ["preview"])[0]
        raise InputError(f"--{name}: found beside {named[0]}, expected none: the manifest has it")
    try:
        return sorted({int(number) for number in REDO.value or []})
    except ValueError:
        raise InputError(
            f"--redo: found {','.join(REDO.value)!r}, expected numbers of shots, such as 3 or 3,4"
        ) from None


class StepCount:
    """Shows on a bar the steps of scenes, the time that is left for them, and how many shots are finished."""

    def __init__(self, bar: tqdm) -> None:
        self._bar, self._scene, self._said = bar, None, ""

    def watch(self, scene: SampledScene) -> None:
        """Adds the steps of a scene, of which some are missing."""
        if missing := scene.missing_steps:
            self._scene = scene
            self._bar.total += missing
            self.tell()

    def step(self) -> None:
        """Counts a step."""
        self._bar.update()
        self.tell()

    def tell(self) -> None:
        """Says how many shots of the scene are finished."""
        if self._scene is not None:
            made = sum(len(window.denoised) for window in self._scene.windows)
            said = f"{self._scene.mode}, {len(self._scene.shots)} of {made} shots finished: "
            # A bar that is hidden has no text to compare with.
            if said != self._said:
                self._said = said
                self._bar.set_description_str(said)


if __name__ == "__main__":
    run(run_distributed(main))
