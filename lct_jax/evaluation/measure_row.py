"""Measures all scenes of a row, and joins the cases of scenes to means with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lct_jax.codecs.lpips import load_lpips
from lct_jax.config import FootageConfig
from lct_jax.errors import InputError
from lct_jax.evaluation import agreement, reference
from lct_jax.evaluation.bootstrap import Estimate, estimate_mean
from lct_jax.evaluation.cuts import measure_cuts, measure_transitions
from lct_jax.evaluation.features.clip import Clip
from lct_jax.evaluation.features.protocol import ImageFeatures
from lct_jax.evaluation.judges.protocol import Judge
from lct_jax.evaluation.movement import measure_movement
from lct_jax.evaluation.samples import (
    Cases,
    SampledShots,
    SeenShots,
    add_cases,
    choose_frames,
    see_shots,
    to_units,
)
from lct_jax.evaluation.transnet import TransNet

FRECHET, CLIP_TEXT = "Frechet", "CLIP text"


@dataclass(frozen=True)
class Instruments:
    """Holds what measures need besides the pictures.

    Attributes:
        features: the image features of every cosine. footage: the settings of the detector of cuts.
        lpips, transnet, clip: are None where their weights are not there.
        judges: score whole scenes.
        missing: a line on each instrument that is not there.
    """

    features: ImageFeatures
    footage: FootageConfig
    lpips: agreement.Lpips | None
    transnet: TransNet | None
    clip: Clip | None
    judges: tuple[Judge, ...] = ()
    missing: tuple[str, ...] = ()


def load_instruments(
    features: ImageFeatures, footage: FootageConfig, *, folder: Path, judges: Sequence[Judge] = ()
) -> Instruments:
    """Returns the instruments whose weights are there.

    Args:
        folder: holds CLIP where there is one, and receives converted weights of installed packages.
    """
    found, missing = {}, []
    for name, load in (
        ("lpips", lambda: _wrap_lpips(load_lpips("alexnet", folder=folder))),
        ("transnet", lambda: TransNet.load(folder)),
        ("clip", lambda: Clip.load(folder)),
    ):
        try:
            found[name] = load()
        except InputError as error:
            found[name] = None
            missing.append(str(error))
    return Instruments(features, footage, **found, judges=tuple(judges), missing=tuple(missing))


class FilmedShots:
    """Holds views of the filmed shots of all scenes, which sampled ones are compared with.

    Args:
        seen: the views by scene.
    """

    def __init__(self, seen: Mapping[str, SeenShots]) -> None:
        self.seen = seen
        means = [units.mean(axis=0) for shots in seen.values() for units in shots.units]
        self.means = np.stack(means) if means else np.zeros((0, 0), np.float32)
        self._first, place = {}, 0
        for scene, shots in seen.items():
            self._first[scene], place = place, place + len(shots.units)

    def rows_of(self, scene: str) -> range:
        """Returns the rows of `means` that are the shots of a scene; none where it was not filmed."""
        first = self._first.get(scene, 0)
        count = len(self.seen[scene].units) if scene in self.seen else 0
        return range(first, first + count)

    def join(self, scenes: Iterable[str]) -> np.ndarray:
        """Returns the unit features of all frames of scenes: float32 [n, D]."""
        units = [
            units for scene in scenes if scene in self.seen for units in self.seen[scene].units
        ]
        return np.concatenate(units) if units else np.zeros((0, 0), np.float32)


def measure_row(
    samples: Sequence[SampledShots], instruments: Instruments, filmed: FilmedShots
) -> dict[str, Estimate]:
    """Returns every measure of a row by its name.

    Args:
        samples: all scenes with all seeds, in any order.
        filmed: the filmed shots; those of the row itself are not compared with themselves by leaving this empty.
    """
    by_scene: dict[str, Cases] = {}
    seen: dict[str, list[SeenShots]] = {}
    for shots in samples:
        views = see_shots(shots.frames, instruments.features)
        seen.setdefault(shots.scene, []).append(views)
        cases = by_scene.setdefault(shots.scene, {})
        for found in _measure_scene(shots, views, instruments):
            add_cases(cases, found)
        if rows := filmed.rows_of(shots.scene):
            add_cases(cases, reference.measure_retrieval(views, rows, filmed.means))
    for views, cases in zip(seen.values(), by_scene.values(), strict=True):
        add_cases(cases, agreement.measure_seeds(views))
    between = agreement.measure_between([views[0] for views in seen.values()])
    for found, cases in zip(between, by_scene.values(), strict=True):
        add_cases(cases, found)
        add_cases(cases, agreement.measure_above(cases))
    estimates = estimate_all(list(by_scene.values()))
    frames = filmed.join(seen)
    if len(frames):
        own = np.concatenate([units for views in seen.values() for units in views[0].units])
        distance = reference.measure_frechet(own, frames)
        estimates[FRECHET] = Estimate(distance, None, None, len(own))
    return estimates


def estimate_all(scenes: Sequence[Cases]) -> dict[str, Estimate]:
    """Returns the mean of every measure over the cases of scenes."""
    names = dict.fromkeys(name for cases in scenes for name in cases)
    return {name: estimate_mean([cases.get(name, []) for cases in scenes]) for name in names}


def _measure_scene(
    shots: SampledShots, views: SeenShots, instruments: Instruments
) -> Iterable[Cases]:
    yield agreement.measure_within(views)
    yield agreement.measure_across(shots, views)
    yield agreement.measure_over_gaps(shots, views)
    yield measure_movement(shots.frames)
    yield measure_cuts(shots, instruments.footage)
    if instruments.lpips is not None:
        yield agreement.measure_perceptually(shots, instruments.lpips)
    if instruments.transnet is not None:
        yield measure_transitions(shots, instruments.transnet)
    if instruments.clip is not None:
        yield measure_texts(shots, instruments.clip)
    for judge in instruments.judges:
        yield judge.judge(shots)


def measure_texts(shots: SampledShots, clip: Clip) -> Cases:
    """Returns for each shot the mean cosine, by CLIP, of its frames with its prompt, without the tag of a cut."""
    texts = to_units(clip.embed_texts([shot.text for shot in shots.script.shots]))
    cases = [
        float((to_units(clip.embed(choose_frames(frames))) @ text).mean())
        for frames, text in zip(shots.frames, texts, strict=True)
    ]
    return {CLIP_TEXT: cases}


def _wrap_lpips(metric) -> agreement.Lpips:
    """Returns a metric of uint8 pictures, compiled once for every number and size of them."""
    scale = lambda frames: jnp.asarray(frames, jnp.float32) / 127.5 - 1.0
    compiled = jax.jit(lambda one, other: metric(scale(one), scale(other)))
    return lambda one, other: np.asarray(compiled(one, other))
