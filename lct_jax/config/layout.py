"""Where the tokens of a scene sit, and who sees which prompt: no weight depends on it."""

from __future__ import annotations

from typing import Literal

from lct_jax.config.fields import Count, Positive, settings


@settings("layout")
class LayoutConfig:
    """Places on the rotary diagonal [P: section 3.2; spans, stride and choices are D].

    Attributes:
        scene_span, shot_span: positions reserved for the text of the global prompt and of a shot, whatever its true
            length: editing a prompt moves nothing.
        stride: every group takes a multiple of so many positions; 0: what its span and grid need. The same
            place in the next shot is then equally far whatever the shots' sizes. With a stride near a multiple of 2 pi,
            such as 44, the fastest rotary frequency does not turn from shot to shot.
        positions: "interleaved" along the diagonal, shot behind shot (the method); "temporal": along time alone, rows
            and columns of all shots in the same places, as five public systems on Wan have them (docs/bases.md); or
            "same": all shots at the coordinates of the first (an ablation: nothing but the words of prompts says which
            shot is which).
        prompts: who sees a shot's prompt: "all" shots of its scene (the method), or its "own" shot alone (after
            HoloCine, arXiv 2510.20822). The global prompt is seen by all. Networks that read text beside the video
            have "own" alone, and no spans on the diagonal.
    """

    scene_span: Positive = 512
    shot_span: Positive = 256
    stride: Count = 0
    positions: Literal["interleaved", "temporal", "same"] = "interleaved"
    prompts: Literal["all", "own"] = "all"
