"""Eight simulated CPU devices, strict ranks, and what tests share: a tiny model and one that is overfit.

The flags must be set before JAX starts, so they are set here before any import of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from quick_compiler import FLAGS

os.environ.setdefault("JAX_PLATFORMS", "cpu")
_FLAGS = f"--xla_force_host_platform_device_count=8 {FLAGS}"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()

import multiprocessing.process
import signal
import subprocess

import jax
import pytest
from overfitting import Overfit, overfit_scene
from scenes import TINY, TinyModel
from shared_folder import open_shared_folder
from tiny_film import with_shared_codec

from lct_jax.config import Config
from lct_jax.distributed.sharding import make_mesh

jax.config.update("jax_numpy_rank_promotion", "raise")
_STARTS = (
    (subprocess.Popen, "__init__"),
    (multiprocessing.process.BaseProcess, "start"),
    (os, "fork"),
)


def pytest_configure(config: pytest.Config) -> None:
    # A shell script starts commands in the background with SIGINT ignored, and `nohup` ignores SIGHUP. The programs of
    # a test would inherit that: none of them would end by Ctrl-C, or as when a terminal is closed.
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, usual)
    close = open_shared_folder()
    if close is not None:
        config.add_cleanup(close)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Refuses processes to tests of the fast tier, and to the fixtures that are made for them."""
    if any(item.get_closest_marker(name) for name in ("programs", "slow")):
        return (yield)

    def refuse(*called: object, **_: object) -> None:
        if called[1:] == (["ffmpeg", "-v", "quiet"],):
            raise FileNotFoundError("PySceneDetect looks for it when it is imported")
        pytest.fail(f"{item.nodeid} starts a process, expected the marker `programs` or `slow`")

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in _STARTS:
            patch.setattr(owner, name, refuse)
        return (yield)


@pytest.fixture(scope="session")
def tiny() -> TinyModel:
    """Returns the tiny float32 model with random weights everywhere; its compiled forward pass is shared."""
    return TinyModel(TINY)


@pytest.fixture(scope="session")
def overfit() -> Overfit:
    """Returns a tiny model trained on one scene of three shots, with the losses before and after."""
    return overfit_scene()


@pytest.fixture(scope="session")
def given() -> Config:
    """Returns the config of the tiny film with an existing codec."""
    return with_shared_codec()


@pytest.fixture(scope="session")
def mesh() -> jax.sharding.Mesh:
    """Returns a mesh of four devices over rows times two over tokens."""
    return make_mesh(seq=2)
