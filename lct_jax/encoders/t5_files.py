"""Which files of a folder hold a T5 or UMT5 encoder, and under which names its tensors are in them.

Published files differ: parts with an index, float16 variants as diffusers saves them, the one file `t5xxl_fp16` that
Stable Diffusion 3 is shared with, or the encoder inside of a file with all of Stable Diffusion 3. Some have the
decoder's weights too, and the table of embeddings stands under one of two names, or under both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lct_jax.errors import InputError
from lct_jax.tensors import find_shards, list_names

_VARIANT = "fp16"
_INSIDE = "text_encoders.t5xxl.transformer."  # of one file with all of Stable Diffusion 3
_EMBEDDING, _EMBEDDING_AGAIN = "shared.weight", "encoder.embed_tokens.weight"
_OF_DECODER = ("decoder.", "lm_head.")


class Names(NamedTuple):
    """Where the tensors of an encoder are.

    Attributes:
        found: our name of each tensor that is there -> its name in the files. dropped: the names that are not read,
            each with the reason.
    """

    found: dict[str, str]
    dropped: dict[str, str]


def find_weights(folder: Path) -> list[Path]:
    """Returns the files of an encoder's weights.

    Those are `model.safetensors` or its parts, else diffusers' float16 variant of these, else the only safetensors
    file.

    Raises:
        InputError: there is an index that cannot be read, or neither those names nor exactly one file.
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
    """Returns where the `wanted` tensors are in `files`, and what there is left out with a reason.

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
