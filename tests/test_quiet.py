"""What is not shown between a save that failed and one that did not."""

from __future__ import annotations

import gc
import warnings

from lct_jax.training.checkpoint.silence import OrbaxSilence


async def task() -> None:
    """Never awaited below."""


def drop_a_task() -> None:
    task()
    gc.collect()


def test_tasks_that_were_not_begun_are_not_told_of_until_the_end():
    quiet = OrbaxSilence()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        quiet.begin()
        quiet.begin()  # as when a second save fails
        drop_a_task()
        assert not told
        quiet.end()
        drop_a_task()
    assert ["never awaited" in str(one.message) for one in told] == [True]
