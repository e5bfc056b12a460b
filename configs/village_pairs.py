r"""Tunes the village on scenes of two shots in which most is told, so that a name stands for what describes it.

A step has as many shots as one of long scenes at half the cost, and there is little else to look at. The run is one
part of several (examples/village/README.md): it starts from a model of long scenes, and long scenes follow it. Its
scenes have one character or two:

    python -m lct_jax.puppets.prepare --config=configs/village.py --scenes=1800 --shots=2-3 --characters=1-2 \
        --withhold=0.2 --seed=2 --out=runs/village_pairs_2
    python -m lct_jax.puppets.prepare --config=configs/village.py --scenes=1800 --shots=2-3 --characters=1-2 \
        --withhold=0.2 --seed=3 --out=runs/village_pairs_3
    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py --config=configs/village_pairs.py \
        --data=scenes=runs/village_pairs_2,scenes=runs/village_pairs_3 --workdir=runs/village_pairs

A step is eight rows of 540 tokens: 0.08 TFLOP.
"""

import dataclasses

from lct_jax.config import editable, freeze, read_beside

village = read_beside(__file__, "village")


def get_config():
    full = freeze(village.get_config())
    data = dataclasses.replace(
        full.data,
        rows=8,
        video_tokens=388,
        text_tokens=152,
        groups=6,
        max_shots=2,
        single_weight=0.0,
        singles_from_scenes=False,
    )
    training = dataclasses.replace(
        full.training,
        steps=1_800,
        init_from="runs/village_1",
        learning_rate=3e-3,
        muon_learning_rate=6e-3,
    )
    return editable(dataclasses.replace(full, name="village_pairs", data=data, training=training))
