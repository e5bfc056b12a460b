r"""Trains the single-shot base of the village: each sample is one shot with a full caption and no global prompt.

    python -m lct_jax.puppets.prepare --config=configs/village_base.py --scenes=12000 --shots=1 --withhold=0.25 \
        --out=runs/village_single
    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py --config=configs/village_base.py \
        --data=runs/village_single --workdir=runs/village_base

A step is twelve rows of two shots of five frames, or of one of nine: 0.09 TFLOP. What ships of it, and how it was made,
is in examples/village/README.md; longer runs are better.
"""

from lct_jax.config import Config, DataConfig, FlowConfig, TrainingConfig, editable, read_beside

village = read_beside(__file__, "village")


def get_config():
    return editable(
        Config(
            name="village_base",
            world="village",
            prepare=village.PREPARE,
            backbone=village.BACKBONE,
            layout=village.LAYOUT,
            compute=village.COMPUTE,
            flow=FlowConfig(shift=3.0),
            # A row holds two shots of 192 tokens, or one of 288.
            data=DataConfig(
                rows=12,
                video_tokens=384,
                text_tokens=112,
                groups=3,
                max_shots=1,
                single_weight=1.0,
                singles_from_scenes=True,
                pool=32,
            ),
            training=TrainingConfig(
                steps=1_700,
                warmup=100,
                optimizer="muon",
                learning_rate=6e-3,
                muon_learning_rate=12e-3,
                ema=0.998,
                eval_every=500,
                save_every=100,
                eval_batches=2,
            ),
            sampling=village.SAMPLING,
        )
    )
