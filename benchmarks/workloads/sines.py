"""Value and gradient of 50 nested sines of a Python float."""

from __future__ import annotations

import math
from typing import Any

from benchmarks import support
from benchmarks.support import Call

DEPTH = 50


def inputs() -> float:
    return 0.7


tiny = inputs


def objective(library: Any) -> Any:
    def call(x: Any) -> Any:
        for _ in range(DEPTH):
            x = library.sin(x)
        return x

    return call


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape(objective(rt), (given,))


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager(objective(rt), (given,))


def jax(given: Any) -> Call:
    """The number is handed over at each call, as it is to retape."""
    import jax as library

    library.config.update("jax_enable_x64", True)
    call = library.jit(library.value_and_grad(objective(library.numpy)))
    return lambda: library.block_until_ready(call(given))


def torch(given: Any) -> Call:
    import torch as library

    return support.torch(objective(library), (library.tensor(given, dtype=library.float64),))


def numpy(given: Any) -> Call:
    """Plain Python."""
    def call() -> Any:
        x, slope = given, 1.0
        for _ in range(DEPTH):
            x, slope = math.sin(x), slope * math.cos(x)
        return x, slope

    return call
