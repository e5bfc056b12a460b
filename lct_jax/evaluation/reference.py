"""Compares sampled shots with those that were filmed for the same prompts: retrieval, and the Frechet distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lct_jax.evaluation.samples import Cases, SeenShots


def measure_retrieval(seen: SeenShots, own: Sequence[int | None], filmed: np.ndarray) -> Cases:
    """Returns whether sampled shots resemble the filmed shot of their own prompt more than the others.

    For each sampled shot all filmed shots are ordered by the cosine of their features: "top-1" and "top-5" say whether
    its own is the first or among the first five, "rank" is its place from 1. Guessing gives 1/n, 5/n and (n + 1) / 2 of
    n filmed shots.

    Args:
        own: for each sampled shot the row of its own filmed shot.
        filmed: mean unit features of all filmed shots, float32 [n, D].
    """
    found: Cases = {"top-1": [], "top-5": [], "rank": []}
    for units, row in zip(seen.units, own, strict=True):
        alike = filmed @ units.mean(axis=0)
        rank = 1 + int((alike > alike[row]).sum())
        found["top-1"].append(float(rank == 1))
        found["top-5"].append(float(rank <= 5))
        found["rank"].append(float(rank))
    return found


def measure_frechet(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the Frechet distance of two sets of features [n, D] and [m, D], taken as normal distributions.

    It is |mean - mean'|^2 + tr(C + C' - 2 (C C')^(1/2)) (Heusel et al. 2017, arXiv 1706.08500). The trace of the root
    is the sum of the singular values of X X'^T / sqrt((n-1)(m-1)) of the centred features, which is exact and needs no
    matrix [D, D]. With fewer samples than dimensions the distance of two sets of the *same* distribution is far above
    zero, and it falls as the sets grow: only sets of the same sizes may be compared.
    """
    means = [x.mean(axis=0, dtype=np.float64) for x in (one, other)]
    centred = [x - mean for x, mean in zip((one, other), means, strict=True)]
    scaled = [x / np.sqrt(max(len(x) - 1, 1)) for x in centred]
    spread = sum(float(np.square(x).sum()) for x in scaled)
    root = np.linalg.svd(scaled[0] @ scaled[1].T, compute_uv=False).sum()
    return float(np.square(means[0] - means[1]).sum() + spread - 2 * root)


def measure_bias(filmed: Mapping[str, SeenShots], *, seed: int = 0) -> float | None:
    """Returns the Frechet distance between two random halves of the filmed shots: what no model can be asked to beat.

    Returns None for fewer than four shots.
    """
    shots = [units for seen in filmed.values() for units in seen.units]
    if len(shots) < 4:
        return None
    order = np.random.default_rng(seed).permutation(len(shots))
    half = len(shots) // 2
    return measure_frechet(
        *(
            np.concatenate([shots[i] for i in part])
            for part in (order[:half], order[half : 2 * half])
        )
    )
