"""Samples a scene from a script: an mp4 a shot, the scene cut together, and a storyboard.

    python sample.py --checkpoint=DIR --script=FILE --mode=joint|autoregressive --out=DIR [--guidance=3 ...]

`--checkpoint` is a run's folder, or weights saved by lct_jax.export with `--codec=FILE` beside them. Every field of
the run's sampling config is a flag. The same seed gives the same latents.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags, logging
from flax import nnx
from tqdm import tqdm

from lct_jax.cli import run
from lct_jax.codecs.registry import load_codec, make_encoder
from lct_jax.config import SamplingConfig
from lct_jax.data.records import CODEC_FILE
from lct_jax.errors import InputError
from lct_jax.layout import Spans
from lct_jax.model.mmdit import MMDiT
from lct_jax.sampling.plan import PLANS
from lct_jax.sampling.sampler import sample_scene
from lct_jax.sampling.scene import make_request
from lct_jax.scene_io import SceneWriter, read_given
from lct_jax.script import load_script
from lct_jax.training.checkpoint import read_meta, read_weights

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Run folder or weights.", required=True)
CODEC = flags.DEFINE_string("codec", None, "Codec weights; default: those in the run's folder.")
SCRIPT = flags.DEFINE_string("script", None, "Script of the scene (JSON).", required=True)
MODE = flags.DEFINE_enum("mode", "joint", sorted(PLANS), "How shots are denoised.")
OUT = flags.DEFINE_string("out", None, "Folder to write to.", required=True)
WEIGHTS = flags.DEFINE_enum("weights", "ema", ["ema", "params"], "Which weights of a run.")
DEFINE = {"int": flags.DEFINE_integer, "float": flags.DEFINE_float, "str": flags.DEFINE_string}
OVERRIDES = {
    field.name: DEFINE[field.type](field.name, None, f"sampling.{field.name} of the run")
    for field in dataclasses.fields(SamplingConfig)
}


def main(argv: Sequence[str]) -> None:
    del argv
    logging.set_verbosity(logging.WARNING)

    # ---- what was trained --------------------------------------------------------------------
    origin = Path(CHECKPOINT.value)
    if origin.is_file() and CODEC.value is None:
        raise InputError(
            f"--codec: missing, expected the codec of the run that {origin} comes from"
        )
    meta = read_meta(origin)
    model = meta.config.model
    chosen = {name: flag.value for name, flag in OVERRIDES.items() if flag.value is not None}
    sampling = dataclasses.replace(meta.config.sampling, **chosen)
    graph, shapes = nnx.split(nnx.eval_shape(lambda: MMDiT(model, rngs=nnx.Rngs(0))))
    params = jax.device_put(read_weights(origin, shapes, which=WEIGHTS.value))
    codec = load_codec(Path(CODEC.value or origin / CODEC_FILE), channels=model.channels)
    encoder = make_encoder(meta.config.prepare.encoder, width=model.text_width)
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
    plan = PLANS[MODE.value](request, window=sampling.window)

    # ---- sample ------------------------------------------------------------------------------
    @functools.partial(jax.jit, static_argnames="context")
    def forward(params, video, text, time_BS, context):
        return nnx.merge(graph, params)(video, text, time_BS, context=context)

    backbone = functools.partial(forward, params, context=meta.config.training.context)
    writer = SceneWriter(
        Path(OUT.value),
        script,
        codec=codec,
        model=model,
        given=given,
        fps=meta.fps,
        credit=meta.credit,
    )
    bar = tqdm(total=len(plan) * sampling.steps, desc=MODE.value, unit="step")
    shots = sample_scene(
        backbone,
        request,
        plan,
        config=sampling,
        shift=meta.config.flow.shift,
        spans=Spans(model.scene_span, model.shot_span),
        key=jax.random.key(sampling.seed),
        on_step=bar.update,
    )
    for shot in shots:
        writer.add(shot.number, shot.tokens, grid=request.shots[shot.number].grid)
    bar.close()
    for path in writer.finish(mode=MODE.value, sampling=sampling):
        print(path)


if __name__ == "__main__":
    run(main)
