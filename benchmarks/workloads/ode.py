"""Runge-Kutta over y' = (x_0, x_1 y_0, x_2 y_1, ...), 100 steps, 1000 variables: sum of the end state and its gradient.

GradBench's workload, but for the loss: the gradient of the last component, which GradBench takes, is 0 at this size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import SEED, Call, along, assert_close, expected

WITHOUT = {"jax_unrolled": "XLA takes more than 100 s for 100 steps",
           "torch_compile": "100 unrolled steps take minutes to compile"}


def inputs(size: int = 1000, steps: int = 100) -> tuple[Any, ...]:
    """Number of steps, rates, the number 1 that stands before the state, the first state."""
    np.random.seed(SEED)
    return steps, np.random.random(size), np.ones(1), np.zeros(size)


def tiny() -> tuple[Any, ...]:
    return inputs(30, 5)


def check(answer: Any) -> None:
    value, gradient = answer
    wanted = expected("gradbench", "ode/n1000_s100") if len(gradient) == 1000 else None
    if wanted is not None:
        assert_close("value", value, wanted["y_sum"])
        assert_close("the gradient along cos(i)", along(gradient), wanted["jvp_sum(dir=cos i)"])


def step(concatenate: Callable[..., Any], y: Any, x: Any, one: Any, h: float) -> Any:
    def f(y: Any) -> Any:
        return x * concatenate([one, y[:-1]])

    k1 = f(y)
    k2 = f(y + h / 2 * k1)
    k3 = f(y + h / 2 * k2)
    k4 = f(y + h * k3)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def objective(concatenate: Callable[..., Any], steps: int) -> Callable[..., Any]:
    """A Python loop."""
    def call(x: Any, one: Any, y: Any) -> Any:
        for _ in range(steps):
            y = step(concatenate, y, x, one, 2 / steps)
        return y.sum()

    return call


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape(objective(rt.cat, given[0]), given[1:])


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager(objective(rt.cat, given[0]), given[1:])


def jax(given: Any) -> Call:
    import jax.numpy as jnp
    from jax import lax

    steps, *arrays = given

    def call(x: Any, one: Any, y: Any) -> Any:
        y, _ = lax.scan(lambda y, _: (step(jnp.concatenate, y, x, one, 2 / steps), None), y, length=steps)
        return y.sum()

    return support.jax(call, arrays)


def jax_unrolled(given: Any) -> Call:
    import jax.numpy as jnp

    return support.jax(objective(jnp.concatenate, given[0]), given[1:])


def torch(given: Any) -> Call:
    import torch as library

    return support.torch(objective(library.cat, given[0]), given[1:])


def numba(given: Any) -> Call:
    """The gradient by hand: states are kept, the stages of a step are computed again on the way back."""
    steps, x, _, start = given
    njit, _ = support.numba()

    @njit
    def stage(x, y, k, scale, out):
        """out = f(y + scale k)."""
        out[0] = x[0]
        for i in range(1, len(x)):
            out[i] = x[i] * (y[i - 1] + scale * k[i - 1])

    @njit
    def pull(x, y, k, scale, ct, dx, dy, dk):
        """Add the transpose of `stage` applied to ct."""
        dx[0] += ct[0]
        for i in range(1, len(x)):
            dx[i] += ct[i] * (y[i - 1] + scale * k[i - 1])
            dy[i - 1] += ct[i] * x[i]
            dk[i - 1] += ct[i] * x[i] * scale

    @njit
    def run(x, start, steps, h):
        n = len(x)
        ys, k, d = np.zeros((steps + 1, n)), np.zeros((4, n)), np.zeros((4, n))
        nothing, unused = np.zeros(n), np.zeros(n)
        ys[0] = start
        for t in range(steps):
            stage(x, ys[t], nothing, 0.0, k[0])
            stage(x, ys[t], k[0], h / 2, k[1])
            stage(x, ys[t], k[1], h / 2, k[2])
            stage(x, ys[t], k[2], h, k[3])
            for i in range(n):
                ys[t + 1, i] = ys[t, i] + h / 6 * (k[0, i] + 2 * k[1, i] + 2 * k[2, i] + k[3, i])
        dx, dy = np.zeros(n), np.ones(n)
        for t in range(steps - 1, -1, -1):
            stage(x, ys[t], nothing, 0.0, k[0])
            stage(x, ys[t], k[0], h / 2, k[1])
            stage(x, ys[t], k[1], h / 2, k[2])
            for i in range(n):
                d[0, i] = d[3, i] = h / 6 * dy[i]
                d[1, i] = d[2, i] = h / 3 * dy[i]
            pull(x, ys[t], k[2], h, d[3], dx, dy, d[2])
            pull(x, ys[t], k[1], h / 2, d[2], dx, dy, d[1])
            pull(x, ys[t], k[0], h / 2, d[1], dx, dy, d[0])
            pull(x, ys[t], nothing, 0.0, d[0], dx, dy, unused)
        return ys[steps].sum(), dx

    return lambda: run(x, start, steps, 2 / steps)
