"""Wan's text-to-video transformer (Wan 2.1, Wan2.2-TI2V-5B, SkyReels-V2): video in one sequence, text beside it."""

from lct_jax.backbones.protocol import Family
from lct_jax.backbones.wan.costs import count_costs
from lct_jax.backbones.wan.names import decays, name_weights
from lct_jax.backbones.wan.network import Wan, describe
from lct_jax.backbones.wan.published import PUBLISHED

FAMILY = Family(
    build=Wan,
    describe=describe,
    count_costs=count_costs,
    decays=decays,
    name_weights=name_weights,
    published=PUBLISHED,
)
