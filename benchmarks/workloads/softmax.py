"""Softmax of the rows of a 512 x 4096 array of floats, forward only."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call

TOLERANCE = 1e-5


def inputs(rows: int = 512, columns: int = 4096) -> Array:
    return np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)


def tiny() -> Array:
    return inputs(6, 50)


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape_forward(lambda x: rt.softmax(x, 1), (given,))


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager_forward(lambda x: rt.softmax(x, 1), (given,))


def jax(given: Any) -> Call:
    import jax as library

    return support.jax_forward(lambda x: library.nn.softmax(x, axis=1), (given,))


def torch(given: Any) -> Call:
    import torch as library

    return support.torch_forward(lambda x: library.softmax(x, 1), (given,))


def numpy(given: Any) -> Call:
    def call() -> Any:
        e = np.exp(given - given.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    return call


def pytensor(given: Any) -> Call:
    from pytensor import tensor

    return support.pytensor(lambda x: tensor.special.softmax(x, axis=1), (given,), None)


def numba(given: Any) -> Call:
    """A row after the other, in three passes."""
    njit, prange = support.numba()

    @njit
    def run(x):
        out = np.empty_like(x)
        for i in prange(x.shape[0]):
            largest, total = x[i].max(), np.float32(0)
            for j in range(x.shape[1]):
                out[i, j] = np.exp(x[i, j] - largest)
                total += out[i, j]
            scale = np.float32(1) / total
            for j in range(x.shape[1]):
                out[i, j] *= scale
        return out

    return lambda: run(given)
