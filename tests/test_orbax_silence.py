"""What is suppressed between a failed save and the next good one."""

from __future__ import annotations

import gc
import warnings

from lct_jax.training.checkpoint.silence import OrbaxSilence


async def task() -> None:
    """Never awaited below."""


def drop_a_task() -> None:
    task()
    gc.collect()


def test_warnings_of_unawaited_tasks_are_suppressed_until_the_end():
    silence = OrbaxSilence()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        silence.begin()
        # A second save may fail too.
        silence.begin()
        drop_a_task()
        assert not caught
        silence.end()
        drop_a_task()
    assert ["never awaited" in str(one.message) for one in caught] == [True]
