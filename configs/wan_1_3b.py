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

import dataclasses

from lct_jax.backbones.wan.usage import make_config
from lct_jax.config import ComputeConfig, WanConfig, editable


def get_config():
    return editable(
        dataclasses.replace(
            # Everything else is what a base is tuned with that is named by its folder alone.
            make_config(WanConfig()),
            name="wan_1_3b",
            compute=ComputeConfig(seq_shards=4),
        )
    )
