"""Compares the estimated memory of a training step with the compiler's, for several configurations.

    python -m benchmarks.plan_accuracy [--only=300m_v5e,lct_3b_v6e] [--again]    compiles what results/ lacks
    python -m benchmarks.plan_accuracy --table                                 prints the table of results

The program needs the extra `tpu` and no TPU. Compiling ends where memory is assigned (`lct_jax.plan.assigned`).
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from absl import flags

from lct_jax.cli import load_config, run
from lct_jax.config import Config, DataConfig, TrainingConfig, freeze
from lct_jax.config.network import make_network, put, sections
from lct_jax.costs.chips import GIB
from lct_jax.errors import InputError
from lct_jax.files import replace_atomically
from lct_jax.plan.refine import compile_step
from lct_jax.plan.report import to_plain
from lct_jax.plan.topology import parse_topology
from lct_jax.plan.training import plan_training
from lct_jax.plan.workload import SceneTarget

RESULTS = Path(__file__).with_name("results") / "plan_accuracy.json"
ONLY = flags.DEFINE_list("only", [], "Names of configurations; all without it.")
AGAIN = flags.DEFINE_bool("again", False, "Compile also what results/ has.")
TABLE = flags.DEFINE_bool("table", False, "Only print the table.")

SHOT = SceneTarget(shots=1, frames=61)  # a scene that every row here holds


def make_config(
    name: str,
    *,
    width: int,
    depth: int,
    rows: int,
    video: int,
    text: int = 1024,
    seq: int,
    **more: Any,
) -> Config:
    """Returns a model of head dim 128 whose text encoder has width 1024; `more` are fields of model or training."""
    fields = {f.name for f in dataclasses.fields(TrainingConfig)}
    training = {key: value for key, value in more.items() if key in fields}
    network = {"remat": "block"} | {k: value for k, value in more.items() if k not in fields}
    sizes = {"width": width, "depth": depth, "heads": width // 128, "text_width": 1024}
    return Config(
        name=name,
        **sections(make_network(**sizes, seq_shards=seq, **network)),
        data=DataConfig(rows=rows, video_tokens=video, text_tokens=text, groups=16),
        training=TrainingConfig(**training),
    )


def make_shipped(
    file: str, name: str, *, accumulate: int = 1, data: dict[str, int] | None = None, **network: Any
) -> Config:
    """Returns a config of `configs/` with other rows and micro-batches, and with fields of its network changed."""
    config = freeze(load_config(str(Path(__file__).parents[1] / "configs" / f"{file}.py")))
    training = dataclasses.replace(config.training, accumulate=accumulate)
    changed = dataclasses.replace(
        config, name=name, training=training, data=dataclasses.replace(config.data, **data or {})
    )
    return put(changed, **{"remat": "block"} | network)


make_3b = functools.partial(make_shipped, "lct_3b")
make_wan = functools.partial(make_shipped, "wan_1_3b")
make_14b = functools.partial(make_shipped, "wan_14b")
make_5b = functools.partial(make_shipped, "wan22_5b")
make_lora = functools.partial(make_shipped, "wan_1_3b_lora", rank=16)
# One row of so many video tokens, which is what one or two chips hold.
row_of = lambda tokens, rows=1: dict(rows=rows, video_tokens=tokens, text_tokens=2048, groups=8)
INPUT = {"remat": "offload_input"}


PAIRS = {
    "300m_v5e": (
        lambda n: make_config(n, width=1024, depth=12, rows=4, video=16_384, seq=2),
        "v5e:2x2",
    ),
    "300m_v5p": (
        lambda n: make_config(n, width=1024, depth=12, rows=4, video=65_536, seq=2),
        "v5p:2x2x1",
    ),
    "300m_v6e_none": (
        lambda n: make_config(n, width=1024, depth=12, rows=4, video=16_384, seq=2, remat="none"),
        "v6e:2x2",
    ),
    "1b_v6e": (
        lambda n: make_config(n, width=1536, depth=16, rows=8, video=32_768, seq=4),
        "v6e:4x4",
    ),
    "1b_v6e_none": (
        lambda n: make_config(n, width=1536, depth=16, rows=8, video=16_384, seq=4, remat="none"),
        "v6e:4x4",
    ),
    "1b_v5e": (
        lambda n: make_config(
            n,
            width=1536,
            depth=16,
            rows=16,
            video=32_768,
            seq=4,
            accumulate=4,
            remat="save_attention",
        ),
        "v5e:4x4",
    ),
    "lct_3b_v5p": (lambda n: make_3b(n, accumulate=2, remat="auto"), "v5p:4x4x4"),
    "lct_3b_v6e": (lambda n: make_3b(n, accumulate=4, remat="auto"), "v6e:8x8"),
    "lct_3b_v5p_block": (lambda n: make_3b(n, accumulate=2), "v5p:4x4x4"),
    "lct_3b_v6e_block": (lambda n: make_3b(n, seq_shards=16, accumulate=16), "v6e:8x8"),
    "wan_1_3b_v5p": (lambda n: make_wan(n, accumulate=4), "v5p:2x2x1"),
    "wan_1_3b_v5p_save": (
        lambda n: make_wan(n, accumulate=4, remat="save_attention"),
        "v5p:2x2x1",
    ),
    "wan_1_3b_v6e": (lambda n: make_wan(n), "v6e:4x4"),
    "wan_1_3b_v6e_input": (lambda n: make_wan(n, remat="offload_input"), "v6e:4x4"),
    "wan_1_3b_v5p_none": (
        lambda n: make_wan(n, seq_shards=1, remat="none", data=row_of(32_768, rows=4)),
        "v5p:2x2x1",
    ),
    "wan_1_3b_v6e_none": (
        lambda n: make_wan(n, seq_shards=4, remat="none", data=row_of(32_768, rows=4)),
        "v6e:4x4",
    ),
    "lora_v5e_1": (lambda n: make_lora(n, data=row_of(32_768)), "v5e:1x1"),
    "lora_v5e_2": (lambda n: make_lora(n, data=row_of(65_536)), "v5e:1x1"),
    "lora_v5e_2_input": (lambda n: make_lora(n, data=row_of(65_536), **INPUT), "v5e:1x1"),
    "lora_v5e_9": (lambda n: make_lora(n, data=row_of(46_720)), "v5e:1x1"),
    "lora_v5e_4": (lambda n: make_lora(n, data=row_of(56_192)), "v5e:1x1"),
    "lora_v6e_9_offload": (
        lambda n: make_lora(n, seq_shards=4, remat="offload", data=row_of(294_912)),
        "v6e:2x2",
    ),
    "wan22_5b_v6e": (
        lambda n: make_5b(n, seq_shards=4, rank=16, data=row_of(245_760), remat="offload_input"),
        "v6e:2x2",
    ),
    "lora_v6e_3": (lambda n: make_lora(n, data=row_of(98_304)), "v6e:1x1"),
    # Lines of the table of docs/plan.md, for machines that people have.
    "lora_v6e_5": (lambda n: make_lora(n, data=row_of(163_840), **INPUT), "v6e:1x1"),
    "lora_v5e8_9": (
        lambda n: make_lora(n, accumulate=4, seq_shards=4, data=row_of(294_912, 8), **INPUT),
        "v5e:2x4",
    ),
    "wan_1_3b_v5e8_2": (
        lambda n: make_wan(n, accumulate=2, seq_shards=2, data=row_of(65_536, 8), **INPUT),
        "v5e:2x4",
    ),
    "wan_14b_v5p": (lambda n: make_14b(n), "v5p:4x4x4"),
    "lora_14b_v6e": (
        lambda n: make_14b(
            n,
            accumulate=8,
            seq_shards=8,
            rank=16,
            data=row_of(262_144, rows=16),
            remat="offload_input",
        ),
        "v6e:4x4",
    ),
    "wan22_5b_v6e_all": (
        lambda n: make_5b(
            n, accumulate=2, seq_shards=2, data=row_of(81_920, rows=16), remat="offload_input"
        ),
        "v6e:4x4",
    ),
}


def main(argv: Sequence[str]) -> None:
    del argv
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    unknown = sorted({*ONLY.value} - {*PAIRS})
    if unknown:
        raise InputError(f"--only: found {unknown[0]!r}, expected names among {', '.join(PAIRS)}")
    for name in PAIRS:
        wanted = not ONLY.value or name in ONLY.value
        if not TABLE.value and wanted and (AGAIN.value or name not in results):
            results[name] = measure(name)
            with replace_atomically(RESULTS) as unfinished:
                unfinished.write_text(json.dumps(results, indent=1) + "\n")
            print(describe({name: results[name]}), flush=True)
    print(describe(results))


def measure(name: str) -> dict[str, Any]:
    """Returns the compiled memory of one configuration, and what it was compiled for."""
    make, topology = PAIRS[name]
    config = make(name)
    plan = plan_training(config, parse_topology(topology), SHOT, steps=1)
    compiled = compile_step(plan)
    return {
        "topology": topology,
        "shards": to_plain(plan.shards),
        "rows": config.data.rows,
        "accumulate": config.training.accumulate,
        "tokens": config.data.video_tokens + config.data.text_tokens,
        "remat": plan.config.compute.remat,
        "parameters": plan.parameters.count,
        "compiled": {"arguments": compiled.arguments, "temporaries": compiled.temporaries},
        "versions": {n: importlib.metadata.version(n) for n in ("jax", "libtpu")},
    }


def estimate(name: str) -> float:
    """Returns the estimate of the plan."""
    make, topology = PAIRS[name]
    return plan_training(make(name), parse_topology(topology), SHOT, steps=1).memory.total


def describe(results: dict[str, Any]) -> str:
    """Returns the table in Markdown."""
    lines = [
        "| configuration | topology, mesh | tokens a device at a time | remat | estimated, GiB | compiled, GiB | off |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, r in ((name, results[name]) for name in PAIRS if name in results):
        data, seq = r["shards"].values()
        estimated, compiled = estimate(name), sum(r["compiled"].values())
        at_once = r["rows"] / data / r["accumulate"] * r["tokens"] / seq
        lines.append(
            f"| {name}, {r['parameters'] / 1e9:.2f} B | {r['topology']}, {data} x {seq} "
            f"| {at_once:,.0f} | {r['remat']} | {estimated / GIB:.2f} | {compiled / GIB:.2f} "
            f"| {estimated / compiled - 1:+.1%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
