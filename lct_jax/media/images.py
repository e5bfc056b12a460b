"""Reads images of any depth and colour space as 8-bit sRGB, and animated images as frames on a clock."""

from __future__ import annotations

import base64
import functools
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
from absl import logging
from PIL import ExifTags, Image, ImageSequence

from lct_jax.errors import InputError, one_line
from lct_jax.media.colour_profile import UnusableProfile, apply_profile
from lct_jax.media.decoding import check_file

# Other formats of several pictures hold pages or views, not moments.
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
# What a file of HEIF begins with, behind its first four bytes; AVIF, which is read, has a name of its own.
_HEIC = tuple(
    b"ftyp" + kind for kind in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
)
# Browsers show a frame of a GIF that is shorter than these seconds for a tenth of a second instead.
_SHORTEST = 0.02
_USUAL = 0.1
# What turns an image upright, by its EXIF orientation. Pillow's own function also writes EXIF anew, which can fail.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_moments(path: str | Path, fps: float, *, longest: int | None) -> np.ndarray:
    """Reads an image as uint8 sRGB [T, X, Y, 3]: one frame, or those of an animated GIF, WebP, PNG or AVIF at `fps`.

    Frames are upright, in the colours of sRGB by their ICC profile, with transparent parts over white.

    Args:
      longest: the largest number of frames that are read; None reads all.

    Raises:
      InputError: the file is missing, empty, damaged or not an image, or has levels that are out of range.
    """
    with _open_image(path) as image:
        if not is_animated(image):
            return to_rgb_image(image, path)[None]
        if longest == 1:
            _warn(f"{path}: the picture is animated; its first frame is taken")
        return np.stack(list(islice(iter_animation(image, path, fps), longest)))


def embed_image(picture: np.ndarray) -> str:
    """Returns the address by which a page shows a picture, uint8 RGB [X, Y, 3], that it holds itself, as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@contextmanager
def _open_image(path: str | Path) -> Iterator[Image.Image]:
    check_file(path)
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, and of metadata that end early, without naming the file.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                yield image
    # Pillow lets through whatever its readers run into: a GIF that is cut off is an IndexError.
    except Exception as error:
        with open(path, "rb") as file:
            heic = file.read(12)[4:] in _HEIC
        reason = "found HEIC, expected it saved as JPEG or PNG" if heic else one_line(error)
        raise InputError(f"{path}: not a readable image ({reason})") from None


def to_rgb_image(image: Image.Image, path: str | Path) -> np.ndarray:
    """Returns an image as uint8 RGB [X, Y, 3], upright, in the colours of sRGB, with transparent parts over white.

    Colours are converted from the embedded ICC profile; a profile that cannot be used costs a warning, and the image is
    read as sRGB. Grey of 16 bits is scaled to 8. The range of floats is taken to be 1, 255 or 65,535, the first that no
    value exceeds, and that of 32-bit integers one of the last two.

    Args:
        path: names the file in warnings.

    Raises:
        ValueError: levels that are not finite, negative, or beyond 65,535.
    """
    colours, alpha = _split(_turn_upright(image, path))
    if profile := image.info.get("icc_profile"):
        try:
            colours = apply_profile(colours, profile)
        except UnusableProfile as error:
            _warn(f"{path}: its colour profile cannot be used ({error}); it is read as sRGB")
    colours = colours.convert("RGB")
    if alpha is not None:
        colours.putalpha(alpha)
        white = Image.new("RGBA", colours.size, "white")
        colours = Image.alpha_composite(white, colours).convert("RGB")
    return np.array(colours)


def is_animated(image: Image.Image) -> bool:
    """Returns whether an image shows several moments: a GIF, WebP, PNG or AVIF with more than one frame."""
    return image.format in _ANIMATED and getattr(image, "n_frames", 1) > 1


def iter_animation(image: Image.Image, path: str | Path, fps: float) -> Iterator[np.ndarray]:
    """Yields uint8 RGB frames [X, Y, 3] of an animation, at least one; frame n is the one on screen at n / fps
    seconds.

    The picture that a PNG has for programs without animation is left out where it is no frame of it.
    """
    number, end = 0, 0.0
    first = 1 if image.info.get("default_image") else 0
    for frame in islice(ImageSequence.Iterator(image), first, None):
        # Some formats know only now how long a frame is shown.
        frame.load()
        seconds = frame.info.get("duration", 0) / 1000
        end += seconds if seconds >= _SHORTEST else _USUAL
        # As in footage, this is the frame on screen a quarter of a frame after n / fps.
        wanted = math.ceil(end * fps - 0.25)
        if wanted > number:
            shown = to_rgb_image(frame.copy(), path)
            yield from [shown] * (wanted - number)
            number = wanted
    if not number:
        yield to_rgb_image(frame.copy(), path)


def _turn_upright(image: Image.Image, path: str | Path) -> Image.Image:
    # Some readers, as that of TIFF, turn an image themselves when it is loaded, and then say so.
    image.load()
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation)
    # Damaged EXIF can be an error of any kind.
    except Exception as error:
        _warn(f"{path}: its EXIF cannot be read ({one_line(error)}); it is read as it is stored")
        return image
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Returns an image as its colours, at 8 bits and in their own space, and its opacity, None where it has none."""
    clear = image.info.get("transparency")
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        levels = np.asarray(image)
        alpha = None if clear is None else Image.fromarray(np.uint8(255 * (levels != clear)))
        return Image.fromarray(_scale(levels, image.mode)), alpha
    if not image.has_transparency_data:
        return image, None
    if isinstance(clear, tuple) and max(clear) > 255:
        # A PNG of 16 bits a channel is read at 8 bits, but its transparent colour is not.
        image = image.copy()
        image.info["transparency"] = tuple(level >> 8 for level in clear)
    rgba = image.convert("RGBA")
    grey = image.mode in ("1", "L", "LA")
    return rgba.convert("L" if grey else "RGB"), rgba.getchannel("A")


@functools.cache
def _warn(message: str) -> None:
    """Warns once, although an animation has many frames and a picture is read for many shots."""
    logging.warning(message)


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
