"""A long short-term memory with diagonal weights (ADBench): 2 layers, 14 wide, 1024 characters: value and gradient.

1023 steps one after the other, of vectors of 14 numbers: the cost of an operation, not of its arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import SHARED, Array, Call, along, assert_close, expected

WITHOUT = {"jax_unrolled": "XLA takes more than 100 s for 1023 steps",
           "torch_compile": "1023 unrolled steps take minutes to compile"}
NAME = "lstm_l2_c1024.txt"


def drawn(layers: int = 2, characters: int = 1024, width: int = 14) -> tuple[Array, ...]:
    """Weights and biases (2 layers, 4 width), input and output rows (3, width), state (2 layers, width), bits."""
    rng = np.random.default_rng(0)
    return (rng.random((2 * layers, 4 * width)), rng.random((3, width)), rng.random((2 * layers, width)),
            (rng.random((characters, width)) < 0.5).astype(np.float64))


def inputs() -> tuple[Array, ...]:
    """ADBench's file; other numbers of the same shapes where it isn't at hand."""
    path = SHARED / "lstm" / NAME
    if not path.exists():
        return drawn()
    numbers = np.array(path.read_text(encoding="utf-8").split(), np.float64)
    l, c, b = map(int, numbers[:3])  # noqa: E741
    parts = np.split(numbers[3:], np.cumsum([8 * l * b, 3 * b, 2 * l * b]))
    return (parts[0].reshape(2 * l, 4 * b), parts[1].reshape(3, b), parts[2].reshape(2 * l, b), parts[3].reshape(c, b))


def tiny() -> tuple[Array, ...]:
    return drawn(2, 6, 3)


def check(answer: Any) -> None:
    value, (main, extra) = answer
    wanted = expected("adbench", f"lstm/{NAME}") if (SHARED / "lstm" / NAME).exists() else None
    if wanted is not None and main.size + extra.size == wanted["params"]:
        assert_close("value", value, wanted["F"])
        assert_close("the gradient along cos(i)", along(main, extra), wanted["dir"])


def layers(library: Any, state: Any, z: Any, main: Any) -> tuple[Any, Any]:
    """One step of all layers from `state`, a list of (hidden, cell): the new state and the output."""
    b, new = z.shape[0], []
    for i, (h, c) in enumerate(state):
        w, bias = main[2 * i], main[2 * i + 1]
        forget = library.sigmoid(z * w[:b] + bias[:b])
        ingate = library.sigmoid(h * w[b:2 * b] + bias[b:2 * b])
        outgate = library.sigmoid(z * w[2 * b:3 * b] + bias[2 * b:3 * b])
        change = library.tanh(h * w[3 * b:] + bias[3 * b:])
        c = c * forget + ingate * change
        z = outgate * library.tanh(c)
        new.append((z, c))
    return new, z


def objective(library: Any) -> Any:
    """A Python loop."""
    def call(main: Any, extra: Any, start: Any, bits: Any) -> Any:
        state = [(start[2 * i], start[2 * i + 1]) for i in range(start.shape[0] // 2)]
        total = 0.0
        for t in range(bits.shape[0] - 1):
            state, z = layers(library, state, bits[t] * extra[0], main)
            y = z * extra[1] + extra[2]
            total = total + (bits[t + 1] * (y - library.log(2 + library.exp(y).sum()))).sum()
        return -total / ((bits.shape[0] - 1) * bits.shape[1])

    return call


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape(objective(rt), given, (0, 1))


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager(objective(rt), given, (0, 1))


def jax_names() -> Any:
    """JAX has its sigmoid elsewhere."""
    import jax as library
    import jax.numpy as jnp

    class Names:
        sigmoid, tanh, log, exp = library.nn.sigmoid, jnp.tanh, jnp.log, jnp.exp

    return Names


def jax_unrolled(given: Any) -> Call:
    return support.jax(objective(jax_names()), given, (0, 1))


def jax(given: Any) -> Call:
    """The loop carries the state alone; outputs are treated at once after it."""
    import jax as library
    import jax.numpy as jnp

    Names = jax_names()

    def call(main: Any, extra: Any, start: Any, bits: Any) -> Any:
        state = [(start[2 * i], start[2 * i + 1]) for i in range(start.shape[0] // 2)]
        _, z = library.lax.scan(lambda s, z: layers(Names, s, z, main), state, bits[:-1] * extra[0])
        y = z * extra[1] + extra[2]
        return -(bits[1:] * (y - jnp.log(2 + jnp.exp(y).sum(1, keepdims=True)))).sum() / bits[1:].size

    return support.jax(call, given, (0, 1))


def torch(given: Any) -> Call:
    import torch as library

    return support.torch(objective(library), given, (0, 1))
