"""Reads and writes model weights as safetensors, by name and strictly.

A tensor's name is its path in the parameter tree joined by dots, such as `blocks.video.qkv.kernel`; blocks are stacked
along a leading layer axis. The file's metadata contains the `Meta` of the run that made it, so that an error about
weights of another model, codec or encoder names the field that differs and not a list of shapes.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open

from lct_jax.config import Config, freeze
from lct_jax.errors import InputError
from lct_jax.tensors import check_tensors, name_leaves, read_part, save_tensors


@dataclass(frozen=True)
class Base:
    """The weights that a run starts from, or that its LoRA lies on.

    Attributes:
        path: of published weights, or of weights or a run of ours, none of which is a LoRA; "" for random weights.
        which: "ema" or "params", of a run.
        merged: paths of the LoRAs that are added to them, in order.
        identity: a hash of all of these; "" where it was not stored.
    """

    path: str = ""
    which: str = "ema"
    merged: tuple[str, ...] = ()
    identity: str = ""


@dataclass(frozen=True)
class Meta:
    """What weights mean.

    Attributes:
        config: the run's config.
        codec, encoder: identities of what made its latents and text tokens.
        fps: frames a second.
        credit: the credit of the footage, shown with samples.
        prepared: identity of the set that a run was trained on; "" for files from before it was stored.
        base: what the run started from, or what its LoRA lies on.
    """

    config: Config
    codec: str
    encoder: str
    fps: float
    credit: str
    prepared: str = ""
    base: Base = Base()

    @classmethod
    def from_json(cls, values: dict[str, Any], *, where: str) -> Meta:
        """Returns the meta of values from `to_json`; raises InputError that names `where` they were."""
        fields = {field.name for field in dataclasses.fields(cls)}
        values = {"prepared": "", "base": {}, **values}
        if values.keys() != fields:
            differing = ", ".join(sorted(values.keys() ^ fields))
            raise InputError(f"{where}: its meta has missing or unknown keys: {differing}")
        try:
            base = Base(**values["base"])
            base = dataclasses.replace(base, merged=tuple(base.merged))
            return cls(**{**values, "config": freeze(values["config"]), "base": base})
        except InputError as error:
            raise InputError(f"{where}: {error}") from None

    def to_json(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def to_header(self) -> dict[str, str]:
        """Returns the text by which a safetensors file has this in its header."""
        return {"meta": json.dumps(self.to_json())}

    def check_same(self, where: str, other: Meta, *, starting: bool = False) -> None:
        """Raises InputError naming the first way in which `other` is of another model or other data.

        How a network computes may always change. Where a new run is `starting` from the weights, the layout may change
        as well, since the run learns anew how shots relate, and so may what is trained.
        """
        for section in ("backbone",) if starting else ("backbone", "layout", "lora"):
            mine, theirs = (
                dataclasses.asdict(getattr(meta.config, section)) for meta in (self, other)
            )
            for field in mine | theirs:
                found, made = theirs.get(field), mine.get(field)
                if found != made:
                    raise InputError(
                        f"{where}: made with {section}.{field} {made!r}, found {found!r}"
                    )
        self.check_identities(where, codec=other.codec, encoder=other.encoder)

    def list_changes(self, other: Meta) -> list[str]:
        """Returns the changes of `other` that a run may make: `data.rows 4 instead of 2`, or another prepared set."""
        mine, theirs = (dataclasses.asdict(meta.config) for meta in (self, other))
        changes = [
            f"{section}.{field} {value!r} instead of {mine[section][field]!r}"
            for section, fields in theirs.items()
            if isinstance(fields, dict)
            for field, value in fields.items()
            if mine[section][field] != value
        ]
        if self.prepared and other.prepared != self.prepared:
            changes.append(f"prepared set {other.prepared!r} instead of {self.prepared!r}")
        return changes

    def check_identities(self, where: str, *, codec: str, encoder: str) -> None:
        """Raises InputError unless a codec and an encoder are those the weights were made with."""
        for kind, found, expected in (
            ("codec", codec, self.codec),
            ("encoder", encoder, self.encoder),
        ):
            if found != expected:
                raise InputError(f"{where}: made with {kind} {expected}, found {found}")


def save_weights(path: Path, params: Any, meta: Meta, *, dtype: str = "float32") -> None:
    """Writes parameters (or their EMA) with their meta, atomically."""
    tensors = {name: np.asarray(leaf).astype(dtype) for name, leaf in name_leaves(params).items()}
    save_tensors(path, tensors, meta.to_header())


def load_weights(path: Path, shapes: Any) -> Any:
    """Returns parameters in the tree of `shapes`, in its dtypes; they are read tensor by tensor.

    Args:
        path: the safetensors file.
        shapes: abstract parameters. A leaf that has a sharding is placed by it, and only what devices of this process
            hold is read of the file. A leaf without one is read whole, as a numpy array.

    Raises:
        InputError: there is no such file, tensors are missing or unexpected, or shapes are wrong.
    """
    leaves = name_leaves(shapes)
    check_tensors(path, shapes={name: leaf.shape for name, leaf in leaves.items()})
    loaded = [_load_tensor(path, name, leaf) for name, leaf in leaves.items()]
    return jax.tree.unflatten(jax.tree.structure(shapes), loaded)


def _load_tensor(path: Path, name: str, wanted: jax.ShapeDtypeStruct) -> jax.Array | np.ndarray:
    parts: dict[str, np.ndarray] = {}

    def read(index: tuple[slice, ...]) -> np.ndarray:
        # Devices that hold the same part each ask for it.
        key = str(index)
        if key not in parts:
            parts[key] = read_part(path, name, index).astype(wanted.dtype, copy=False)
        return parts[key]

    if wanted.sharding is None:
        return read((slice(None),) * len(wanted.shape))
    return jax.make_array_from_callback(wanted.shape, wanted.sharding, read)


def read_weights_meta(path: Path) -> Meta:
    """Returns the meta in a weights file; raises InputError where there is none."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise InputError(f"{path}: not found, expected weights as safetensors") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None
    if "meta" not in metadata:
        raise InputError(
            f"{path}: no lct_jax meta in its header, expected weights saved by lct_jax"
        )
    return Meta.from_json(json.loads(metadata["meta"]), where=str(path))
