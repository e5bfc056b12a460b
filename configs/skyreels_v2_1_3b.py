r"""SkyReels-V2-DF-1.3B tuned on scenes of up to nine shots of 97 frames at 544x960, all of its weights.

This base is the network of Wan2.1-T2V-1.3B trained further with a time for every latent frame (diffusion forcing), of
which a time for every shot is a case (docs/bases.md). It is told the frame rate, 16 or 24: `backbone.fps` is that of
the set. Needs records made with the VAE and the text encoder of the same pipeline, whose folder is BASE, and
sixteen chips of 95 GiB:

    python -m lct_jax.data.prepare --scenes=FILE --config=configs/skyreels_v2_1_3b.py --out=DIR \
        --config.prepare.codec_from=BASE/vae --config.prepare.encoder_from=BASE/text_encoder
    python train.py --config=configs/skyreels_v2_1_3b.py --data=DIR --workdir=DIR2 --config.training.init_from=BASE

`python -m lct_jax.plan --config=configs/skyreels_v2_1_3b.py --topology=v5p:4x4x1` says what it takes. Nothing was
measured on the real weights. Its authors sample at a shift of 8 and a guidance of 6.
"""

import dataclasses

from lct_jax.backbones.wan.usage import make_config
from lct_jax.config import ComputeConfig, WanConfig, editable


def get_config():
    return editable(
        dataclasses.replace(
            make_config(WanConfig(release="skyreels_v2", fps=24)),
            name="skyreels_v2_1_3b",
            compute=ComputeConfig(seq_shards=4),
        )
    )
