r"""Tunes causal context at the paper's size: 9k steps from the bidirectional weights of `lct_3b.py` [LCT section 3.4].

The mask is causal over shots; model, data and flow are those of the bidirectional run, the schedule is its own. The
paper finds that 1k steps look much like 9k, and does not state its learning rate. Rate and warm-up are our decisions.
`init_from` is the bidirectional run (its EMA; `--config.training.init_weights=params` takes the raw weights) or weights
exported from it. It needs the hardware of `lct_3b.py`:

    python train.py --config=configs/lct_3b_causal.py --data=scenes=DIR,single=DIR2:0.5 --workdir=DIR \
        --config.training.init_from=runs/lct_3b
"""

import dataclasses

from lct_jax.config import editable, freeze, read_beside

lct_3b = read_beside(__file__, "lct_3b")


def get_config():
    full = freeze(lct_3b.get_config())
    training = dataclasses.replace(
        full.training,
        context="causal",
        init_from="runs/lct_3b",
        steps=9_000,
        warmup=500,
        learning_rate=5e-5,
    )
    return editable(dataclasses.replace(full, name="lct_3b_causal", training=training))
