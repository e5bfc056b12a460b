"""The mesh, the letters and the rule that places parameters; sizes that do not divide are named."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from scenes import TINY

from lct_jax.config import Config, DataConfig, TrainingConfig
from lct_jax.config.network import sections
from lct_jax.distributed.sharding import (
    check_mesh,
    count_shards,
    find_rows,
    letters_to_spec,
    make_mesh,
    make_sampling_mesh,
    place_batch,
    shard,
    shard_heads,
    state_sharding,
)
from lct_jax.errors import InputError


def test_parameters_are_sharded_along_their_largest_divisible_axis(mesh):
    shapes = {
        "tall": (8192, 6),
        "odd": (4098, 64),
        "none": (4099, 3),
        "tie": (64, 64),
        "low": (4092,),
    }
    tree = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    specs = {name: place.spec for name, place in state_sharding(tree, mesh).items()}
    assert specs == {
        "tall": P("data", None),
        "odd": P(None, "data"),
        "none": P(),
        "tie": P(None, "data"),
        "low": P(),
    }


def test_a_pod_host_without_coordinator_flag_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(InputError) as caught:
        make_mesh()
    assert str(caught.value) == (
        "--coordinator: missing, expected 'auto' on one of 4 hosts (docs/hosts.md)"
    )


def test_shard_by_letters_does_nothing_without_a_mesh(mesh):
    assert letters_to_spec("BLD") == P("data", "seq", None)
    assert letters_to_spec("BHLK") == P("data", None, "seq", None)
    x_BLD = jnp.zeros((4, 6, 3))
    assert shard(x_BLD, "BLD") is x_BLD
    with jax.set_mesh(mesh):
        spread = jax.jit(lambda x: shard(x, "BLD"))(x_BLD)
    assert spread.addressable_shards[0].data.shape == (1, 3, 3)


def test_a_mesh_needs_a_number_of_devices_that_divides():
    assert dict(make_mesh(seq=4).shape) == {"data": 2, "seq": 4}
    with pytest.raises(InputError) as caught:
        make_mesh(seq=3)
    assert str(caught.value) == "compute.seq_shards: found 3 over 8 devices, expected a divisor"


@pytest.mark.parametrize(
    ("section", "fields", "message"),
    [
        ("data", {"rows": 12}, "data.rows: found 12, expected a multiple of 8"),
        ("data", {"video_tokens": 27}, "data.video_tokens: found 27, expected a multiple of 2"),
        ("data", {"text_tokens": 25}, "data.text_tokens: found 25, expected a multiple of 2"),
        ("backbone", {"heads": 3}, "backbone.heads: found 3, expected a multiple of 2"),
    ],
)
def test_a_config_that_does_not_divide_over_the_mesh_is_refused(mesh, section, fields, message):
    config = Config(
        name="test",
        **sections(TINY),
        data=DataConfig(rows=8, video_tokens=28, text_tokens=26),
        training=TrainingConfig(accumulate=2),
    )
    check_mesh(mesh, config)
    part = dataclasses.replace(getattr(config, section), **fields)
    with pytest.raises(InputError) as caught:
        check_mesh(mesh, dataclasses.replace(config, **{section: part}))
    assert str(caught.value) == f"{message} on this mesh"


@pytest.mark.parametrize(
    ("processes", "rows"),
    [
        ([[0], [0], [1], [1]], [(0, 1, 2, 3), (4, 5, 6, 7)]),
        ([[1], [0], [1], [0]], [(2, 3, 6, 7), (0, 1, 4, 5)]),  # not neighbours
        ([[0, 0], [1, 1], [2, 2], [3, 3]], [(0, 1), (2, 3), (4, 5), (6, 7)]),
        # The tokens of a row on two processes: both read it.
        ([[0, 1], [0, 1]], [(0, 1, 2, 3, 4, 5, 6, 7)] * 2),
        ([[0, 1]], [(0, 1, 2, 3, 4, 5, 6, 7)] * 2),
        ([[0, 1], [2, 3], [0, 1], [2, 3]], [(0, 1, 4, 5)] * 2 + [(2, 3, 6, 7)] * 2),
    ],
)
def test_a_process_reads_the_rows_of_its_devices(monkeypatch, processes, rows):
    devices = [[SimpleNamespace(process_index=p) for p in row] for row in processes]
    grid = SimpleNamespace(devices=devices, shape={"data": len(processes)})
    for process, expected in enumerate(rows):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        assert find_rows(grid, 8) == expected


def test_a_batch_is_sharded_over_rows_and_tokens(mesh):
    batch = {"a": np.arange(8 * 6 * 2).reshape(8, 6, 2), "b": np.arange(8 * 4).reshape(8, 4)}
    placed = place_batch(batch, mesh)
    spread = NamedSharding(mesh, P("data", "seq"))
    for name, whole in batch.items():
        assert placed[name].sharding.is_equivalent_to(spread, whole.ndim)
        np.testing.assert_array_equal(np.asarray(placed[name]), whole)


def test_a_cache_is_split_over_heads_and_not_over_its_slots(mesh):
    cache_NBHMK = jnp.zeros((3, 4, 2, 5, 6))
    assert shard_heads(cache_NBHMK, "NBHMK") is cache_NBHMK
    assert count_shards("L") == 1
    with jax.set_mesh(mesh):
        spread = jax.jit(lambda x: shard_heads(x, "NBHMK"))(cache_NBHMK)
        assert (count_shards("B"), count_shards("L")) == (4, 2)
    assert spread.addressable_shards[0].data.shape == (3, 1, 1, 5, 6)


def test_a_mesh_for_sampling_has_a_row_a_guidance_branch_if_it_can():
    shapes = [dict(make_sampling_mesh(n, heads=16).shape) for n in (1, 4, 8)]
    assert [tuple(shape.values()) for shape in shapes] == [(1, 1), (2, 4), (1, 8)]
    with pytest.raises(InputError, match="found 3, expected a divisor of 16 heads"):
        make_sampling_mesh(3, heads=16)
