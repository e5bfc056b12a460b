"""Says where the tokens of a scene sit, and which tokens see which prompt; no weight depends on it."""

from __future__ import annotations

from typing import Literal

from lct_jax.config.fields import Count, Positive, settings


@settings("layout")
class LayoutConfig:
    """Sets positions on the rotary diagonal [P: section 3.2; spans, stride and choices are D].

    Attributes:
        scene_span, shot_span: the positions reserved for the text of the global prompt and of a shot, whatever its true
            length, so that editing a prompt moves no other token.
        stride: every group takes a multiple of this many diagonal positions; 0 gives each what its span and grid need.
            With a stride, the same place in the next shot is equally far whatever the shots' sizes. With a stride near
            a multiple of 2 pi, such as 44, the fastest rotary frequency does not turn from shot to shot.
        positions: "interleaved" places shot after shot along the diagonal (the method); "same" places all shots at the
            coordinates of the first (an ablation: only the words of prompts tell shots apart).
        prompts: which shots see a shot's prompt: "all" shots of its scene (the method), or its "own" shot alone (an
            ablation, after HoloCine, arXiv 2510.20822). All shots see the global prompt.
    """

    scene_span: Positive = 512
    shot_span: Positive = 256
    stride: Count = 0
    positions: Literal["interleaved", "same"] = "interleaved"
    prompts: Literal["all", "own"] = "all"
