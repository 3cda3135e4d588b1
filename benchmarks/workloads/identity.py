"""A function of ten numbers that returns its argument: nothing but the call, NumPy in."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call

WITHOUT = {"torch_compile": "a function without operations is not compiled"}


def inputs() -> Array:
    return np.random.default_rng(0).standard_normal(10)


tiny = inputs


def itself(x: Any) -> Any:
    return x


def retape(given: Any) -> Call:
    return support.retape_forward(itself, (given,))


def retape_eager(given: Any) -> Call:
    return support.retape_eager_forward(itself, (given,))


def jax(given: Any) -> Call:
    import jax as library

    library.config.update("jax_enable_x64", True)
    call = library.jit(itself)
    return lambda: library.block_until_ready(call(given))


def torch(given: Any) -> Call:
    import torch as library

    return lambda: itself(library.from_numpy(given)).numpy()


def numpy(given: Any) -> Call:
    return lambda: itself(given)
