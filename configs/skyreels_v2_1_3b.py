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

from lct_jax.config import WanConfig, editable, freeze, read_beside

wan_1_3b = read_beside(__file__, "wan_1_3b")
SIZE = {"height": 544, "width": 960}


def get_config():
    wan = freeze(wan_1_3b.get_config())
    return editable(
        dataclasses.replace(
            wan,
            name="skyreels_v2_1_3b",
            prepare=dataclasses.replace(wan.prepare, fps=24.0, max_frames=97, **SIZE),
            backbone=WanConfig(release="skyreels_v2", fps=24),
            # Nine shots of 97 frames at any usual ratio.
            data=dataclasses.replace(wan.data, video_tokens=468_480),
            sampling=dataclasses.replace(wan.sampling, guidance=6.0, shift=8.0, frames=97, **SIZE),
        )
    )
