r"""Trains In-Context LoRA on puppet scenes: pictures of three panels with one caption, on the single-shot base.

A shot of one frame holds the first frames of three shots, one above the other (docs/baselines.md). Rank, targets,
dropout of captions and EMA are those of the public config for film shots (github.com/ali-vilab/In-Context-LoRA); the
learning rate is higher, for a network this small and so few steps:

    python -m lct_jax.puppets.prepare --config=configs/puppets_in_context.py --scenes=1500 --shots=3-9 --characters=2 \
        --withhold=0.5 --panels --out=runs/puppets_panels
    python train.py --config=configs/puppets_in_context.py --data=runs/puppets_panels --workdir=runs/puppets_in_context
"""

import dataclasses

from lct_jax.config import (
    Config,
    DataConfig,
    LayoutConfig,
    LoraConfig,
    TrainingConfig,
    editable,
    read_beside,
)

puppets = read_beside(__file__, "puppets")


def get_config():
    return editable(
        Config(
            name="puppets_in_context",
            prepare=dataclasses.replace(puppets.PREPARE, height=96, width=40),
            backbone=puppets.BACKBONE,
            # The caption of three panels is longer than that of a shot.
            layout=LayoutConfig(scene_span=56, shot_span=104, stride=44),
            compute=puppets.COMPUTE,
            flow=puppets.FLOW,
            lora=LoraConfig(rank=16, base_dtype="float32"),
            data=DataConfig(
                rows=4,
                video_tokens=180,
                text_tokens=250,
                groups=5,
                max_shots=1,
                single_weight=1.0,
                singles_from_scenes=True,
                drop_text=0.05,
                pool=32,
            ),
            training=TrainingConfig(
                steps=1_000,
                warmup=30,
                learning_rate=2e-3,
                weight_decay=0.0,
                ema=0.99,
                init_from="examples/puppets/puppets_base.safetensors",
                eval_every=200,
                save_every=100,
                eval_batches=2,
            ),
            sampling=puppets.SAMPLING,
        )
    )
