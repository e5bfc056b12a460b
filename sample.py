"""Samples a scene from a script: an mp4 a shot, the scene cut together, and a storyboard.

    python sample.py --checkpoint=DIR --script=FILE --mode=joint|autoregressive|causal --out=DIR [--guidance=3 ...]

`--checkpoint` is a run's folder, or weights saved by lct_jax.export with `--codec=FILE` beside them. Every field of
the run's sampling config is a flag. The same seed gives the same latents. `--mode=causal` samples shot after shot with
cached keys and values, from weights tuned with causal context; `causal_uncached` is its slow reference.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags
from flax import nnx
from tqdm import tqdm

from lct_jax.backbones.denoiser import Denoiser
from lct_jax.backbones.mmdit.network import MMDiT
from lct_jax.cli import run
from lct_jax.codecs.registry import load_codec, make_encoder
from lct_jax.config import SamplingConfig
from lct_jax.data.sets.records import CODEC_FILE
from lct_jax.directing.script import load_script
from lct_jax.distributed.sharding import make_mesh, make_sampling_mesh, place_tree, state_sharding
from lct_jax.errors import InputError
from lct_jax.hosts.place import define_place
from lct_jax.hosts.together import together
from lct_jax.media.scene_files import SceneWriter, read_given
from lct_jax.sampling.encode_script import make_request
from lct_jax.sampling.euler import time_grid
from lct_jax.sampling.modes import MODES
from lct_jax.sampling.passes import sample_scene
from lct_jax.sampling.window import SamplingScene
from lct_jax.startup import define_compilation_cache, use_compilation_cache
from lct_jax.training.checkpoint.checkpoints import read_meta, read_weights

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Run folder or weights.", required=True)
define_place()
CODEC = flags.DEFINE_string("codec", None, "Codec weights; default: those in the run's folder.")
SCRIPT = flags.DEFINE_string("script", None, "Script of the scene (JSON).", required=True)
MODE = flags.DEFINE_enum("mode", "joint", sorted(MODES), "How shots are denoised.")
OUT = flags.DEFINE_string("out", None, "Folder to write to.", required=True)
define_compilation_cache()
WEIGHTS = flags.DEFINE_enum("weights", "ema", ["ema", "params"], "Which weights of a run.")
DEFINE = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}
OVERRIDES = {
    name: DEFINE[hint](name, None, f"sampling.{name} of the run")
    if hint in DEFINE
    else flags.DEFINE_enum(name, None, typing.get_args(hint), f"sampling.{name} of the run")
    for name, hint in typing.get_type_hints(SamplingConfig).items()
}


def main(argv: Sequence[str]) -> None:
    del argv
    use_compilation_cache()

    # ---- what was trained --------------------------------------------------------------------
    origin = Path(CHECKPOINT.value)
    if origin.is_file() and CODEC.value is None:
        raise InputError(
            f"--codec: missing, expected the codec of the run that {origin} comes from"
        )
    meta = read_meta(origin)
    mode, model, context = MODES[MODE.value], meta.config.model, meta.config.training.context
    if mode.causal and context != "causal":
        raise InputError(
            f"--mode={MODE.value}: {origin} was trained with training.context {context!r}, "
            "expected 'causal'"
        )
    chosen = {name: flag.value for name, flag in OVERRIDES.items() if flag.value is not None}
    sampling = dataclasses.replace(meta.config.sampling, **chosen)
    graph, shapes = nnx.split(nnx.eval_shape(lambda: MMDiT(model, rngs=nnx.Rngs(0))))
    params = read_weights(origin, shapes, which=WEIGHTS.value)
    codec = load_codec(Path(CODEC.value or origin / CODEC_FILE), channels=model.channels)
    prepared = meta.config.prepare
    encoder = make_encoder(prepared.encoder, width=model.text_width, folder=prepared.encoder_from)
    meta.check_identities(str(origin), codec=codec.identity, encoder=encoder.identity)

    # ---- what is wanted ----------------------------------------------------------------------
    script = load_script(SCRIPT.value)
    multiple = tuple(s * p for s, p in zip(codec.stride, model.patch, strict=True))
    given = read_given(script, codec=codec, sampling=sampling, multiple=multiple, fps=meta.fps)
    request = make_request(
        script,
        encode=encoder.encode,
        given={number: shot.latent for number, shot in given.items()},
        model=model,
        sampling=sampling,
        stride=codec.stride,
    )
    plan = mode.plan(request, sampling)

    # ---- sample ------------------------------------------------------------------------------
    mesh = make_sampling_mesh(sampling.shards, heads=model.heads)
    jax.set_mesh(mesh)
    params = place_tree(params, state_sharding(shapes, mesh))
    backbone = Denoiser(graph, params, config=model, context=context)
    job = SamplingScene(request, sampling, model=model, key=jax.random.key(sampling.seed))
    times = time_grid(sampling.steps, meta.config.flow.shift)
    executor = mode.execute(backbone, job, plan, times)
    out = Path(OUT.value)
    about = {"codec": codec, "model": model, "given": given, "fps": meta.fps, "credit": meta.credit}
    writing = (
        jax.process_index() == 0
    )  # all sample, and one decodes and writes, on devices of its own
    writer = SceneWriter(out, script, **about) if writing else None
    decoding = mesh if jax.process_count() == 1 else make_mesh(devices=jax.local_devices())
    windows = sum(bool(window.denoised) for window in plan)
    bar = tqdm(total=windows * sampling.steps, desc=MODE.value, unit="step", disable=writer is None)
    for shot in sample_scene(executor, job, plan, on_step=bar.update):
        if writer is not None:
            with jax.set_mesh(decoding):
                writer.add(shot.number, shot.tokens, grid=request.shots[shot.number].grid)
    bar.close()
    if writer is not None:
        for path in writer.finish(mode=MODE.value, sampling=sampling):
            print(path)


if __name__ == "__main__":
    run(together(main))
