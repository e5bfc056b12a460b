"""Defines what the project requires of a video codec.

Training, sampling and preparation know codecs through this protocol alone, so a new one is one new file:

1. Write `lct_jax/codecs/NAME.py` with a class that has the attributes and methods below and inherits from nothing.
   `patch.py` is the shortest complete example.
2. Let the file say `CODEC = ThatClass`.
3. The codec's `save` writes `{"codec": "NAME"}` into the header of its file, by which `load_codec` of `registry.py`
   finds the class again when a scene is sampled.
4. Choose it: `--config.prepare.codec=NAME --config.prepare.codec_from=WEIGHTS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class VideoCodec(Protocol):
    """Turns a video into a latent grid and back.

    Attributes:
      identity: a stable string that names the architecture and the weights, as for a text encoder; latents on disk
        are only mixed when their identities agree. A codec that decodes the latents of another one has that one's
        identity, and names itself in a second attribute, `decoder`.
      channels: how many numbers a latent position holds.
      stride: how many frames, rows and columns of pixels one latent position stands for, such as (4, 8, 8); it is an
        attribute of the class, because sizes are chosen before weights are read. With time stride s, a video of s*n+1
        frames has n+1 latent frames: the first frame stands alone, so that an image is a video of one frame.
    """

    identity: str
    channels: int
    stride: tuple[int, int, int]

    def encode(self, video_TXYc: np.ndarray) -> np.ndarray:
        """Encodes one shot.

        Args:
          video_TXYc: uint8 [frames, height, width, 3], RGB; frames is s*n+1, and height and width
            are multiples of their strides.

        Returns:
          float32 [T, X, Y, channels], scaled for the diffusion model: about unit variance.

        Raises:
          InputError: frames, a height or a width that do not fit the stride.
        """
        ...

    @classmethod
    def load(cls, path: Path, *, channels: int) -> VideoCodec:
        """Reads weights: files that `save` wrote, and published ones, where there are any.

        Raises InputError if they are missing, belong to another codec, or have other channels.
        """
        ...

    def save(self, path: Path) -> None:
        """Writes the codec's weights as safetensors, which are copied to every set and run made with it."""
        ...

    def decode(self, latent_TXYC: np.ndarray) -> np.ndarray:
        """Decodes float32 [T, X, Y, channels] to uint8 [s*(T-1)+1, height, width, 3], RGB."""
        ...
