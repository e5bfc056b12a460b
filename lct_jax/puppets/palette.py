"""Sets the colours of everything in a puppet scene, sRGB bytes, so different that blurring keeps them apart."""

from __future__ import annotations

SKY = {
    "blue": (110, 185, 245),
    "orange": (255, 180, 110),
    "dark": (50, 45, 125),
    "grey": (160, 165, 175),
}
GROUND = {
    "green": (85, 170, 80),
    "sandy": (225, 200, 140),
    "snowy": (240, 240, 250),
    "brown": (120, 80, 60),
}
SUN = (255, 255, 230)
LANDMARK = {"tree": (15, 85, 45), "hut": (145, 60, 20), "tower": (85, 85, 90)}
CHARACTER = {
    "red": (220, 25, 35),
    "blue": (25, 60, 225),
    "pink": (245, 60, 205),
    "yellow": (255, 225, 25),
}
HAT = {"black": (10, 10, 15), "white": (250, 250, 250)}
