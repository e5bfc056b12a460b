"""Decides which of the lists in a folder belongs to which video, and which belongs to none.

`NAME.cuts.json` belongs to `NAME.mp4`, and so does `NAME.mp4.cuts.json`, which some programs write. Where no name
agrees letter by letter, upper and lower case and the two Unicode forms of an accent (one character, or a letter and a
mark, as macOS stores names) make no difference. A list whose name is closer to that of another video belongs to that
one alone.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lct_jax.media.frames import VIDEO_SUFFIXES

CAPTION_SUFFIXES = (".captions.jsonl", ".captions.csv")
SCENES_SUFFIX, CUTS_SUFFIX = ".scenes.json", ".cuts.json"
_KINDS = (CAPTION_SUFFIXES, (SCENES_SUFFIX,), (CUTS_SUFFIX,))


@dataclass(frozen=True)
class _Match:
    """A list of a video; `order` is smaller the closer the names and the earlier the suffix."""

    order: tuple[int, int, str]
    name: str


def find_list(video: Path, suffixes: Sequence[str]) -> Path | None:
    """Returns the list of a video that ends in one of some suffixes of one kind and is closest by name; or None."""
    beside = (video.with_name(video.stem + suffix) for suffix in suffixes)
    exact = next((path for path in beside if path.is_file()), None)
    if exact is not None:
        return exact
    matches, _ = _match_folder(video.parent, video.parent.stat().st_mtime_ns)
    best = matches.get((video.name, _kind_of(suffixes[0])))
    found = None if best is None else video.with_name(best.name)
    return found if found is not None and found.is_file() else None


def is_list(name: str) -> bool:
    """Returns whether the name of a file is that of a list."""
    return bool(_split(name))


def describe_misnamed(name: str) -> str:
    """Returns a line about a file that looks like a list by its name, such as `NAME.captions.tsv`; "" otherwise."""
    looks = Path(name.lower()).with_suffix("").suffix
    known = [s for kind in _KINDS for s in kind if Path(s).with_suffix("").name == looks and looks]
    return (
        f"not a list by its name, expected one that ends in {' or '.join(known)}" if known else ""
    )


def find_strays(names: Iterable[str]) -> dict[str, str]:
    """Returns the lists among the files of a folder that no video uses, each with the reason."""
    return _match(names)[1]


@functools.lru_cache(maxsize=64)
def _match_folder(
    folder: Path, changed: int
) -> tuple[dict[tuple[str, int], _Match], dict[str, str]]:
    """Returns the result of `_match` for a folder; `changed` is its time of change, so that a new file is noticed."""
    del changed
    return _match(path.name for path in folder.iterdir())


def _match(names: Iterable[str]) -> tuple[dict[tuple[str, int], _Match], dict[str, str]]:
    """Returns the best list of each video and kind, and the lists that are best for no video, with the reason."""
    names = sorted(names)
    videos = _index_videos(name for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES)
    best: dict[tuple[str, int], _Match] = {}
    owners: dict[str, list[tuple[str, int]]] = {}
    for name in names:
        parts = _split(name)
        if not parts:
            continue
        base, suffix = parts
        kind = _kind_of(suffix)
        keys = (("stem", base), ("name", base), ("stem", _fold(base)), ("name", _fold(base)))
        exact = [videos[how, key, rank > 1] for rank, (how, key) in enumerate(keys)]
        rank = next((rank for rank, found in enumerate(exact) if found), None)
        owners[name] = [] if rank is None else [(video, kind) for video in exact[rank]]
        for owner in owners[name]:
            match = _Match((rank, _KINDS[kind].index(suffix), name), name)
            if owner not in best or match.order < best[owner].order:
                best[owner] = match
    used = {match.name for match in best.values()}
    strays = {name: _explain(owners[name], best) for name in owners if name not in used}
    return best, strays


def _index_videos(names: Iterable[str]) -> defaultdict[tuple[str, str, bool], list[str]]:
    """Returns videos by stem and by whole name, as they are (False) and folded (True)."""
    index: defaultdict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for name in names:
        for how, key in (("stem", Path(name).stem), ("name", name)):
            index[how, key, False].append(name)
            index[how, _fold(key), True].append(name)
    return index


def _explain(owners: Sequence[tuple[str, int]], best: dict[tuple[str, int], _Match]) -> str:
    if not owners:
        return "a list of no video, expected one of the same name beside it"
    video, _ = owners[0]
    return f"not used, {video} has {best[owners[0]].name}"


def _split(name: str) -> tuple[str, str] | None:
    """Returns what stands before the suffix of a list, and the suffix in small letters; None for other files."""
    for suffix in (suffix for kind in _KINDS for suffix in kind):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)], suffix
    return None


def _kind_of(suffix: str) -> int:
    return next(number for number, kind in enumerate(_KINDS) if suffix in kind)


def _fold(name: str) -> str:
    """Returns a name in lower case and in one Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
