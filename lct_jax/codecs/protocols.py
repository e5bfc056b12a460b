"""What the project asks of a text encoder and of a video codec, and nothing more.

Texts or videos enter, arrays leave. Training, sampling and preparation know encoders and codecs
through these two protocols alone, so a new one is one new file and nothing else is edited:

1. Write `lct_jax/codecs/NAME.py` with a class that has the attributes and methods below, inheriting
   from nothing. `stand_in.py` and `patch.py` are the shortest complete examples.
2. Let the file say `CODEC = ThatClass` or `ENCODER = ThatClass`.
3. A codec's `save` writes `{"codec": "NAME"}` into the header of its file, by which `load_codec` of
   `registry.py` finds the class again when a scene is sampled.
4. Choose it: `--config.prepare.codec=NAME --config.prepare.codec_from=WEIGHTS`, or
   `--config.prepare.encoder=NAME --config.prepare.encoder_from=FOLDER`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from lct_jax.errors import InputError


@runtime_checkable
class TextEncoder(Protocol):
    """Turns each text into as many token vectors as it has tokens.

    Attributes:
      width: E, the length of a token vector.
      identity: a stable string that names the architecture and the weights, such as
        `minilm-l6-v2:sha256:0123456789abcdef` (the first 16 hex digits of the weights' hash). Two
        encoders with one identity must give the same numbers, so that stored ones can be reused.
    """

    width: int
    identity: str

    @classmethod
    def load(cls, folder: Path | None, *, width: int) -> TextEncoder:
        """Makes the encoder from local files, or from None where it brings its own.

        `width` is what the model wants: for encoders that have any; the registry refuses another one.
        Raises InputError where files are missing or another model's.
        """
        ...

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encodes each text on its own: the result does not depend on what else is in `texts`.

        Args:
          texts: any number of texts. The empty string is legal and gives the encoder's empty
            prompt, the one guidance falls back on: at least one token (BERT: `[CLS][SEP]`, two).

        Returns:
          One float32 array [length, E] a text, in order: special tokens included, no padding, true
          length.

        Raises:
          InputError: a text is longer than the encoder can read. Nothing is cut silently.
        """
        ...


@runtime_checkable
class VideoCodec(Protocol):
    """Turns a video into a latent grid and back.

    Attributes:
      identity: as for a text encoder; latents on disk are only mixed when their identities agree.
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


def check_texts(texts: Sequence[str]) -> None:
    """Raises InputError unless `texts` is a sequence of well-formed strings.

    Every encoder calls it first: one bare string would otherwise be read letter by letter.
    """
    if isinstance(texts, str):
        raise InputError(f"texts: found one string {texts[:40]!r}, expected a sequence of strings")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"texts[{position}]: found {type(text).__name__}, expected a string")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(f"texts[{position}]: found {text[:40]!r}, expected Unicode") from None
