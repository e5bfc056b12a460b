"""Reads images of any depth as 8-bit RGB, and animated images as frames on a clock."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps, ImageSequence

# Other formats of several pictures hold pages or views, not moments.
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
# Browsers show a frame of a GIF that is shorter than these seconds for a tenth of a second instead.
_SHORTEST = 0.02
_USUAL = 0.1


def to_rgb_image(image: Image.Image) -> np.ndarray:
    """Returns an image as uint8 RGB [X, Y, 3], upright, with transparent parts over white.

    Grey of 16 bits is scaled to 8. The range of floats is taken to be 1, 255 or 65,535, the first that no value
    exceeds, and that of 32-bit integers one of the last two.

    Raises:
        ValueError: levels that are not finite, negative, or beyond 65,535.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        grey = _scale(np.asarray(image), image.mode)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def is_animated(image: Image.Image) -> bool:
    """Returns whether an image shows several moments: a GIF, WebP, PNG or AVIF with more than one frame."""
    return image.format in _ANIMATED and getattr(image, "n_frames", 1) > 1


def iter_animation(image: Image.Image, fps: float) -> Iterator[np.ndarray]:
    """Yields uint8 RGB frames [X, Y, 3] of an animation, at least one; frame n is the one on screen at n / fps
    seconds."""
    number, end = 0, 0.0
    for frame in ImageSequence.Iterator(image):
        # Some formats know only now how long a frame is shown.
        frame.load()
        seconds = frame.info.get("duration", 0) / 1000
        end += seconds if seconds >= _SHORTEST else _USUAL
        # As in footage, this is the frame on screen a quarter of a frame after n / fps.
        wanted = math.ceil(end * fps - 0.25)
        if wanted > number:
            shown = to_rgb_image(frame.copy())
            yield from [shown] * (wanted - number)
            number = wanted
    if not number:
        yield to_rgb_image(frame.copy())


def _scale(grey: np.ndarray, mode: str) -> np.ndarray:
    """Returns the levels [X, Y] of a grey image as uint8."""
    low, high = float(grey.min()), float(grey.max())
    if not (math.isfinite(low) and math.isfinite(high) and low >= 0 and high <= 65535):
        raise ValueError(f"found levels from {low:g} to {high:g}, expected 0 to 1, 255 or 65535")
    if mode.startswith("I;"):
        white = 65535
    elif mode == "F":
        white = next(top for top in (1, 255, 65535) if high <= top)
    else:
        white = next(top for top in (255, 65535) if high <= top)
    return np.round(grey.astype(np.float64) * 255 / white).astype(np.uint8)
