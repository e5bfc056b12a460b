"""Published weights in and out: a folder in diffusers' layout to parameters on a mesh, tensor by tensor, and back.

No more than one tensor of a file is on the host at a time, and no more than one file's worth when writing. Numbers are
moved and cast, never computed with, so that what is read in float32 is written again bit for bit.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from lct_jax.backbones.protocol import Published, Turn
from lct_jax.backbones.registry import build_abstract, find_family, find_publisher
from lct_jax.config import BackboneConfig, NetworkConfig
from lct_jax.distributed.sharding import fetch
from lct_jax.errors import InputError
from lct_jax.files import replace_folder
from lct_jax.tensors import (
    find_shards,
    iter_rows,
    name_leaves,
    read_config,
    save_tensors,
)

DTYPES = frozenset({"F32", "F16", "BF16"})  # scaled 8-bit weights are no base to tune
SHARD_BYTES = 2 * 2**30  # of a file that is written, at most
_LAYER = "{}"


class Place(NamedTuple):
    """Where a published tensor goes.

    Attributes:
        ours: name of the parameter. layer: its number on the leading axis; None where there is no such axis.
        turn: of its axes. shape: as published.
    """

    ours: str
    layer: int | None
    turn: Turn
    shape: tuple[int, ...]


def read_backbone(folder: str | Path) -> BackboneConfig:
    """Returns the config of the network in a folder of published weights, or of the pipeline that it is a part of.

    Raises:
        InputError: there is no such network, or one that no family here computes.
    """
    return _read(folder)[1]


def _read(folder: str | Path) -> tuple[Published, BackboneConfig]:
    path = find_folder(folder) / "config.json"
    values = read_config(path)
    published = find_publisher(values.get("_class_name"), str(path)).published
    _check_pipeline(path.parent.parent, published)
    return published, published.read_config(values, str(path))


def is_published(folder: str | Path) -> bool:
    """Returns whether a folder has the config of a published network, or of the pipeline that it is a part of."""
    path = find_folder(folder) / "config.json"
    return bool(folder) and path.is_file() and "_class_name" in read_config(path)


def find_folder(folder: str | Path) -> Path:
    """Returns the folder of the network: the one given, or `transformer` in that of a pipeline."""
    inner = Path(folder) / "transformer"
    return inner if inner.is_dir() else Path(folder)


def find_published(config: NetworkConfig) -> Published:
    """Returns the layout in which weights of a config's family are published; InputError where there are none."""
    published = find_family(config).published
    if published is None:
        raise InputError(
            f"backbone.family: found {config.backbone.family!r}, expected a family whose weights are published"
        )
    return published


def list_places(config: NetworkConfig) -> dict[str, Place]:
    """Returns where every tensor of the published layout goes, from shapes alone.

    Raises:
        InputError: weights of the config's family are not published.
    """
    published = find_published(config)
    names, turns = find_family(config).name_weights(config), published.make_turns(config.backbone)
    places, leaves = {}, name_leaves(build_abstract(config).params)
    for ours, (name, rule) in names.items():
        leaf, turn = leaves[ours], turns[rule]
        layered = _LAYER in name
        single = jax.ShapeDtypeStruct(leaf.shape[layered:], leaf.dtype)
        shape = jax.eval_shape(turn.save, single).shape
        for layer in range(leaf.shape[0]) if layered else (None,):
            places[name.replace(_LAYER, str(layer))] = Place(ours, layer, turn, shape)
    return places


def check_backbone(folder: str | Path, backbone: BackboneConfig) -> None:
    """Raises InputError that names the first field in which published weights are of another network."""
    published, found = _read(folder)
    for field in type(found).__dataclass_fields__:
        ours, theirs = getattr(backbone, field, None), getattr(found, field)
        if field in published.chosen and ours and theirs:
            continue
        if ours != theirs:
            raise InputError(f"backbone.{field}: found {ours!r}, expected {theirs!r} of {folder}")


def load_published(folder: str | Path, config: NetworkConfig, shapes: Any) -> Any:
    """Returns the parameters of a network from published weights, in the tree and the dtypes of `shapes`.

    Args:
        folder: of the network, or of a pipeline. config: of the network, which must be the one in the folder.
        shapes: abstract parameters, without those of a LoRA. A leaf that has a sharding is made there; one that has
            none is a numpy array.

    Raises:
        InputError: another network, or tensors that are missing, unexpected, in two files or of another shape or dtype.
    """
    check_backbone(folder, config.backbone)
    wanted, places, published = name_leaves(shapes), list_places(config), find_published(config)
    leaves: dict[str, Any] = {}
    for name, array in _iter_whole(find_shards(find_folder(folder), published.stem), places):
        place = places[name]
        leaf, layer = wanted[place.ours], place.layer
        piece = _place(place.turn.load(array), leaf, layered=layer is not None)
        if layer is not None:
            # A stack is made with its first layer, so that nothing is allocated twice.
            whole = leaves.pop(place.ours) if place.ours in leaves else _make_zeros(leaf)
            piece = _put(whole, piece, layer)
        leaves[place.ours] = piece
    return jax.tree.unflatten(jax.tree.structure(shapes), [leaves[name] for name in wanted])


def save_published(
    folder: str | Path,
    params: Any,
    config: NetworkConfig,
    *,
    dtype: str = "float32",
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes parameters as a folder in the published layout, complete or not at all.

    Args:
        params: on any mesh. config: of the network. dtype: of the tensors in the files.
        shard_bytes: of one file, at most; a larger tensor has a file of its own.

    Raises:
        InputError: weights of the config's family are not published, or the folder cannot be written.
    """
    published, places, leaves = find_published(config), list_places(config), name_leaves(params)
    kind = jnp.dtype(dtype)
    files = _divide({n: math.prod(p.shape) * kind.itemsize for n, p in places.items()}, shard_bytes)
    with replace_folder(Path(folder)) as unfinished:
        values = json.dumps(published.write_config(config.backbone), indent=2)
        (unfinished / "config.json").write_text(f"{values}\n")
        weight_map: dict[str, str] = {}
        for number, names in enumerate(files, start=1):
            file = _name_file(published.stem, number, len(files))
            tensors = {name: _read_out(leaves, places[name], kind) for name in names}
            save_tensors(unfinished / file, tensors, {"format": "pt"})
            weight_map |= dict.fromkeys(names, file)
        if len(files) > 1:
            total = sum(math.prod(place.shape) * kind.itemsize for place in places.values())
            index = {"metadata": {"total_size": total}, "weight_map": weight_map}
            path = unfinished / f"{published.stem}.safetensors.index.json"
            path.write_text(f"{json.dumps(index, indent=2)}\n")


def _check_pipeline(root: Path, published: Published) -> None:
    """Raises InputError where a pipeline has a part that this network alone would not make up for."""
    path = root / "model_index.json"
    values = read_config(path) if path.exists() else {}
    for name, reason in published.refused.items():
        found = values.get(name)
        # A pair of None is how a pipeline writes a part that it does not have.
        if found not in (None, [None, None]):
            raise InputError(f"{path}: {name}: found {found!r}, expected none: {reason}")
        if (root / name).is_dir():
            raise InputError(f"{root / name}: found a folder, expected none: {reason}")


def _iter_whole(paths: list[Path], places: Mapping[str, Place]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields one tensor after another: its pieces, put together."""
    shapes = {name: place.shape for name, place in places.items()}
    whole = np.empty(0)
    for name, start, rows in iter_rows(paths, shapes=shapes, dropped={}, dtypes=DTYPES):
        if not start:
            whole = np.empty(shapes[name], rows.dtype)
        whole[start : start + len(rows)] = rows
        if start + len(rows) == len(whole):
            yield name, whole


def _place(
    array: np.ndarray, leaf: jax.ShapeDtypeStruct, *, layered: bool
) -> jax.Array | np.ndarray:
    """Returns an array, or one layer of it, placed as a leaf."""
    cut = lambda index: np.ascontiguousarray(array[index], leaf.dtype)
    if leaf.sharding is None:
        return cut(...)
    spec = leaf.sharding.spec[1:] if layered else leaf.sharding.spec
    place = NamedSharding(leaf.sharding.mesh, P(*spec))
    return jax.make_array_from_callback(array.shape, place, cut)


def _make_zeros(leaf: jax.ShapeDtypeStruct) -> jax.Array | np.ndarray:
    if leaf.sharding is None:
        return np.zeros(leaf.shape, leaf.dtype)
    return jax.jit(lambda: jnp.zeros(leaf.shape, leaf.dtype), out_shardings=leaf.sharding)()


def _put(stack: Any, piece: Any, layer: int) -> Any:
    if isinstance(stack, np.ndarray):
        stack[layer] = piece
        return stack
    return _put_in_place(stack, piece, layer)


@functools.partial(jax.jit, donate_argnums=0)
def _put_in_place(stack: jax.Array, piece: jax.Array, layer: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(stack, piece, layer, 0)


def _read_out(leaves: Mapping[str, Any], place: Place, kind: Any) -> np.ndarray:
    """One tensor as it is published; every process takes part where others hold some of it."""
    leaf = leaves[place.ours]
    array = fetch(leaf if place.layer is None else leaf[place.layer])
    return np.ascontiguousarray(place.turn.save(array), kind)


def _divide(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """Tensors by file, in order."""
    files: list[list[str]] = [[]]
    room = most
    for name, size in sizes.items():
        if size > room and files[-1]:
            files.append([])
            room = most
        files[-1].append(name)
        room -= size
    return files


def _name_file(stem: str, number: int, count: int) -> str:
    part = "" if count == 1 else f"-{number:05d}-of-{count:05d}"
    return f"{stem}{part}.safetensors"
