"""Reads single records from the shards of a set, of which there may be as many as films in the world.

A shard has two files of records. An index beside the set's card says how many records and bytes each of them has, so
that a set of many thousand shards is opened without opening them. At most `MOST_OPEN` files are open at a time: systems
usually allow a process 1,024, and a set of one shard a film would soon be over it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from safetensors import SafetensorError
from safetensors.numpy import load

from lct_jax.data.sets.lengths import MAKE_AGAIN, LengthTable
from lct_jax.data.sets.shards import KINDS
from lct_jax.errors import InputError
from lct_jax.tensors import load_tensors_of, save_tensors

INDEX_FILE = "shards.safetensors"
MOST_OPEN = 256


class RecordFiles:
    """Reads the records of a set; it can be sent to worker processes, which open the files again.

    Args:
        folder: the folder of the set.
        shards: the names of its shards, in order.
        expected: the records of each kind in the set.

    Raises:
        InputError: a file is missing, cut short, or of another set than the index.
    """

    def __init__(self, folder: Path, shards: Sequence[str], expected: Mapping[str, int]) -> None:
        self._folder, self._shards = folder, tuple(shards)
        self._readers: OrderedDict[tuple[str, int], ArrayRecordReader] = OrderedDict()
        self._last: tuple[tuple[str, int], Mapping[str, np.ndarray]] = ("", -1), {}
        counts = self._read_index() or self._count_records()
        self._first = {kind: np.cumsum([0, *counts[kind]]) for kind in KINDS}
        for kind in KINDS:
            found = int(self._first[kind][-1])
            # A file that is missing or cut short reads as one without records.
            if found != expected[kind]:
                empty = np.flatnonzero(np.diff(self._first[kind]) == 0)
                where = self._path(kind, int(empty[0])) if len(empty) else folder
                raise InputError(
                    f"{where}: found {found} {kind} in the set, expected {expected[kind]}: {MAKE_AGAIN}"
                )

    def read(self, kind: str, number: int) -> Mapping[str, np.ndarray]:
        """Returns a record as stored; raises InputError where it is damaged."""
        # A latent and its prompt are asked for one after the other.
        if self._last[0] == (kind, number):
            return self._last[1]
        shard = int(np.searchsorted(self._first[kind], number, side="right")) - 1
        place = number - int(self._first[kind][shard])
        try:
            record = load(self._open(kind, shard).read([place])[0])
        # Such an error is a checksum that does not agree, for instance.
        except (RuntimeError, SafetensorError, IndexError) as error:
            raise InputError(
                f"{self._path(kind, shard)}: record {place} is damaged ({error})"
            ) from None
        self._last = (kind, number), record
        return record

    def _read_index(self) -> dict[str, np.ndarray] | None:
        """Returns the records of each shard by kind; None for a set of before there were indexes.

        The sizes of files are compared, so that a shard which was lost is reported before a run begins.
        """
        path = self._folder / INDEX_FILE
        if not path.exists():
            return None
        names = [f"{kind}_{what}" for kind in KINDS for what in ("records", "bytes")]
        index = load_tensors_of(path, names)
        if any(len(column) != len(self._shards) for column in index.values()):
            raise InputError(
                f"{path}: found {len(index[names[0]])} shards, expected {len(self._shards)}: {MAKE_AGAIN}"
            )
        for kind in KINDS:
            for shard, size in enumerate(index[f"{kind}_bytes"].tolist()):
                _check_size(self._path(kind, shard), size)
        return {kind: index[f"{kind}_records"] for kind in KINDS}

    def _count_records(self) -> dict[str, list[int]]:
        shards = range(len(self._shards))
        return {kind: [self._open(kind, shard).num_records() for shard in shards] for kind in KINDS}

    def _open(self, kind: str, shard: int) -> ArrayRecordReader:
        key = kind, shard
        if key in self._readers:
            self._readers.move_to_end(key)
            return self._readers[key]
        if len(self._readers) == MOST_OPEN:
            self._readers.popitem(last=False)[1].close()
        # Records are read one by one, in no order, so nothing is read ahead.
        reader = ArrayRecordReader(str(self._path(kind, shard)), "readahead_buffer_size:0")
        self._readers[key] = reader
        return reader

    def _path(self, kind: str, shard: int) -> Path:
        return _name_file(self._folder, self._shards[shard], kind)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_readers": OrderedDict(), "_last": (("", -1), {})}


def write_index(folder: Path, shards: Sequence[str], tables: Sequence[LengthTable]) -> None:
    """Writes the index of a set whose shards are written; `tables` are their lengths."""
    columns = {
        "shots_records": [len(table.shot_text) for table in tables],
        "scenes_records": [len(table.scene_split) for table in tables],
    }
    for kind in KINDS:
        columns[f"{kind}_bytes"] = [
            _name_file(folder, name, kind).stat().st_size for name in shards
        ]
    save_tensors(
        folder / INDEX_FILE,
        {name: np.asarray(values, np.int64) for name, values in columns.items()},
    )


def _name_file(folder: Path, shard: str, kind: str) -> Path:
    return folder / "shards" / shard / f"{kind}.array_record"


def _check_size(path: Path, expected: int) -> None:
    try:
        found = path.stat().st_size
    except OSError:
        raise InputError(f"{path}: not found: {MAKE_AGAIN}") from None
    if found != expected:
        raise InputError(f"{path}: found {found} bytes, expected {expected}: {MAKE_AGAIN}")
