"""The mesh, and the only call about sharding in model code: `shard(x, "BLD")`.

The mesh has two axes: `data` shards rows and, between steps, every large parameter (FSDP); `seq` shards the tokens of a
row. The letter table maps the project's dimension key to mesh axes, so a tensor's suffix is also its sharding.
Parameters are placed by one rule over the abstract tree; layers carry no annotation.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lct_jax.config import Config
from lct_jax.errors import InputError
from lct_jax.types import PackedBatch

AXES = ("data", "seq")
LETTERS = {"B": "data", "L": "seq"}
# The letters of a cache: sharded over tokens, it would be exchanged in every layer.
HEADS = {"B": "data", "H": "seq"}
# Elements of the smallest leaf that is sharded; below, a gather costs more than the memory it saves.
SMALLEST_SHARDED = 2**12

# What the compiler of a platform is told, so that the collectives of a training step run beside computation: without
# it every all-to-all and every gather of weights stands alone in the schedule (benchmarks/README.md).
COMPILER_OPTIONS = {
    "tpu": {
        "xla_tpu_enable_async_all_to_all": True,
        "xla_enable_async_all_gather": True,
        "xla_tpu_enable_async_collective_fusion": True,
        "xla_tpu_enable_async_collective_fusion_fuse_all_gather": True,
        "xla_tpu_overlap_compute_collective_tc": True,
    }
}


def make_mesh(*, seq: int = 1, devices: list[Any] | None = None) -> Mesh:
    """Returns a (data, seq) mesh over all devices, `seq` of them along the tokens of a row.

    Raises:
        InputError: the number of devices is not a multiple of `seq`; JAX sees a pod of several hosts, and this process
            was not started as one of them.
    """
    if jax.process_count() > 1 and not jax.distributed.is_initialized():
        raise InputError(
            f"--coordinator: missing, expected 'auto' on one of {jax.process_count()} hosts (docs/hosts.md)"
        )
    devices = jax.devices() if devices is None else devices
    if len(devices) % seq:
        raise InputError(
            f"compute.seq_shards: found {seq} over {len(devices)} devices, expected a divisor"
        )
    shape = (len(devices) // seq, seq)
    # With explicit axes, the default of jax.make_mesh, the gathers by group slot raise an error.
    return Mesh(np.asarray(devices).reshape(shape), AXES, axis_types=(AxisType.Auto,) * 2)


def make_sampling_mesh(shards: int, *, heads: int) -> Mesh:
    """Returns a mesh for sampling: `shards` devices over tokens and heads, for each half of the rows of guidance if
    there are enough.

    Raises:
        InputError: there are more shards than devices, the shards do not divide the heads, or a process has no part.
    """
    devices = jax.devices()
    if shards > len(devices) or heads % shards:
        raise InputError(
            f"sampling.shards: found {shards}, expected a divisor of {heads} heads and at most "
            f"{len(devices)} devices"
        )
    rows = 2 if 1 < shards <= len(devices) // 2 else 1
    part = devices[: rows * shards]
    if len({device.process_index for device in part}) < jax.process_count():
        raise InputError(
            f"sampling.shards: found {shards}, expected {len(devices)}, so that each of "
            f"{jax.process_count()} processes has a part"
        )
    return make_mesh(seq=shards, devices=part)


def letters_to_spec(letters: str) -> P:
    """Returns the PartitionSpec of a suffix, e.g. P("data", "seq", None) for "BLD"."""
    return P(*(LETTERS.get(letter) for letter in letters))


def shard(x: jax.Array, letters: str) -> jax.Array:
    """Constrains x to the sharding that `letters` name; does nothing outside `jax.set_mesh`."""
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, letters_to_spec(letters))


def shard_rows(tree: Any) -> Any:
    """Constrains arrays [B ...] of a tree so that each device has its rows whole; see `shard`."""
    return jax.tree.map(lambda leaf: shard(leaf, "B"), tree)


def shard_heads(x: jax.Array, letters: str) -> jax.Array:
    """Constrains x to a cache's sharding, heads over `seq`; does nothing outside `jax.set_mesh`."""
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, P(*(HEADS.get(letter) for letter in letters)))


def count_shards(letter: str) -> int:
    """Returns into how many parts the current mesh shards an axis such as "L"; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else mesh.shape[LETTERS[letter]]


def find_platform() -> str:
    """Returns the platform, such as "tpu", of the current mesh's devices, or of the default device without a mesh.

    A program may be compiled for devices that this machine does not have.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def spread(x: jax.Array, *, axes: tuple[int, ...]) -> jax.Array:
    """Constrains x so that the longest of `axes` that the devices divide is sharded over the whole mesh.

    This is for pictures, whose axes have no letters. Nothing happens outside `jax.set_mesh`, or where no axis is
    divisible.
    """
    mesh = jax.sharding.get_abstract_mesh()
    fitting = [] if mesh.empty else [a for a in axes if x.shape[a] % mesh.size == 0]
    if not fitting:
        return x
    spec: list[Any] = [None] * x.ndim
    spec[max(fitting, key=lambda axis: x.shape[axis])] = mesh.axis_names
    return jax.lax.with_sharding_constraint(x, P(*spec))


def state_sharding(abstract_state: Any, mesh: Mesh) -> Any:
    """Returns shardings that split every large leaf over `data` along its largest divisible axis; others are
    replicated.

    The rule looks at shapes alone, so the optimiser's moments and the EMA are placed like their parameter.
    """
    size = mesh.shape["data"]

    def place(leaf: Any) -> NamedSharding:
        axes = [axis for axis, side in enumerate(leaf.shape) if side % size == 0]
        if size == 1 or leaf.size < SMALLEST_SHARDED or not axes:
            return NamedSharding(mesh, P())
        # Ties go to the last axis; the layer axis of scanned blocks is small and never wins.
        widest = max(axes, key=lambda axis: (leaf.shape[axis], axis))
        spec = [None] * leaf.ndim
        spec[widest] = "data"
        return NamedSharding(mesh, P(*spec))

    return jax.tree.map(place, abstract_state)


def with_sharding(abstract: Any, mesh: Mesh) -> Any:
    """Returns a tree of shapes in which each has the sharding that `state_sharding` gives it."""
    place = lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s)
    return jax.tree.map(place, abstract, state_sharding(abstract, mesh))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of values that every device holds whole, such as metrics; any process may read them."""
    return NamedSharding(mesh, P())


def find_rows(mesh: Mesh, rows: int) -> tuple[int, ...]:
    """Returns the rows of a global batch of `rows` that this process reads: those of which its devices hold any token.

    Processes that share the tokens of a row all read it. `check_mesh` checks that `rows` can be divided.
    """
    share = rows // mesh.shape["data"]
    return tuple(place * share + row for place in _find_places(mesh) for row in range(share))


def place_batch(batch: PackedBatch, mesh: Mesh) -> PackedBatch:
    """Returns a global batch, rows over `data` and tokens over `seq`, of each process's own rows (`find_rows`)."""
    sharding, places = NamedSharding(mesh, P("data", "seq")), _find_places(mesh)

    def place(x: np.ndarray) -> jax.Array:
        share = len(x) // len(places)

        def cut(index: tuple[slice, ...]) -> np.ndarray:
            here = places.index((index[0].start or 0) // share) * share
            return x[(slice(here, here + share), *index[1:])]

        shape = (share * mesh.shape["data"], *x.shape[1:])
        return jax.make_array_from_callback(shape, sharding, cut)

    return jax.tree.map(place, batch)


def fetch(x: jax.Array | np.ndarray) -> np.ndarray:
    """Returns a whole array on every host, also where processes hold parts of it; all processes must call this."""
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return multihost_utils.process_allgather(x, tiled=True)
    return np.asarray(x)


def _find_places(mesh: Mesh) -> list[int]:
    """Returns the indices along `data` at which this process has a device; they need not be contiguous."""
    me = jax.process_index()
    return [n for n, row in enumerate(mesh.devices) if any(d.process_index == me for d in row)]


def check_mesh(mesh: Mesh, config: Config) -> None:
    """Raises InputError unless rows, micro-batches, tokens and heads divide over the mesh."""
    data, seq = mesh.shape["data"], mesh.shape["seq"]
    for field, found, parts in (
        ("data.rows", config.data.rows, data * config.training.accumulate),
        ("data.video_tokens", config.data.video_tokens, seq),
        ("data.text_tokens", config.data.text_tokens, seq),
        ("backbone.heads", config.backbone.heads, seq),
    ):
        if found % parts:
            raise InputError(f"{field}: found {found}, expected a multiple of {parts} on this mesh")
