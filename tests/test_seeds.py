"""Seeds of any size: small ones are those of JAX, and large ones all differ."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from planning import MIXED, make_planner, make_table

from lct_jax.config import DataConfig, SamplingConfig, TrainingConfig
from lct_jax.errors import InputError
from lct_jax.seeds import make_key

LARGE = (2**32, 2**32 + 5, 2**33, 2**63 - 1, 2**63, 2**64, 2**64 + 5, 2**100)


def words(seed: int) -> tuple[int, ...]:
    return tuple(jax.random.key_data(make_key(seed)).tolist())


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_seed_of_32_bits_equals_jax_random_key(seed):
    assert words(seed) == tuple(jax.random.key_data(jax.random.key(np.uint32(seed))).tolist())


def test_larger_seeds_have_distinct_keys():
    assert words(2**32 + 5) == tuple(
        jax.random.key_data(jax.random.fold_in(jax.random.key(5), 1)).tolist()
    )
    assert len({words(seed) for seed in (0, 1, 5, *LARGE)}) == 3 + len(LARGE)


def test_every_seed_field_takes_a_large_seed_and_no_negative_one():
    for kind in (DataConfig, TrainingConfig, SamplingConfig):
        assert kind(seed=2**64 + 5).seed == 2**64 + 5
        with pytest.raises(InputError, match="seed: found -1, expected 0 or more"):
            kind(seed=-1)


def test_plans_of_large_seeds_differ():
    table = make_table([4] * 5)
    firsts = set()
    for seed in (0, 5, *LARGE):
        planner = make_planner(table, dataclasses.replace(MIXED, seed=seed))
        firsts.add(repr(list(itertools.islice(planner.samples(0), 3))))
    assert len(firsts) == 2 + len(LARGE)
