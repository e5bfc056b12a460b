"""Tunes the film example with attention causal over shots, from `film_tiny.py`, for sampling with a cache.

The run starts from the bidirectional one (its EMA; `--config.training.init_weights=params` takes the raw weights) and
has a schedule of its own. It takes a few minutes on two CPU cores:

    python train.py --config=configs/film_tiny_causal.py --data=runs/film --workdir=runs/film_tiny_causal
    python sample.py --checkpoint=runs/film_tiny_causal --script=FILE --mode=causal --out=DIR
"""

import dataclasses

from lct_jax.config import editable, freeze, read_beside

film_tiny = read_beside(__file__, "film_tiny")


def get_config():
    full = freeze(film_tiny.get_config())
    training = dataclasses.replace(
        full.training,
        context="causal",
        init_from="runs/film_tiny",
        steps=100,
        warmup=10,
        learning_rate=2e-4,
    )
    return editable(dataclasses.replace(full, name="film_tiny_causal", training=training))
