"""A session with random weights, its latents, and those that a script has without it."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_generator import make_generator

from lct_jax.directing.script import Script
from lct_jax.session.session import Session

MODES = {"autoregressive": "full", "causal": "causal"}
TEXTS = ("A wide quay.", "A boat leaves.", "A gull lands.", "A man waves.")
# The mode without a cache runs the same lines but for the cache's, and compiles for seconds.
both = pytest.mark.parametrize(
    "mode", ["causal", pytest.param("autoregressive", marks=pytest.mark.slow)]
)


def make_session(mode: str, texts: tuple[str, ...] = (), **settings: object) -> Session:
    session = make_generator(MODES[mode]).session(environment="A harbour.", mode=mode, **settings)
    for text in texts:
        session.shot(text)
    return session


def latents_of(session: Session) -> dict[int, np.ndarray]:
    return {shot.number: shot.latent for shot in session.shots}


def sample(script: Script) -> dict[int, np.ndarray]:
    """Returns the latents of a script as `sample.py` samples it."""
    context = MODES[script.sampler["mode"]]
    return {shot.number: shot.latent for shot in make_generator(context).sample(script)}


def check_same(found: dict[int, np.ndarray], expected: dict[int, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for number, latent in expected.items():
        np.testing.assert_array_equal(found[number], latent)


def changed(session: Session, before: dict[int, np.ndarray]) -> set[int]:
    """Returns the shots, from 1, whose latents differ from those before."""
    after = latents_of(session)
    return {n + 1 for n in after if n not in before or (after[n] != before[n]).any()}
