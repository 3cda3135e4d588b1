"""Softmax of the rows of a 512 x 4096 array of floats, forward only."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.support import Array, Call

TOLERANCE = 1e-5


def inputs(rows: int = 512, columns: int = 4096) -> Array:
    return np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)


def tiny() -> Array:
    return inputs(6, 50)


def retape(given: Any) -> Call:
    import retape as rt

    call = rt.compile(lambda x: rt.softmax(x, 1))
    return lambda: call(given)


def retape_eager(given: Any) -> Call:
    import retape as rt

    x = rt.from_numpy(given)
    return lambda: rt.softmax(x, 1).numpy()


def jax(given: Any) -> Call:
    import jax as library

    x = library.numpy.array(given)
    call = library.jit(lambda x: library.nn.softmax(x, axis=1))
    return lambda: library.block_until_ready(call(x))


def torch(given: Any) -> Call:
    import torch as library

    x = library.tensor(given)
    return lambda: library.softmax(x, 1).numpy()


def numpy(given: Any) -> Call:
    def call() -> Any:
        e = np.exp(given - given.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    return call
