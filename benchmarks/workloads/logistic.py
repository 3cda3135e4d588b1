"""Logistic regression, 10000 points of 100 features: value and gradient of the mean loss with a ridge."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call

RIDGE = 1e-3


def inputs(points: int = 10_000, features: int = 100) -> tuple[Array, Array, Array, Array]:
    """Weights, intercept, features, labels."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((points, features)), rng.standard_normal(features) / 10
    y = (rng.random(points) < 1 / (1 + np.exp(-x @ w))).astype(np.float64)
    return rng.standard_normal(features) / 10, np.zeros(()), x, y


def tiny() -> tuple[Array, Array, Array, Array]:
    return inputs(50, 7)


def retape(given: Any) -> Call:
    return support.retape(retape_objective, given, (0, 1))


def retape_eager(given: Any) -> Call:
    return support.retape_eager(retape_objective, given, (0, 1))


def retape_objective(w: Any, b: Any, x: Any, y: Any) -> Any:
    import retape as rt

    z = x @ w + b
    return (rt.softplus(z) - y * z).mean() + RIDGE / 2 * (w * w).sum()


def jax(given: Any) -> Call:
    from jax.nn import softplus

    def objective(w: Any, b: Any, x: Any, y: Any) -> Any:
        z = x @ w + b
        return (softplus(z) - y * z).mean() + RIDGE / 2 * (w * w).sum()

    return support.jax(objective, given, (0, 1))


def torch(given: Any) -> Call:
    from torch.nn.functional import binary_cross_entropy_with_logits

    def objective(w: Any, b: Any, x: Any, y: Any) -> Any:
        return binary_cross_entropy_with_logits(x @ w + b, y) + RIDGE / 2 * (w * w).sum()

    return support.torch(objective, given, (0, 1))


def numpy(given: Any) -> Call:
    """The gradient by hand."""
    w, b, x, y = given

    def call() -> Any:
        z = x @ w + b
        residual = (1 / (1 + np.exp(-z)) - y) / len(y)
        value = (np.logaddexp(0, z) - y * z).mean() + RIDGE / 2 * (w @ w)
        return value, (residual @ x + RIDGE * w, residual.sum())

    return call


def pytensor(given: Any) -> Call:
    from pytensor import tensor

    def objective(w: Any, b: Any, x: Any, y: Any) -> Any:
        z = x @ w + b
        return (tensor.softplus(z) - y * z).mean() + RIDGE / 2 * (w * w).sum()

    return support.pytensor(objective, given, (0, 1))


def numba(given: Any) -> Call:
    """The gradient by hand; the products are BLAS's."""
    w, b, x, y = given
    njit, prange = support.numba()

    @njit
    def run(w, b, x, y):
        z, value = x @ w, 0.0
        residual = np.empty_like(z)
        for i in prange(z.size):
            s = z[i] + b
            e = np.exp(-abs(s))
            value += max(s, 0.0) + np.log1p(e) - y[i] * s
            residual[i] = ((1.0 if s > 0 else e) / (1.0 + e) - y[i]) / z.size
        return value / z.size + RIDGE / 2 * (w @ w), residual @ x + RIDGE * w, residual.sum()

    def call() -> Any:
        value, *gradients = run(w, float(b), x, y)
        return value, gradients

    return call
