r"""Trains a footage model on one chip of 16 GB, such as the v5e or v6e of a Colab notebook: 80 million parameters.

Scenes of up to five shots of 33 frames at 144x80 in the latents of the film example's VAE, with MiniLM as the text
encoder: everything ships with the repository or comes with `make install`. The run starts from random weights and
learns single shots and scenes at once, one to one, so it needs footage of hours rather than of minutes:

    python -m lct_jax.plan --config=configs/tpu_one_chip.py --topology=v5e:1x1
    python -m lct_jax.data.prepare --videos=DIR --config=configs/tpu_one_chip.py --out=DIR2
    python train.py --config=configs/tpu_one_chip.py --data=DIR2 --workdir=DIR3

`notebooks/train_on_tpu.ipynb` goes through all steps. It was planned and compiled for these chips, and never trained to
its end. `tpu_eight_chips.py` is the same for the eight chips of a Kaggle notebook.
"""

from lct_jax.config import (
    ComputeConfig,
    Config,
    DataConfig,
    DualStreamConfig,
    PrepareConfig,
    SamplingConfig,
    TrainingConfig,
    editable,
    read_beside,
)

film_tiny = read_beside(__file__, "film_tiny")

FRAMES = 33
PREPARE = PrepareConfig(
    height=80,
    width=144,
    max_frames=FRAMES,
    codec="tiny_vae",
    codec_from="examples/big_buck_bunny/film_vae.safetensors",
)
# Room for five full shots at every usual ratio, and for the prompts of as many short ones.
DATA = DataConfig(
    rows=12,
    video_tokens=2_304,
    text_tokens=768,
    groups=20,
    max_shots=5,
    pool=16,
    singles_from_scenes=True,  # footage with scenes alone is enough; see docs/data.md for single-shot sets
)
TRAINING = TrainingConfig(steps=20_000, warmup=500, learning_rate=3e-4, save_every=250)


def get_config():
    return editable(
        Config(
            name="tpu_one_chip",
            prepare=PREPARE,
            backbone=DualStreamConfig(
                width=512,
                depth=12,
                heads=8,
                head_dim=64,
                channels=16,
                text_width=384,
                rope_split=(8, 28, 28),
            ),
            layout=film_tiny.LAYOUT,
            compute=ComputeConfig(),
            flow=film_tiny.FLOW,
            data=DATA,
            training=TRAINING,
            sampling=SamplingConfig(
                guidance=5.0,
                # Footage of one kind knows no such words, and the empty prompt is trained.
                negative_scene="",
                negative_shot="",
                window=5,
                frames=FRAMES,
                height=80,
                width=144,
            ),
        )
    )
