"""LCT at the paper's size: 2.9 B parameters, scenes of up to nine shots of 125 frames at 480x480 area.

A row holds nine full shots (28,800 video tokens each) and their prompts. The recipe is the paper's: AdamW at 1e-4
with cosine decay over 135k steps, EMA 0.996, single shots and scenes one to one. Needs a pod slice or a GPU
cluster, records made with a codec of 16 channels (4x8x8) and a text encoder of width 4096, and the weights of a
single-shot base of the same shape:

    python train.py --config=configs/lct_3b.py --data=DIR --workdir=DIR --config.training.init_from=BASE.safetensors
"""

from lct_jax.config import (
    Config,
    DataConfig,
    FlowConfig,
    MMDiTConfig,
    SamplingConfig,
    TrainingConfig,
    editable,
)


def get_config():
    return editable(
        Config(
            name="lct_3b",
            backbone=MMDiTConfig(),
            flow=FlowConfig(shift=3.0),
            data=DataConfig(
                rows=64,
                video_tokens=259_328,  # nine full shots and a dummy, up to a multiple of 128
                text_tokens=3_072,
                groups=48,  # 32 would fill up before the tokens of rows of short shots do
                max_shots=9,
                pool=16,  # 1,024 rows to form batches of even work from
                workers=8,
            ),
            training=TrainingConfig(),
            sampling=SamplingConfig(),
        )
    )
