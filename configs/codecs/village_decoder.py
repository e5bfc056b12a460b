r"""Trains a decoder for the latents of the village's patch codec: sets and weights stay as they are.

The run takes some 25 minutes on two CPU cores. What ships is in examples/village/README.md:

    python -m lct_jax.codecs.train --config=configs/codecs/village_decoder.py --workdir=runs/village_decoder
"""

from lct_jax.codecs.tiny_training import CodecTrainingConfig
from lct_jax.config import editable


def get_config():
    return editable(
        CodecTrainingConfig(
            name="village_decoder",
            world="village",
            shots=2_000,
            height=64,
            width=96,
            held_out=0.05,
            latents_of="examples/village/patch_codec.safetensors",
            channels=64,
            blocks_width=128,
            blocks_depth=2,
            fine_width=48,
            fine_depth=2,
            pixel_width=32,
            pixel_depth=2,
            clip_frames=5,
            crop=64,
            batch=8,
            stills=0.0,
            steps=1_800,
            seed=91,
        )
    )
