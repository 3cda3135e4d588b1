"""GradBench's `particle`, its objective at w = 0: a charge falls past two others until it is below the axis.

Its acceleration is the gradient of a potential, by differentiation inside the loop; how many steps there are depends on
the values. Forward only: JAX can't go backward through such a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call, assert_close, expected

WITHOUT = {"jax_unrolled": "JAX doesn't trace a Python loop that looks at values"}
STEP = 0.1


def inputs(height: float = 8.0, fall: float = 0.0) -> tuple[Array, Array, Array]:
    """The control, the first position, the first velocity."""
    return np.array(0.0), np.array([0.0, height]), np.array([0.75, -fall])


def tiny() -> tuple[Array, Array, Array]:
    """Lands close to where it begins."""
    return inputs(0.2, 0.5)


def check(answer: Any) -> None:
    wanted = expected("gradbench", "particle")
    if wanted is not None and float(answer) > 1:  # not the tiny one
        assert_close("F(0)", answer, wanted["F(0)"])


def charges(stack: Callable[..., Any], w: Any) -> tuple[Any, Any]:
    ten = w * 0.0 + 10.0
    return stack([ten, 10.0 - w]), stack([ten, w * 0.0])


def potential(x: Any, first: Any, second: Any) -> Any:
    return 1.0 / ((x - first) ** 2).sum() ** 0.5 + 1.0 / ((x - second) ** 2).sum() ** 0.5


def landing(stack: Callable[..., Any], slope: Callable[..., Any]) -> Callable[..., Any]:
    """A Python loop. `slope` is the gradient of the potential."""
    def call(w: Any, x: Any, v: Any) -> Any:
        first, second = charges(stack, w)
        while True:
            force = -slope(x, first, second)
            x = x + STEP * v
            if x[1] <= 0:
                return (x[0] - x[1] / v[1] * v[0]) ** 2
            v = v + STEP * force

    return call


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape_forward(landing(rt.stack, rt.func.grad(potential)), given)


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager_forward(landing(rt.stack, rt.func.grad(potential)), given)


def jax(given: Any) -> Call:
    import jax as library
    import jax.numpy as jnp

    def call(w: Any, x: Any, v: Any) -> Any:
        first, second = charges(jnp.stack, w)
        slope = library.grad(potential)

        def step(state: Any) -> Any:
            before, x, v = state
            v = v - STEP * slope(before, first, second)
            return x, x + STEP * v, v

        _, x, v = library.lax.while_loop(lambda state: state[1][1] > 0, step, (x, x + STEP * v, v))
        return (x[0] - x[1] / v[1] * v[0]) ** 2

    return support.jax_forward(call, given)


def torch(given: Any) -> Call:
    import torch as library

    return support.torch_forward(landing(library.stack, library.func.grad(potential)), given)
