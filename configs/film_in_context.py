r"""Trains In-Context LoRA on the film example: pictures of three panels with one caption, on the single-shot base.

It is `puppets_in_context.py` for the film, with as many steps as `film_tiny.py` and as many tokens a step, those of
text among them, so that both have the same budget (docs/baselines.md):

    python -m lct_jax.data.prepare --scenes=examples/big_buck_bunny/scenes.json --panels \
        --config=configs/film_in_context.py --out=runs/film_panels
    python train.py --config=configs/film_in_context.py --data=runs/film_panels --workdir=runs/film_in_context
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

film_tiny = read_beside(__file__, "film_tiny")


def get_config():
    return editable(
        Config(
            name="film_in_context",
            prepare=dataclasses.replace(film_tiny.PREPARE, height=240),
            backbone=film_tiny.BACKBONE,
            # The caption of three panels is longer than that of a shot.
            layout=LayoutConfig(scene_span=192, shot_span=272),
            compute=film_tiny.COMPUTE,
            flow=film_tiny.FLOW,
            lora=LoraConfig(rank=16, base_dtype="float32"),
            # A row has room for one picture, of 135 video tokens and its caption; eight of them are about the tokens
            # that pass through the network in a step of `film_tiny.py`.
            data=DataConfig(
                rows=8,
                video_tokens=136,
                text_tokens=272,
                groups=2,
                max_shots=1,
                single_weight=1.0,
                singles_from_scenes=True,
                drop_text=0.05,
                pool=16,
            ),
            training=TrainingConfig(
                steps=240,
                warmup=10,
                learning_rate=2e-3,
                weight_decay=0.0,
                ema=0.99,
                init_from="examples/big_buck_bunny/film_tiny_base.safetensors",
                eval_every=60,
                save_every=60,
                eval_batches=1,
            ),
            sampling=film_tiny.SAMPLING,
        )
    )
