"""The van der Pol oscillator by Dormand and Prince's pair of orders 5 and 4 with step control, forward only.

Python looks at the time, and at whether a step is good enough. Coefficients: Dormand and Prince (1980), table 2; step
control: Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I", section II.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call

WITHOUT = {"jax_unrolled": "JAX doesn't trace a Python loop that looks at values"}
STAGES = ((1 / 5,), (3 / 40, 9 / 40), (44 / 45, -56 / 15, 32 / 9),
          (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
          (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
          (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84))
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
RELATIVE, ABSOLUTE = 1e-8, 1e-10


def inputs(end: float = 10.0) -> tuple[Array, Array]:
    """The state at time 0, and the time at the end."""
    return np.array([2.0, 0.0]), np.array(end)


def tiny() -> tuple[Array, Array]:
    return inputs(1.0)


def check(answer: Any) -> None:
    from scipy.integrate import solve_ivp

    end = float(np.asarray(answer)[2])
    known = solve_ivp(lambda _, y: [y[1], (1 - y[0] ** 2) * y[1] - y[0]], (0, end), [2.0, 0.0], "DOP853",
                      rtol=1e-12, atol=1e-12).y[:, -1]
    support.assert_close("x at the end", answer[0], known[0], 1e-6)
    support.assert_close("its derivative", answer[1], known[1], 1e-6)


def attempt(stack: Callable[..., Any], y: Any, h: Any) -> tuple[Any, Any]:
    """The state after a step of h, and the size of its error; above 1 it is too large."""
    slopes: list[Any] = []
    new = y
    for row in ((), *STAGES):
        new = y
        for factor, slope in zip(row, slopes, strict=True):
            if factor:
                new = new + (h * factor) * slope
        slopes.append(stack([new[1], (1.0 - new[0] * new[0]) * new[1] - new[0]]))
    error = h * sum(factor * slope for factor, slope in zip(ERROR, slopes, strict=True) if factor)
    scaled = error / (ABSOLUTE + RELATIVE * abs(new))
    return new, (scaled * scaled).mean() ** 0.5


def solution(stack: Callable[..., Any], clip: Callable[..., Any]) -> Callable[..., Any]:
    """Python loops: the state at the end and the time there."""
    def solve(y: Any, end: Any) -> Any:
        t, h = end * 0.0, end * 0.0 + 0.01
        while t < end:
            if t + h > end:
                h = end - t
            new, error = attempt(stack, y, h)
            if error <= 1.0:
                last = h >= end - t
                t, y = t + h, new
                if last:
                    t = end
            h = h * clip(0.9 * (error + 1e-12) ** -0.2, 0.2, 5.0)
        return stack([y[0], y[1], t])

    return solve


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape_forward(solution(rt.stack, rt.clip), given)


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager_forward(solution(rt.stack, rt.clip), given)


def jax(given: Any) -> Call:
    import jax.numpy as jnp
    from jax import lax

    def call(y: Any, end: Any) -> Any:
        def step(state: Any) -> Any:
            t, h, y = state
            h = jnp.where(t + h > end, end - t, h)
            new, error = attempt(jnp.stack, y, h)
            good, last = error <= 1.0, h >= end - t
            t = jnp.where(good, jnp.where(last, end, t + h), t)
            return t, h * jnp.clip(0.9 * (error + 1e-12) ** -0.2, 0.2, 5.0), jnp.where(good, new, y)

        t, _, y = lax.while_loop(lambda state: state[0] < end, step, (end * 0.0, end * 0.0 + 0.01, y))
        return jnp.stack([y[0], y[1], t])

    return support.jax_forward(call, given)


def torch(given: Any) -> Call:
    import torch as library

    return support.torch_forward(solution(library.stack, library.clip), given)


def numpy(given: Any) -> Call:
    return lambda: solution(np.stack, np.clip)(*given)
