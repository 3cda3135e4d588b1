"""10 000 times x = (x + x) / 2 for ten numbers, then their sum, value and gradient: what a long loop costs to build.

x doesn't change, but no implementation may know that.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call

WITHOUT = {"jax_unrolled": "XLA takes more than 100 s for 20 000 operations in a row",
           "torch_compile": "20 000 operations in a row are not compiled within minutes"}


def inputs(times: int = 10_000) -> tuple[int, Array]:
    return times, np.random.default_rng(0).standard_normal(10)


def tiny() -> tuple[int, Array]:
    return inputs(50)


def check(answer: Any) -> None:
    value, gradient = answer
    support.assert_close("value", value, inputs()[1].sum(), 1e-12)
    assert (np.asarray(gradient) == 1.0).all(), gradient


def objective(times: int) -> Any:
    """A Python loop."""
    def call(x: Any) -> Any:
        for _ in range(times):
            x = (x + x) / 2
        return x.sum()

    return call


def retape(given: Any) -> Call:
    return support.retape(objective(given[0]), given[1:])


def retape_eager(given: Any) -> Call:
    return support.retape_eager(objective(given[0]), given[1:])


def jax(given: Any) -> Call:
    from jax import lax

    def call(x: Any) -> Any:
        return lax.fori_loop(0, given[0], lambda _, x: (x + x) / 2, x).sum()

    return support.jax(call, given[1:])


def jax_unrolled(given: Any) -> Call:
    return support.jax(objective(given[0]), given[1:])


def torch(given: Any) -> Call:
    return support.torch(objective(given[0]), given[1:])
