"""exp of a thousand doubles, NumPy in and NumPy out: a call with a little work in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call


def inputs() -> Array:
    return np.random.default_rng(0).standard_normal(1000)


tiny = inputs


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape_forward(rt.exp, (given,))


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager_forward(rt.exp, (given,))


def jax(given: Any) -> Call:
    import jax as library

    library.config.update("jax_enable_x64", True)
    call = library.jit(library.numpy.exp)
    return lambda: library.block_until_ready(call(given))


def torch(given: Any) -> Call:
    import torch as library

    call = support.torch_function(lambda x: library.exp(x))
    return lambda: call(library.from_numpy(given)).numpy()


def numpy(given: Any) -> Call:
    return lambda: np.exp(given)


def pytensor(given: Any) -> Call:
    from pytensor import tensor

    return support.pytensor(tensor.exp, (given,), None)


def numba(given: Any) -> Call:
    njit, _ = support.numba()

    @njit
    def call(x):
        out = np.empty_like(x)
        for i in range(x.size):
            out[i] = np.exp(x[i])
        return out

    return lambda: call(given)
