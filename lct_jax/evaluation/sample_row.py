"""Samples the scenes of a row into folders, and reads those back that are sampled already.

A scene lies in `ROW/SCENE.SEED` as `sample.py` writes it: an mp4 a shot, the scene, a storyboard and the latents. It is
there as a whole or not at all, with `made.json` beside it, by which the table knows whether it is to be sampled again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lct_jax.codecs.registry import describe_decoder
from lct_jax.config import SamplingConfig
from lct_jax.config.fields import build
from lct_jax.directing.arrange import describe_alone
from lct_jax.directing.script import Script
from lct_jax.distributed.sharding import make_mesh
from lct_jax.errors import InputError
from lct_jax.evaluation.rows import Row
from lct_jax.evaluation.samples import SampledShots
from lct_jax.evaluation.scenes import EvaluatedScene, Pictures
from lct_jax.files import replace_folder
from lct_jax.generator import Generator
from lct_jax.sampled_scene import describe_sampling
from lct_jax.scene_files.record import SceneRecord, Take
from lct_jax.scene_files.writer import SceneWriter
from lct_jax.seeds import make_key
from lct_jax.tensors import load_tensors_of
from lct_jax.versions import read_versions

MADE = "made.json"
# In place of a mode, in manifests and on storyboards of shots that were sampled as scenes of their own.
ALONE = "alone"


class RowSampler:
    """Samples scenes with one generator in one way.

    Args:
        settings: fields of the sampling config that are used in place of the run's.
        told: whether the prompt of a single shot describes the characters that it names.
        animator: makes the videos of key frames; None where the generator makes them, too.

    Attributes:
        made: everything that the samples of all scenes depend on, as JSON.
    """

    def __init__(
        self,
        generator: Generator,
        row: Row,
        settings: Mapping[str, Any],
        *,
        told: bool,
        animator: Generator | None = None,
    ) -> None:
        self.generator, self.row, self.told, self.animator = generator, row, told, animator
        self.settings = {**settings, **row.fields}
        fields = dataclasses.asdict(generator.config.sampling) | self.settings
        self.sampling = build(SamplingConfig, fields, path="sampling")
        self.made = {
            "weights": self._fingerprint(generator),
            "row": {
                "mode": row.mode,
                "alone": row.alone,
                "told": (row.alone or row.apart) and told,
            },
            "sampling": dataclasses.asdict(self.sampling),
            **describe_decoder(generator.codec),
        }
        if animator is not None:
            self.made["animator"] = self._fingerprint(animator)

    def sample(self, scene: EvaluatedScene, number: int, folder: Path) -> SampledShots:
        """Returns a scene sampled with the number-th seed, from its folder where it is there.

        Raises:
            InputError: the folder has samples of other weights, settings or words.
        """
        words = hashlib.sha256(repr(scene.script).encode()).hexdigest()[:16]
        made = json.loads(json.dumps(self.made | {"script": words, "number": number}))
        count = len(scene.script.shots)
        if folder.is_dir():
            if json.loads((folder / MADE).read_text()) != made:
                raise InputError(
                    f"{folder}: found samples of other weights, settings or words, expected none or those of this"
                    " command (another --out, or remove the folder)"
                )
            frames = self._read(folder, count)
        else:
            seed = make_key(self.sampling.seed + number)
            key = jax.random.fold_in(seed, zlib.crc32(scene.id.encode()))
            with replace_folder(folder) as unfinished:
                frames = self._write(scene.script, unfinished, key)
                (unfinished / MADE).write_text(json.dumps(made, indent=1) + "\n")
        return SampledShots(scene.id, number, scene.script, tuple(frames))

    def _fingerprint(self, generator: Generator) -> str:
        return fingerprint_of(generator.place(self.sampling.shards).params)

    def _write(self, script: Script, folder: Path, key: jax.Array) -> list[np.ndarray]:
        if not self.row.alone:
            if self.row.apart and not self.told:
                script = speak_alone(script)
            scene = self.generator.sample(
                script, mode=self.row.mode, key=key, animator=self.animator, **self.settings
            )
            scene.save(folder)
            return [scene.shots[number].frames for number in sorted(scene.shots)]
        # The manifest says what was sampled; no mode of `sample.py` samples shots as scenes of their own.
        made = describe_sampling(
            self.generator,
            script,
            folder=folder,
            mode=ALONE,
            sampling=self.sampling,
            key=key,
            given={},
        )
        record = SceneRecord.open(folder, made, read_versions())
        meta, frames = self.generator.meta, []
        writer = SceneWriter(folder, script, given={}, fps=meta.fps, credit=meta.credit)
        for number in range(len(script.shots)):
            own = jax.random.fold_in(key, number)
            single = make_single(script, number, told=self.told)
            (shot,) = self.generator.sample(single, mode=self.row.mode, key=own, **self.settings)
            record.add(number + 1, shot.latent, Take(saw=()))
            writer.add(number, latent=shot.latent, frames=shot.frames)
            frames.append(shot.frames)
        writer.finish(mode=ALONE)
        return frames

    def _read(self, folder: Path, count: int) -> list[np.ndarray]:
        names = [f"shot_{number + 1:02d}" for number in range(count)]
        latents = load_tensors_of(folder / "latents.safetensors", names)
        with jax.set_mesh(make_mesh(devices=jax.local_devices())):
            return [self.generator.codec.decode(latents[name]) for name in names]


def choose_pictures(generator: Generator, settings: Mapping[str, Any]) -> Pictures:
    """Returns the size and the length of filmed shots that suit what a generator samples.

    Args:
        settings: fields of the sampling config that are used in place of the run's.
    """
    sampling = {**dataclasses.asdict(generator.config.sampling), **settings}
    return Pictures(
        fps=generator.meta.fps,
        longest=sampling["frames"],
        area=sampling["height"] * sampling["width"],
        multiple=generator.multiple[1:],
    )


def make_single(script: Script, number: int, *, told: bool) -> Script:
    """Returns one shot of a script as a single shot, without a global prompt.

    Args:
        told: whether the characters that it names are described in it, as in captions of single-shot data. A model
            whose single shots are shots of scenes (`data.singles_from_scenes`) was trained without.
    """
    shot = dataclasses.replace(script.shots[number], refers=())
    described = describe_alone(Script(script.prompt, (shot,))) if told else None
    return Script(prompt=None, shots=(described or shot,))


def speak_alone(script: Script) -> Script:
    """Returns a script whose shots have their own prompt alone in modes that know no scene, without descriptions."""
    shots = tuple(dataclasses.replace(shot, alone=shot.alone or shot.text) for shot in script.shots)
    return dataclasses.replace(script, shots=shots)


def fingerprint_of(params: Any) -> str:
    """Returns 16 hex digits of the numbers in a tree of weights."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:16]
