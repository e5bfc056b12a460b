"""Trains the small video VAE on an annotated film or on drawn scenes, or a decoder for a patch codec's latents.

    python -m lct_jax.codecs.train --config=configs/codecs/film_vae.py --workdir=DIR

The program writes DIR/vae.safetensors or DIR/decoder.safetensors (the EMA) at every save, and DIR/log.jsonl. If it is
killed at any moment and started again with the same command, it continues from the last save: a batch is a function of
the seed and the step.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from lct_jax.cli import define_config, define_path, run
from lct_jax.codecs.lpips import load_lpips
from lct_jax.codecs.patch import PatchCodec, fit_patch_codec
from lct_jax.codecs.pixels import to_floats
from lct_jax.codecs.tiny_training import (
    CodecState,
    CodecTrainingConfig,
    continue_from,
    init_state,
    make_optimizer,
    make_step,
)
from lct_jax.codecs.tiny_vae import TinyVAE, abstract_network
from lct_jax.codecs.trained import choose_trained
from lct_jax.config import freeze
from lct_jax.data.encode import fitting_length
from lct_jax.data.scene_file import SceneFile, load_scene_file
from lct_jax.data.sources import iter_footage
from lct_jax.errors import InputError
from lct_jax.puppets.scene import Drawing
from lct_jax.puppets.worlds import find_world
from lct_jax.seeds import make_key
from lct_jax.tensors import FLOATS, load_tensors, name_leaves, save_tensors
from lct_jax.training.report.reporter import drop_later

STATE_FILE, LOG_FILE = "state.safetensors", "log.jsonl"


def read_shots(config: CodecTrainingConfig) -> tuple[list[np.ndarray], list[np.ndarray], str]:
    """Returns shots to train on, shots that are held out (uint8 [T X Y 3]), and the credit line.

    Of a film the end of the story is held out, and of drawn scenes the last share of the numbers.
    """
    if config.world:
        shots = draw_shots(config)
        first = round(len(shots) * (1 - config.held_out))
        return shots[:first], shots[first:], ""
    annotated = load_scene_file(config.scenes)
    end = find_story_end(annotated, config.held_out)
    train, held_out = [], []
    size = config.height, config.width
    for footage in iter_footage(annotated, fps=annotated.film.fps, size=size):
        if footage.scene.ranges[footage.shot].start >= end:
            held_out.append(footage.frames)
        elif footage.scene.split == "train":
            train.append(footage.frames)
    return train, held_out, annotated.film.credit_line


def draw_shots(config: CodecTrainingConfig) -> list[np.ndarray]:
    """Returns the shot of each drawn scene of a world, uint8 [T X Y 3]; the seed is that of the config."""
    world = find_world(config.world)
    drawing = Drawing((1, 1), sizes=((config.height, config.width),))
    scenes = (world.draw_scene(config.seed, number, drawing) for number in range(config.shots))
    return [world.render_shot(scene, scene.shots[0]) for scene in scenes]


def find_story_end(annotated: SceneFile, held_out: float) -> int:
    """Returns the first frame of the held-out end: the start of the shot after which that share of annotated frames is
    left."""
    ranges = sorted((r for s in annotated.scenes for r in s.ranges), key=lambda r: r.start)
    seen = np.cumsum([0, *(len(r) for r in ranges)])
    return ranges[int(np.searchsorted(seen, seen[-1] * (1 - held_out)))].start


def draw_clips(shots: list[np.ndarray], config: CodecTrainingConfig, step: int) -> np.ndarray:
    """Returns the batch of a step: float32 [B, T, crop, crop, 3] in -1..1, from shots by their lengths."""
    rng = np.random.default_rng((config.seed, step))
    length, crop = config.clip_frames, config.crop
    long = [shot for shot in shots if len(shot) >= length]
    weights = np.asarray([len(shot) - length + 1 for shot in long], float)
    clips = []
    for number in rng.choice(len(long), config.batch, p=weights / weights.sum()):
        shot = long[number]
        t, x, y = (
            rng.integers(side - part + 1)
            for side, part in zip(shot.shape[:3], (length, crop, crop), strict=True)
        )
        clip = shot[t : t + length, x : x + crop, y : y + crop]
        if rng.random() < config.stills:
            clip = np.repeat(clip[:1], length, axis=0)
        clips.append(clip[:, :, ::-1] if rng.random() < 0.5 else clip)
    return to_floats(np.stack(clips))


def save_state(folder: Path, state: CodecState, config: CodecTrainingConfig) -> None:
    """Writes everything from which a run continues, complete or not at all."""
    tensors = {name: np.asarray(leaf) for name, leaf in _name_state(state).items()}
    save_tensors(folder / STATE_FILE, tensors, {"config": json.dumps(dataclasses.asdict(config))})


def load_state(folder: Path, shapes: CodecState) -> CodecState:
    """Returns the saved state in the tree of `shapes`; raises InputError where it belongs to another network."""
    named = _name_state(shapes)
    # The I32 tensor counts steps.
    found = load_tensors(
        folder / STATE_FILE,
        shapes={n: leaf.shape for n, leaf in named.items()},
        dropped={},
        dtypes=FLOATS | {"I32"},
    )
    leaves = [jnp.asarray(found[name]) for name in named]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def find_patch(config: CodecTrainingConfig, shots: list[np.ndarray], *, fresh: bool) -> PatchCodec:
    """Returns the patch codec whose latents are decoded, or one fitted to all shots, from which a new VAE begins."""
    if config.latents_of:
        return PatchCodec.load(Path(config.latents_of), channels=config.channels)
    fitted = shots if fresh else shots[:1]  # a run that goes on does not begin from it
    whole = [shot[: fitting_length(len(shot), longest=len(shot))] for shot in fitted]
    return fit_patch_codec(whole, channels=config.channels)


def train(config: CodecTrainingConfig, folder: Path) -> Path:
    """Trains to `config.steps`, from the last save in `folder` if there is one; returns the file of the weights."""
    # ---- footage: what is held out is left out ---------------------------------------------------
    shots, _, credit = read_shots(config)
    lpips = load_lpips("alexnet", folder=folder)

    # ---- state: saved, or from a trained codec, or from the patch codec ----------------------
    graph, _ = abstract_network(config.network)
    optimizer = make_optimizer(config)
    start_fresh = not (folder / STATE_FILE).exists()
    patch = find_patch(config, shots, fresh=start_fresh)
    trained = choose_trained(config, patch, shots=shots, credit=credit)
    state = init_state(config, patch, optimizer)
    if config.init_from and start_fresh:
        before = TinyVAE.load(Path(config.init_from), channels=config.channels)
        state = continue_from(state, before.parameters, config.init_from)
    if not start_fresh:
        state = load_state(folder, state)
    first = int(state.step)
    drop_later(folder / LOG_FILE, first)

    # ---- loop --------------------------------------------------------------------------------
    step = make_step(graph, config, optimizer, lpips, encode=trained.encode)
    step = jax.jit(step, donate_argnums=0)
    weights = folder / trained.file
    key = make_key(config.seed)
    waiting, since = [], time.perf_counter()
    for number in tqdm(range(first, config.steps), initial=first, total=config.steps, disable=None):
        state, metrics = step(state, draw_clips(shots, config, number), key)
        waiting.append(metrics)
        done = number + 1
        if done % config.log_every == 0 or done == config.steps:
            gathered = jax.device_get(waiting)
            means = {name: float(np.mean([m[name] for m in gathered])) for name in metrics}
            seconds = (time.perf_counter() - since) / len(waiting)
            _append(folder / LOG_FILE, {"step": done, **means, "seconds_per_step": seconds})
            waiting, since = [], time.perf_counter()
        if done % config.save_every == 0 or done == config.steps:
            save_state(folder, state, config)
            trained.write(weights, state)
    return weights


def _name_state(state: CodecState) -> dict[str, jax.Array]:
    parts = {"params": state.params, "ema": state.ema}
    named = {f"{p}.{n}": leaf for p, tree in parts.items() for n, leaf in name_leaves(tree).items()}
    moments = enumerate(jax.tree.leaves(state.optimizer))
    return named | {f"optimizer.{n}": leaf for n, leaf in moments} | {"step": state.step}


def _append(path: Path, values: dict[str, float]) -> None:
    with path.open("a") as file:
        file.write(json.dumps({k: round(v, 6) for k, v in values.items()}) + "\n")


def main(argv: Sequence[str]) -> None:
    del argv
    folder = Path(WORKDIR.value)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder ({error.strerror})") from None
    weights = train(freeze(CONFIG.value, CodecTrainingConfig), folder)
    print(f"{weights}: trained")


if __name__ == "__main__":
    CONFIG = define_config()
    WORKDIR = define_path("workdir", "Folder of the run.", required=True)
    run(main)
