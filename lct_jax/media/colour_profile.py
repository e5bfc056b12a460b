"""Brings the colours of an image from those of its embedded ICC profile to sRGB.

Phones write Display P3, cameras and editors Adobe RGB, printers CMYK. Without its profile such a picture is read too
pale or in the wrong hue. Colours outside sRGB are clipped (relative colorimetric intent, with black kept black).
"""

from __future__ import annotations

import functools
import io

from PIL import Image, ImageCms

# What ICC calls the colours of Pillow's modes; those of all others are taken as RGB.
_SPACES = {"1": "GRAY", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab"}
_MODES = {"GRAY": "L", "Lab": "LAB"}


class UnusableProfile(ValueError):
    """A profile that is damaged, or of other colours than its image; the message says which."""


def apply_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Returns an image without transparency as one of mode RGB in sRGB; raises UnusableProfile."""
    transform = _make_transform(profile, _SPACES.get(image.mode, "RGB"))
    return ImageCms.applyTransform(image.convert(transform.input_mode), transform)


@functools.lru_cache(maxsize=8)
def _make_transform(profile: bytes, space: str) -> ImageCms.ImageCmsTransform:
    """Returns the transform to sRGB of images whose colours are of the kind `space`, as ICC names it."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        found = source.profile.xcolor_space.strip()
        # A grey image that was made of a coloured one often keeps the profile of that.
        if found != space and (found, space) != ("RGB", "GRAY"):
            raise UnusableProfile(f"found one for {found} in an image of {space}")
        return ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            _MODES.get(found, found),
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except UnusableProfile:
        raise
    # A tag of any type, and whatever a damaged profile makes the library say; ImportError where Pillow lacks it.
    except Exception as error:
        raise UnusableProfile(str(error) or type(error).__name__) from None
