"""The stencils of NPBench, in place as one writes them for NumPy; `seidel` and `jacobi` build on them."""

from __future__ import annotations

from typing import Any


def seidel(a: Any, steps: int, stack: Any) -> Any:
    """Gauss-Seidel means of 3 x 3 blocks, in place: a row's cells follow from each other and are written at once."""
    n = a.shape[0]
    for _ in range(steps - 1):
        for i in range(1, n - 1):
            plain = (a[i - 1, :-2] + a[i - 1, 1:-1] + a[i - 1, 2:] + a[i, 1:-1] + a[i, 2:]
                     + a[i + 1, :-2] + a[i + 1, 1:-1] + a[i + 1, 2:])
            cell, cells = a[i, 0], []
            for x in plain:
                cell = (x + cell) / 9
                cells.append(cell)
            a[i, 1:-1] = stack(cells)
    return a


def jacobi(a: Any, b: Any, steps: int) -> Any:
    """Means of five neighbours, from a to b and back, in place."""
    for _ in range(1, steps):
        b[1:-1, 1:-1] = 0.2 * (a[1:-1, 1:-1] + a[1:-1, :-2] + a[1:-1, 2:] + a[2:, 1:-1] + a[:-2, 1:-1])
        a[1:-1, 1:-1] = 0.2 * (b[1:-1, 1:-1] + b[1:-1, :-2] + b[1:-1, 2:] + b[2:, 1:-1] + b[:-2, 1:-1])
    return a, b


def jax_seidel(a: Any, steps: int) -> Any:
    """Rows one after the other; a row is a linear recurrence, run as a loop over its cells."""
    from jax import lax
    from jax import numpy as jnp

    def sweep(a: Any, _: Any) -> Any:
        def row(above: Any, own: Any) -> Any:
            old, below = own
            plain = (above[:-2] + above[1:-1] + above[2:] + old[1:-1] + old[2:]
                     + below[:-2] + below[1:-1] + below[2:])
            _, cells = lax.scan(lambda left, x: ((left + x) / 9,) * 2, old[0], plain)
            new = jnp.concatenate([old[:1], cells, old[-1:]])
            return new, new

        _, rows = lax.scan(row, a[0], (a[1:-1], a[2:]))
        return jnp.concatenate([a[:1], rows, a[-1:]]), None

    return lax.scan(sweep, a, length=steps - 1)[0]


def jax_jacobi(a: Any, b: Any, steps: int) -> Any:
    from jax import lax

    def mean(x: Any, old: Any) -> Any:
        return old.at[1:-1, 1:-1].set(0.2 * (x[1:-1, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:] + x[2:, 1:-1] + x[:-2, 1:-1]))

    def step(pair: Any, _: Any) -> Any:
        a, b = pair
        b = mean(a, b)
        return (mean(b, a), b), None

    return lax.scan(step, (a, b), length=steps - 1)[0]
