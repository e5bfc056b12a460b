"""Pictures of three panels with one caption, as In-Context LoRA is trained on them, made of shots of scenes.

A picture has the first frames of three shots that follow each other, one above the other; its caption is the scene's
global prompt without the story, then the prompt of every shot behind a marker. Sampling words captions alike
(`lct_jax.directing.arrange`) and cuts the panels apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lct_jax.config import Config
from lct_jax.data.encode import keep_scene
from lct_jax.data.scene_file import load_scene_file
from lct_jax.data.sets.records import SetInfo, finish_set
from lct_jax.data.sets.set_info import CARD_FILE, PIXELS
from lct_jax.data.sets.shard_check import find_damage
from lct_jax.data.sets.shards import write_shard
from lct_jax.data.sources import RawScene, RawShot, open_source
from lct_jax.directing.arrange import PANELS, caption_panels, group_panels
from lct_jax.directing.prompts import SHOT_CUT_TAG
from lct_jax.errors import InputError
from lct_jax.files import hash_of

# The version of how pictures are made of shots; another one makes other pixels.
VERSION = 1


def stack_panels(scene: RawScene) -> Iterator[RawScene]:
    """Yields a scene of one shot of one frame for every picture of a scene; one of fewer than three shots has none."""
    shots = list(scene.shots)
    if len(shots) < PANELS:
        return
    for number, group in enumerate(group_panels(len(shots))):
        frames = np.concatenate([shots[place].frames[:1] for place in group], axis=1)
        texts = [shots[place].text.removeprefix(SHOT_CUT_TAG).strip() for place in group]
        shot = RawShot(caption_panels(scene.brief, texts), frames)
        yield RawScene(f"{scene.name}_{number}", scene.split, "", "", [shot])


def cut_panels(frames: np.ndarray, panels: int) -> list[np.ndarray]:
    """Returns the pictures that stand one above the other in frames [T, height, width, 3], from the top."""
    return np.split(frames, panels, axis=1)


def keep_panels(scenes: Path, folder: Path, config: Config) -> None:
    """Writes the pictures of an annotated film as a set of raw pixels, unless that set exists and is whole.

    Args:
        scenes: its scene file. config: `prepare.height` and `prepare.width` are those of a whole picture.

    Raises:
        InputError: the height does not divide into panels, a bad scene file, or a film that cannot be read.
    """
    prepare, film = config.prepare, load_scene_file(scenes).film
    if prepare.height % PANELS:
        raise InputError(
            f"prepare.height: found {prepare.height}, expected a multiple of {PANELS}, the panels of a picture"
        )
    panel = dataclasses.replace(prepare, height=prepare.height // PANELS)
    source = open_source(scenes, dataclasses.replace(config, prepare=panel))
    (height, width), error = source.size()
    name = (
        f"panels-{hash_of(VERSION, source.content, height, width, prepare.fps, prepare.max_frames)}"
    )
    shard = folder / "shards" / name
    whole = shard.is_dir() and find_damage(shard) is None
    if whole and (folder / CARD_FILE).exists():
        return
    (folder / CARD_FILE).unlink(missing_ok=True)
    if not whole:
        pictures = (picture for scene in source.scenes() for picture in stack_panels(scene))
        write_shard(
            shard, map(keep_scene, pictures), empty=0, film=Path(film.file).name, credit=source.credit,
            size=(PANELS * height, width), aspect_error=error,
        )  # fmt: skip
    area = {"height": prepare.height, "width": prepare.width, "fps": prepare.fps}
    info = SetInfo(PIXELS, "none", 3, 0, **area, empty=np.zeros((0, 0), np.float32))
    finish_set(folder, [name], info=info)
