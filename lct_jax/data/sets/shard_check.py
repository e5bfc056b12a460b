"""Checks a shard on disk: whether everything that was written of a film is still there, record by record.

Storage loses files (a purge of scratch), ends of files (an interrupted copy) and bits. Every record is read, because
only its checksum detects changed bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from safetensors import SafetensorError
from safetensors.numpy import load

from lct_jax.data.sets.checksums import check_checksums
from lct_jax.data.sets.lengths import LengthTable
from lct_jax.data.sets.shards import KINDS, LENGTHS_FILE, read_about
from lct_jax.errors import InputError, one_line


def find_damage(shard: Path) -> InputError | None:
    """Returns what is wrong with a shard, or None where every file and record of it is whole."""
    try:
        _check(shard)
    except InputError as error:
        return error
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        return InputError(f"{shard}: is damaged ({one_line(error)})")
    return None


def _check(shard: Path) -> None:
    check_checksums(shard)
    lengths, about = LengthTable.load(shard / LENGTHS_FILE), read_about(shard)
    expected = {"shots": list(_expect_shots(lengths)), "scenes": list(_expect_scenes(lengths))}
    names = {"shots": about.shots, "scenes": about.scenes}
    for kind in KINDS:
        path = shard / f"{kind}.array_record"
        reader = ArrayRecordReader(str(path), "readahead_buffer_size:0")
        try:
            found = reader.num_records()
            if not found == len(expected[kind]) == len(names[kind]):
                raise InputError(f"{path}: found {found} records, expected {len(names[kind])}")
            for number, sizes in enumerate(expected[kind]):
                _check_record(f"{path}: record {number}", reader.read([number])[0], sizes)
        finally:
            reader.close()


def _check_record(where: str, data: bytes, sizes: Mapping[str, tuple[int, ...] | None]) -> None:
    record = load(data)
    # A set of pixels keeps a caption that stands alone as a text, for the encoder to come.
    if record.keys() - sizes.keys() - {"alone_text"} or sizes.keys() - record.keys():
        raise InputError(f"{where}: found {sorted(record)}, expected {sorted(sizes)}")
    for name, size in sizes.items():
        if size is not None and record[name].shape[: len(size)] != size:
            raise InputError(f"{where}: {name}: found {record[name].shape}, expected {size}")


def _expect_shots(lengths: LengthTable) -> Iterator[dict[str, tuple[int, ...] | None]]:
    """Yields the sizes of each shot's tensors, without their last axes; None where any size is allowed."""
    for shot, tokens in enumerate(lengths.shot_text.tolist()):
        first, end = lengths.clip_start[shot : shot + 2]
        grids = map(tuple, lengths.clip_grid[first:end].tolist())
        clips = {f"clip_{n}": grid for n, grid in enumerate(grids)}
        stills = {f"still_{n}": (1,) for n in range(int(lengths.shot_still[shot]))}
        own = int(lengths.shot_alone[shot])
        alone = {"alone": (own,), "alone_text": None} if own > 0 else {}
        yield {**clips, **stills, **alone, "prompt": (tokens,), "text": None}


def _expect_scenes(lengths: LengthTable) -> Iterator[dict[str, tuple[int, ...] | None]]:
    for full, brief in np.stack([lengths.scene_full, lengths.scene_brief], axis=1).tolist():
        yield {"full": (full,), "brief": (brief,), "full_text": None, "brief_text": None}
