r"""Trains the single-shot base of `film.py`: each sample is one shot of Big Buck Bunny, without a global prompt.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py --config=configs/film_base.py \
        --data=runs/film_scenes --workdir=runs/film_base

Its weights ship as `examples/big_buck_bunny/film_base.safetensors`.
"""

from lct_jax.config import Config, DataConfig, TrainingConfig, editable, read_beside

film = read_beside(__file__, "film")


def get_config():
    return editable(
        Config(
            name="film_base",
            prepare=film.PREPARE,
            backbone=film.BACKBONE,
            layout=film.LAYOUT,
            compute=film.COMPUTE,
            flow=film.FLOW,
            # A row has room for one shot, so little of the attention is between samples that do not see each other.
            data=DataConfig(
                rows=8,
                video_tokens=540,
                text_tokens=48,
                groups=2,
                max_shots=1,
                single_weight=1.0,
                singles_from_scenes=True,
                pool=16,
                hold_out=film.HOLD_OUT,
            ),
            training=TrainingConfig(
                steps=1_200,
                warmup=100,
                optimizer="muon",
                learning_rate=6e-3,
                muon_learning_rate=12e-3,
                ema=0.998,
                eval_every=200,
                save_every=100,
                eval_batches=4,
            ),
            sampling=film.SAMPLING,
        )
    )
