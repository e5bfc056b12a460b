"""LoRAs as files, out and in: PEFT's keys on diffusers' names, kohya's keys on the original names.

    transformer.blocks.0.attn1.to_q.lora_A.weight [R D], .lora_B.weight [F R]            "peft", loaded by diffusers
    lora_unet_blocks_0_self_attn_q.lora_down.weight, .lora_up.weight, .alpha             "kohya", loaded by ComfyUI
    diffusion_model.blocks.0.self_attn.q.lora_A.weight and so on                         read as well
    transformer.blocks.0.video.qkv.lora_A.weight, .lora_B.weight                         "peft" of our own families

A family whose weights nobody else publishes has the names of its parameters here, with the number of the block behind
`blocks`; kohya's keys are for published families alone. A file is written with a scale of 1: the factor alpha / rank
is a part of B.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from lct_jax.backbones.load import Place, find_published, list_places
from lct_jax.backbones.lora import STACK, LowRank, is_block_kernel
from lct_jax.backbones.protocol import Turn
from lct_jax.backbones.registry import build_abstract, find_family
from lct_jax.config import NetworkConfig
from lct_jax.errors import InputError
from lct_jax.tensors import (
    list_names,
    load_tensors_of,
    name_leaves,
    read_config,
    read_metadata,
    save_tensors,
)

Keys = Literal["peft", "kohya"]
_PREFIXES = ("base_model.model.", "transformer.", "diffusion_model.")
_KOHYA = "lora_unet_"
# What stands behind the name of a layer.
_KINDS = {
    ".lora_A.weight": "a",
    ".lora_down.weight": "a",
    ".lora_B.weight": "b",
    ".lora_up.weight": "b",
    ".alpha": "alpha",
}
_SUFFIXES: dict[Keys, tuple[str, str]] = {
    "peft": (".lora_A.weight", ".lora_B.weight"),
    "kohya": (".lora_down.weight", ".lora_up.weight"),
}


def save_low_rank(
    path: Path,
    matrices: Mapping[str, LowRank],
    config: NetworkConfig,
    *,
    keys: Keys,
    dtype: str = "float32",
    header: Mapping[str, str] | None = None,
) -> None:
    """Writes a LoRA as one file, complete or not at all.

    Args:
        matrices: by the name of their layer. config: of the network. keys: in whose names. dtype: of the tensors.
        header: texts that stand in the file's header.

    Raises:
        InputError: `keys` is "kohya" and weights of the config's family are not published; a layer is in files
            something else than a matrix; the file cannot be written.
    """
    layers, kind, tensors = _list_layers(config), jnp.dtype(dtype), {}
    original = find_published(config).original if keys == "kohya" else {}
    left = set(matrices)
    for name, place in layers.items():
        layer = place.ours.removesuffix(".kernel")
        if layer not in matrices:
            continue
        left.discard(layer)
        pair = matrices[layer]
        a, b = (np.asarray(x if place.layer is None else x[place.layer]) for x in pair)
        key = f"transformer.{name}" if keys == "peft" else _name_kohya(name, original)
        down, up = _SUFFIXES[keys]
        tensors[f"{key}{down}"] = a.T.astype(kind)
        # The axis of outputs is turned as that of the layer itself.
        tensors[f"{key}{up}"] = np.ascontiguousarray(place.turn.save(b), kind)
        if keys == "kohya":
            tensors[f"{key}.alpha"] = np.asarray(a.shape[1], kind)
    if left:
        raise InputError(
            f"lora.targets: found {', '.join(sorted(left))}, expected layers that are published as matrices"
        )
    save_tensors(path, tensors, {"format": "pt", **(header or {})})


def load_low_rank(path: str | Path, config: NetworkConfig) -> dict[str, LowRank]:
    """Returns the LoRA in a file, by the name of our layer, as float32 numpy arrays with the scale in B.

    A layer that some blocks lack has zeros there. The scale is alpha / rank, with the alpha that stands beside the
    matrices, or in PEFT's settings in the header or in `adapter_config.json` beside the file; without any it is 1.

    Raises:
        InputError: keys that no layer of the network has, a matrix without the other one, wrong shapes, or a kind of
            LoRA that is more than two matrices.
    """
    layers, found = _list_layers(config), _read_tensors(Path(path), config)
    alpha = _read_alpha(Path(path))
    pairs: dict[str, dict[int | None, LowRank]] = {}
    for name, parts in found.items():
        place = layers[name]
        pairs.setdefault(place.ours.removesuffix(".kernel"), {})[place.layer] = _make_pair(
            f"{path}: {name}", parts, place, usual=alpha
        )
    return {layer: _stack(of_layer, config.backbone.depth) for layer, of_layer in pairs.items()}


def _list_layers(config: NetworkConfig) -> dict[str, Place]:
    """Returns where layers of a file go that are matrices, by their name there without `.weight`."""
    published = find_family(config).published is not None
    places = list_places(config) if published else _list_own(config)
    return {
        name.removesuffix(".weight"): place
        for name, place in places.items()
        if place.ours.endswith(".kernel") and len(place.shape) == 2
    }


def _list_own(config: NetworkConfig) -> dict[str, Place]:
    """Returns where kernels go whose names in files are our own; a file has outputs first, and a block a layer."""
    turn, places = Turn(np.transpose, np.transpose), {}
    for ours, leaf in name_leaves(build_abstract(config).params).items():
        name = ours.replace(".kernel", ".weight")
        if not is_block_kernel(ours):
            places[name] = Place(ours, None, turn, leaf.shape[::-1])
            continue
        for layer in range(leaf.shape[0]):
            numbered = name.replace(f"{STACK}.", f"{STACK}.{layer}.", 1)
            places[numbered] = Place(ours, layer, turn, leaf.shape[:0:-1])
    return places


def _name_original(name: str, original: Mapping[str, str]) -> str:
    """Returns the name of a layer in the files of the network's authors."""
    for theirs, first in original.items():
        if name == theirs or name.endswith(f".{theirs}"):
            return f"{name.removesuffix(theirs)}{first}"
    return name


def _name_kohya(name: str, original: Mapping[str, str]) -> str:
    return f"{_KOHYA}{_name_original(name, original).replace('.', '_')}"


def _read_tensors(path: Path, config: NetworkConfig) -> dict[str, dict[str, np.ndarray]]:
    """Returns tensors by layer and kind ("a", "b" or "alpha"); InputError where a key is of no layer."""
    layers, published = _list_layers(config), find_family(config).published
    spelled = {name: name for name in layers}
    for name in layers if published is not None else ():
        first = _name_original(name, published.original)
        spelled |= {first: name, _name_kohya(name, published.original): name}
    keys = list_names([path])
    split = {key: _split_key(key) for key in keys}
    unknown = [key for key, (layer, kind) in split.items() if kind is None or layer not in spelled]
    if unknown:
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise InputError(
            f"{path}: found {', '.join(unknown[:8])}{more}, expected the LoRA of layers of this "
            f"{config.backbone.family} network alone"
        )
    found: dict[str, dict[str, np.ndarray]] = {}
    for key, array in load_tensors_of(path, keys).items():
        layer, kind = split[key]
        parts = found.setdefault(spelled[layer], {})
        if kind in parts:
            raise InputError(f"{path}: {key}: found a second time under another name")
        parts[kind] = array.astype(np.float32)
    return found


def _split_key(key: str) -> tuple[str, str | None]:
    """Returns the layer of a key without a prefix, and which of `_KINDS` its tensor is."""
    key = key.replace(".default.weight", ".weight")  # the name of PEFT's adapter
    for suffix, kind in _KINDS.items():
        if key.endswith(suffix):
            layer = key.removesuffix(suffix)
            for prefix in _PREFIXES:
                layer = layer.removeprefix(prefix)
            return layer, kind
    return key, None


def _make_pair(
    where: str, parts: Mapping[str, np.ndarray], place: Place, *, usual: float | None
) -> LowRank:
    for kind, meaning in (("a", "lora_A or lora_down"), ("b", "lora_B or lora_up")):
        if kind not in parts:
            raise InputError(f"{where}: missing {meaning}")
    a, b = parts["a"], parts["b"]
    rank, (outputs, inputs) = len(a), place.shape
    for found, expected in ((a.shape, (rank, inputs)), (b.shape, (outputs, rank))):
        if found != expected:
            raise InputError(f"{where}: found the shape {found}, expected {expected}")
    alpha = float(parts["alpha"].reshape(-1)[0]) if "alpha" in parts else usual
    scale = 1.0 if alpha is None else alpha / rank
    return LowRank(np.ascontiguousarray(a.T), scale * np.ascontiguousarray(place.turn.load(b)))


def _stack(pairs: Mapping[int | None, LowRank], depth: int) -> LowRank:
    """Returns the matrices of all blocks along a leading axis, those of smaller rank filled up with zeros."""
    if None in pairs:
        return pairs[None]
    some = next(iter(pairs.values()))
    rank = max(pair.a.shape[1] for pair in pairs.values())
    a = np.zeros((depth, some.a.shape[0], rank), np.float32)
    b = np.zeros((depth, rank, some.b.shape[1]), np.float32)
    for number, pair in pairs.items():
        own = pair.a.shape[1]
        a[number, :, :own], b[number, :own] = pair
    return LowRank(a, b)


def _read_alpha(path: Path) -> float | None:
    """Returns the alpha that PEFT stored, None where it stored none.

    Raises:
        InputError: PEFT's settings are of a LoRA that its matrices alone do not describe.
    """
    beside, where = path.with_name("adapter_config.json"), f"{path}: lora_adapter_metadata"
    values: dict[str, Any] = json.loads(read_metadata(path).get("lora_adapter_metadata", "{}"))
    if not values and beside.is_file():
        values, where = read_config(beside), str(beside)
    values = {key.rpartition(".")[2]: value for key, value in values.items()}
    for name in ("use_dora", "use_rslora", "alpha_pattern"):
        if values.get(name):
            raise InputError(f"{where}: {name}: found {values[name]!r}, expected none")
    alpha = values.get("lora_alpha")
    return None if alpha is None else float(alpha)
