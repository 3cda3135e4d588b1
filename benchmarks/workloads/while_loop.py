"""Newton's iteration for eight square roots as long as any is far off: a `while` loop on a value, forward only."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call

WITHOUT = {"jax_unrolled": "JAX doesn't trace a Python loop that looks at values"}


def inputs(size: int = 8) -> tuple[Array]:
    return (np.geomspace(1e-3, 1e6, size),)


def tiny() -> tuple[Array]:
    return inputs(2)


def check(answer: Any) -> None:
    support.assert_close("the sum of the roots", np.sum(answer), np.sqrt(inputs(len(answer))[0]).sum(), 1e-10)


def residual(x: Any, a: Any) -> Any:
    return abs(x * x - a).max() / a.max()


def roots(a: Any) -> Any:
    """A Python loop."""
    x = a + 1.0
    while residual(x, a) > 1e-14:
        x = 0.5 * (x + a / x)
    return x


def retape(given: Any) -> Call:
    return support.retape_forward(roots, given)


def retape_eager(given: Any) -> Call:
    return support.retape_eager_forward(roots, given)


def jax(given: Any) -> Call:
    from jax import lax

    def call(a: Any) -> Any:
        return lax.while_loop(lambda x: residual(x, a) > 1e-14, lambda x: 0.5 * (x + a / x), a + 1.0)

    return support.jax_forward(call, given)


def torch(given: Any) -> Call:
    return support.torch_forward(roots, given)


def numpy(given: Any) -> Call:
    return lambda: roots(*given)
