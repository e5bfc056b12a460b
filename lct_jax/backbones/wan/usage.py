"""How Wan's networks are used by those who published them, and how they are tuned on scenes here.

Codec, encoder, frame rate, size, shift and guidance of sampling are those of the published pipelines and of their
authors' programs (Wan2.1 and Wan2.2, wan/configs; SkyReels-V2, README); learning rate, EMA and shift of training are
those that LongLive, ShotStream and MultiShotMaster state for tuning Wan.
"""

from __future__ import annotations

from typing import NamedTuple

from lct_jax.config import (
    Config,
    DataConfig,
    FlowConfig,
    LayoutConfig,
    PrepareConfig,
    SamplingConfig,
    TrainingConfig,
    WanConfig,
)


class Usage(NamedTuple):
    """What a published network is used with.

    Attributes:
        codec: by its name here. fps: frames a second. frames, height, width: of a clip.
        shift: of the sampler's times. guidance: its scale.
        video_tokens: of nine such clips at any ratio from 0.4 to 2.45, in multiples of 512.
    """

    codec: str
    fps: float
    frames: int
    height: int
    width: int
    shift: float
    guidance: float
    video_tokens: int


WAN_21 = Usage("wan_vae", 16.0, 81, 480, 832, 3.0, 5.0, 302_592)
WAN_22 = Usage("wan22_vae", 24.0, 121, 704, 1280, 5.0, 5.0, 253_952)
SKYREELS = Usage("wan_vae", 24.0, 97, 544, 960, 8.0, 6.0, 468_480)  # of the files for 540P
WAN_22_CHANNELS = 48  # of its codec's latents, which tell it from Wan 2.1


def find_usage(backbone: WanConfig) -> Usage:
    """Returns what a network is used with."""
    if backbone.release == "skyreels_v2":
        return SKYREELS
    return WAN_22 if backbone.channels == WAN_22_CHANNELS else WAN_21


def make_config(backbone: WanConfig) -> Config:
    """Returns the settings with which a Wan of some size is prepared for, tuned and sampled; no files are named."""
    usage = find_usage(backbone)
    size = {"height": usage.height, "width": usage.width}
    return Config(
        name="wan",
        prepare=PrepareConfig(
            fps=float(backbone.fps or usage.fps),
            max_frames=usage.frames,
            **size,
            codec=usage.codec,
            encoder="umt5",
        ),
        backbone=backbone,
        # Half of what a shot can read for the global prompt, and half for its own.
        layout=LayoutConfig(
            scene_span=backbone.text_places // 2,
            shot_span=backbone.text_places // 2,
            stride=2,
            positions="temporal",
            prompts="own",
        ),
        flow=FlowConfig(shift=5.0),
        data=DataConfig(
            rows=4,
            # Nine shots, and the text of as many short ones as fill a row.
            video_tokens=usage.video_tokens,
            text_tokens=7_168,
            groups=32,
            max_shots=9,
            pool=16,
            workers=8,
        ),
        training=TrainingConfig(steps=20_000, learning_rate=1e-5, weight_decay=0.01),
        sampling=SamplingConfig(
            steps=50,
            guidance=usage.guidance,
            shift=usage.shift,
            negative_scene="",
            frames=usage.frames,
            **size,
        ),
    )
