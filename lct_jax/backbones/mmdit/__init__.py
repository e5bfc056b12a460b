"""The dual-stream transformer of the paper (MMDiT): text and video have weights of their own and attend jointly."""

from lct_jax.backbones.mmdit.costs import count_costs
from lct_jax.backbones.mmdit.names import decays, name_weights
from lct_jax.backbones.mmdit.network import MMDiT, describe
from lct_jax.backbones.protocol import Family

FAMILY = Family(
    build=MMDiT,
    describe=describe,
    count_costs=count_costs,
    decays=decays,
    name_weights=name_weights,
)
