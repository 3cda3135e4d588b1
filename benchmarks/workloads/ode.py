"""Runge-Kutta over y' = (x_0, x_1 y_0, x_2 y_1, ...), 10 steps, 1000 variables: sum of the end state and its gradient.

GradBench's workload, but for the loss: the gradient of the last component, which GradBench takes, is 0 at this size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import SEED, Array, Call, along, assert_close, expected

STEPS = 10


def inputs(size: int = 1000) -> tuple[Array, Array, Array]:
    """Rates, the number 1 that stands before the state, the first state."""
    np.random.seed(SEED)
    return np.random.random(size), np.ones(1), np.zeros(size)


def tiny() -> tuple[Array, Array, Array]:
    return inputs(30)


def check(answer: Any) -> None:
    value, gradient = answer
    wanted = expected("gradbench", f"ode/n1000_s{STEPS}") if len(gradient) == 1000 else None
    if wanted is not None:
        assert_close("value", value, wanted["y_sum"])
        assert_close("the gradient along cos(i)", along(gradient), wanted["jvp_sum(dir=cos i)"])


def step(concatenate: Callable[..., Any], y: Any, x: Any, one: Any) -> Any:
    h = 2 / STEPS

    def f(y: Any) -> Any:
        return x * concatenate([one, y[:-1]])

    k1 = f(y)
    k2 = f(y + h / 2 * k1)
    k3 = f(y + h / 2 * k2)
    k4 = f(y + h * k3)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def objective(concatenate: Callable[..., Any]) -> Callable[..., Any]:
    """A Python loop."""
    def call(x: Any, one: Any, y: Any) -> Any:
        for _ in range(STEPS):
            y = step(concatenate, y, x, one)
        return y.sum()

    return call


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape(objective(rt.cat), given)


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager(objective(rt.cat), given)


def jax(given: Any) -> Call:
    import jax.numpy as jnp
    from jax import lax

    def call(x: Any, one: Any, y: Any) -> Any:
        y, _ = lax.scan(lambda y, _: (step(jnp.concatenate, y, x, one), None), y, length=STEPS)
        return y.sum()

    return support.jax(call, given)


def jax_unrolled(given: Any) -> Call:
    import jax.numpy as jnp

    return support.jax(objective(jnp.concatenate), given)


def torch(given: Any) -> Call:
    import torch as library

    return support.torch(objective(library.cat), given)
