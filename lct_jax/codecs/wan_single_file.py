"""Reads a Wan video VAE from one file without a config, under diffusers' names or under those of its authors.

The files that ComfyUI uses as `wan_2.1_vae.safetensors` and `wan2.2_vae.safetensors` have the tensors of the authors'
`Wan2.1_VAE.pth` and `Wan2.2_VAE.pth` under their names (github.com/Wan-Video/Wan2.1, wan/modules/vae.py, and Wan2.2,
wan/modules/vae2_2.py). Shapes are the same under both; sizes and the statistics of the latents are those of the
published models.
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
# Those of Wan 2.2's are in the authors' wan/modules/vae2_2.py, and in diffusers' conversion of it.
PUBLISHED_22 = WanConfig(
    base_dim=160,
    decoder_base_dim=256,
    z_dim=48,
    is_residual=True,
    patch_size=2,
    latents_mean=(
        *(-0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557),
        *(-0.1382, 0.0542, 0.2813, 0.0891, 0.1570, -0.0098, 0.0375, -0.1825),
        *(-0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502),
        *(-0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230),
        *(-0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.0520, 0.3748),
        *(0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667),
    ),
    latents_std=(
        *(0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013),
        *(0.8158, 1.0344, 0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978),
        *(0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659),
        *(0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093),
        *(0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887),
        *(0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744),
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
    (r"\.up_blocks\.", ".upsamples."),
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
    # A stage of the decoder is its residual blocks and the enlargement after them. Wan 2.1 counts them through all
    # stages; in Wan 2.2 a stage of either half is a list of its own.
    stage = config.num_res_blocks + 2
    if config.is_residual:
        name = name.replace(".downsampler.", f".downsamples.{stage - 2}.")
        name = name.replace(".upsampler.", f".upsamples.{stage - 1}.")
        name = re.sub(r"\.(down|up)_blocks\.(\d+)\.resnets\.", r".\1_blocks.\2.\1samples.", name)
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
    return "encoder.conv1.weight" in set(names)
