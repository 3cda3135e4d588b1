"""The recurrent network of HIPS autograd's benchmarks: 16 x 1024 floats, 50 times tanh(h W + b), and a binary loss.

Value and gradient with respect to W, b, Wo, bo: bound by matrix products.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call

TOLERANCE = 5e-4  # in float32 every implementation is about 1e-4 away from the answer in float64
STEPS = 50


def inputs(batch: int = 16, width: int = 1024) -> tuple[Array, ...]:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return (0.01 * rng.standard_normal(shape)).astype(np.float32)

    return (normal(width, width), normal(width), normal(width, 1), normal(1), normal(batch, width),
            (rng.random((batch, 1)) > 0.5).astype(np.float32))


def tiny() -> tuple[Array, ...]:
    return inputs(3, 8)


def objective(library: Any) -> Any:
    """A Python loop."""
    def call(w: Any, b: Any, wo: Any, bo: Any, x: Any, y: Any) -> Any:
        h = x
        for _ in range(STEPS):
            h = library.tanh(h @ w + b)
        logit = h @ wo + bo
        return -(y * logit - (logit + library.log(1 + library.exp(-logit)))).sum()

    return call


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape(objective(rt), given, (0, 1, 2, 3))


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager(objective(rt), given, (0, 1, 2, 3))


def jax(given: Any) -> Call:
    import jax.numpy as jnp
    from jax import lax

    def call(w: Any, b: Any, wo: Any, bo: Any, x: Any, y: Any) -> Any:
        h, _ = lax.scan(lambda h, _: (jnp.tanh(h @ w + b), None), x, length=STEPS)
        logit = h @ wo + bo
        return -(y * logit - (logit + jnp.log(1 + jnp.exp(-logit)))).sum()

    return support.jax(call, given, (0, 1, 2, 3))


def jax_unrolled(given: Any) -> Call:
    import jax.numpy as jnp

    return support.jax(objective(jnp), given, (0, 1, 2, 3))


def torch(given: Any) -> Call:
    import torch as library

    return support.torch(objective(library), given, (0, 1, 2, 3))
