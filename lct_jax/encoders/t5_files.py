"""Finds the files of a folder that hold a T5 or UMT5 encoder, and the names of its tensors in them.

Published files differ: parts with an index, float16 variants as diffusers saves them, the single file `t5xxl_fp16` that
is published with Stable Diffusion 3, or the encoder within a file with all of Stable Diffusion 3. Some have the
decoder's weights too, and the table of embeddings stands under one of two names, or under both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lct_jax.errors import InputError
from lct_jax.tensors import find_shards, list_names

_VARIANT = "fp16"
# This is the prefix in a file with all of Stable Diffusion 3.
_INSIDE = "text_encoders.t5xxl.transformer."
_EMBEDDING, _EMBEDDING_AGAIN = "shared.weight", "encoder.embed_tokens.weight"
_OF_DECODER = ("decoder.", "lm_head.")


class Names(NamedTuple):
    """Maps the tensors of an encoder to their names in the files.

    Attributes:
        found: the name in the files of each tensor that exists, by its name here. dropped: the names that are not read,
            each with the reason.
    """

    found: dict[str, str]
    dropped: dict[str, str]


def find_weights(folder: Path) -> list[Path]:
    """Returns the files of an encoder's weights.

    They are `model.safetensors` or its parts, else diffusers' float16 variant of these, else the only safetensors file.

    Raises:
        InputError: an index cannot be read, or there are neither files of those names nor exactly one file.
    """
    for variant in ("", _VARIANT):
        files = find_shards(folder, "model", variant=variant)
        if len(files) > 1 or files[0].exists():
            return files
    files = sorted(folder.glob("*.safetensors"))
    if len(files) > 1:
        found = ", ".join(file.name for file in files)
        raise InputError(f"{folder}: found {found}, expected model.safetensors or one file alone")
    return files or [folder / "model.safetensors"]


def sort_names(files: Sequence[Path], wanted: Iterable[str]) -> Names:
    """Returns where the `wanted` tensors are in `files`, and which tensors are not read, with the reason.

    Raises:
        InputError: a file is missing or is not safetensors.
    """
    there = list_names(files)
    prefix = _INSIDE if any(name.startswith(_INSIDE) for name in there) else ""
    own = {name.removeprefix(prefix): name for name in there if name.startswith(prefix)}
    dropped = {name: "of another model" for name in there if not name.startswith(prefix)}
    if _EMBEDDING not in own and _EMBEDDING_AGAIN in own:
        own[_EMBEDDING] = own.pop(_EMBEDDING_AGAIN)
    for name, theirs in own.items():
        if name.startswith(_OF_DECODER):
            dropped[theirs] = "of the decoder"
        elif name == _EMBEDDING_AGAIN:
            dropped[theirs] = f"the same as {_EMBEDDING}"
    return Names({name: own[name] for name in wanted if name in own}, dropped)
