"""Sets the colours of the village, sRGB in 0..1."""

from __future__ import annotations

import numpy as np


def _rgb(code: str) -> np.ndarray:
    return np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)], np.float32) / 255


# Colours at the top of the sky, and near the horizon.
SKY = {
    "blue": (_rgb("3f8fe0"), _rgb("cdebfb")),
    "golden": (_rgb("6a5fb0"), _rgb("ffb765")),
    "starry": (_rgb("0b1038"), _rgb("34407e")),
    "cloudy": (_rgb("8d99a6"), _rgb("d5dadd")),
}
# What the light of a sky does to the colour of everything under it.
AMBIENT = {
    "blue": np.array([1.0, 1.0, 1.0], np.float32),
    "golden": np.array([1.04, 0.90, 0.78], np.float32),
    "starry": np.array([0.58, 0.64, 0.86], np.float32),
    "cloudy": np.array([0.88, 0.91, 0.95], np.float32),
}
# How dark shadows are under a sky.
SHADOW = {"blue": 0.42, "golden": 0.45, "starry": 0.38, "cloudy": 0.26}
CLOUD = {
    "blue": _rgb("ffffff"),
    "golden": _rgb("ffd9a8"),
    "starry": _rgb("2a3368"),
    "cloudy": _rgb("717c88"),
}
DISC = {
    "blue": _rgb("fff6c8"),
    "golden": _rgb("fff0b8"),
    "starry": _rgb("f3f1dc"),
    "cloudy": _rgb("f2f1ea"),
}
GROUND = {
    "meadow": (_rgb("86c95a"), _rgb("3f8f3c")),
    "sand": (_rgb("f3dda3"), _rgb("d9ae66")),
    "snow": (_rgb("e6effa"), _rgb("fbfdff")),
    "cobbles": (_rgb("a39a94"), _rgb("7f7672")),
}
COAT = {
    "red": _rgb("d8323a"),
    "blue": _rgb("2d62d6"),
    "yellow": _rgb("f6c52a"),
    "purple": _rgb("9a3fc0"),
    "teal": _rgb("16a596"),
}
# The second colour of striped and dotted coats.
TRIM = _rgb("fdf3dc")
HAIR = {
    "black": _rgb("27222b"),
    "blond": _rgb("f3cf62"),
    "ginger": _rgb("c95a1e"),
    "white": _rgb("e9e7ea"),
}
SKIN = {"light": _rgb("fbd3b2"), "tan": _rgb("cf9463"), "dark": _rgb("7b4a30")}
LEGS = {"navy": _rgb("25305c"), "white": _rgb("eeeae4"), "brown": _rgb("7a4a2a")}
SHOE = _rgb("3a2a26")
HAT = {"top hat": _rgb("23222c"), "beanie": _rgb("3f9a4e"), "straw hat": _rgb("e8c777")}
BAND = {"top hat": _rgb("b3202c"), "beanie": _rgb("f4f1e8"), "straw hat": _rgb("a4472f")}
INK = _rgb("3a2430")
