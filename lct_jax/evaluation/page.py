r"""Makes a page on which a person compares sets of sampled scenes without knowing which is which.

    python -m lct_jax.evaluation.page --sets=joint=runs/table/samples/joint,causal=runs/table/samples/causal \
        --out=runs/comparison.html

A set is a folder of scenes, each a folder as `sample.py` and `evaluate.py` write it; the scenes that all sets have are
shown. The result is one file without references to others, so that it can be sent to anybody: per scene, the sets lie
side by side in random order, and are ranked for each question, as in the paper's user study. At the end the names are
shown, with mean ranks; rankings can be saved, and those of several people counted together.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import flags

from lct_jax.cli import define_path, run
from lct_jax.errors import InputError
from lct_jax.files import replace_atomically
from lct_jax.media.video import embed_video
from lct_jax.paths import local_path
from lct_jax.scene_files.record import read_texts

QUESTIONS = (
    "Which looks best: sharp, clean and free of errors?",
    "Where do people, places and light agree best from shot to shot?",
    "Which shows best what the script says?",
)
VIDEO = "scene.mp4"
# Letters of the page, and how many videos a person can compare at all.
MOST = 10


@dataclass(frozen=True)
class ComparedScene:
    """A scene as all sets show it.

    Attributes:
        script: its texts, a line each; empty where they were not kept.
        videos: the files, in the order of the sets.
    """

    script: tuple[str, ...]
    videos: tuple[Path, ...]


def read_sets(text: str) -> dict[str, Path]:
    """Returns the folders of sets by name; raises InputError where the flag is not NAME=FOLDER,NAME=FOLDER."""
    sets: dict[str, Path] = {}
    for part in text.split(","):
        name, separator, folder = part.partition("=")
        if not (name and separator and folder):
            raise InputError(f"--sets: found {part!r}, expected NAME=FOLDER")
        if name in sets:
            raise InputError(f"--sets: found {name!r} twice, expected different names")
        sets[name] = Path(local_path(folder, "--sets"))
        if not sets[name].is_dir():
            raise InputError(f"--sets: {folder}: no such folder")
    if not 2 <= len(sets) <= MOST:
        raise InputError(f"--sets: found {len(sets)} sets, expected 2 to {MOST}")
    return sets


def find_scenes(sets: Mapping[str, Path]) -> list[ComparedScene]:
    """Returns the scenes that all sets have, in the order of their names; raises InputError where there are none."""
    found = [{path.parent.name for path in folder.glob(f"*/{VIDEO}")} for folder in sets.values()]
    names = sorted(set.intersection(*found))
    if not names:
        raise InputError(
            f"--sets: found no scene that all sets have, expected folders of one name with {VIDEO}"
        )
    return [
        ComparedScene(
            script=read_texts(next(iter(sets.values())) / name),
            videos=tuple(folder / name / VIDEO for folder in sets.values()),
        )
        for name in names
    ]


def make_page(names: Sequence[str], scenes: Sequence[ComparedScene], *, seed: int) -> str:
    """Returns the page. The order of sets in each scene is drawn from the seed, and hidden in the page's key."""
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(names)).tolist() for _ in scenes]
    shown = [
        {
            "script": list(scene.script),
            "videos": [embed_video(scene.videos[place].read_bytes()) for place in order],
        }
        for scene, order in zip(scenes, orders, strict=True)
    ]
    key = json.dumps({"names": list(names), "orders": orders})
    values = {
        "sets": len(names),
        "questions": list(QUESTIONS),
        "scenes": shown,
        "key": base64.b64encode(key.encode()).decode(),
    }
    # Saved rankings are counted only on the page that they were made on.
    values["page"] = hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
    # A script of HTML ends at the first "</", whatever it is part of.
    text = json.dumps(values).replace("</", "<\\/")
    template = Path(__file__).with_name("page_template.html").read_text(encoding="utf-8")
    return template.replace("@DATA@", text)


def main(argv: Sequence[str]) -> None:
    del argv
    sets = read_sets(SETS.value)
    scenes = find_scenes(sets)
    out = Path(OUT.value)
    with replace_atomically(out) as unfinished:
        unfinished.write_text(make_page(list(sets), scenes, seed=SEED.value), encoding="utf-8")
    print(f"{out}: {len(sets)} sets, {len(scenes)} scenes")


if __name__ == "__main__":
    SETS = flags.DEFINE_string("sets", None, "NAME=FOLDER,NAME=FOLDER,...", required=True)
    SEED = flags.DEFINE_integer("seed", 0, "Of the order of the sets.", lower_bound=0)
    OUT = define_path("out", "The page, an .html file.", required=True)
    run(main)
