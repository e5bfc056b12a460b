"""Says how diffusion times are drawn and shifted."""

from __future__ import annotations

from typing import Literal

from lct_jax.config.fields import PositiveFloat, Real, Share, settings


@settings("flow")
class FlowConfig:
    """Says how times are drawn in rectified flow [P: section 3.1] with a time of its own for every shot [P: section
    3.3].

    Attributes:
        mean, std: those of the normal distribution under the logistic function [D: SD3's 0 and 1].
        shift: s in t' = s t / (1 + (s - 1) t), in training, and in sampling unless `sampling.shift` is set [D].
        times: "per_shot" (asynchronous, the method), "per_scene" (one time for all shots: an ablation), or "mixed" [D].
            Joint sampling begins with all shots at high noise. Eight times drawn independently are hardly ever all
            high, and a model that can nearly always copy from a cleaner shot learns too little to follow the global
            prompt there.
        together: with "mixed" times, the chance that all shots of a scene share one.
        hold: the chance that some first or last latent frames of a shot are held at a low time of their own, as
            sampling holds a given first frame and the frames that an extension takes over [D: 0, the method].
    """

    mean: Real = 0.0
    std: PositiveFloat = 1.0
    shift: PositiveFloat = 1.0
    times: Literal["per_shot", "per_scene", "mixed"] = "per_shot"
    together: Share = 0.5
    hold: Share = 0.0
