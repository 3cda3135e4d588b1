"""Jacobi iteration on a 150 x 150 grid (NPBench, jacobi_2d), 49 times there and back, forward.

The start is random: NPBench's is so nearly stationary that doing nothing would almost pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.stencils import jacobi, jax_jacobi
from benchmarks.support import Array, Call


def inputs(steps: int = 50, size: int = 150) -> tuple[int, Array, Array]:
    rng = np.random.default_rng(42)
    return steps, rng.random((size, size)), rng.random((size, size))


def tiny() -> tuple[int, Array, Array]:
    return inputs(4, 9)


def function(steps: int) -> Any:
    """Of copies, since arguments may not change."""
    return lambda a, b: jacobi(a.clone(), b.clone(), steps)


def retape(given: Any) -> Call:
    steps, *arrays = given
    return support.retape_forward(function(steps), arrays)


def retape_eager(given: Any) -> Call:
    import retape as rt

    steps, *arrays = given
    a, b = map(rt.from_numpy, arrays)
    return lambda: [part.numpy() for part in function(steps)(a, b)]


def jax(given: Any) -> Call:
    steps, *arrays = given
    return support.jax_forward(lambda a, b: jax_jacobi(a, b, steps), arrays)


def torch(given: Any) -> Call:
    import torch as library

    steps, *arrays = given
    (a, b), call = map(library.tensor, arrays), support.torch_function(function(steps))
    return lambda: [part.numpy() for part in call(a, b)]


def numpy(given: Any) -> Call:
    steps, a, b = given
    return lambda: jacobi(a.copy(), b.copy(), steps)


def numba(given: Any) -> Call:
    steps, a, b = given
    njit, prange = support.numba()

    @njit
    def mean(x, out):
        for i in prange(1, x.shape[0] - 1):
            for j in range(1, x.shape[1] - 1):
                out[i, j] = 0.2 * (x[i, j] + x[i, j - 1] + x[i, j + 1] + x[i + 1, j] + x[i - 1, j])

    @njit
    def run(a, b, steps):
        a, b = a.copy(), b.copy()
        for _ in range(1, steps):
            mean(a, b)
            mean(b, a)
        return a, b

    return lambda: run(a, b, steps)
