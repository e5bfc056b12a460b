r"""Trains the ablations on puppet scenes: `puppets.py`, 800 steps from the single-shot base, one field changed in each
run.

Each takes about ten minutes on one CPU core. All begin with the same weights, scenes, order of scenes, times and noise:

    python train.py --config=configs/puppets_ablations.py --data=runs/ablation_scenes --workdir=runs/ablations/reference
    python train.py --config=configs/puppets_ablations.py --data=runs/ablation_scenes --workdir=runs/ablations/same \
        --config.layout.positions=same

docs/ablations.md lists them, with the effect of each.
"""

import dataclasses

from lct_jax.config import editable, freeze, read_beside

puppets = read_beside(__file__, "puppets")


def get_config():
    full = freeze(puppets.get_config())
    training = dataclasses.replace(
        full.training,
        init_from="examples/puppets/puppets_base.safetensors",
        steps=800,
        eval_every=200,
        save_every=200,
    )
    return editable(dataclasses.replace(full, name="puppets_ablations", training=training))
