"""Reads the Wan 2.1 video VAE from one file without a config, under diffusers' names or under those of its authors.

The file that ComfyUI uses as `wan_2.1_vae.safetensors` has the tensors of the authors' `Wan2.1_VAE.pth` under
their names (github.com/Wan-Video/Wan2.1, wan/modules/vae.py). Shapes are the same under both; sizes and the statistics
of the latents are those of the published model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lct_jax.codecs.wan_network import WanConfig
from lct_jax.tensors import iter_tensors, list_names

# The statistics of the latents are those in diffusers' AutoencoderKLWan and the authors' wan/modules/vae.py.
PUBLISHED = WanConfig(
    latents_mean=(
        *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
        *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
    ),
    latents_std=(
        *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
        *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
    ),
)
# Each pair is a part of diffusers' name, and the authors' name for it.
_PIECES = (
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
    (r"\.conv_in\.", ".conv1."),
    (r"\.norm_out\.", ".head.0."),
    (r"\.conv_out\.", ".head.2."),
    (r"\.down_blocks\.", ".downsamples."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
    (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    (r"\.conv_shortcut\.", ".shortcut."),
)
_RESIDUAL = {"norm1": 0, "conv1": 2, "norm2": 3, "conv2": 6}


def read_tensors(
    path: Path, shapes: dict[str, tuple[int, ...]], config: WanConfig
) -> dict[str, np.ndarray]:
    """Returns the tensors of a file under diffusers' names.

    Args:
        path: a safetensors file. shapes: the expected shapes, by diffusers' names. config: the sizes of the network.

    Raises:
        InputError: the file cannot be read, or names, shapes or dtypes are not the expected ones.
    """
    renamed = {name: name for name in shapes}
    if _is_of_authors(list_names([path])):
        renamed = {name_of_authors(name, config): name for name in shapes}
    expected = {theirs: shapes[name] for theirs, name in renamed.items()}
    return {renamed[n]: tensor for n, tensor in iter_tensors([path], shapes=expected, dropped={})}


def name_of_authors(name: str, config: WanConfig) -> str:
    """Returns the authors' name of a tensor that diffusers calls `name`."""
    # A stage of the decoder is its residual blocks and the enlargement after them, counted through all stages.
    stage = config.num_res_blocks + 2
    found = re.match(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.", name)
    if found:
        place = int(found[3]) if found[2] == "resnets" else stage - 1
        name = f"decoder.upsamples.{int(found[1]) * stage + place}.{name[found.end() :]}"
    residual = re.search(r"\.(?:\d+)\.(norm1|conv1|norm2|conv2)\.", name)
    if residual:
        start, end = residual.span(1)
        name = f"{name[:start]}residual.{_RESIDUAL[residual[1]]}{name[end:]}"
    for theirs, authors in _PIECES:
        name = re.sub(theirs, authors, name)
    return name


def _is_of_authors(names: Iterable[str]) -> bool:
    return "encoder.downsamples.0.residual.0.gamma" in set(names)
