r"""Trains the small VAE of the film example: 3.2 M parameters, 4x8x8, 16 channels, on Big Buck Bunny at 144x80.

The last third of the story is held out. The run took 24 minutes on two CPU cores that other work shared. The weights
that ship continue from its end with `film_vae_pixels.py`, see examples/big_buck_bunny/README.md:

    python -m lct_jax.codecs.train --config=configs/codecs/film_vae.py --workdir=runs/film_vae
"""

from lct_jax.codecs.tiny_training import CodecTrainingConfig
from lct_jax.config import editable


def get_config():
    return editable(
        CodecTrainingConfig(name="film_vae", scenes="examples/big_buck_bunny/scenes.json")
    )
