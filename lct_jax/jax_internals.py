"""Everything that this project uses of JAX and that has no public name, so that a new version breaks one file.

`tests/test_jax_internals.py` has a test for each part, so that a part which a new version lacks fails there by name.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from jax._src import distributed
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as _splash

# The backward kernels of splash attention, which its public function reaches only with a mask that is known when a
# program is traced (jax/experimental/pallas/ops/tpu/splash_attention/splash_attention_kernel.py).
splash_backward_keys = _splash._splash_attention_bwd_dkv
splash_backward_queries = _splash._splash_attention_bwd_dq


class Coordination(Protocol):
    """The client of JAX's coordination service, which needs no devices: texts by key, and barriers.

    All methods raise jax.errors.JaxRuntimeError; its text begins with DEADLINE_EXCEEDED where time ran out.
    """

    def key_value_set(self, key: str, value: str) -> None:
        """Sets a key; each key can be set only once."""

    def blocking_key_value_get(self, key: str, timeout_in_ms: int) -> str:
        """Returns the value of a key as soon as it is set."""

    def wait_at_barrier(self, barrier_id: str, timeout_in_ms: int) -> None:
        """Returns when every process waits at the barrier."""


class Distributed(NamedTuple):
    """What `jax.distributed.initialize` has set up: this process's number, the number of processes, and the client."""

    process: int
    processes: int
    client: Coordination


def read_distributed() -> Distributed:
    """Returns what `jax.distributed.initialize` has set up, without looking for devices."""
    state = distributed.global_state
    return Distributed(state.process_id, state.num_processes, state.client)
