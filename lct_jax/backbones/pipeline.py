"""The folder of a published pipeline as a base: the settings that it is used with, and its identity.

transformer/   config.json and safetensors of the network
vae/  text_encoder/  tokenizer/   what latents and text tokens are made with
scheduler/     scheduler_config.json, which has the shift of the sampler's times
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path

from lct_jax.backbones.load import DTYPES, find_folder, list_places, read_backbone
from lct_jax.backbones.registry import find_publisher
from lct_jax.config import Config, NetworkConfig
from lct_jax.errors import InputError
from lct_jax.files import hash_samples
from lct_jax.tensors import check_tensors, find_shards, read_config

# Words in names and configs of checkpoints that were distilled to few steps or to one guidance scale.
_DISTILLED = re.compile(
    r"distil|turbo|lightning|lightx2v|causvid|self[-_ ]?forcing|\blcm\b|\bdmd|fastwan|accvid|[^a-z]rcm[^a-z]"
)


def find_pipeline(folder: str | Path) -> Path:
    """Returns the folder of the pipeline that a network is a part of, given that of either."""
    return find_folder(folder).absolute().parent


def read_pipeline(folder: str | Path) -> Config:
    """Returns the settings that a published network is used and tuned with, from its family and its own files.

    `prepare.codec_from`, `prepare.encoder_from` and `training.init_from` name the parts of the pipeline. The shift of
    the sampler is that of the pipeline's scheduler, where there is one and it is not 1.

    Args:
        folder: of the pipeline, or of the network in it.

    Raises:
        InputError: there is no such network, one that no family here computes, or a shift that is no number above 0.
    """
    backbone, root = read_backbone(folder), find_pipeline(folder)
    path = find_folder(folder) / "config.json"
    published = find_publisher(read_config(path).get("_class_name"), str(path)).published
    config = published.make_config(backbone)
    return dataclasses.replace(
        config,
        name=root.name,
        prepare=dataclasses.replace(
            config.prepare,
            codec_from=str(root / "vae"),
            encoder_from=str(root / "text_encoder"),
        ),
        sampling=dataclasses.replace(
            config.sampling, shift=_read_shift(root, usual=config.sampling.shift)
        ),
        training=dataclasses.replace(config.training, init_from=str(root)),
    )


def check_weights(folder: str | Path, network: NetworkConfig) -> str:
    """Checks the tensors of a published network by name, shape and dtype, and returns its identity.

    Headers are read, and samples of the numbers. The identity is a hash of config.json, of these and of the sizes.

    Raises:
        InputError: tensors that are missing, unexpected, in two files, or of another shape or dtype.
    """
    folder = find_folder(folder)
    path = folder / "config.json"
    stem = find_publisher(read_config(path).get("_class_name"), str(path)).published.stem
    files = find_shards(folder, stem)
    shapes = {name: place.shape for name, place in list_places(network).items()}
    check_tensors(*files, shapes=shapes, dtypes=DTYPES)
    digest = hashlib.sha256(path.read_bytes() + hash_samples(files).encode())
    return f"sha256:{digest.hexdigest()[:16]}"


def find_distilled(folder: str | Path) -> list[str]:
    """Returns a warning for every file or name that says that a network was distilled.

    Names and shapes of tensors are those of the network that was distilled, so only words can tell.
    """
    root = find_pipeline(folder)
    texts = {str(root): root.name}
    for path in (
        find_folder(folder) / "config.json",
        root / "model_index.json",
        root / "scheduler/scheduler_config.json",
    ):
        if path.is_file():
            texts[str(path)] = path.read_text(errors="replace")
    return [
        f"{where}: says {found[0]!r}: a distilled network loses what was distilled when it is tuned; "
        "start from the plain one"
        for where, text in texts.items()
        if (found := _DISTILLED.search(text.lower()))
    ]


def _read_shift(root: Path, *, usual: float) -> float:
    path = root / "scheduler/scheduler_config.json"
    if not path.is_file():
        return usual
    values = read_config(path)
    # diffusers' flow-matching Euler scheduler has "shift", its UniPC "flow_shift", and 1 where nobody has set one: the
    # files of SkyReels-V2 say so, and its authors set 8 in their programs.
    shift = values.get("flow_shift", values.get("shift", usual))
    if not isinstance(shift, int | float) or not shift > 0:
        raise InputError(f"{path}: flow_shift: found {shift!r}, expected a number above 0")
    return usual if shift == 1 else float(shift)
