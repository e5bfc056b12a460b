"""Says how films are cut, filtered, grouped and captioned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lct_jax.config.fields import NonNegativeFloat, Positive, PositiveFloat, Share, settings
from lct_jax.errors import InputError

PositiveShare = Annotated[Share, Field(gt=0)]


@settings("footage")
class FootageConfig:
    """Says how a film without a scene file is cut, filtered, grouped and captioned; lengths are in frames at
    prepare.fps.

    Attributes:
        detector: a detector of PySceneDetect. cut_threshold: its threshold (adaptive 3, content 27). cut_contrast: the
            least change of a cut for the adaptive detector [both are its defaults]. cut_burst: the mean change (0 to
            255) that is a cut even where one of its sides moves as wildly (data/footage/cuts.py).
        black: mean brightness (0 to 255) below which a frame is black [PySceneDetect: 12]; black and fades are cut out.
        shortest, longest: the lengths of a shot [S: 125]; a longer take is divided into shots joined without a cut.
        take, event: takes of at least `take` frames are divided where the picture changes by `event` (root mean
            square, 0 to 255) [P: pseudo multi-shot scenes; numbers D].
        frozen: the mean change of a frame (0 to 255) below which a shot stands still.
        ink, smooth, card: a frame is a text card if the share `ink` of it is thin strokes and the share `smooth` of the
            rest has no texture; a shot is one if the share `card` of its frames is. ink_colours: how far the strokes'
            colours may lie from a line (0 to 255).
        duplicate: the mean difference (0 to 255) below which two shots of one length are the same.
        scene_price, scene_usual, scene_shots: the price of a scene when takes are grouped (data/footage/grouping.py),
            its usual and its largest number of takes [P: about 5 shots, and 9]. scene_gap: the number of frames left
            out between two takes that ends a scene.
        captions: "file" reads a file beside the video, "chat" asks a model. caption_frames: the number of frames of
            each shot that it is shown.
        held_out: the share of films kept for validation.
    """

    detector: Literal["adaptive", "content"] = "adaptive"
    cut_threshold: PositiveFloat = 3.0
    cut_contrast: PositiveFloat = 15.0
    cut_burst: PositiveFloat = 50.0
    black: PositiveFloat = 12.0
    shortest: Positive = 5
    longest: Positive = 125
    take: Positive = 60
    event: PositiveFloat = 40.0
    frozen: NonNegativeFloat = 0.03
    ink: PositiveShare = 0.025
    smooth: PositiveShare = 0.85
    ink_colours: PositiveFloat = 25.0
    card: PositiveShare = 0.6
    duplicate: NonNegativeFloat = 2.0
    scene_price: PositiveFloat = 1.7
    scene_usual: Positive = 7
    scene_shots: Positive = 9
    scene_gap: Positive = 12
    captions: Literal["file", "chat"] = "file"
    caption_frames: Positive = 3
    held_out: Share = 0.05

    def __post_init__(self) -> None:
        # Two parts of at least `shortest`, the first of which has 4n + 1 frames, may be so long.
        if self.longest < 2 * self.shortest + 2:
            raise InputError(
                f"footage.longest: found {self.longest}, expected at least {2 * self.shortest + 2}, twice"
                f" footage.shortest and two: a take is divided into parts of at least {self.shortest}"
            )
