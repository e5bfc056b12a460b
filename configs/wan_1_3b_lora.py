r"""Wan2.1-T2V-1.3B tuned on scenes by a LoRA, on one chip of 16 GB: nine shots of 33 frames at 288x512 in a row.

The base lies frozen in bfloat16, and a checkpoint has the LoRA alone (docs/bases.md). Records are made as for
`configs/wan_1_3b.py`, at this size; BASE is the folder of the published pipeline:

    python -m lct_jax.data.prepare --scenes=FILE --config=configs/wan_1_3b_lora.py --out=DIR \
        --config.prepare.codec_from=BASE/vae --config.prepare.encoder_from=BASE/text_encoder
    python train.py --config=configs/wan_1_3b_lora.py --data=DIR --workdir=SCENES --config.training.init_from=BASE
    python train.py --config=configs/wan_1_3b_lora.py --data=DIR --workdir=CAUSAL \
        --config.training.init_from=SCENES --config.training.context=causal

The last command goes on with the LoRA of the first run and tunes it for sampling with a cache. What a step takes:
`python -m lct_jax.plan --config=configs/wan_1_3b_lora.py --topology=v5e:1x1`. Nothing was measured on the real weights:
rank and learning rate are usual ones for this base.
"""

import dataclasses

from lct_jax.config import ComputeConfig, LoraConfig, editable, freeze, read_beside

wan_1_3b = read_beside(__file__, "wan_1_3b")


def get_config():
    full = freeze(wan_1_3b.get_config())
    size = {"frames": 33, "height": 288, "width": 512}
    return editable(
        dataclasses.replace(
            full,
            name="wan_1_3b_lora",
            prepare=dataclasses.replace(full.prepare, max_frames=33, height=288, width=512),
            lora=LoraConfig(rank=32),
            # Nine shots of any usual ratio with the longest texts; four rows, one after the other, are a step.
            data=dataclasses.replace(
                full.data, rows=4, video_tokens=48_640, text_tokens=4_608, groups=27
            ),
            compute=ComputeConfig(),
            training=dataclasses.replace(
                full.training, steps=2_000, learning_rate=1e-4, weight_decay=0.0, accumulate=4
            ),
            sampling=dataclasses.replace(full.sampling, **size),
        )
    )
