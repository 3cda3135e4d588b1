"""log(sum(exp(x))) of 160 000 numbers, written out of max, exp and sum: value and gradient (GradBench)."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import SEED, Array, Call, assert_close, expected

SIZE, TINY = 160_000, 2500


def inputs(size: int = SIZE) -> Array:
    np.random.seed(SEED)
    return np.random.random(size)


def tiny() -> Array:
    return inputs(TINY)


def check(answer: Any) -> None:
    value, gradient = answer
    wanted = expected("gradbench", f"lse/n{len(gradient)}")
    if wanted is not None:
        assert_close("value", value, wanted["F"])
        assert_close("largest of the gradient", max(gradient) / wanted["grad_max"], 1.0)
        assert_close("sum of the gradient", gradient.sum(), wanted["grad_sum"])


def objective(library: Any) -> Any:
    def call(x: Any) -> Any:
        largest = x.max()
        return largest + library.log(library.exp(x - largest).sum())

    return call


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape(objective(rt), (given,))


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager(objective(rt), (given,))


def jax(given: Any) -> Call:
    import jax.numpy as jnp

    return support.jax(objective(jnp), (given,))


def torch(given: Any) -> Call:
    import torch as library

    return support.torch(objective(library), (given,))


def numpy(given: Any) -> Call:
    """The gradient by hand."""
    def call() -> Any:
        largest = given.max()
        e = np.exp(given - largest)
        total = e.sum()
        return largest + np.log(total), e / total

    return call


def pytensor(given: Any) -> Call:
    from pytensor import tensor

    return support.pytensor(objective(tensor), (given,))


def numba(given: Any) -> Call:
    """The gradient by hand."""
    njit, prange = support.numba()

    @njit
    def run(x):
        largest, total, gradient = x.max(), 0.0, np.empty_like(x)
        for i in prange(x.size):
            gradient[i] = np.exp(x[i] - largest)
            total += gradient[i]
        scale = 1.0 / total
        for i in prange(x.size):
            gradient[i] *= scale
        return largest + np.log(total), gradient

    return lambda: run(given)
