"""The same function over many films: in this process, in one a core, or on a Ray cluster.

A function of one job and the jobs enter; results leave in the order of the jobs, an `InputError` in place of the
result where a film was refused. What a job does is on disk when it returns, so a run that is killed loses only films
it was at.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from tqdm import tqdm

from lct_jax.errors import InputError

Runner = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]


def run_local(
    function: Callable[[Any], Any], jobs: Sequence[Any], *, processes: int
) -> Iterator[Any]:
    """In `processes` processes; in this one where there is a single job or process."""
    guarded = partial(_guard, function)
    if min(processes, len(jobs)) <= 1:
        yield from _show(map(guarded, jobs), len(jobs))
        return
    # Not by fork: JAX and the decoders have threads of their own.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=context) as pool:
        yield from _show(pool.map(guarded, jobs), len(jobs))


def run_ray(function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
    """On the cluster that RAY_ADDRESS names, or on one started here; films of a worker that died are done again.

    The folder of videos and that of the set must be seen by all nodes.
    """
    try:
        import ray
    except ImportError:
        raise InputError(
            "--runner=ray: Ray is not installed (pip install 'lct_jax[ray]')"
        ) from None
    if not ray.is_initialized():
        ray.init(include_dashboard=False, configure_logging=False)
    task = ray.remote(max_retries=3)(_guard)
    results = [task.remote(function, job) for job in jobs]
    yield from _show(map(ray.get, results), len(jobs))


def _guard(function: Callable[[Any], Any], job: Any) -> Any:
    try:
        return function(job)
    except InputError as error:
        return error


def _show(results: Iterator[Any], count: int) -> Iterator[Any]:
    return iter(tqdm(results, total=count, unit="film", leave=False, disable=None))
