"""Applies one function to many films: in this process, in worker processes, or on a Ray cluster.

Every runner is given a function of one job and the jobs. It yields results in the order of the jobs, and an
`InputError` in place of a result where a film was refused, where the function failed in any other way, or where the
process that worked on the film died. The result of a job is on disk when the function returns, so a run that is killed
loses only unfinished films.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lct_jax.data.workers import run_in_workers
from lct_jax.errors import InputError, one_line

Runner = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]


def run_here(function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
    """Runs the jobs one after another in this process; a decoder that crashes ends the process."""
    yield from _show(map(partial(_guard, function), jobs), len(jobs))


def run_local(
    function: Callable[[Any], Any], jobs: Sequence[Any], *, processes: int
) -> Iterator[Any]:
    """Runs the jobs in at most `processes` worker processes, also a single job, because a worker may die without this
    process."""
    results = run_in_workers(partial(_guard, function), jobs, processes=processes)
    yield from _show(results, len(jobs))


def run_ray(function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
    """Runs the jobs on the cluster that RAY_ADDRESS names, or on one started here; films of a worker that died are
    repeated.

    A film whose worker dies every time is refused. The folder of videos and that of the set must be seen by all nodes.
    Raises InputError if Ray is not installed, and if the cluster itself fails, which says nothing about any film.
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
    yield from _show(map(_fetch_from_ray, results), len(jobs))


def _fetch_from_ray(result: Any) -> Any:
    """Returns the result of a Ray task, or an `InputError` if the film cannot be prepared by any worker."""
    import ray
    from ray import exceptions

    try:
        return ray.get(result)
    except (
        exceptions.WorkerCrashedError,
        exceptions.OutOfMemoryError,
        exceptions.RayTaskError,
    ) as error:
        return InputError(_name_failure(error))
    except exceptions.RayError as error:
        raise InputError(
            f"--runner=ray: the cluster failed ({type(error).__name__}: {one_line(error)}). Films that are done are"
            " kept: the same command goes on with the others"
        ) from error


def _guard(function: Callable[[Any], Any], job: Any) -> Any:
    """Returns the result of a job, or an `InputError` that says why there is none."""
    try:
        return function(job)
    except InputError as error:
        return error
    except Exception as error:
        return InputError(_name_failure(error))


def _name_failure(error: Exception) -> str:
    """Returns one line for an unexpected failure: its type, its message and where it was raised."""
    kind, said = type(error).__name__, one_line(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return f"failed unexpectedly: {kind}{'' if said == kind else f': {said}'} ({where})"


def _show(results: Iterator[Any], count: int) -> Iterator[Any]:
    return iter(tqdm(results, total=count, unit="film", leave=False, disable=None))
