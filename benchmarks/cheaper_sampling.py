r"""What cheaper sampling does to puppet scenes: guidance in an interval of times alone, and rounded keys and values.

    python -m benchmarks.cheaper_sampling --out=runs/cheaper [--scenes=32] [--ways=joint,causal]

It samples the scenes of the puppet evaluation with the shipped weights in every way, prints the measures with their
intervals, and times a pass of the network over one guidance row and over two. A scene that is done is kept in `OUT`
and not sampled again. Keys and values are rounded where a cache stores them and where a history is gathered from it, as
a cache in that dtype would, and computed with in the network's own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

import lct_jax
from benchmarks.machine import find_machine
from lct_jax.attention import cache
from lct_jax.cli import define_path, run
from lct_jax.errors import make_folder
from lct_jax.evaluation.puppet_table import Row, show, summarize
from lct_jax.evaluation.puppets import DRAWING, SEED, evaluate_row, sample_shots
from lct_jax.generator import Generator
from lct_jax.puppets.scene import draw_scene
from lct_jax.sampling import passes
from lct_jax.sampling.euler import LoopInputs, all_rows, find_times, times_of_groups
from lct_jax.sampling.guidance import scale_steps
from lct_jax.startup import define_compilation_cache, use_compilation_cache
from lct_jax.types import History, KeyValues

FOLDER = Path(__file__).parents[1] / "examples/puppets"
SHOWN = (
    "environment agrees",
    "characters agree",
    "environment obeys",
    "characters obey",
    "framing",
    "cuts",
)
REPEATS = 20


class Way(NamedTuple):
    """A row of the table: weights of `examples/puppets`, how they are sampled, and the dtype of a rounded cache."""

    weights: str
    row: Row
    rounded: Any = None


def guided(start: float, end: float) -> Way:
    """Returns joint sampling that is guided between two times."""
    return Way("puppets", Row("joint", {"guidance_from": start, "guidance_to": end}))


WAYS = {
    "joint": Way("puppets", Row("joint")),
    "joint, guided above 0.3": guided(0.3, 1.0),
    "joint, guided above 0.6": guided(0.6, 1.0),
    "joint, guided below 0.9": guided(0.0, 0.9),
    "joint, not guided": Way("puppets", Row("joint", {"guidance": 1.0})),
    "causal": Way("puppets_causal", Row("causal")),
    "causal, bfloat16": Way("puppets_causal", Row("causal"), jnp.bfloat16),
    "causal, int8": Way("puppets_causal", Row("causal", {"kv_dtype": "int8"})),
    "causal, float8_e4m3fn": Way("puppets_causal", Row("causal"), jnp.float8_e4m3fn),
}


@contextlib.contextmanager
def keep_rounded(dtype: Any) -> Iterator[None]:
    """Rounds all keys and values that a cache keeps to a dtype; None leaves them."""
    store, gather = cache.store, cache.gather
    largest = None if dtype is None else float(jnp.finfo(dtype).max)

    def turn(x: jax.Array) -> jax.Array:
        return jnp.clip(x, -largest, largest).astype(dtype).astype(x.dtype)

    def store_rounded(kept: Any, new: KeyValues, *more: Any) -> Any:
        return store(kept, KeyValues(turn(new.k), turn(new.v)), *more)

    def gather_rounded(*arguments: Any, **named: Any) -> History:
        found = gather(*arguments, **named)
        return found._replace(k=turn(found.k), v=turn(found.v))

    if dtype is not None:
        cache.store, cache.gather = store_rounded, gather_rounded
    try:
        yield
    finally:
        cache.store, cache.gather = store, gather


def count_rows(generator: Generator, row: Row) -> float:
    """Returns the guidance rows that a step needs on average: two where it is guided, else one."""
    sampling = dataclasses.replace(generator.config.sampling, **row.fields)
    times = find_times(sampling, generator.config.flow)
    return 1.0 + float(np.mean(scale_steps(sampling, times) != 1.0))


def time_rows(generator: Generator) -> list[float]:
    """Returns the seconds of one joint pass over eight shots with one guidance row and with two, the fastest."""
    taken: list[tuple[Any, ...]] = []
    run_all = passes.run_all_steps

    def take(
        velocity: Any, inputs: LoopInputs, noisy_LC: jax.Array, *more: Any, **named: Any
    ) -> Any:
        taken.append((velocity, inputs, noisy_LC))
        return run_all(velocity, inputs, noisy_LC, *more, **named)

    passes.run_all_steps = take
    try:
        sample_shots(generator, draw_scene(SEED, 0, DRAWING), Row("joint"))
    finally:
        passes.run_all_steps = run_all
    velocity, inputs, noisy_LC = taken[0]
    both = all_rows(inputs, noisy_LC), inputs.text, times_of_groups(inputs, inputs.times[0])
    pairs = [(jax.jit(velocity), jax.tree.map(lambda x, n=n: x[:n], both)) for n in (1, 2)]
    best = [np.inf, np.inf]
    for _ in range(REPEATS):
        for number, (call, batch) in enumerate(pairs):
            jax.block_until_ready(call(*batch))
            began = time.perf_counter()
            jax.block_until_ready(call(*batch))
            best[number] = min(best[number], time.perf_counter() - began)
    return best


def main(argv: Sequence[str]) -> None:
    del argv
    use_compilation_cache()
    out = Path(OUT.value)
    make_folder(out)
    load = functools.cache(
        lambda name: lct_jax.load(
            FOLDER / f"{name}.safetensors", codec=FOLDER / "patch_codec.safetensors"
        )
    )
    print(f"{find_machine()}; {SCENES.value} scenes")
    one, two = time_rows(load("puppets"))
    print(f"a joint pass: {one:.3f} s with one guidance row, {two:.3f} s with two, {one / two:.2f}")
    print("| way | guidance rows a step | " + " | ".join(SHOWN) + " |")
    print("|---" * (len(SHOWN) + 2) + "|")
    for name, way in WAYS.items():
        if WANTED.value and name.split(",")[0] not in WANTED.value:
            continue
        file = out / f"{name.replace(', ', '_').replace(' ', '_')}.jsonl"
        generator = load(way.weights)
        with keep_rounded(way.rounded):
            found = list(evaluate_row(generator, way.row, SCENES.value, file))
        shares = summarize(found)
        cells = [f"{count_rows(generator, way.row):.2f}", *(show(shares[c]) for c in SHOWN)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    OUT = define_path("out", "Folder of the results.", required=True)
    SCENES = flags.DEFINE_integer("scenes", 32, "How many scenes.", lower_bound=1)
    WANTED = flags.DEFINE_list("ways", [], "joint or causal; both without it.")
    define_compilation_cache()
    run(main)
