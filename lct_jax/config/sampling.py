"""Holds the settings of sampling."""

from __future__ import annotations

from typing import Literal

from lct_jax.config.fields import Count, NonNegativeFloat, Positive, Share, settings
from lct_jax.errors import InputError

KVDtype = Literal["model", "int8"]
# The method's own, and the systems that the paper compares itself with (docs/baselines.md).
Mode = Literal[
    *("joint", "autoregressive", "causal"),
    *("references", "shared_attention", "in_context", "image_to_video"),
]


@settings("sampling")
class SamplingConfig:
    """Says how scenes are sampled [S: A.2].

    Attributes:
        steps: the number of steps, that is, of evaluations of the network. solver: "euler" [S], or "heun", of second
            order, which takes half as many steps with two evaluations each.
        guidance: the scale of classifier-free guidance by text. history_guidance: that of guidance by finished and
            given shots, of which the last row of a pass sees none (arXiv 2502.06764) [D: 1, text-only guidance: S].
            Where both are equal there are two rows, as in text-only guidance, and three otherwise.
        shift: s of the Euler steps' times, s t / (1 + (s - 1) t); 0 takes that of training, `flow.shift` [D].
        guidance_from, guidance_to: the interval of times in which guidance is applied; outside of it the prompted
            velocity is taken as it is, and other rows are not computed. guidance_rescale: the share in which a guided
            velocity is rescaled to the spread of the prompted one.
        negative_scene, negative_shot: negative prompts of the global group and of the shots [S: the former long, the
            latter short; the words are ours].
        condition_time: the time t at which given images and videos are held. history_time: that of finished shots [P:
            100 to 500 of 1000; D: 0.1 and 0.2].
        window: the most shots that a model sees at once, the new one included [P: 9].
        cache: what causal sampling keeps of a finished shot: keys and values of a pass at history_time ("renoise"),
            or those of the Euler step whose time is nearest to it ("reuse") [D: the paper can be read both ways].
        history: which finished shots a new shot sees, the last ones ("recent") or the most relevant ones ("relevant").
            history_shots, history_tokens: the most shots and tokens of a history; 0 tokens sets no limit.
        kv_dtype: the dtype of kept keys and values, the model's or "int8".
        shards: the number of devices over which tokens, and the heads of the cache, are divided.
        long_prompts: whether a text that is longer than its span is refused ("refuse"), or what fits of it is read
            ("cut").
        frames, height, width: the size of a shot whose script gives none, in frames and pixels.
        seed: the seed of the noise.
    """

    steps: Positive = 32
    solver: Literal["euler", "heun"] = "euler"
    guidance: NonNegativeFloat = 7.5
    history_guidance: NonNegativeFloat = 1.0
    guidance_from: Share = 0.0
    guidance_to: Share = 1.0
    guidance_rescale: Share = 0.0
    shift: NonNegativeFloat = 0.0
    negative_scene: str = (
        "Low quality film, blurred, noisy, overexposed, washed-out colours, compression artefacts, "
        "watermark, subtitles, distorted faces and hands, people and places that change between shots"
    )
    negative_shot: str = "Blurred, distorted, low quality"
    condition_time: Share = 0.1
    history_time: Share = 0.2
    window: Positive = 9
    cache: Literal["renoise", "reuse"] = "renoise"
    history: Literal["recent", "relevant"] = "recent"
    history_shots: Positive = 8
    history_tokens: Count = 0
    kv_dtype: KVDtype = "model"
    shards: Positive = 1
    long_prompts: Literal["refuse", "cut"] = "refuse"
    frames: Positive = 125
    height: Positive = 480
    width: Positive = 480
    seed: Count = 0

    def __post_init__(self) -> None:
        if self.frames % 4 != 1:
            raise InputError(f"sampling.frames: found {self.frames}, expected 4n + 1")
        if self.guidance_from > self.guidance_to:
            raise InputError(
                f"sampling.guidance_from: found {self.guidance_from:g}, expected at most "
                f"sampling.guidance_to {self.guidance_to:g}; a guidance of 1 guides at no time"
            )
        if self.solver == "heun" and self.cache == "reuse":
            raise InputError(
                "sampling.solver: found 'heun', expected 'euler' with sampling.cache 'reuse'"
            )
