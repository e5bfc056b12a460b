r"""Wan2.2-TI2V-5B tuned on scenes of up to nine shots of 121 frames at 704x1280, all of its weights.

This base was trained with a time for every token, of which a time for every shot is a case (docs/bases.md). Its own VAE
makes latents of 4x16x16 with 48 channels: a shot has 27,280 tokens, fewer than one of Wan 2.1 at 480x832. Needs records
made with the VAE and the text encoder of the same pipeline, whose folder is BASE, and 64 chips of 31 GiB, or sixteen
of 95 with `--config.training.accumulate=4`:

    python -m lct_jax.data.prepare --scenes=FILE --config=configs/wan22_5b.py --out=DIR \
        --config.prepare.codec_from=BASE/vae --config.prepare.encoder_from=BASE/text_encoder
    python train.py --config=configs/wan22_5b.py --data=DIR --workdir=DIR2 --config.training.init_from=BASE

`python -m lct_jax.plan --config=configs/wan22_5b.py --topology=v5p:4x4x1` says what it takes. Nothing was measured on
the real weights. Its 24 heads divide over 8 devices along the tokens of a row.
"""

import dataclasses

from lct_jax.backbones.wan.usage import make_config
from lct_jax.config import ComputeConfig, WanConfig, editable


def get_config():
    config = make_config(WanConfig(width=3072, heads=24, hidden=14_336, channels=48))
    return editable(
        dataclasses.replace(
            config,
            name="wan22_5b",
            data=dataclasses.replace(config.data, rows=8),
            compute=ComputeConfig(seq_shards=8),
        )
    )
