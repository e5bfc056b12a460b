"""What a remat policy keeps and recomputes of a block, and how much work kernels do.

Names are those of `compute.remat` and `compute.kernel`. They describe what the networks of `lct_jax/backbones` do under
`jax.checkpoint`; a test compares the two.
"""

from __future__ import annotations

from typing import NamedTuple

from lct_jax.attention import chunked, mosaic, splash, triton
from lct_jax.costs.flops import Kernel, Recompute


class Policy(NamedTuple):
    """One remat policy.

    Attributes:
        again: the shares of the forward pass that are recomputed.
        attended: whether the output of a block's attention is kept on the device.
        whole: whether all that the backward pass of a block reads is kept.
    """

    again: Recompute
    attended: bool
    whole: bool


POLICIES = {
    "block": Policy(Recompute(linear=1.0, attention=1.0), attended=False, whole=False),
    "save_attention": Policy(Recompute(linear=1.0, attention=0.0), attended=True, whole=False),
    # The output of attention is kept too, but on the host.
    "offload": Policy(Recompute(linear=1.0, attention=0.0), attended=False, whole=False),
    "none": Policy(Recompute(linear=0.0, attention=0.0), attended=True, whole=True),
}
# `backward` counts the matrix products for a pair in the backward pass. Splash and triton have a kernel for queries (3)
# and one for keys and values (4), and each computes the scores; the others compute the scores once for both.
KERNELS = {
    "mosaic": Kernel(mosaic.BLOCK, mosaic.BLOCK, backward=5),
    "splash": Kernel(splash.BLOCK, splash.BLOCK, backward=7),
    "triton": Kernel(triton.BLOCK, triton.BLOCK, backward=7),
    "chunked": Kernel(chunked.QUERY_BLOCK, chunked.KEY_BLOCK, backward=5),
}
