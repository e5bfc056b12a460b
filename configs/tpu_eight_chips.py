r"""Trains a footage model on eight chips of 16 GB, such as the v5e-8 of a Kaggle notebook: 420 million parameters.

It is `tpu_one_chip.py` with a wider and deeper network and eight times the rows, which the chips share:

    python -m lct_jax.plan --config=configs/tpu_eight_chips.py --topology=v5e:2x4
    python train.py --config=configs/tpu_eight_chips.py --data=DIR --workdir=DIR2
"""

import dataclasses

from lct_jax.config import editable, freeze, read_beside

one_chip = read_beside(__file__, "tpu_one_chip")


def get_config():
    small = freeze(one_chip.get_config())
    return editable(
        dataclasses.replace(
            small,
            name="tpu_eight_chips",
            backbone=dataclasses.replace(small.backbone, width=1_024, depth=16, heads=16),
            data=dataclasses.replace(small.data, rows=8 * small.data.rows),
        )
    )
