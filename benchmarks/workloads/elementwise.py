"""Value and gradient of sum(tanh(x * w + 1) * exp(-x * x)) with respect to x, for a million doubles."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call


def inputs(size: int = 1_000_000) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.standard_normal(size), rng.standard_normal(size)


def tiny() -> tuple[Array, Array]:
    return inputs(1000)


def objective(library: Any) -> Any:
    return lambda x, w: (library.tanh(x * w + 1) * library.exp(-x * x)).sum()


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape(objective(rt), given)


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager(objective(rt), given)


def jax(given: Any) -> Call:
    import jax.numpy as jnp

    return support.jax(objective(jnp), given)


def torch(given: Any) -> Call:
    import torch as library

    return support.torch(objective(library), given)


def numpy(given: Any) -> Call:
    """The gradient by hand."""
    x, w = given

    def call() -> Any:
        t, e = np.tanh(x * w + 1), np.exp(-x * x)
        return (t * e).sum(), (1 - t * t) * w * e - 2 * x * t * e

    return call


def pytensor(given: Any) -> Call:
    from pytensor import tensor

    return support.pytensor(objective(tensor), given)


def numba(given: Any) -> Call:
    """The gradient by hand, in one loop."""
    x, w = given
    njit, prange = support.numba()

    @njit
    def run(x, w):
        value, gradient = 0.0, np.empty_like(x)
        for i in prange(x.size):
            t, e = np.tanh(x[i] * w[i] + 1), np.exp(-x[i] * x[i])
            value += t * e
            gradient[i] = (1 - t * t) * w[i] * e - 2 * x[i] * t * e
        return value, gradient

    return lambda: run(x, w)
