"""The text of compiled programs: collectives and peak memory of programs whose answer is known."""

from __future__ import annotations

import dataclasses
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from quick_compiler import AS_USERS_HAVE_IT

from benchmarks.exposed_collectives import Reader, make_plan
from lct_jax.errors import InputError
from lct_jax.plan import assigned
from lct_jax.plan.buffers import find_peak
from lct_jax.plan.compiled import compile_program
from lct_jax.plan.hlo import find_collectives
from lct_jax.plan.links import Shards
from lct_jax.plan.read import Spent, rank_cycles, share_kinds

# As the TPU compiler writes them: an all-gather that one fusion begins and another ends, a sum of which each device
# keeps its part, mesh axes by name, and a loop of seven turns.
GATHER = "channel_id=5, replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_0'}, dimensions={0}"
EXCHANGE = 'channel_id=1, replica_groups=[2,4]<=[8], metadata={op_name="jit(step)/all_to_all"}'
OF, CYCLES = 'metadata={op_name="jit(step)/', 'backend_config={"estimated_cycles":'
TPU = f"""HloModule jit_step, is_scheduled=true

%begin (p: bf16[8,16]) -> (bf16[8,16], bf16[16,16]) {{
  %p = bf16[8,16]{{1,0:T(8,128)(2,1)}} parameter(0)
  %all-gather.1 = bf16[16,16]{{1,0}} all-gather(%p), {GATHER}, metadata={{op_name="jit(step)/dot_general"}}
  ROOT %call.1 = (bf16[8,16], bf16[16,16]) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}}

%end (p: bf16[8,16]) -> bf16[16,16] {{
  %p = bf16[8,16]{{1,0:T(8,128)(2,1)}} parameter(0)
  ROOT %all-gather.2 = bf16[16,16]{{1,0}} all-gather(%p), {GATHER}, metadata={{op_name="jit(step)/dot_general"}}
}}

%all-reduce-scatter.3.clone (p: f32[16,16]) -> f32[8,16] {{
  %p = f32[16,16]{{1,0}} parameter(0)
  ROOT %sum = f32[16,16] all-reduce(%p), channel_id=6, replica_groups={{{{0,4}},{{1,5}},{{2,6}},{{3,7}}}}, to_apply=%add
}}

%body (t: (s32[], bf16[8,16])) -> (s32[], bf16[8,16]) {{
  %t = (s32[], bf16[8,16]{{1,0}}) parameter(0)
  %x = bf16[8,16]{{1,0}} get-tuple-element(%t), index=1
  %started = (bf16[8,16], bf16[16,16]) fusion(%x), calls=%begin, {OF}gather"}}, {CYCLES}"10"}}
  %ended = bf16[16,16]{{1,0}} fusion(%x), kind=kCustom, calls=%end
  %all_to_all.9 = bf16[8,16]{{1,0}} all-to-all(%x), {EXCHANGE}
  %all_to_all.8 = bf16[8,16]{{1,0}} all-to-all(%x), {EXCHANGE}
}}

ENTRY %main (a: bf16[8,16]) -> bf16[8,16] {{
  %a = bf16[8,16]{{1,0}} parameter(0)
  %loop = (s32[], bf16[8,16]) while(%a), body=%body, backend_config={{"known_trip_count":{{"n":"7"}}}}
  %mine = f32[8,16] fusion(%a), calls=%all-reduce-scatter.3.clone, {OF}grad"}}, {CYCLES}"55"}}
}}
"""


@pytest.mark.parametrize(
    ("message", "total"),
    [
        (
            "Ran out of memory on HBM, the total memory required for HLO temporaries (31.69G) "
            "exceeds available HBM (31.25G).",
            31.69,
        ),
        ("Ran out of memory in memory space hbm. Used 40.50G of 31.25G hbm. Exceeded", 40.5),
    ],
)
def test_a_program_too_large_for_memory_gives_a_result(message, total):
    compiled = compile_program(Refused(f"RESOURCE_EXHAUSTED: {message}"))
    assert (compiled.total, compiled.text) == (total * 2**30, "")
    with pytest.raises(InputError, match="--compile: UNIMPLEMENTED"):
        compile_program(Refused("UNIMPLEMENTED: something else"))


def test_memory_is_that_of_the_peak():
    """The results of two products in sequence need not be in memory at one time."""
    x = jax.ShapeDtypeStruct((256, 256), jnp.float32)
    compiled = compile_program(jax.jit(lambda a: jnp.sin(a @ a) @ a).lower(x))
    assert compiled.arguments == 256 * 256 * 4
    assert compiled.total == compiled.arguments + compiled.temporaries >= 2 * compiled.arguments


@pytest.mark.programs
def test_what_a_compiler_assigned_is_read_from_its_files(monkeypatch):
    """A process that makes a program and then these files, as the TPU compiler does, is not waited for."""
    monkeypatch.setattr(assigned, "_compile", _write_files_and_wait)
    compiled = assigned.compile_until_assigned(_refuse)
    assert (compiled.arguments, compiled.temporaries, compiled.host) == (300, 4700, 60)
    assert (compiled.total, compiled.text) == (5000.0, "HloModule")


@pytest.mark.programs
def test_a_program_that_cannot_be_lowered_and_a_process_that_dies_are_named(monkeypatch):
    with pytest.raises(InputError, match="no compiler for"):
        assigned.compile_until_assigned(_refuse)
    monkeypatch.setattr(assigned, "_compile", _die)
    with pytest.raises(InputError, match="--compile: the compiler's process died"):
        assigned.compile_until_assigned(_refuse)


def _refuse() -> jax.stages.Lowered:
    raise InputError("no compiler for it")


def _die(*_: object) -> None:
    os._exit(9)


def _write_files_and_wait(_lower: object, folder: str, answer: Connection) -> None:
    answer.send("jit_f")
    files = {
        assigned.PROGRAM: "HloModule",
        assigned.ASSIGNMENT: "allocation 0: size 100, parameter 1, shape |f32[25]|:\n"
        "allocation 1: size 200, parameter 0, shape |f32[50]| at ShapeIndex {}, maybe-live-out:\n"
        "allocation 2: size 4700, preallocated-temp:\nallocation 3: size 60, color 5, preallocated-temp:\n",
        assigned.REPORT: "Memory Space: default (color=0)\nTotal bytes: 5000 (4.9KiB)\n  cumulative_size\n\n"
        "Memory Space: cmem (color=5)\nTotal bytes: 60 (60B)\n",
    }
    for name, text in files.items():
        Path(folder, f"module_0003.jit_f.cl_1.{name}").write_text(text)
    time.sleep(60)


class Refused:
    """A lowered program that the compiler refuses."""

    def __init__(self, message: str) -> None:
        self.message = message

    def compile(self) -> None:
        raise RuntimeError(self.message)


def test_collectives_of_a_tpu_program():
    found = {s.kind: s for s in find_collectives(TPU, data=2, seq=4)}
    gathered = found["all-gather"]
    assert (gathered.axis, gathered.count, gathered.hidden, gathered.op) == (
        "data",
        7,
        True,
        "dot_general",
    )
    assert gathered.sent == 7 * 16 * 16 * 2 / 2
    scattered = found["reduce-scatter"]
    assert (scattered.axis, scattered.count, scattered.hidden) == ("data", 1, False)
    assert scattered.sent == 16 * 16 * 4 / 2
    # Both have one channel, as shard_map gives them, and still count as two.
    exchanged = found["all-to-all"]
    assert (exchanged.axis, exchanged.count, exchanged.sent) == ("seq", 14, 14 * 8 * 16 * 2 * 3 / 4)


def test_an_exchange_in_a_computation_of_its_own_runs_beside_other_work():
    """As dumps of the compiler have it; between its begin and its end 1,024 bytes are written, and as many read."""
    text = f"""HloModule jit_step, is_scheduled=true

%apart (p: bf16[8,16]) -> bf16[8,16] {{
  %p = bf16[8,16]{{1,0}} parameter(0)
  ROOT %all_to_all.1 = bf16[8,16]{{1,0}} all-to-all(%p), {EXCHANGE}
}}

ENTRY %main (a: bf16[8,16]) -> bf16[8,16] {{
  %a = bf16[8,16]{{1,0}} parameter(0)
  %s = ((bf16[8,16]{{1,0}}), bf16[8,16]{{1,0}}, u32[]) async-start(%a), calls=%apart
  %w = f32[16,16]{{1,0}} fusion(%a), kind=kLoop, calls=%add
  %d = bf16[8,16]{{1,0}} async-done(%s)
  %alone = bf16[8,16]{{1,0}} all-to-all(%d), {EXCHANGE}
}}
"""
    found = {s.hidden: s.count for s in find_collectives(text, data=2, seq=4)}
    assert found == {True: 1, False: 1}
    plan = dataclasses.replace(make_plan("v5p_9"), shards=Shards(2, 4))
    [((kind, axis), share)] = Reader(text, plan).sum_kinds().items()
    assert (kind, axis, share.count, share.sent) == ("all-to-all", "seq", 2, 2 * 192)
    assert share.apart == 192
    # The work takes less than the links, and hides as much.
    assert share.hidden == 2 * 1024 / plan.topology.chip.bandwidth < share.seconds / 2


def test_cycles_are_ranked_with_the_turns_of_loops():
    assert [(s.op, s.count, s.cycles) for s in rank_cycles(TPU)] == [
        ("gather", 7, 70),
        ("grad", 1, 55),
    ]


def test_cycles_have_the_kind_of_the_last_operation_of_their_name():
    spent = {
        "jvp()/while/body/dot_general": 40,
        "jvp()/while/body/closed_call/convert_element_type": 20,
        "convert.58": 5,
        "transpose(jvp())/jit(take_along_axis)/gather": 10,
        "shard_map/all_to_all;rematted_computation/dot_general": 8,
        "": 2,
        "checkpoint/reduce_sum": 15,
    }
    assert share_kinds(Spent(op, 1, cycles) for op, cycles in spent.items()) == {
        "matrix products": 0.40,
        "conversions of dtype": 0.25,
        "norms, modulation and other arithmetic": 0.15,
        "tokens by index": 0.10,
        "copies": 0.10,
    }
    assert share_kinds([]) == {}


def test_collectives_of_a_program_compiled_here(mesh):
    """Three iterations gather over `data`, and one sum goes over `seq`."""

    def run(x, y):
        gather = lambda x, _: (jax.lax.all_gather(x, "data", tiled=True)[: x.shape[0]] * 2.0, None)
        return jax.lax.scan(gather, x, length=3)[0], jax.lax.psum(y, "seq")

    specs = {"in_specs": (P("data"), P(None, "seq")), "out_specs": (P("data"), P(None))}
    place = lambda spec, *shape: jax.ShapeDtypeStruct(
        shape, jnp.float32, sharding=NamedSharding(mesh, spec)
    )
    with jax.set_mesh(mesh):
        program = jax.jit(jax.shard_map(run, check_vma=False, **specs)).lower(
            place(P("data"), 64), place(P(None, "seq"), 2, 8)
        )
    found = find_collectives(program.compile().as_text(), data=4, seq=2)
    assert [(s.kind, s.axis, s.count, s.sent) for s in found] == [
        ("all-gather", "data", 3, 3 * 64 * 4 * 3 / 4),
        ("all-reduce", "seq", 1, 2 * 2 * 4 * 4 / 2),
    ]


def test_peak_buffers_equal_the_compilers_peak():
    """Two large arrays are live at a time; elementwise work and a loop are in place, and the result is small."""

    def run(x_LD):
        one = jnp.sin(x_LD @ x_LD.T)
        two = jnp.cos(one @ one)
        three = jax.lax.fori_loop(0, 5, lambda _, x: jnp.tanh(x @ two), two)
        return (one @ three).sum(0)

    lowered = jax.jit(run).lower(jax.ShapeDtypeStruct((256, 32), jnp.float32))
    compiled = lowered.compile(compiler_options=AS_USERS_HAVE_IT)
    peak = find_peak(compiled.as_text())
    total = sum(b.size for b in peak)
    assert total == pytest.approx(compiled.memory_analysis().temp_size_in_bytes, rel=0.02)
