"""Everything of JAX without a public name that the project uses exists, and takes the arguments that we pass."""

from __future__ import annotations

import inspect

import pytest
from jax._src import distributed
from jax._src.lib import _jax

from lct_jax import jax_internals
from lct_jax.jax_internals import Coordination, read_distributed


@pytest.mark.parametrize("name", ["splash_backward_keys", "splash_backward_queries"])
def test_splash_backward_kernels_take_the_arguments_we_pass(name):
    positional = ["q", "k", "v", "segment_ids", "sinks", "logsumexp", "do", "di"]
    by_keyword = {
        *("bq", "bkv", "is_mqa", "mask_info", "mask_value", "attn_logits_soft_cap"),
        *("mask_function", "interpret", "q_layout", "k_layout", "v_layout"),
    }
    if name == "splash_backward_keys":
        by_keyword |= {"bkv_compute", "use_fused_bwd_kernel"}
    parameters = inspect.signature(getattr(jax_internals, name)).parameters
    assert list(parameters)[: len(positional)] == positional
    missing = by_keyword - set(parameters)
    assert not missing, f"this version of JAX has no argument {missing} of {name}"


def test_jax_keeps_its_process_number_where_we_read_it():
    state = distributed.global_state
    missing = [n for n in ("process_id", "num_processes", "client") if not hasattr(state, n)]
    assert not missing, f"this version of JAX has no jax._src.distributed.global_state.{missing}"
    assert read_distributed() == (0, 1, None)


@pytest.mark.parametrize("name", [name for name in vars(Coordination) if not name.startswith("_")])
def test_the_coordination_client_has_the_methods_we_call(name):
    client = _jax.DistributedRuntimeClient
    assert hasattr(client, name), f"this version of JAX has no {client.__name__}.{name}"
    given = list(inspect.signature(getattr(Coordination, name)).parameters)[1:]
    documented = getattr(client, name).__doc__
    assert [argument for argument in given if f"{argument}:" not in documented] == []
