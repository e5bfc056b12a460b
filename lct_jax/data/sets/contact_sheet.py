"""Draws a contact sheet of a prepared set: what its records hold, or what a packed batch gives the model.

    python -m lct_jax.data.sets.contact_sheet --data=DIR --out=SHEET.png --config=CONFIG [--shots=NAME,NAME | --count=6]
    python -m lct_jax.data.sets.contact_sheet --data=DIR --out=SHEET.png --config=CONFIG --batch=3 [--rows=2]

The PNG shows frames decoded by the set's codec, prompts, and lengths. For a batch everything is read from the packed
arrays themselves: a shot's tokens are found by their index, its grid from their coordinates, and its prompt is the one
in the set whose tokens are exactly those in the row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from absl import flags

from lct_jax.backbones.registry import count_costs
from lct_jax.cli import define_config, define_path, run
from lct_jax.codecs.protocol import VideoCodec
from lct_jax.codecs.registry import load_codec
from lct_jax.config import Config, freeze
from lct_jax.data.pipeline import make_source
from lct_jax.data.planner import Row, SampleDraw
from lct_jax.data.sets.records import CODEC_FILE, PreparedSet
from lct_jax.directing.prompts import SHOT_CUT_TAG
from lct_jax.errors import InputError
from lct_jax.layout import unpatchify
from lct_jax.media.storyboard import StoryboardRow, draw_storyboard
from lct_jax.types import GLOBAL_SHOT, PackedBatch, Tokens


def make_shot_rows(prepared: PreparedSet, shots: Sequence[int]) -> list[StoryboardRow]:
    """Returns the rows of a sheet for shots by number: the first clip of each, decoded."""
    codec, names, rows = _codec(prepared), prepared.shot_names, []
    for shot in shots:
        latent = prepared.read_latent(shot, clip=0, still=None)
        text = prepared.read_shot(shot)["text"].tobytes().decode()
        clips = int(np.diff(prepared.lengths.clip_start)[shot])
        about = f"{names[shot]}: {clips} clips, {_size(latent.shape)}, {prepared.lengths.shot_text[shot]} text tokens"
        rows.append(_row(codec.decode(latent), text, about, prepared))
    return rows


def make_batch_rows(
    prepared: PreparedSet, config: Config, number: int, *, rows: int
) -> list[StoryboardRow]:
    """Returns the rows of a sheet for the first packed rows of a batch, decoded again."""
    source = make_source(prepared, config, count_costs(config.network))
    batch, plan = source[number], source.planner.batch(number)
    codec, found = _codec(prepared), []
    for row in range(min(rows, len(plan))):
        found += _make_batch_row(prepared, config, codec, batch, plan[row], row)
    return found


def choose_shots(
    prepared: PreparedSet, names: Sequence[str], *, count: int, seed: int
) -> list[int]:
    """Returns the numbers of named shots, or of some drawn at random; raises InputError for an unknown name."""
    known = {name: number for number, name in enumerate(prepared.shot_names)}
    for name in names:
        if name not in known:
            raise InputError(
                f"--shots: found {name!r}, expected a shot such as {next(iter(known))!r}"
            )
    if names:
        return [known[name] for name in names]
    rng = np.random.default_rng(seed)
    return sorted(rng.choice(len(known), min(count, len(known)), replace=False).tolist())


def _make_batch_row(
    prepared: PreparedSet,
    config: Config,
    codec: VideoCodec,
    batch: PackedBatch,
    plan: Row,
    row: int,
) -> list[StoryboardRow]:
    found = []
    for scene, sample in enumerate(plan, start=1):
        title = f"row {row}, scene {scene}"
        if sample.scene is not None:
            text = _take(batch.text, row, scene, GLOBAL_SHOT)[0]
            title += f", global prompt: {_read_text(prepared, sample, text, None)!r}"
        for place, draw in enumerate(sample.shots, start=1):
            value, coord = _take(batch.video, row, scene, place)
            grid = tuple((coord.max(0) - coord.min(0) + 1).tolist())
            latent = unpatchify(value, grid, config.backbone.patch)
            text = _take(batch.text, row, scene, place)[0]
            prompt = _read_text(prepared, sample, text, draw.shot)
            about = f"{title}, shot {place}: {len(value)} video and {len(text)} text tokens, {_size(latent.shape)}"
            found.append(_row(codec.decode(latent), prompt, about, prepared))
            title = f"row {row}, scene {scene}"
    return found


def _take(tokens: Tokens, row: int, scene: int, shot: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values and coordinates of the tokens of one group of a row."""
    index = tokens.index
    here = (index.scene[row] == scene) & (index.shot[row] == shot)
    return tokens.value[row, here], index.coord[row, here]


def _read_text(
    prepared: PreparedSet, sample: SampleDraw, tokens: np.ndarray, shot: int | None
) -> str:
    """Returns the text in the set that has these tokens."""
    if np.array_equal(tokens, prepared.empty):
        return "(empty prompt)"
    for alone in (False, True) if shot is not None else ():
        if np.array_equal(tokens, prepared.read_prompt(shot, alone=alone)):
            name = "alone_text" if alone else "text"
            return prepared.read_shot(shot)[name].tobytes().decode()
    for story in (True, False) if shot is None else ():
        if np.array_equal(tokens, prepared.read_global(sample.scene, story=story)):
            record = prepared.read_scene(sample.scene)
            return record["full_text" if story else "brief_text"].tobytes().decode()
    return "(tokens of no text in the set)"


def _row(frames: np.ndarray, text: str, about: str, prepared: PreparedSet) -> StoryboardRow:
    cut = text.startswith(SHOT_CUT_TAG)
    return StoryboardRow(frames, f"{text}  |  {about}", prepared.card.fps, label="record", cut=cut)


def _size(shape: Sequence[int]) -> str:
    return f"latent {'x'.join(map(str, shape[:3]))}"


def _codec(prepared: PreparedSet) -> VideoCodec:
    return load_codec(prepared.folder / CODEC_FILE, channels=prepared.card.channels)


def main(argv: Sequence[str]) -> None:
    del argv
    prepared = PreparedSet(DATA.value)
    if BATCH.value is None:
        names = [name for name in SHOTS.value.split(",") if name]
        shots = choose_shots(prepared, names, count=COUNT.value, seed=SEED.value)
        title, rows = f"{len(shots)} shots of {DATA.value}", make_shot_rows(prepared, shots)
    else:
        config = freeze(CONFIG.value)
        title = f"Batch {BATCH.value} of {DATA.value}, as {config.name} packs it"
        rows = make_batch_rows(prepared, config, BATCH.value, rows=ROWS.value)
    draw_storyboard(OUT.value, title, rows, prepared.card.credit)
    print(OUT.value)


if __name__ == "__main__":
    DATA = define_path("data", "Prepared set.", required=True)
    OUT = define_path("out", "The sheet, a PNG.", required=True)
    SHOTS = flags.DEFINE_string("shots", "", "Names of shots, with commas between them.")
    COUNT = flags.DEFINE_integer(
        "count", 6, "Shots drawn at random where none is named.", lower_bound=1
    )
    SEED = flags.DEFINE_integer("seed", 0, "Of that draw.", lower_bound=0)
    BATCH = flags.DEFINE_integer("batch", None, "Number of a batch to look at.", lower_bound=0)
    ROWS = flags.DEFINE_integer("rows", 2, "Packed rows of the batch.", lower_bound=1)
    CONFIG = define_config()
    run(main)
