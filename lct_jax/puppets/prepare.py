r"""Makes a prepared set of puppet scenes in the same way as from films: renders records of pixels, and encodes those.

    python -m lct_jax.puppets.prepare --config=configs/puppets.py --scenes=3000 --shots=2-9 --out=runs/puppets_scenes

With `--panels`, three shots at a time become a picture of three panels with one caption (`lct_jax/data/panels.py`).
The world that scenes are drawn in is the config's (`lct_jax/puppets/worlds.py`). The result is a set that `train.py`
reads, with the pixels it was encoded from under `pixels/`. Labels are drawn again from the seed whenever they are
needed. A shard holds scenes of one frame size. Another run does not repeat existing results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from lct_jax.cli import define_config, define_path, run
from lct_jax.config import Config, freeze
from lct_jax.data.encode import keep_scene
from lct_jax.data.panels import stack_panels
from lct_jax.data.prepare import PREPARING, prepare_pixels
from lct_jax.data.runner import run_here
from lct_jax.data.sets.records import SetInfo, finish_set
from lct_jax.data.sets.set_info import CARD_FILE, PIXELS
from lct_jax.data.sets.shard_check import find_damage
from lct_jax.data.sets.shards import write_shard
from lct_jax.data.sources import RawScene, RawShot
from lct_jax.directing.arrange import PANELS
from lct_jax.directing.prompts import render_global
from lct_jax.directing.prompts import render_shot as write_shot
from lct_jax.errors import InputError, make_folder
from lct_jax.files import hash_of
from lct_jax.folder_lock import lock_folder
from lct_jax.puppets.scene import Drawing, PuppetScene
from lct_jax.puppets.worlds import find_world
from lct_jax.puppets.writing import NAMES

# The version of how scenes are drawn, rendered and written; another one makes other pixels.
VERSION = 2
HELD_OUT = 50  # one of so many scenes is held out


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Describes the scenes to make: how many, of which seed, what is drawn in which world, and how many shots are in
    one picture."""

    scenes: int
    seed: int
    drawing: Drawing
    panels: int = 1
    world: str = "puppets"

    def describe(self) -> dict[str, Any]:
        """Returns what records depend on."""
        plain = dataclasses.asdict(self)
        # Sets that were made before there were panels and worlds keep their names.
        if self.panels == 1:
            del plain["panels"]
        if self.world == "puppets":
            del plain["world"]
        return plain


def prepare_puppets(wanted: Wanted, out: Path, config: Config) -> bool:
    """Makes a prepared set of puppet scenes; returns False when `out` already holds this very one."""
    make_folder(out / "pixels")
    with lock_folder(out / "pixels", doing=PREPARING):
        render_set(wanted, out / "pixels", config)
    return prepare_pixels(out / "pixels", out, config, runner=run_here)


def render_set(wanted: Wanted, folder: Path, config: Config) -> None:
    """Writes the set of pixels, a shard for every frame size, unless it exists and is whole."""
    names = [
        f"{wanted.world}-{height}x{width}-{hash_of(VERSION, wanted.describe(), config.prepare.fps)}"
        for height, width in wanted.drawing.sizes
    ]
    for name, size in zip(names, wanted.drawing.sizes, strict=True):
        shard = folder / "shards" / name
        if shard.is_dir() and find_damage(shard) is None:
            continue
        raw = (to_raw(scene) for scene in _draw(wanted) if scene.size == size)
        if wanted.panels > 1:
            raw = (picture for scene in raw for picture in stack_panels(scene))
        records = map(keep_scene, raw)
        (folder / CARD_FILE).unlink(missing_ok=True)
        write_shard(
            shard, records, empty=0, film=f"{wanted.world}-{size[0]}x{size[1]}", credit="",
            size=(wanted.panels * size[0], size[1]), aspect_error=0.0,
        )  # fmt: skip
    if not (folder / CARD_FILE).exists():
        height, width = config.prepare.height, config.prepare.width
        info = SetInfo(
            PIXELS, "none", 3, 0, height, width, config.prepare.fps, np.zeros((0, 0), np.float32)
        )
        finish_set(folder, names, info=info)


def to_raw(scene: PuppetScene) -> RawScene:
    """Returns a scene as other sources of footage give it: texts, and shots that are rendered when they are read."""
    world = find_world(scene.world)
    script = world.write_script(scene)
    full, brief = (
        "" if script.prompt is None else render_global(script.prompt, story=story)
        for story in (True, False)
    )
    split = "held_out" if scene.seed[1] % HELD_OUT == HELD_OUT - 1 else "train"
    shots = (
        RawShot(write_shot(text), world.render_shot(scene, shot))
        for text, shot in zip(script.shots, scene.shots, strict=True)
    )
    return RawScene(scene.name, split, full, brief, shots)


def _draw(wanted: Wanted) -> Iterator[PuppetScene]:
    draw = find_world(wanted.world).draw_scene
    numbers = tqdm(range(wanted.scenes), "drawing", unit="scene", leave=False, disable=None)
    return (draw(wanted.seed, number, wanted.drawing) for number in numbers)


def read_range(flag: str, text: str, *, most: int | None = None) -> tuple[int, int]:
    """Returns a number or a range, "1" or "2-9"; raises InputError for anything else, and for more than `most`."""
    parts = text.split("-")
    if len(parts) > 2 or not all(part.isdigit() for part in parts):
        raise InputError(f"{flag}: found {text!r}, expected a number or a range such as 1-2")
    low, high = int(parts[0]), int(parts[-1])
    if not 1 <= low <= high:
        raise InputError(f"{flag}: found {text!r}, expected at least 1 and a range that grows")
    if most is not None and high > most:
        raise InputError(f"{flag}: found {text!r}, expected at most {most}")
    return low, high


def main(argv: Sequence[str]) -> None:
    del argv
    cast = read_range("--characters", CHARACTERS.value, most=len(NAMES))
    config, out = freeze(CONFIG.value), Path(OUT.value)
    sizes = find_world(config.world).sizes
    drawing = Drawing(read_range("--shots", SHOTS.value), WITHHOLD.value, sizes, cast=cast)
    panels = PANELS if STACKED.value else 1
    wanted = Wanted(SCENES.value, SEED.value, drawing, panels, config.world)
    made = prepare_puppets(wanted, out, config)
    print(f"{out}: {'prepared' if made else 'already prepared, nothing to do'}")


if __name__ == "__main__":
    OUT = define_path("out", "Folder of the prepared set.", required=True)
    SCENES = flags.DEFINE_integer("scenes", 1000, "How many scenes.", lower_bound=1)
    SHOTS = flags.DEFINE_string("shots", "2-9", "Shots of a scene: a number, or a range.")
    WITHHOLD = flags.DEFINE_float(
        "withhold", 0.5, "Chance that nothing is written of an attribute.", 0.0, 1.0
    )
    CHARACTERS = flags.DEFINE_string(
        "characters", "1-2", "Characters of a scene of several shots: a number, or a range."
    )
    STACKED = flags.DEFINE_bool("panels", False, "Pictures of three panels in place of scenes.")
    SEED = flags.DEFINE_integer("seed", 0, "Of the scenes.", lower_bound=0)
    CONFIG = define_config()
    run(main)
