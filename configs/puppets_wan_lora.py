r"""Tunes the small Wan of `puppets_wan_base.py` on scenes by a LoRA, with the data and steps of `puppets_lora.py`.

    python train.py --config=configs/puppets_wan_lora.py --data=runs/puppets_lora_scenes --workdir=runs/wan_temporal
    python train.py --config=configs/puppets_wan_lora.py --data=runs/puppets_lora_scenes \
        --workdir=runs/wan_same --config.layout.positions=same

docs/bases.md has what shots share then, by where they lie.
"""

import dataclasses

from lct_jax.config import editable, freeze, read_beside

puppets_lora = read_beside(__file__, "puppets_lora")
puppets_wan_base = read_beside(__file__, "puppets_wan_base")


def get_config():
    mmdit = freeze(puppets_lora.get_config())
    return editable(
        dataclasses.replace(
            mmdit,
            name="puppets_wan_lora",
            backbone=puppets_wan_base.BACKBONE,
            layout=puppets_wan_base.LAYOUT,
            # The global prompt is a part of the text of every shot.
            data=dataclasses.replace(mmdit.data, text_tokens=560),
            training=dataclasses.replace(mmdit.training, init_from="runs/puppets_wan_base"),
        )
    )
