"""Checks a prepared set record by record, and reports what is wrong with which record.

    python -m lct_jax.data.sets.validate --data=DIR

Each problem is one line that names shard, record and tensor; the exit code is 2 if there is any. The checks cover what
training relies on: records can be read, have the sizes in the table of lengths and the right types, are finite and have
texts; names are unique; and the codec is the one of the card.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lct_jax.cli import define_path, run
from lct_jax.codecs.registry import load_codec
from lct_jax.data.sets.lengths import NAMES_PEOPLE
from lct_jax.data.sets.records import CODEC_FILE, PreparedSet
from lct_jax.data.sets.set_info import PIXELS
from lct_jax.errors import InputError

# Latents have about unit variance, so a value beyond this comes from no picture.
LOUDEST = 100.0


def find_problems(prepared: PreparedSet) -> Iterator[str]:
    """Yields one line for each problem; raises nothing that `PreparedSet` has not raised before."""
    yield from _check_names("scene", prepared.scene_names, len(prepared.lengths.scene_split))
    yield from _check_names("shot", prepared.shot_names, len(prepared.lengths.shot_text))
    yield from _check_codec(prepared)
    for number in range(len(prepared.lengths.shot_text)):
        where = f"shot {_name(prepared.shot_names, number)}"
        yield from _check_record(where, prepared.read_shot, number, _expect_shot(prepared, number))
    for number in range(len(prepared.lengths.scene_split)):
        where = f"scene {_name(prepared.scene_names, number)}"
        yield from _check_record(
            where, prepared.read_scene, number, _expect_scene(prepared, number)
        )


def _name(names: Sequence[str], number: int) -> str:
    return f"{names[number]} (record {number})" if number < len(names) else f"record {number}"


def _check_names(kind: str, names: Sequence[str], expected: int) -> Iterator[str]:
    if len(names) != expected:
        yield f"{kind}s: found {len(names)} names, expected {expected}"
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{kind} {name}: the name is there {count} times"


def _check_codec(prepared: PreparedSet) -> Iterator[str]:
    if prepared.card.codec == PIXELS:
        return
    path = prepared.folder / CODEC_FILE
    try:
        found = load_codec(path, channels=prepared.card.channels).identity
    except InputError as error:
        yield str(error)
        return
    if found != prepared.card.codec:
        yield f"{path}: found codec {found}, expected {prepared.card.codec} of the card"


def _expect_shot(prepared: PreparedSet, shot: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a shot's tensors, from the table of lengths."""
    lengths, card = prepared.lengths, prepared.card
    first, end = lengths.clip_start[shot : shot + 2]
    grids = [tuple(grid) for grid in lengths.clip_grid[first:end].tolist()]
    shapes = {f"clip_{n}": (*grid, card.channels) for n, grid in enumerate(grids)}
    still = (1, *grids[0][1:], card.channels)
    shapes |= {f"still_{n}": still for n in range(lengths.shot_still[shot])}
    if lengths.shot_alone[shot] > 0:
        shapes |= {"alone": (int(lengths.shot_alone[shot]), card.text_width), "alone_text": ()}
    if card.codec == PIXELS and lengths.shot_alone[shot] == NAMES_PEOPLE:
        scene = int(np.searchsorted(lengths.scene_start, shot, side="right")) - 1
        # In a set that is not yet encoded, the caption of a scene of one shot is there as text alone.
        shapes |= {"alone_text": ()} if len(lengths.shots_of(scene)) == 1 else {}
    return shapes | {"prompt": (int(lengths.shot_text[shot]), card.text_width), "text": ()}


def _expect_scene(prepared: PreparedSet, scene: int) -> dict[str, tuple[int, ...]]:
    lengths, width = prepared.lengths, prepared.card.text_width
    full, brief = int(lengths.scene_full[scene]), int(lengths.scene_brief[scene])
    return {"full": (full, width), "brief": (brief, width), "full_text": (), "brief_text": ()}


def _check_record(
    where: str, read: object, number: int, expected: Mapping[str, tuple[int, ...]]
) -> Iterator[str]:
    try:
        record = read(number)
    except InputError as error:
        yield f"{where}: {error}"
        return
    for name in sorted(record.keys() ^ expected.keys()):
        yield f"{where}: {name}: {'missing' if name in expected else 'not expected'}"
    for name in sorted(record.keys() & expected.keys()):
        for complaint in _check_tensor(record[name], expected[name], text=name.endswith("text")):
            yield f"{where}: {name}: {complaint}"


def _check_tensor(tensor: np.ndarray, shape: tuple[int, ...], *, text: bool) -> Iterator[str]:
    if text:
        try:
            tensor.tobytes().decode()
        except UnicodeDecodeError:
            yield "found bytes that are no UTF-8 text"
        return
    pixels = shape[-1:] == (3,) and tensor.dtype == np.uint8
    if tensor.dtype != np.float16 and not pixels:
        yield f"found {tensor.dtype}, expected float16"
    if tensor.shape != shape:
        yield f"found shape {tensor.shape}, expected {shape} of the table of lengths"
    if not np.isfinite(tensor).all():
        yield f"found {(~np.isfinite(tensor)).sum()} values that are not finite"
    elif len(shape) == 4 and not pixels and np.abs(tensor).max() > LOUDEST:
        yield f"found a latent of {np.abs(tensor).max():.0f}, expected about unit variance"


def main(argv: Sequence[str]) -> None:
    del argv
    prepared = PreparedSet(DATA.value)
    problems = 0
    for problems, line in enumerate(find_problems(prepared), start=1):  # noqa: B007
        print(line)
    if problems:
        raise InputError(f"{DATA.value}: {problems} problems, expected none")
    count = len(prepared.lengths.shot_text) + len(prepared.lengths.scene_split)
    print(f"{DATA.value}: {count} records, no problem")


if __name__ == "__main__":
    DATA = define_path("data", "Prepared set.", required=True)
    run(main)
