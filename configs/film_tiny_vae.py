r"""The single-shot base of the film example on latents of the small VAE in place of the patch codec.

Otherwise `film_tiny_base.py`; to be tuned on scenes as in `film_tiny.py`. Its weights do not ship:

    python -m lct_jax.data.prepare --scenes=examples/big_buck_bunny/scenes.json \
        --config=configs/film_tiny_vae.py --out=runs/film_vae_set
    python train.py --config=configs/film_tiny_vae.py --data=runs/film_vae_set --workdir=runs/film_tiny_vae
"""

import dataclasses
import importlib.util
import pathlib

from lct_jax.config import editable, freeze

_SPEC = importlib.util.spec_from_file_location(
    "film_tiny_base", pathlib.Path(__file__).with_name("film_tiny_base.py")
)
film_tiny_base = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(film_tiny_base)


def get_config():
    base = freeze(film_tiny_base.get_config())
    prepare = dataclasses.replace(
        base.prepare, codec="tiny_vae", codec_from="examples/big_buck_bunny/film_vae.safetensors"
    )
    return editable(dataclasses.replace(base, name="film_tiny_vae", prepare=prepare))
