"""One training step of a perceptron 784-128-10 on 256 images, in floats: cross entropy, gradient, plain descent.

The answer is the loss and the new parameters.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call

TOLERANCE = 1e-5
RATE = 0.1


def inputs(batch: int = 256, features: int = 784, width: int = 128, classes: int = 10) -> tuple[Array, ...]:
    """Weights and biases of two layers, images, labels."""
    rng = np.random.default_rng(0)

    def normal(scale: float, *shape: int) -> Array:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    return (normal(features**-0.5, features, width), normal(0.1, width), normal(width**-0.5, width, classes),
            normal(0.1, classes), normal(1.0, batch, features), rng.integers(0, classes, batch))


def tiny() -> tuple[Array, ...]:
    return inputs(5, 8, 6, 3)


def retape_step() -> Any:
    import retape as rt

    def loss(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any) -> Any:
        return rt.cross_entropy(rt.relu(x @ w1 + b1) @ w2 + b2, y)

    def step(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any) -> Any:
        value, gradients = rt.func.value_and_grad(loss, argnums=(0, 1, 2, 3))(w1, b1, w2, b2, x, y)
        return value, tuple(p - RATE * g for p, g in zip((w1, b1, w2, b2), gradients, strict=True))

    return step


def retape(given: Any) -> Call:
    import retape as rt

    call = rt.compile(retape_step())
    return lambda: call(*given)


def retape_eager(given: Any) -> Call:
    step = retape_step()
    return lambda: step(*given)


def jax(given: Any) -> Call:
    import jax as library
    import jax.numpy as jnp

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        w1, b1, w2, b2 = parameters
        scores = library.nn.log_softmax(library.nn.relu(x @ w1 + b1) @ w2 + b2)
        return -jnp.take_along_axis(scores, y[:, None], axis=1).mean()

    @library.jit
    def step(parameters: Any, x: Any, y: Any) -> Any:
        value, gradients = library.value_and_grad(loss)(parameters, x, y)
        return value, library.tree.map(lambda p, g: p - RATE * g, parameters, gradients)

    *parameters, x, y = map(jnp.array, given)
    return lambda: library.block_until_ready(step(tuple(parameters), x, y))


def torch(given: Any) -> Call:
    import torch as library
    from torch.nn.functional import cross_entropy

    *parameters, x, y = map(library.tensor, given)
    for p in parameters:
        p.requires_grad_()

    @support.torch_function
    def loss(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any) -> Any:
        return cross_entropy(library.relu(x @ w1 + b1) @ w2 + b2, y)

    def call() -> Any:
        value = loss(*parameters, x, y)
        gradients = library.autograd.grad(value, parameters)
        with library.no_grad():
            return value.numpy(force=True), tuple(
                (p - RATE * g).numpy() for p, g in zip(parameters, gradients, strict=True))

    return call


def numpy(given: Any) -> Call:
    """The gradient by hand."""
    w1, b1, w2, b2, x, y = given
    rows = np.arange(len(y))

    def call() -> Any:
        h = np.maximum(x @ w1 + b1, 0)
        scores = h @ w2 + b2
        scores -= scores.max(1, keepdims=True)
        e = np.exp(scores)
        total = e.sum(1, keepdims=True)
        value = (np.log(total[:, 0]) - scores[rows, y]).mean()
        d = e / total
        d[rows, y] -= 1
        d /= np.float32(len(y))
        dh = (d @ w2.T) * (h > 0)
        rate = np.float32(RATE)
        return value, (w1 - rate * (x.T @ dh), b1 - rate * dh.sum(0), w2 - rate * (h.T @ d), b2 - rate * d.sum(0))

    return call
