"""A step of Adam on the eight small parameters of a net, in floats, gradients given: what is paid for a call.

The first call takes three steps, whose outcome is the answer; each later one takes one more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call

TOLERANCE = 1e-5
STEPS = 3
RATE, FIRST, SECOND, TINY = 1e-3, 0.9, 0.999, 1e-8


def inputs(width: int = 10, layers: int = 4) -> tuple[list[Array], list[Array]]:
    """Weights and biases, and their gradients."""
    rng = np.random.default_rng(0)
    shapes = [(width, width), (width,)] * layers
    parameters, gradients = ([rng.standard_normal(shape).astype(np.float32) for shape in shapes] for _ in range(2))
    return parameters, gradients


def tiny() -> tuple[list[Array], list[Array]]:
    return inputs(3, 2)


def _call(step: Callable[[], Any], now: Callable[[], list[Any]]) -> Call:
    """Step by step; the answer is what the parameters are (`now`) after the first steps."""
    known: list[Array] = []

    def call() -> list[Array]:
        step()
        if not known:
            for _ in range(STEPS - 1):
                step()
            known.extend(np.array(parameter) for parameter in now())
        return known

    return call


class Adam:
    """As one writes it by hand, over parameters of retape or NumPy."""

    def __init__(self, parameters: list[Any], like: Callable[[Any], Any], root: Callable[[Any], Any]) -> None:
        self.parameters, self.root, self.t, self.rate = parameters, root, 0, RATE
        self.means, self.squares = [like(p) for p in parameters], [like(p) for p in parameters]

    def step(self, gradients: list[Any]) -> None:
        self.t += 1
        mean_part, square_part = 1 - FIRST**self.t, 1 - SECOND**self.t
        for p, g, m, v in zip(self.parameters, gradients, self.means, self.squares, strict=True):
            m *= FIRST
            m += (1 - FIRST) * g
            v *= SECOND
            v += (1 - SECOND) * g * g
            p -= self.rate * (m / mean_part) / (self.root(v / square_part) + TINY)


def _retape(given: Any, compiled: bool) -> Call:
    import retape as rt

    parameters, gradients = ([rt.tensor(a) for a in arrays] for arrays in given)
    optimiser = Adam(parameters, rt.zeros_like, rt.sqrt)
    step = rt.compile(optimiser.step) if compiled else optimiser.step
    return _call(lambda: step(gradients), lambda: [p.numpy() for p in parameters])


def retape(given: Any) -> Call:
    return _retape(given, True)


def retape_eager(given: Any) -> Call:
    return _retape(given, False)


def jax(given: Any) -> Call:
    """A function from state to state, whose old buffers are donated."""
    import jax as library
    import jax.numpy as jnp

    def step(parameters: Any, means: Any, squares: Any, t: Any, gradients: Any) -> Any:
        t = t + 1
        means = [FIRST * m + (1 - FIRST) * g for m, g in zip(means, gradients, strict=True)]
        squares = [SECOND * v + (1 - SECOND) * g * g for v, g in zip(squares, gradients, strict=True)]
        mean_part, square_part = 1 - FIRST**t, 1 - SECOND**t
        parameters = [p - RATE * (m / mean_part) / (jnp.sqrt(v / square_part) + TINY)
                      for p, m, v in zip(parameters, means, squares, strict=True)]
        return parameters, means, squares, t

    call = library.jit(step, donate_argnums=(0, 1, 2, 3))
    parameters, gradients = ([jnp.array(a) for a in arrays] for arrays in given)
    state = [parameters, [jnp.zeros_like(p) for p in parameters], [jnp.zeros_like(p) for p in parameters],
             jnp.zeros(())]

    def run() -> None:
        state[:] = library.block_until_ready(call(*state, gradients))

    return _call(run, lambda: state[0])


def torch(given: Any) -> Call:
    """Its own Adam, fused."""
    import torch as library

    parameters, gradients = ([library.tensor(a) for a in arrays] for arrays in given)
    for p, g in zip(parameters, gradients, strict=True):
        p.requires_grad_().grad = g
    optimiser = library.optim.Adam(parameters, lr=RATE, betas=(FIRST, SECOND), eps=TINY, fused=True)
    return _call(support.torch_function(optimiser.step), lambda: [p.detach().numpy() for p in parameters])


def numpy(given: Any) -> Call:
    parameters, gradients = ([a.copy() for a in arrays] for arrays in given)
    optimiser = Adam(parameters, np.zeros_like, np.sqrt)
    return _call(lambda: optimiser.step(gradients), lambda: parameters)
