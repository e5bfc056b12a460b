"""Trains the single-shot base of the film example: each sample is one shot of Big Buck Bunny, without a global prompt.

Its weights ship as `examples/big_buck_bunny/film_tiny_base.safetensors`; this command made them:

    python train.py --config=configs/film_tiny_base.py --data=runs/film --workdir=runs/film_tiny_base
"""

from lct_jax.config import Config, DataConfig, TrainingConfig, editable, read_beside

film_tiny = read_beside(__file__, "film_tiny")


def get_config():
    return editable(
        Config(
            name="film_tiny_base",
            prepare=film_tiny.PREPARE,
            backbone=film_tiny.BACKBONE,
            layout=film_tiny.LAYOUT,
            compute=film_tiny.COMPUTE,
            flow=film_tiny.FLOW,
            # A row has room for one shot, so little of the attention is between samples that do not see each other.
            data=DataConfig(
                rows=12,
                video_tokens=226,
                text_tokens=48,
                groups=2,
                max_shots=1,
                single_weight=1.0,
                singles_from_scenes=True,
                pool=16,
            ),
            training=TrainingConfig(
                steps=3_000,
                warmup=100,
                learning_rate=1e-3,
                ema=0.999,
                eval_every=200,
                save_every=200,
            ),
            sampling=film_tiny.SAMPLING,
        )
    )
