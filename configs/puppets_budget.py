r"""Tunes LCT on puppet scenes with no more training than `puppets_in_context.py` has, for docs/baselines.md.

The LoRA, its base, the steps and all of their training are those of that config, and so are the scenes; but here they
are scenes, and not pictures of three panels. Two rows of this length give a step about as many video tokens, 660 on
average, where that config has 672:

    python -m lct_jax.puppets.prepare --config=configs/puppets_budget.py --scenes=1500 --shots=3-9 --characters=2 \
        --withhold=0.5 --out=runs/puppets_budget_scenes
    python train.py --config=configs/puppets_budget.py --data=runs/puppets_budget_scenes --workdir=runs/puppets_budget
"""

import dataclasses

from lct_jax.config import editable, freeze, read_beside

puppets = read_beside(__file__, "puppets")
puppets_in_context = read_beside(__file__, "puppets_in_context")


def get_config():
    full = freeze(puppets.get_config())
    panels = freeze(puppets_in_context.get_config())
    return editable(
        dataclasses.replace(
            full,
            name="puppets_budget",
            lora=panels.lora,
            data=dataclasses.replace(full.data, rows=2, video_tokens=380, text_tokens=210),
            training=panels.training,
        )
    )
