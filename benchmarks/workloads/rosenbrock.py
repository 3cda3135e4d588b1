"""Rosenbrock's function of 8 variables, value and gradient, NumPy in and NumPy out: what an optimiser calls."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call


def inputs() -> Array:
    return np.random.default_rng(0).standard_normal(8)


tiny = inputs


def objective(x: Any) -> Any:
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


def retape(given: Any) -> Call:
    return support.retape(objective, (given,))


def retape_eager(given: Any) -> Call:
    return support.retape_eager(objective, (given,))


def jax(given: Any) -> Call:
    """Results stay on the device, in jax's favour."""
    import jax as library

    library.config.update("jax_enable_x64", True)
    call = library.jit(library.value_and_grad(objective))
    return lambda: library.block_until_ready(call(given))


def torch(given: Any) -> Call:
    """With the conversions."""
    import torch as library

    function = support.torch_function(objective)

    def call() -> Any:
        x = library.from_numpy(given).requires_grad_()
        value = function(x)
        (gradient,) = library.autograd.grad(value, x)
        return value.item(), gradient.numpy()

    return call


def numpy(given: Any) -> Call:
    """The gradient by hand."""
    def call() -> Any:
        steep, flat = given[1:] - given[:-1] ** 2, 1 - given[:-1]
        gradient = np.zeros_like(given)
        gradient[1:] = 200 * steep
        gradient[:-1] -= 400 * steep * given[:-1] + 2 * flat
        return (100 * steep**2 + flat**2).sum(), gradient

    return call


def pytensor(given: Any) -> Call:
    return support.pytensor(objective, (given,))


def numba(given: Any) -> Call:
    """The gradient by hand."""
    njit, _ = support.numba()

    @njit
    def run(x):
        value, gradient = 0.0, np.zeros_like(x)
        for i in range(x.size - 1):
            steep, flat = x[i + 1] - x[i] * x[i], 1.0 - x[i]
            value += 100.0 * steep * steep + flat * flat
            gradient[i] -= 400.0 * steep * x[i] + 2.0 * flat
            gradient[i + 1] += 200.0 * steep
        return value, gradient

    return lambda: run(given)
