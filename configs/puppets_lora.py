r"""Tunes the single-shot base of the puppets on scenes by a LoRA: `puppets_ablations.py` with the base frozen.

    python train.py --config=configs/puppets_lora.py --data=runs/puppets_lora_scenes --workdir=runs/puppets_lora

It takes some minutes on one CPU core. docs/bases.md says how the scenes are made, and has what it reaches beside a
small Wan that is tuned in the same way (`puppets_wan_lora.py`).
"""

import dataclasses

from lct_jax.config import LoraConfig, editable, freeze, read_beside

puppets_ablations = read_beside(__file__, "puppets_ablations")


def get_config():
    full = freeze(puppets_ablations.get_config())
    training = dataclasses.replace(
        full.training,
        steps=200,
        learning_rate=2e-3,
        weight_decay=0.0,
        ema=0.99,
        eval_every=100,
        save_every=50,
    )
    # Two CPU cores compute float32 faster than bfloat16, so nothing is rounded for it.
    lora = LoraConfig(rank=16, base_dtype="float32")
    return editable(dataclasses.replace(full, name="puppets_lora", lora=lora, training=training))
