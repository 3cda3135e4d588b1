"""Bundle adjustment (ADBench): residuals and their sparse Jacobian, blocks of 2 x 15 numbers for 31 843 observations.

An observation's errors depend on its own camera, point and weight alone, so two reverse sweeps give all blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call
from benchmarks.workloads import bundle
from benchmarks.workloads.bundle import residuals, tiny

__all__ = ["inputs", "jax", "retape", "retape_eager", "tiny", "torch"]


def inputs(noise: float = 1e-3) -> tuple[Array, ...]:
    return bundle.inputs(noise=noise)


def jacobian(errors: Any, cat: Any, stack: Any, pull_back: Any, ones: Any) -> Any:
    """Errors (P, 2), weight errors (P,), blocks (P, 2, 15), derivatives of the weight errors (P,)."""
    def call(cameras: Any, points: Any, w: Any, m: Any, ci: Any, xi: Any) -> Any:
        (e0, e1), pull = pull_back(lambda c, x, w: errors(c, x, w, m), cameras[ci], points[xi], w)
        one, rows = ones(w), []
        for ct in ((one, one * 0), (one * 0, one)):
            dc, dx, dw = pull(ct)
            rows.append(cat([dc, dx, dw[:, None]], 1))
        return stack([e0, e1], 1), 1 - w * w, stack(rows, 1), -2 * w

    return call


def retape_jacobian() -> Any:
    import retape as rt

    return jacobian(residuals(rt), rt.cat, rt.stack, rt.func.vjp, rt.ones_like)


def retape(given: Any) -> Call:
    return support.retape_forward(retape_jacobian(), given)


def retape_eager(given: Any) -> Call:
    import retape as rt

    arguments, call = [rt.from_numpy(a) for a in given], retape_jacobian()
    return lambda: [part.numpy() for part in call(*arguments)]


def jax(given: Any) -> Call:
    import jax as library
    import jax.numpy as jnp

    return support.jax_forward(jacobian(residuals(jnp), jnp.concatenate, jnp.stack, library.vjp, jnp.ones_like), given)


def torch(given: Any) -> Call:
    import torch as library

    arguments = [library.tensor(np.asarray(a)) for a in given]
    call = support.torch_function(jacobian(residuals(library), library.cat, library.stack, library.func.vjp,
                                           library.ones_like))
    return lambda: [part.numpy() for part in call(*arguments)]
