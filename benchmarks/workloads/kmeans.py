"""The cost of k-means, sum over points of the least squared distance to a centre, and its gradient (GradBench).

10 000 points in R^8, 100 centres; distances by way of one matrix product, in every library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import SEED, Array, Call, assert_close, expected


def inputs(centres: int = 100, points: int = 10_000, dims: int = 8) -> tuple[Array, Array]:
    """Centres, points."""
    np.random.seed(SEED)
    p = np.random.random((points, dims))
    return p[-centres:].copy(), p


def tiny() -> tuple[Array, Array]:
    return inputs(10, 1000)


def check(answer: Any) -> None:
    value, gradient = answer
    wanted = expected("gradbench", "kmeans/k10_n1000_d8") if gradient.shape == (10, 8) else None
    if wanted is not None:
        assert_close("value", value, wanted["cost"])
        assert_close("sum of the gradient", gradient.sum(), wanted["grad_sum"])


def objective(least: Callable[..., Any]) -> Callable[..., Any]:
    def call(c: Any, p: Any) -> Any:
        return (least((c * c).sum(1) - 2 * (p @ c.T)) + (p * p).sum(1)).sum()

    return call


def retape(given: Any) -> Call:
    return support.retape(objective(lambda x: x.amin(1)), given)


def retape_eager(given: Any) -> Call:
    return support.retape_eager(objective(lambda x: x.amin(1)), given)


def jax(given: Any) -> Call:
    return support.jax(objective(lambda x: x.min(axis=1)), given)


def torch(given: Any) -> Call:
    return support.torch(objective(lambda x: x.min(1).values), given)


def numpy(given: Any) -> Call:
    """The gradient by hand: each centre against the sum of its points."""
    c, p = given

    def call() -> Any:
        distances = (c * c).sum(1) - 2 * (p @ c.T)
        nearest = distances.argmin(1)
        value = (distances[np.arange(len(p)), nearest] + (p * p).sum(1)).sum()
        sums = np.stack([np.bincount(nearest, p[:, i], len(c)) for i in range(p.shape[1])], 1)
        return value, 2 * (np.bincount(nearest, minlength=len(c))[:, None] * c - sums)

    return call


def numba(given: Any) -> Call:
    """The gradient by hand, point by point."""
    c, p = given
    njit, prange = support.numba()

    @njit
    def run(c, p):
        nearest, value = np.empty(len(p), np.int64), 0.0
        for i in prange(len(p)):
            best, where = np.inf, 0
            for j in range(len(c)):
                distance = 0.0
                for k in range(c.shape[1]):
                    distance += (p[i, k] - c[j, k]) ** 2
                if distance < best:
                    best, where = distance, j
            value += best
            nearest[i] = where
        gradient = np.zeros_like(c)
        for i in range(len(p)):
            for k in range(c.shape[1]):
                gradient[nearest[i], k] += 2.0 * (c[nearest[i], k] - p[i, k])
        return value, gradient

    return lambda: run(c, p)
