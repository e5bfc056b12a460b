"""Tunes the village with attention causal over shots, from `village.py`, for sampling with a cache.

The first steps of such a tuning change most (docs/causal.md). What ships of it is in examples/village/README.md:

    python train.py --config=configs/village_causal.py --data=runs/village_scenes --workdir=runs/village_causal
"""

import dataclasses

from lct_jax.config import editable, freeze, read_beside

village = read_beside(__file__, "village")


def get_config():
    full = freeze(village.get_config())
    training = dataclasses.replace(
        full.training,
        context="causal",
        init_from="runs/village",
        steps=150,
        warmup=10,
        learning_rate=5e-4,
        muon_learning_rate=1e-3,
        save_every=50,
    )
    return editable(dataclasses.replace(full, name="village_causal", training=training))
