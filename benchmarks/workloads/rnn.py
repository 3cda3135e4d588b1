"""A recurrent network, 100 steps, 64 wide, batch 32, in doubles: value and gradient.

All inputs are mapped in one product before the loop, as one would write it in any library.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call


def inputs(steps: int = 100, batch: int = 32, width: int = 64) -> tuple[Array, ...]:
    """Recurrent weights, input weights, bias; inputs (steps, batch, width), target."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((width, width)) / width**0.5, rng.standard_normal((width, width)) / width**0.5,
            rng.standard_normal(width) / 10, rng.standard_normal((steps, batch, width)),
            rng.standard_normal((batch, width)))


def tiny() -> tuple[Array, ...]:
    return inputs(4, 3, 5)


def objective(library: Any) -> Any:
    """A Python loop."""
    def call(w: Any, u: Any, b: Any, x: Any, y: Any) -> Any:
        steps, batch, width = x.shape
        mapped = (x.reshape(steps * batch, width) @ u + b).reshape(steps, batch, width)
        h = library.tanh(mapped[0])
        for t in range(1, steps):
            h = library.tanh(mapped[t] + h @ w)
        return ((h - y) ** 2).mean()

    return call


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape(objective(rt), given, (0, 1, 2))


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager(objective(rt), given, (0, 1, 2))


def jax(given: Any) -> Call:
    import jax.numpy as jnp
    from jax import lax

    def call(w: Any, u: Any, b: Any, x: Any, y: Any) -> Any:
        mapped = x @ u + b
        h, _ = lax.scan(lambda h, m: (jnp.tanh(m + h @ w), None), jnp.zeros_like(y), mapped)
        return ((h - y) ** 2).mean()

    return support.jax(call, given, (0, 1, 2))


def jax_unrolled(given: Any) -> Call:
    import jax.numpy as jnp

    return support.jax(objective(jnp), given, (0, 1, 2))


def torch(given: Any) -> Call:
    import torch as library

    return support.torch(objective(library), given, (0, 1, 2))
