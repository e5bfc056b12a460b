r"""Trains the small VAE of the film example, second part: its network gets blocks at a stride of two pixels.

These blocks remove the borders of patches. The run takes about ten minutes on two CPU cores, after the first part:

    python -m lct_jax.codecs.train --config=configs/codecs/film_vae.py --workdir=runs/film_vae
    python -m lct_jax.codecs.train --config=configs/codecs/film_vae_pixels.py --workdir=runs/film_vae_pixels
"""

from lct_jax.codecs.tiny_training import CodecTrainingConfig
from lct_jax.config import editable


def get_config():
    return editable(
        CodecTrainingConfig(
            name="film_vae_pixels",
            scenes="examples/big_buck_bunny/scenes.json",
            init_from="runs/film_vae/vae.safetensors",
            pixel_depth=2,
            steps=800,
            learning_rate=6e-4,
            seed=1,
        )
    )
