"""The layout in which Wan's transformer is published: config.json of diffusers' classes, and the axes of its tensors.

SkyReels-V2 is published under a class of its own, with the same tensors and five more where it is told the frame rate.

Published heads are rotated in neighbouring pairs of numbers, ours in halves. Attention is a sum over pairs, so putting
the even numbers of every head before the odd ones, in queries and keys alike, changes nothing but the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lct_jax.backbones.protocol import Published, Turn
from lct_jax.backbones.wan.names import ORIGINAL
from lct_jax.backbones.wan.usage import make_config
from lct_jax.config import BackboneConfig, WanConfig
from lct_jax.config.backbone import FRAME_RATES
from lct_jax.errors import InputError

CLASSES = {"WanTransformer3DModel": "wan", "SkyReelsV2Transformer3DModel": "skyreels_v2"}
TWO_NETWORKS = (
    "one of two networks that are chosen by time, where the shots of a scene have times of their own: a pass would "
    "need both"
)
# Fields of config.json by ours, with the values that diffusers' classes take where a file has none.
_SIZES = {
    "num_layers": ("depth", {"wan": 40, "skyreels_v2": 32}),
    "num_attention_heads": ("heads", {"wan": 40, "skyreels_v2": 16}),
    "attention_head_dim": ("head_dim", {"wan": 128, "skyreels_v2": 128}),
    "ffn_dim": ("hidden", {"wan": 13824, "skyreels_v2": 8192}),
    "in_channels": ("channels", {"wan": 16, "skyreels_v2": 16}),
    "text_dim": ("text_width", {"wan": 4096, "skyreels_v2": 4096}),
    "freq_dim": ("time_features", {"wan": 256, "skyreels_v2": 256}),
}
# Fields that have one value in the network of this folder, which is also that of diffusers' classes.
_FIXED = {
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "eps": 1e-6,
    "image_dim": None,
    "added_kv_proj_dim": None,
    "pos_embed_seq_len": None,
}
# A field of SkyReels-V2's alone: one frame a block is attention without a mask.
_UNMASKED = {"num_frame_per_block": 1}


def read_config(values: Mapping[str, Any], where: str) -> BackboneConfig:
    """Returns the config of a network whose config.json, at `where`, has these values.

    Raises:
        InputError: a value that this network does not have, such as that of image to video.
    """
    release = CLASSES[values.get("_class_name", "WanTransformer3DModel")]
    for name, expected in {**_FIXED, **_UNMASKED}.items():
        if values.get(name, expected) != expected:
            raise InputError(f"{where}: {name}: found {values[name]!r}, expected {expected!r}")
    sizes = {}
    for name, (field, usual) in _SIZES.items():
        sizes[field] = values.get(name, usual[release])
        if not isinstance(sizes[field], int) or sizes[field] < 1:
            raise InputError(f"{where}: {name}: found {sizes[field]!r}, expected a whole number")
    outputs = values.get("out_channels") or sizes["channels"]
    if outputs != sizes["channels"]:
        raise InputError(
            f"{where}: in_channels: found {sizes['channels']}, expected {outputs}, as out_channels: "
            "networks that take a picture beside the noise are not supported"
        )
    patch = values.get("patch_size", (1, 2, 2))
    return WanConfig(
        **sizes,
        width=sizes["heads"] * sizes["head_dim"],
        patch=tuple(patch) if isinstance(patch, list) else patch,
        rope_split=split_head(sizes["head_dim"]),
        release=release,
        # The rate that SkyReels-V2 is sampled at; a config may choose another one.
        fps=FRAME_RATES[-1] if values.get("inject_sample_info") else 0,
    )


def write_config(backbone: BackboneConfig) -> dict[str, Any]:
    """Returns the values of config.json, all that diffusers' class knows."""
    own = {**_UNMASKED, "inject_sample_info": backbone.fps > 0}
    return {
        "_class_name": next(name for name, to in CLASSES.items() if to == backbone.release),
        **_FIXED,
        **(own if backbone.release == "skyreels_v2" else {}),
        **{name: getattr(backbone, field) for name, (field, _) in _SIZES.items()},
        "out_channels": backbone.channels,
        "patch_size": list(backbone.patch),
        "rope_max_seq_len": 1024,
    }


def split_head(head_dim: int) -> tuple[int, int, int]:
    """Returns how Wan divides a head over (t, h, w): a third each of h and w, in whole pairs, and the rest for t."""
    side = 2 * (head_dim // 6)
    return head_dim - 2 * side, side, side


def make_turns(backbone: BackboneConfig) -> dict[str, Turn]:
    """Returns the rules by which the axes of a published tensor become ours, and back."""
    heads, width = (backbone.heads, 1, backbone.head_dim), backbone.width
    halves = np.r_[0 : backbone.head_dim : 2, 1 : backbone.head_dim : 2]
    order = (np.arange(backbone.heads)[:, None] * backbone.head_dim + halves).ravel()
    inverse = np.argsort(order)
    folded = (*backbone.patch, backbone.channels, width)
    return {
        "same": Turn(lambda x: x, lambda x: x),
        "kernel": Turn(lambda x: x.T, lambda x: x.T),
        "rotary_kernel": Turn(lambda x: x[order].T, lambda x: x.T[inverse]),
        "rotary": Turn(lambda x: x[order], lambda x: x[inverse]),
        "norm": Turn(lambda x: x.reshape(heads), lambda x: x.reshape(width)),
        "rotary_norm": Turn(lambda x: x[order].reshape(heads), lambda x: x.reshape(width)[inverse]),
        "patch": Turn(
            lambda x: x.transpose(2, 3, 4, 1, 0).reshape(-1, width),
            lambda x: x.reshape(folded).transpose(4, 3, 0, 1, 2),
        ),
        "table": Turn(lambda x: x[0], lambda x: x[None]),
    }


PUBLISHED = Published(
    class_names=tuple(CLASSES),
    stem="diffusion_pytorch_model",
    refused={"transformer_2": TWO_NETWORKS, "boundary_ratio": TWO_NETWORKS},
    read_config=read_config,
    write_config=write_config,
    make_turns=make_turns,
    make_config=make_config,
    original=ORIGINAL,
    chosen=frozenset({"fps"}),
)
