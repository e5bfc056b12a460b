r"""Trains LCT at the paper's size: 2.9 B parameters, scenes of up to nine shots of 125 frames at 480x480 area.

A row holds nine full shots at every aspect ratio from 0.40 to 2.45 (at most 29,760 video tokens each), and prompts.
The recipe is the paper's: AdamW at 1e-4 with cosine decay over 135k steps, EMA 0.996, single shots and scenes one to
one from two sets, in groups of 4 devices along the tokens of a row. It needs a pod slice or a GPU cluster, records
made with the Wan VAE (16 channels, 4x8x8) and T5 (width 4096, `prepare.codec_from` and `encoder_from` say where their
weights are), and the weights of a single-shot base of the same shape. It is laid for v5p:4x4x4,
v6e:8x8 and the paper's 128 GPUs, on each of which as many rows are computed at once as leave room for what attention
gave:

    python train.py --config=configs/lct_3b.py --data=scenes=DIR,single=DIR2:0.5 --workdir=DIR \
        --config.training.init_from=BASE.safetensors
"""

from lct_jax.config import (
    ComputeConfig,
    Config,
    DataConfig,
    DualStreamConfig,
    FlowConfig,
    PrepareConfig,
    SamplingConfig,
    editable,
)


def get_config():
    return editable(
        Config(
            name="lct_3b",
            prepare=PrepareConfig(codec="wan_vae", encoder="t5"),
            backbone=DualStreamConfig(),
            flow=FlowConfig(shift=3.0),
            data=DataConfig(
                rows=64,
                # The budget is nine shots of 32 x 930 tokens, the most that 125 frames take at any ratio, and a dummy,
                # rounded up to a multiple of 128.
                video_tokens=267_904,
                # T5 pads every prompt to 256 tokens, so this is a prompt for every group, and a little more: a row is
                # then 274 whole blocks of the attention kernel for TPU, which copies other rows to fill them up.
                text_tokens=12_672,
                # Rows of short shots would use up 32 groups before their tokens.
                groups=48,
                max_shots=9,
                # Batches of even work are formed from 1,024 rows.
                pool=16,
                workers=8,
            ),
            compute=ComputeConfig(seq_shards=4),
            sampling=SamplingConfig(),
        )
    )
