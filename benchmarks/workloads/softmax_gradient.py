"""Value and gradient of the sum of squares of a row-wise softmax, 512 x 4096 floats."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Call
from benchmarks.workloads.softmax import TOLERANCE, inputs, tiny

__all__ = ["TOLERANCE", "inputs", "jax", "numpy", "pytensor", "retape", "retape_eager", "tiny", "torch"]


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape(lambda x: (rt.softmax(x, 1) ** 2).sum(), (given,))


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager(lambda x: (rt.softmax(x, 1) ** 2).sum(), (given,))


def jax(given: Any) -> Call:
    import jax as library

    return support.jax(lambda x: (library.nn.softmax(x, axis=1) ** 2).sum(), (given,))


def torch(given: Any) -> Call:
    import torch as library

    return support.torch(lambda x: (library.softmax(x, 1) ** 2).sum(), (given,))


def numpy(given: Any) -> Call:
    """The gradient by hand."""
    def call() -> Any:
        e = np.exp(given - given.max(1, keepdims=True))
        s = e / e.sum(1, keepdims=True)
        squares = s * s
        return squares.sum(), 2 * (squares - s * squares.sum(1, keepdims=True))

    return call


def pytensor(given: Any) -> Call:
    from pytensor import tensor

    return support.pytensor(lambda x: (tensor.special.softmax(x, axis=1) ** 2).sum(), (given,))
