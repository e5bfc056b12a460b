r"""Samples puppet scenes in several ways and writes what was seen in them: one row of the table a way.

    python -m lct_jax.evaluation.puppets --checkpoint=runs/puppets --rows=independent,joint,autoregressive \
        --scenes=32 --out=runs/puppets_table

`--checkpoint` is a run's folder, or weights saved by lct_jax.export with `--codec=FILE` beside them; rows are those of
`lct_jax/evaluation/table.py`, or `all` that the weights' context allows. Sampling is that of the run's config, but for
what a row changes, and `--guidance`. In every scene character 1 leaves after the first shot and comes back five shots
later. Shots that a row gives are given as the first frame of what was drawn. A scene that is done is kept in
`OUT/NAME.ROW.jsonl` and not sampled again, so the same command goes on where it was; when all are done,
`OUT/NAME.ROW.json` has the shares, and `OUT/table.md` all rows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from flax import nnx
from tqdm import tqdm

from lct_jax.backbones.denoiser import Denoiser
from lct_jax.backbones.mmdit.network import MMDiT
from lct_jax.cli import run
from lct_jax.codecs.protocols import TextEncoder, VideoCodec
from lct_jax.codecs.registry import load_codec, make_encoder
from lct_jax.config import Config, SamplingConfig
from lct_jax.data.sets.records import CODEC_FILE
from lct_jax.distributed.sharding import make_sampling_mesh
from lct_jax.errors import InputError, make_folder
from lct_jax.evaluation.measures import Share, Tally, judge_scene
from lct_jax.evaluation.table import ROWS, Row, summarize, to_markdown
from lct_jax.layout import unpatchify
from lct_jax.media.files import replace_atomically
from lct_jax.puppets.motion import read_shot
from lct_jax.puppets.render import render_shot
from lct_jax.puppets.scene import Drawing, PuppetScene, draw_scene
from lct_jax.puppets.words import write_script
from lct_jax.sampling.encode_script import make_request
from lct_jax.sampling.euler import time_grid
from lct_jax.sampling.modes import MODES
from lct_jax.sampling.passes import sample_scene
from lct_jax.sampling.window import SamplingScene
from lct_jax.startup import define_compilation_cache, use_compilation_cache
from lct_jax.training.checkpoint.checkpoints import read_meta, read_weights

SEED = 1_000_003  # of no scene that is trained on
# One size and one length, so that all scenes share their compiled programs.
DRAWING = Drawing(shots=(8, 8), withhold=0.5, sizes=((32, 32),), frames=(5,), absence=5)


@dataclasses.dataclass(frozen=True)
class Model:
    """Trained weights with all that sampling needs besides."""

    backbone: Denoiser
    fingerprint: str
    config: Config
    codec: VideoCodec
    encoder: TextEncoder

    @classmethod
    def load(cls, origin: Path, codec_file: Path, *, guidance: float | None = None) -> Model:
        """Weights of a run's folder or file; raises InputError where codec or encoder are not those of the run.

        Args:
            guidance: to sample with in place of the config's.
        """
        meta = read_meta(origin)
        model, prepare = meta.config.model, meta.config.prepare
        graph, shapes = nnx.split(nnx.eval_shape(lambda: MMDiT(model, rngs=nnx.Rngs(0))))
        params = read_weights(origin, shapes, which="ema")
        codec = load_codec(codec_file, channels=model.channels)
        encoder = make_encoder(prepare.encoder, width=model.text_width, folder=prepare.encoder_from)
        meta.check_identities(str(origin), codec=codec.identity, encoder=encoder.identity)
        context = meta.config.training.context
        backbone = Denoiser(graph, params, config=model, context=context)
        config = meta.config
        if guidance is not None:
            sampling = dataclasses.replace(config.sampling, guidance=guidance)
            config = dataclasses.replace(config, sampling=sampling)
        return cls(backbone, fingerprint_of(params), config, codec, encoder)


def fingerprint_of(params: Any) -> str:
    """16 hex digits of the numbers in a tree of weights."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def sample_shots(model: Model, scene: PuppetScene, row: Row) -> list[np.ndarray]:
    """The frames of every shot of a scene, sampled in one way; of shots that the row gives, the picture given."""
    config, mode = model.config, MODES[row.mode]
    height, width = scene.size
    sampling: SamplingConfig = dataclasses.replace(
        config.sampling, height=height, width=width, **row.fields
    )
    frames = {number: render_shot(scene, scene.shots[number])[:1] for number in row.given}
    request = make_request(
        write_script(scene),
        encode=model.encoder.encode,
        given={number: model.codec.encode(picture) for number, picture in frames.items()},
        model=config.model,
        sampling=sampling,
        stride=model.codec.stride,
    )
    plan = mode.plan(request, sampling)
    key = jax.random.fold_in(jax.random.key(sampling.seed), scene.seed[1])
    job = SamplingScene(request, sampling, model=config.model, key=key)
    executor = mode.execute(model.backbone, job, plan, time_grid(sampling.steps, config.flow.shift))
    for shot in sample_scene(executor, job, plan):
        latent = unpatchify(shot.tokens, request.shots[shot.number].grid, config.model.patch)
        frames[shot.number] = model.codec.decode(latent)
    return [frames[number] for number in range(len(scene.shots))]


def evaluate_row(model: Model, row: Row, scenes: int, file: Path) -> Iterator[Mapping[str, Tally]]:
    """Yields the tallies of every scene, from the file where they are in it, and writes the others to it.

    Raises:
        InputError: the file has scenes that were sampled from other weights or in another way.
    """
    made = json.dumps(describe(model, row))
    lines = file.read_text().splitlines() if file.exists() else [made]
    if lines[0] != made:
        raise InputError(
            f"{file}: found results of other weights or settings, expected none or those of this"
            " command (--name or --out)"
        )
    for number in range(scenes):
        if number + 1 < len(lines):
            yield {name: Tally(*counts) for name, counts in json.loads(lines[number + 1]).items()}
            continue
        scene = draw_scene(SEED, number, DRAWING)
        seen = [read_shot(frames) for frames in sample_shots(model, scene, row)]
        tallies = judge_scene(scene, seen, given=row.given)
        lines.append(json.dumps(tallies))
        with replace_atomically(file) as unfinished:
            unfinished.write_text("\n".join(lines) + "\n")
        yield tallies


def describe(model: Model, row: Row) -> dict[str, object]:
    """What results depend on, as JSON."""
    sampling = dataclasses.replace(model.config.sampling, **row.fields)
    return {
        "weights": model.fingerprint,
        "mode": row.mode,
        "given": list(row.given),
        "sampling": dataclasses.asdict(sampling),
        "seed": SEED,
        "drawing": json.loads(json.dumps(dataclasses.asdict(DRAWING))),
    }


def write_table(folder: Path) -> str:
    """Writes all rows that are done as `table.md` and returns it."""
    rows = {}
    for path in sorted(folder.glob("*.json")):
        shares = json.loads(path.read_text())["shares"]
        rows[path.stem] = {name: Share(**values) for name, values in shares.items()}
    text = to_markdown(rows)
    with replace_atomically(folder / "table.md") as unfinished:
        unfinished.write_text(text)
    return text


def choose_rows(text: str, *, causal: bool) -> list[str]:
    """Names of rows; raises InputError for one there is not, or one that the weights cannot be sampled by."""
    fitting = [name for name, row in ROWS.items() if causal or not MODES[row.mode].causal]
    names = fitting if text == "all" else text.split(",")
    for name in names:
        if name not in ROWS:
            raise InputError(f"--rows: found {name!r}, expected some of {', '.join(ROWS)}")
        if name not in fitting:
            raise InputError(f"--rows: found {name!r}, expected weights of context 'causal' for it")
    return names


def main(argv: Sequence[str]) -> None:
    del argv
    use_compilation_cache()
    origin, out = Path(CHECKPOINT.value), Path(OUT.value)
    if origin.is_file() and CODEC.value is None:
        raise InputError(
            f"--codec: missing, expected the codec of the run that {origin} comes from"
        )
    model = Model.load(origin, Path(CODEC.value or origin / CODEC_FILE), guidance=GUIDANCE.value)
    names = choose_rows(ROWS_WANTED.value, causal=model.config.training.context == "causal")
    jax.set_mesh(make_sampling_mesh(1, heads=model.config.model.heads))
    make_folder(out)
    for name in names:
        label = f"{NAME.value or model.config.name}.{name}"
        rows = evaluate_row(model, ROWS[name], SCENES.value, out / f"{label}.jsonl")
        tallies = list(tqdm(rows, total=SCENES.value, desc=label, unit="scene"))
        shares = {key: dataclasses.asdict(share) for key, share in summarize(tallies).items()}
        made = describe(model, ROWS[name]) | {"scenes": SCENES.value}
        with replace_atomically(out / f"{label}.json") as unfinished:
            unfinished.write_text(json.dumps({**made, "shares": shares}, indent=1) + "\n")
    print(write_table(out))


if __name__ == "__main__":
    CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Run folder or weights.", required=True)
    CODEC = flags.DEFINE_string("codec", None, "Codec weights; default: those in the run's folder.")
    ROWS_WANTED = flags.DEFINE_string("rows", "all", "Rows of the table, separated by commas.")
    SCENES = flags.DEFINE_integer("scenes", 32, "How many scenes.", lower_bound=1)
    GUIDANCE = flags.DEFINE_float("guidance", None, "Default: that of the run's config.", 0.0)
    NAME = flags.DEFINE_string("name", "", "Of the weights in the table; default: the config's.")
    OUT = flags.DEFINE_string("out", None, "Folder of the results.", required=True)
    define_compilation_cache()
    run(main)
