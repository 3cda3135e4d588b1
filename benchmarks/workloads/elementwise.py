"""Value and gradient of sum(tanh(x * w + 1) * exp(-x * x)) with respect to x, for a million doubles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[[], Any]
SIZE = 1_000_000


def inputs() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return rng.standard_normal(SIZE), rng.standard_normal(SIZE)


def retape(given: Any) -> Call:
    import retape as rt

    x, w = given
    call = rt.compile(rt.func.value_and_grad(lambda x, w: (rt.tanh(x * w + 1) * rt.exp(-x * x)).sum()))
    return lambda: call(x, w)


def retape_eager(given: Any) -> Call:
    import retape as rt

    x, w = given
    call = rt.func.value_and_grad(lambda x, w: (rt.tanh(x * w + 1) * rt.exp(-x * x)).sum())
    return lambda: call(x, w)


def jax(given: Any) -> Call:
    import jax as library
    import jax.numpy as jnp

    library.config.update("jax_enable_x64", True)
    x, w = map(jnp.array, given)
    call = library.jit(library.value_and_grad(lambda x, w: (jnp.tanh(x * w + 1) * jnp.exp(-x * x)).sum()))
    return lambda: library.block_until_ready(call(x, w))


def torch(given: Any) -> Call:
    import torch as library

    x, w = library.tensor(given[0], requires_grad=True), library.tensor(given[1])

    def call() -> Any:
        value = (library.tanh(x * w + 1) * library.exp(-x * x)).sum()
        (gradient,) = library.autograd.grad(value, x)
        return value.detach().numpy(), gradient.numpy()

    return call


def numpy(given: Any) -> Call:
    """The gradient by hand."""
    x, w = given

    def call() -> Any:
        t, e = np.tanh(x * w + 1), np.exp(-x * x)
        return (t * e).sum(), (1 - t * t) * w * e - 2 * x * t * e

    return call
