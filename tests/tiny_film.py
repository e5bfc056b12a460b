"""A film of a few seconds with its scene file, and a config small enough to train in a test.

Everything is written into a folder of the test: `film.mp4`, `scenes.json` and `tiny.py`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from shared_folder import make_once, shared_folder

from lct_jax.config import (
    Config,
    DataConfig,
    PrepareConfig,
    TrainingConfig,
)
from lct_jax.config.network import make_network, sections
from lct_jax.data.prepare import prepare_scene_file
from lct_jax.data.sets.records import PreparedSet
from lct_jax.media.video import write_video

ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH = 32, 48
FRAMES = 100
CUTS = ((0, 20), (20, 33), (33, 50), (52, 60), (60, 81), (81, 97))  # of six shots

CONFIG = Config(
    name="tiny",
    prepare=PrepareConfig(
        height=HEIGHT, width=WIDTH, max_frames=9, clips=2, stills=2, encoder="stand_in"
    ),
    **sections(
        make_network(
            width=32,
            depth=1,
            heads=2,
            head_dim=16,
            channels=8,
            text_width=16,
            mlp_ratio=1,
            rope_split=(4, 6, 6),
            scene_span=64,
            shot_span=32,
            time_features=16,
            dtype="float32",
            remat="none",
        )
    ),
    data=DataConfig(
        rows=2,
        video_tokens=56,
        text_tokens=96,
        groups=6,
        max_shots=3,
        pool=2,
        singles_from_scenes=True,
    ),
    training=TrainingConfig(
        steps=8,
        warmup=1,
        learning_rate=1e-2,
        log_every=2,
        eval_every=4,
        save_every=3,
        eval_batches=1,
        eval_times=(0.5,),
    ),
)


@dataclass(frozen=True)
class TinyFilm:
    """A tiny film, by the folder that has its files."""

    folder: Path

    @property
    def film(self) -> Path:
        """The mp4."""
        return self.folder / "film.mp4"

    @property
    def scenes(self) -> Path:
        """The scene file."""
        return self.folder / "scenes.json"

    @property
    def config(self) -> Path:
        """The config file, which holds `CONFIG`."""
        return self.folder / "tiny.py"

    @property
    def prepared(self) -> Path:
        """The prepared set."""
        return self.folder / "set"

    def prepare(self, config: Config = CONFIG) -> PreparedSet:
        """Prepares the film, unless that is done, and opens the set."""
        prepare_scene_file(self.scenes, self.prepared, config)
        return PreparedSet(self.prepared)


def make_tiny_film(folder: Path) -> TinyFilm:
    """Writes film, scene file and config into a folder."""
    tiny = TinyFilm(folder)
    write_video(tiny.film, draw_frames(), fps=12)
    write_scenes(tiny.scenes)
    write_config(tiny.config)
    return tiny


def draw_frames() -> np.ndarray:
    """Returns six shots, each with its own background over which a bright square moves: uint8 [100, 32, 48, 3]."""
    frames = np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    rng = np.random.default_rng(0)
    for start, end in CUTS:
        frames[start:end] = rng.integers(0, 120, 3)
        for number in range(start, end):
            left = 2 * (number - start) % (WIDTH - 12)
            frames[number, 8:20, left : left + 12] = rng.integers(180, 220)
    return frames


def write_scenes(path: Path, change: dict[tuple[str | int, ...], object] | None = None) -> None:
    """Writes the scene file, with values changed by their place, such as ("scenes", 0, "split")."""
    content = describe_scenes()
    for place, value in (change or {}).items():
        target = content
        for step in place[:-1]:
            target = target[step]
        target[place[-1]] = value
    path.write_text(json.dumps(content))


def describe_scenes() -> dict[str, object]:
    """Returns two scenes to train on, of three and two shots, and one held out."""
    prompts = ("Character 1 waits.", "Rain on the quay.", "Character 1 leaves, and the dog stays.")
    shots = [
        {"frames": list(cut), "cut": i != 4, "prompt": prompts[i % 3]} for i, cut in enumerate(CUTS)
    ]
    about = {"characters": ["1"], "environment": "A quay at night.", "story": "A farewell."}
    parts = (
        ("quay", "train", shots[:3]),
        ("road", "train", shots[3:5]),
        ("end", "held_out", shots[5:]),
    )
    return {
        "format": "lct_jax.scenes/1",
        "film": {
            "file": "film.mp4",
            "title": "Tiny",
            "credit": "by us",
            "licence": "CC0",
            "fps": 12,
        },
        "cast": {"1": "A woman in a red coat.", "2": "A man."},
        "scenes": [{"id": id, "split": split, **about, "shots": s} for id, split, s in parts],
    }


def write_json(path: Path, value: object) -> Path:
    """Writes a value as JSON, and returns the path."""
    path.write_text(json.dumps(value))
    return path


def write_config(path: Path, config: Config = CONFIG) -> None:
    """Writes a config file that returns `config`."""
    values = dataclasses.asdict(config)
    path.write_text(
        "from lct_jax.config import editable, freeze\n\n\n"
        f"def get_config():\n    return editable(freeze({values!r}))\n"
    )


def shared_film() -> TinyFilm:
    """Returns the film, prepared once a session."""
    return TinyFilm(make_once("film", lambda folder: make_tiny_film(folder).prepare()))


def with_shared_codec() -> Config:
    """Returns the config with the codec of the shared film, so that none has to be fitted."""
    codec = str(shared_film().prepared / "codec.safetensors")
    return dataclasses.replace(
        CONFIG, prepare=dataclasses.replace(CONFIG.prepare, codec_from=codec)
    )


def shared_run() -> Path:
    """Returns the work folder of a run on the shared film, done without interruption once a session."""
    return make_once("run", _train)


def _train(workdir: Path) -> None:
    result = run_program(*train_arguments(shared_film(), workdir))
    assert result.code == 0, result.stderr


def train_arguments(film: TinyFilm, workdir: Path) -> list[str]:
    """Returns the command line of a run on a film."""
    paths = {"config": film.config, "data": film.prepared, "workdir": workdir}
    return ["train.py", *(f"--{name}={path}" for name, path in paths.items())]


@dataclass(frozen=True)
class Result:
    """The exit code and the output of a process."""

    code: int
    stdout: str
    stderr: str


def run_program(*arguments: str | Path, through: Sequence[str | Path] = ()) -> Result:
    """Runs `python ARGUMENTS` to its end, `through` as in `start_program`."""
    process = start_program(*arguments, through=through)
    stdout, stderr = process.communicate(timeout=300)
    return Result(process.returncode, stdout, stderr)


def start_program(
    *arguments: str | Path,
    through: Sequence[str | Path] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Starts `python ARGUMENTS` in the repository on one CPU device, with warnings as errors.

    Args:
        through: a command that runs the command line given after it.
        environment: variables to add.
    """
    devices = "--xla_force_host_platform_device_count=8"  # of the tests' own process
    settings = {
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "").replace(devices, ""),
        "JAX_PLATFORMS": "cpu",
        # Each program is compiled once a session and not once a process.
        "JAX_COMPILATION_CACHE_DIR": str(shared_folder() / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "OPENBLAS_NUM_THREADS": "1",  # more of them wait for each other on a busy machine
    }
    return subprocess.Popen(
        [*map(str, through), sys.executable, "-W", "error", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **settings, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
