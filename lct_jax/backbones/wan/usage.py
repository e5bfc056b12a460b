"""How Wan's networks are used by those who published them, and how they are tuned on scenes here.

Codec, encoder, frame rate, size, shift and guidance are those of Wan2.1's configs and program; learning rate,
EMA and shift of training are those that LongLive, ShotStream and MultiShotMaster state for tuning this network.
"""

from __future__ import annotations

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


def make_config(backbone: WanConfig) -> Config:
    """Returns the settings with which a Wan of some size is prepared for, tuned and sampled; no files are named."""
    return Config(
        name="wan",
        prepare=PrepareConfig(
            fps=16.0, max_frames=81, height=480, width=832, codec="wan_vae", encoder="umt5"
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
            # Nine shots of 81 frames at any usual ratio, and the text of as many short ones as fill a row.
            video_tokens=302_592,
            text_tokens=7_168,
            groups=32,
            max_shots=9,
            pool=16,
            workers=8,
        ),
        training=TrainingConfig(steps=20_000, learning_rate=1e-5, weight_decay=0.01),
        sampling=SamplingConfig(
            steps=50, guidance=5.0, negative_scene="", frames=81, height=480, width=832
        ),
    )
