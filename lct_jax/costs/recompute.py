"""What a remat policy keeps of a block and what it computes again, and how kernels spend their work.

Names are those of `compute.remat` and `compute.kernel`. What the networks of `lct_jax/backbones` do under
`jax.checkpoint` is counted here; a test holds the two together.
"""

from __future__ import annotations

from typing import NamedTuple

from lct_jax.attention import chunked, splash, triton
from lct_jax.costs.flops import Kernel, Recompute


class Policy(NamedTuple):
    """One remat policy.

    Attributes:
        again: what of the forward pass is computed again. attended: whether what attention gave is kept of a block on
            the device. whole: whether all that the backward pass of a block reads is kept.
    """

    again: Recompute
    attended: bool
    whole: bool


POLICIES = {
    "block": Policy(Recompute(linear=1.0, attention=1.0), attended=False, whole=False),
    "save_attention": Policy(Recompute(linear=1.0, attention=0.0), attended=True, whole=False),
    # Kept too, but on the host.
    "offload": Policy(Recompute(linear=1.0, attention=0.0), attended=False, whole=False),
    "none": Policy(Recompute(linear=0.0, attention=0.0), attended=True, whole=True),
}
# Products of a pair in the backward pass: splash has a kernel for queries (3) and one for keys and values (4), each
# with scores of its own; in chunks they are computed once for both.
KERNELS = {
    "splash": Kernel(splash.BLOCK, splash.BLOCK, backward=7),
    "triton": Kernel(triton.BLOCK, triton.BLOCK, backward=7),
    "chunked": Kernel(chunked.QUERY_BLOCK, chunked.KEY_BLOCK, backward=5),
}
