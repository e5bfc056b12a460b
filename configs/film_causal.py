"""Tunes the film with attention causal over shots, from `film.py`, for sampling with a cache.

Here shots never share a time.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py --config=configs/film_causal.py \
        --data=runs/film_scenes --workdir=runs/film_causal
"""

import dataclasses

from lct_jax.config import editable, freeze, read_beside

film = read_beside(__file__, "film")


def get_config():
    full = freeze(film.get_config())
    training = dataclasses.replace(
        full.training,
        context="causal",
        init_from="runs/film_tuned",
        steps=250,
        warmup=20,
        learning_rate=2e-3,
        muon_learning_rate=4e-3,
        eval_every=125,
    )
    flow = dataclasses.replace(full.flow, times="per_shot")
    changed = dataclasses.replace(full, name="film_causal", training=training, flow=flow)
    return editable(changed)
