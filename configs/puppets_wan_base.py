r"""Trains a small Wan as a single-shot base of the puppet scenes: the network of `puppets_base.py` is another one, and
all else is the same.

It has 2.8 million parameters, as many as the network of `puppets.py`, sees fewer steps of fewer shots, and took a
quarter of an hour on one busy CPU core:

    python -m lct_jax.puppets.prepare --config=configs/puppets_wan_base.py --scenes=3000 --shots=1 --withhold=0.25 \
        --out=runs/puppets_wan_single
    python train.py --config=configs/puppets_wan_base.py --data=runs/puppets_wan_single --workdir=runs/puppets_wan_base
"""

import dataclasses

from lct_jax.config import LayoutConfig, WanConfig, editable, freeze, read_beside

puppets_base = read_beside(__file__, "puppets_base")

BACKBONE = WanConfig(
    width=160,
    depth=6,
    heads=5,
    head_dim=32,
    hidden=640,
    channels=32,
    patch=(1, 1, 1),
    text_width=384,
    text_places=96,
    rope_split=(8, 12, 12),
)
# A shot lies a multiple of 44 positions behind the one before it, as with `puppets.py`, but along time alone.
LAYOUT = LayoutConfig(scene_span=56, shot_span=36, stride=44, positions="temporal", prompts="own")


def get_config():
    mmdit = freeze(puppets_base.get_config())
    return editable(
        dataclasses.replace(
            mmdit,
            name="puppets_wan_base",
            backbone=BACKBONE,
            layout=LAYOUT,
            training=dataclasses.replace(mmdit.training, steps=1_200),
        )
    )
