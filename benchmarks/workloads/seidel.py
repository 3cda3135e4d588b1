"""Gauss-Seidel sweeps over a 50 x 50 grid (NPBench, seidel_2d), 7 times, forward: 16 128 cells one after the other.

Each row is sums of slices and then a recurrence over its cells. The start is random: NPBench's is a fixed
point.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.stencils import jax_seidel, seidel
from benchmarks.support import Array, Call

WITHOUT = {"torch_compile": "16 128 cells in a row are not compiled within minutes"}


def inputs(steps: int = 8, size: int = 50) -> tuple[int, Array]:
    return steps, np.random.default_rng(42).random((size, size))


def tiny() -> tuple[int, Array]:
    return inputs(3, 7)


def retape(given: Any) -> Call:
    import retape as rt

    steps, a = given
    return support.retape_forward(lambda a: seidel(a.clone(), steps, rt.stack), (a,))


def retape_eager(given: Any) -> Call:
    import retape as rt

    steps, a = given
    return support.retape_eager_forward(lambda a: seidel(a.clone(), steps, rt.stack), (a,))


def jax(given: Any) -> Call:
    steps, a = given
    return support.jax_forward(lambda a: jax_seidel(a, steps), (a,))


def torch(given: Any) -> Call:
    import torch as library

    steps, a = given
    return support.torch_forward(lambda a: seidel(a.clone(), steps, library.stack), (a,))


def numpy(given: Any) -> Call:
    steps, a = given
    return lambda: seidel(a.copy(), steps, np.array)


def numba(given: Any) -> Call:
    """Cell by cell; the order leaves nothing to share between cores."""
    steps, a = given
    njit, _ = support.numba()

    @njit
    def run(a, steps):
        a = a.copy()
        for _ in range(steps - 1):
            for i in range(1, a.shape[0] - 1):
                for j in range(1, a.shape[1] - 1):
                    a[i, j] = (a[i - 1, j - 1] + a[i - 1, j] + a[i - 1, j + 1] + a[i, j - 1] + a[i, j] + a[i, j + 1]
                               + a[i + 1, j - 1] + a[i + 1, j] + a[i + 1, j + 1]) / 9
        return a

    return lambda: run(a, steps)
