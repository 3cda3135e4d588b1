"""Isoneutral mixing of an ocean model (pyhpc-benchmarks), 81 x 81 x 11 cells, forward: shifted slices and writes.

The answer is K_11, K_22, K_33, Ai_ez, Ai_nz, Ai_bx, Ai_by; cells that aren't computed keep their input.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.ocean import mixing
from benchmarks.support import Array, Call, assert_close, expected

NAMES = ("K_11", "K_22", "K_33", "Ai_ez", "Ai_nz", "Ai_bx", "Ai_by")
ARGUMENTS = ("temp", "salt", "K_iso", "maskT", "maskU", "maskV", "maskW", "dxt", "dxu", "dyt", "dyu", "dzt", "dzw",
             "zt", "cost", "cosu", "K_11", "K_22", "K_33")


def inputs(size: int = 65536) -> tuple[Array, ...]:
    """In the order of ARGUMENTS; temperature and salinity are time level 0."""
    side = size ** (1 / 3)
    nx, nz = math.ceil(2 * side), math.ceil(0.25 * side)
    np.random.seed(17)
    g = {name: (np.random.rand(nx, nx, nz) < 0.8).astype(np.float64) for name in ("maskT", "maskU", "maskV", "maskW")}
    for names, *shape in (("dxt dxu dyt dyu", nx), ("dzt dzw zt", nz), ("cost cosu", nx),
                          ("K_iso K_11 K_22 K_33", nx, nx, nz), ("salt temp", nx, nx, nz, 3)):
        g.update({name: np.random.randn(*shape) for name in names.split()})
    g["temp"], g["salt"] = g["temp"][..., 0].copy(), g["salt"][..., 0].copy()
    return tuple(g[name] for name in ARGUMENTS)


def tiny() -> tuple[Array, ...]:
    return inputs(4096)


def check(answer: Any) -> None:
    size = {(32, 32, 4): 4096, (81, 81, 11): 65536}[answer[0].shape]
    wanted = expected("pyhpc", f"isoneutral_mixing/{size}")
    for name, part in zip(NAMES, answer if wanted else (), strict=bool(wanted)):
        assert_close(f"sum of {name}", part.sum(), wanted[name]["sum"])
        assert_close(f"sum of squares of {name}", (part**2).sum(), wanted[name]["sumsq"])


def written(copy: Callable[[Any], Any]) -> Callable[..., Any]:
    """`write` for arrays that can be changed."""
    def write(a: Any, *parts: Any) -> Any:
        a = copy(a)
        for index, value in parts:
            a[index] = value
        return a

    return write


def retape_mixing() -> Any:
    import retape as rt

    return mixing(rt, lambda parts: rt.cat(parts, -1), lambda shape: rt.zeros(*shape, dtype=rt.float64),
                  written(lambda a: rt.as_tensor(a).clone()))


def jax_mixing() -> Any:
    """Writes are slices of four stacked parts, much cheaper here than `.at[...].set`, which is a scatter."""
    import jax.numpy as jnp
    from jax import lax

    def write(a: Any, *parts: Any) -> Any:
        index, value = parts[0]
        if len(parts) > 1:  # in the order (kr, q)
            value = jnp.stack([part for _, part in parts], -1).reshape(*value.shape, 2, 2).swapaxes(-1, -2)
        starts = [getattr(i, "start", None) or 0 for i in index[:3]]
        return lax.dynamic_update_slice(a, value, starts + [0] * (a.ndim - len(starts)))

    return mixing(jnp, lambda parts: jnp.concatenate(parts, -1), jnp.zeros, write)


def torch_mixing() -> Any:
    import torch as library

    return mixing(library, lambda parts: library.cat(parts, -1),
                  lambda shape: library.zeros(shape, dtype=library.float64), written(library.clone))


def retape(given: Any) -> Call:
    return support.retape_forward(retape_mixing(), given)


def retape_eager(given: Any) -> Call:
    import retape as rt

    arguments, call = [rt.from_numpy(a) for a in given], retape_mixing()
    return lambda: [part.numpy() for part in call(*arguments)]


def jax(given: Any) -> Call:
    return support.jax_forward(jax_mixing(), given)


def torch(given: Any) -> Call:
    import torch as library

    arguments, call = [library.tensor(a) for a in given], support.torch_function(torch_mixing())
    return lambda: [part.numpy() for part in call(*arguments)]


def numpy(given: Any) -> Call:
    call = mixing(np, lambda parts: np.concatenate(parts, -1), np.zeros, written(np.copy))
    return lambda: call(*given)


def numba(given: Any) -> Call:
    """Cell by cell, by hand."""
    from benchmarks.ocean_loops import mixing

    call = mixing()
    return lambda: call(*given)
