r"""Trains the single-shot base of the puppet scenes: each sample is one shot with a full caption and no global prompt.

The run takes less than an hour on two CPU cores:

    python -m lct_jax.puppets.prepare --config=configs/puppets_base.py --scenes=10000 --shots=1 --withhold=0.25 \
        --out=runs/puppets_single
    python train.py --config=configs/puppets_base.py --data=runs/puppets_single --workdir=runs/puppets_base
"""

from lct_jax.config import Config, DataConfig, FlowConfig, TrainingConfig, editable, read_beside

puppets = read_beside(__file__, "puppets")


def get_config():
    return editable(
        Config(
            name="puppets_base",
            prepare=puppets.PREPARE,
            backbone=puppets.BACKBONE,
            layout=puppets.LAYOUT,
            compute=puppets.COMPUTE,
            flow=FlowConfig(shift=2.0),
            # A row holds three shots, so little is padding, and little attention is between samples that do not see
            # each other.
            data=DataConfig(
                rows=8,
                video_tokens=120,
                text_tokens=66,
                groups=5,
                max_shots=1,
                single_weight=1.0,
                singles_from_scenes=True,
                pool=32,
            ),
            training=TrainingConfig(
                steps=3_000,
                warmup=100,
                learning_rate=2e-3,
                ema=0.997,
                eval_every=200,
                save_every=200,
                eval_batches=2,
            ),
            sampling=puppets.SAMPLING,
        )
    )
