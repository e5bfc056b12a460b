r"""Wan2.1-T2V-14B tuned on scenes: `configs/wan_1_3b.py` at the larger size, all of its weights.

    python train.py --config=configs/wan_14b.py --data=DIR --workdir=DIR2 --config.training.init_from=BASE

The records are those of the smaller network: both have one VAE and one text encoder. Its 40 heads divide over 8 devices
along the tokens of a row. `python -m lct_jax.plan --config=configs/wan_14b.py --topology=v5p:4x4x4` says what it takes.
"""

import dataclasses

from lct_jax.config import WanConfig, editable, freeze, read_beside

wan_1_3b = read_beside(__file__, "wan_1_3b")


def get_config():
    small = freeze(wan_1_3b.get_config())
    return editable(
        dataclasses.replace(
            small,
            name="wan_14b",
            backbone=WanConfig(width=5120, depth=40, heads=40, hidden=13_824),
            data=dataclasses.replace(small.data, rows=8),
            compute=dataclasses.replace(small.compute, seq_shards=8),
        )
    )
