"""How films are cut, filtered, grouped and captioned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lct_jax.config.fields import NonNegativeFloat, Positive, PositiveFloat, Share, settings
from lct_jax.errors import InputError

PositiveShare = Annotated[Share, Field(gt=0)]


@settings("footage")
class FootageConfig:
    """How a film without a scene file is cut, filtered, grouped and captioned; lengths are in frames at prepare.fps.

    Attributes:
        detector: of PySceneDetect. cut_threshold: its threshold (adaptive 3, content 27). cut_contrast: least change
            of a cut to the adaptive detector [both its defaults]. cut_burst: mean change (0 to 255) that is a cut even
            where one of its sides moves as wildly (data/cuts.py).
        black: mean brightness (0 to 255) below which a frame is black [PySceneDetect: 12]; black and fades are cut out.
        shortest, longest: of a shot [S: 125]; a longer take is divided, going on without a cut.
        take, event: takes of at least so many frames are divided where the picture changes by so much (root mean
            square, 0 to 255) [P: pseudo multi-shot scenes; numbers D].
        frozen: mean change a frame (0 to 255) below which a shot stands still.
        ink, smooth, card: a frame is a text card with so much of it thin strokes and so much of the rest smooth; a shot
            is one when so much of it is. ink_colours: how far the strokes' colours may lie from a line (0 to 255).
        duplicate: mean difference (0 to 255) below which two shots of one length are the same.
        scene_price, scene_usual, scene_shots: of a scene when takes are grouped (data/grouping.py), its usual and
            its largest number of takes [P: about 5 shots, and 9]. scene_gap: frames left out between two takes that
            end a scene.
        captions: "file" beside the video, or "chat" model. caption_frames: shown to it of each shot.
        held_out: share of films kept for validation.
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
        if self.longest < 2 * self.shortest:
            raise InputError(
                f"footage.longest: found {self.longest}, expected at least twice footage.shortest"
                f" {self.shortest}: a take is divided into parts of at least that"
            )
