"""`jacobi`, differentiated: the sum of both end states, and its gradient with respect to both start states."""

from __future__ import annotations

from typing import Any

from benchmarks import support
from benchmarks.stencils import jax_jacobi
from benchmarks.support import Call
from benchmarks.workloads.jacobi import function, inputs, tiny

__all__ = ["inputs", "jax", "numpy", "retape", "retape_eager", "tiny", "torch"]


def objective(iterate: Any) -> Any:
    def call(a: Any, b: Any) -> Any:
        a, b = iterate(a, b)
        return a.sum() + b.sum()

    return call


def retape(given: Any) -> Call:
    steps, *arrays = given
    return support.retape(objective(function(steps)), arrays, (0, 1))


def retape_eager(given: Any) -> Call:
    steps, *arrays = given
    return support.retape_eager(objective(function(steps)), arrays, (0, 1))


def jax(given: Any) -> Call:
    steps, *arrays = given
    return support.jax(objective(lambda a, b: jax_jacobi(a, b, steps)), arrays, (0, 1))


def torch(given: Any) -> Call:
    steps, *arrays = given
    return support.torch(objective(function(steps)), arrays, (0, 1))


def numpy(given: Any) -> Call:
    """The gradient by hand: the same iteration, transposed and backwards."""
    import numpy as np

    from benchmarks.stencils import jacobi

    steps, a, b = given

    def spread(target: Any, source: Any) -> None:
        """The transpose of writing means of `target`'s cells into `source`."""
        part = 0.2 * source[1:-1, 1:-1]
        source[1:-1, 1:-1] = 0
        for i, j in ((1, 1), (1, 0), (1, 2), (2, 1), (0, 1)):
            target[i:len(a) - 2 + i, j:len(a) - 2 + j] += part

    def call() -> Any:
        x, y = jacobi(a.copy(), b.copy(), steps)
        da, db = np.ones_like(a), np.ones_like(b)
        for _ in range(1, steps):
            spread(db, da)
            spread(da, db)
        return x.sum() + y.sum(), (da, db)

    return call
