r"""Wan2.1-T2V-1.3B tuned on scenes of up to nine shots of 81 frames at 480x832, all of its weights.

Starts from the published network and is an LCT model of it: joint attention over the scene, a time for every shot, the
global prompt and its own before every shot, places along time alone (docs/bases.md says why). Needs records made with
the VAE and the text encoder of the same pipeline, whose folder is BASE, and sixteen chips of 31 GiB, or four of 95
with `--config.training.accumulate=4`:

    python -m lct_jax.data.prepare --scenes=FILE --config=configs/wan_1_3b.py --out=DIR \
        --config.prepare.codec_from=BASE/vae --config.prepare.encoder_from=BASE/text_encoder
    python train.py --config=configs/wan_1_3b.py --data=DIR --workdir=DIR2 --config.training.init_from=BASE

`python -m lct_jax.plan --config=configs/wan_1_3b.py --topology=v5p:2x2x1` says what it takes. Nothing was measured on
the real weights: learning rate, EMA and the shift of training are those that others state for this base; the sampler's
shift of 3 is that of the published pipeline, whose authors name 3 for this size and 5 for 720x1280.
"""

from lct_jax.config import (
    ComputeConfig,
    Config,
    DataConfig,
    FlowConfig,
    LayoutConfig,
    PrepareConfig,
    SamplingConfig,
    TrainingConfig,
    WanConfig,
    editable,
)


def get_config():
    return editable(
        Config(
            name="wan_1_3b",
            # The frame rate, length and size that the base was made with.
            prepare=PrepareConfig(
                fps=16.0, max_frames=81, height=480, width=832, codec="wan_vae", encoder="umt5"
            ),
            backbone=WanConfig(),
            layout=LayoutConfig(
                scene_span=256, shot_span=256, stride=2, positions="temporal", prompts="own"
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
            compute=ComputeConfig(seq_shards=4),
            training=TrainingConfig(steps=20_000, learning_rate=1e-5, weight_decay=0.01),
            sampling=SamplingConfig(
                steps=50,
                guidance=5.0,
                shift=3.0,
                negative_scene="",
                frames=81,
                height=480,
                width=832,
            ),
        )
    )
