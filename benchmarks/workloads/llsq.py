"""Linear least squares with 128 polynomial features, 1024 points: value and gradient (GradBench).

The powers come from running multiplication.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import SEED, Array, Call, assert_close, expected

FEATURES = 128


def inputs(points: int = 1024) -> tuple[Array, Array, Array]:
    """Coefficients, places, signs."""
    np.random.seed(SEED)
    t = -1 + 2 * np.arange(points) / (points - 1)
    return np.random.random(FEATURES), t, np.sign(t)


def tiny() -> tuple[Array, Array, Array]:
    return inputs(16)


def check(answer: Any) -> None:
    """The value tells which size this was."""
    value, gradient = answer
    wanted = expected("gradbench", f"llsq/n{16 if float(value) < 5000 else 1024}_m128")
    if wanted is not None:
        assert_close("value", value, wanted["F"])
        assert_close("sum of the gradient", gradient.sum(), wanted["grad_sum"])
        for i, number in enumerate(wanted["grad_first"]):
            assert_close(f"gradient[{i}]", gradient[i], number)


def loop(x: Any, t: Any, s: Any) -> Any:
    """A Python loop over the powers."""
    power, total = t * 0 + 1, t * 0
    for j in range(FEATURES):
        total = total + x[j] * power
        power = power * t
    return 0.5 * ((s - total) ** 2).sum()


def retape(given: Any) -> Call:
    return support.retape(loop, given)


def retape_eager(given: Any) -> Call:
    return support.retape_eager(loop, given)


def jax(given: Any) -> Call:
    """All powers at once, by a running product."""
    import jax.numpy as jnp

    def objective(x: Any, t: Any, s: Any) -> Any:
        powers = jnp.cumprod(jnp.concatenate([jnp.ones((1, t.size)), jnp.broadcast_to(t, (FEATURES - 1, t.size))]), 0)
        return 0.5 * ((s - x @ powers) ** 2).sum()

    return support.jax(objective, given)


def jax_unrolled(given: Any) -> Call:
    return support.jax(loop, given)


def torch(given: Any) -> Call:
    import torch as library

    def objective(x: Any, t: Any, s: Any) -> Any:
        return 0.5 * ((s - library.vander(t, FEATURES, increasing=True) @ x) ** 2).sum()

    return support.torch(objective, given)


def numpy(given: Any) -> Call:
    """The gradient by hand."""
    x, t, s = given

    def call() -> Any:
        powers = np.vander(t, FEATURES, increasing=True)
        residual = s - powers @ x
        return 0.5 * (residual @ residual), -residual @ powers

    return call


def numba(given: Any) -> Call:
    """The gradient by hand, with running powers of all points: no matrix is made."""
    njit, _ = support.numba()

    @njit
    def run(x, t, s):
        value, gradient = 0.0, np.zeros_like(x)
        powers = np.ones_like(t)
        total = np.zeros_like(t)
        for j in range(x.size):
            for i in range(t.size):
                total[i] += x[j] * powers[i]
                powers[i] *= t[i]
        for i in range(t.size):
            total[i] -= s[i]
            value += total[i] * total[i]
            powers[i] = 1.0
        for j in range(x.size):
            part = 0.0
            for i in range(t.size):
                part += total[i] * powers[i]
                powers[i] *= t[i]
            gradient[j] = part
        return 0.5 * value, gradient

    return lambda: run(*given)
