"""What a remat policy keeps and recomputes of a block, and how much work kernels do.

Names are those of `compute.remat`, once a name stands in the place of "auto" (`lct_jax/plan/remat.py`), and of
`compute.kernel`. They describe what the networks of `lct_jax/backbones` do under `jax.checkpoint`; a test compares the
two.
"""

from __future__ import annotations

from typing import NamedTuple

from lct_jax.attention import chunked, mosaic, splash, triton
from lct_jax.costs.flops import Activations, Kernel, Recompute


class Policy(NamedTuple):
    """One remat policy.

    Attributes:
        again: the shares of the forward pass that are recomputed.
        kept: what is kept of every block on the device, as fields of `Activations`.
        offloaded: what is kept of it in the host's memory.
    """

    again: Recompute
    kept: tuple[str, ...]
    offloaded: tuple[str, ...] = ()

    def sum_kept(self, bytes_of: Activations) -> float:
        """Returns the bytes that a block keeps on the device for a token."""
        return sum(getattr(bytes_of, name) for name in self.kept)

    def sum_offloaded(self, bytes_of: Activations) -> float:
        """Returns the bytes that a block keeps on the host for a token."""
        return sum(getattr(bytes_of, name) for name in self.offloaded)


ALL, LINEAR = Recompute(linear=1.0, attention=1.0), Recompute(linear=1.0, attention=0.0)
# From the one that computes least again to the one that takes least memory.
POLICIES = {
    "none": Policy(Recompute(linear=0.0, attention=0.0), kept=("whole",)),
    "save_attention": Policy(LINEAR, kept=("carry", "attended")),
    "offload": Policy(LINEAR, kept=("carry",), offloaded=("attended",)),
    "block": Policy(ALL, kept=("carry",)),
    "offload_input": Policy(ALL, kept=(), offloaded=("carry",)),
}
# `backward` counts the matrix products for a pair in the backward pass. Splash and triton have a kernel for queries (3)
# and one for keys and values (4), and each computes the scores; the others compute the scores once for both.
KERNELS = {
    "mosaic": Kernel(mosaic.BLOCK, mosaic.BLOCK, backward=5),
    "splash": Kernel(splash.BLOCK, splash.BLOCK, backward=7),
    "triton": Kernel(triton.BLOCK, triton.BLOCK, backward=7),
    "chunked": Kernel(chunked.QUERY_BLOCK, chunked.KEY_BLOCK, backward=5),
}
