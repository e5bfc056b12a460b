"""What the project asks of a video codec, and nothing more.

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
        are only mixed when their identities agree.
      channels: how many numbers a latent position holds.
      stride: how many frames, rows and columns of pixels one latent position stands for, such as
        (4, 8, 8); of the class, for sizes are chosen before weights are read. With time stride s, a
        video of s*n+1 frames has n+1 latent frames: the first frame stands alone, so that an image
        is a video of one frame.
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
          float32 [T, X, Y, channels], scaled as the diffusion model sees it: about unit variance.

        Raises:
          InputError: frames, a height or a width that do not fit the stride.
        """
        ...

    @classmethod
    def load(cls, path: Path, *, channels: int) -> VideoCodec:
        """Reads weights: what `save` wrote, and, where there are any, what others published.

        Raises InputError where they are missing, another codec's, or of other channels.
        """
        ...

    def save(self, path: Path) -> None:
        """Writes the codec's weights as safetensors: they travel with every set and run made by it."""
        ...

    def decode(self, latent_TXYC: np.ndarray) -> np.ndarray:
        """Decodes float32 [T, X, Y, channels] to uint8 [s*(T-1)+1, height, width, 3], RGB."""
        ...
