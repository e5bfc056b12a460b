"""Makes the Wan 2.2 video VAE (that of Wan2.2-TI2V-5B) a codec: 4x16x16 with 48 channels.

It is `wan_vae.py` with another stride; what its network has besides follows from the published config
(`wan_network.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lct_jax.codecs import wan_single_file
from lct_jax.codecs.wan_vae import WanVAE


class Wan22VAE(WanVAE):
    """Holds a loaded VAE; satisfies `VideoCodec`. See `WanVAE`."""

    kind = "wan22_vae"
    stride = (4, 16, 16)
    version: ClassVar[Mapping[str, Any]] = {
        "is_residual": True,
        "patch_size": 2,
        "in_channels": 12,
        "out_channels": 12,
    }
    published = wan_single_file.PUBLISHED_22


CODEC = Wan22VAE
