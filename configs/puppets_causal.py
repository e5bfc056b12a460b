"""Tunes the puppet scenes with attention causal over shots, from `puppets.py`, for sampling with a cache.

The run takes a few minutes on two CPU cores, and starts from the last part of `puppets.py`:

    python train.py --config=configs/puppets_causal.py --data=runs/puppets_scenes_2 --workdir=runs/puppets_causal
"""

import dataclasses

from lct_jax.config import editable, freeze, read_beside

puppets = read_beside(__file__, "puppets")


def get_config():
    full = freeze(puppets.get_config())
    training = dataclasses.replace(
        full.training,
        context="causal",
        init_from="runs/puppets",
        steps=200,
        warmup=10,
        learning_rate=3e-4,
        save_every=50,
    )
    return editable(dataclasses.replace(full, name="puppets_causal", training=training))
