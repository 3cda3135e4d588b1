"""Value and gradient of x ** 2 at a Python float: the cost of a call."""

from __future__ import annotations

from typing import Any

from benchmarks import support
from benchmarks.support import Call


def inputs() -> float:
    return 3.0


tiny = inputs


def objective(x: Any) -> Any:
    return x**2


def check(answer: Any) -> None:
    assert (float(answer[0]), float(answer[1])) == (9.0, 6.0), answer


def retape(given: Any) -> Call:
    return support.retape(objective, (given,))


def retape_eager(given: Any) -> Call:
    return support.retape_eager(objective, (given,))


def jax(given: Any) -> Call:
    import jax as library

    library.config.update("jax_enable_x64", True)
    call = library.jit(library.value_and_grad(objective))
    return lambda: library.block_until_ready(call(given))


def torch(given: Any) -> Call:
    return support.torch(objective, (given,))
