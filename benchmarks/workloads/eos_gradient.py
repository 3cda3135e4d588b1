"""The equation of state of sea water by differentiation: the sum of the dynamic enthalpy, and its gradient.

The enthalpy of a cell depends on that cell's temperature alone, so the gradient is what `eos_forward` writes by hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Call, assert_close, expected
from benchmarks.workloads import eos_forward
from benchmarks.workloads.eos_forward import derivative, inputs, polynomials, tiny

__all__ = ["check", "inputs", "jax", "numpy", "retape", "retape_eager", "tiny", "torch"]


def check(answer: Any) -> None:
    value, gradient = answer
    eos_forward.check(np.asarray(gradient))
    wanted = expected("pyhpc", "equation_of_state/65536") if gradient.size == 81 * 81 * 11 else None
    if wanted is not None:
        assert_close("value", value, wanted["sum_H"])


def enthalpy(library: Any) -> Any:
    def call(sa: Any, t: Any, p: Any) -> Any:
        a, b, c, d0, d1, d2, d3 = polynomials(sa, t, library.sqrt(sa))
        g2 = d2 - 2 * b * d3 / a
        e1 = d1 - c * d3 / a - 2 * b * g2 / a
        e0 = d0 - c * g2 / a
        r = library.sqrt(b * b - a * c)
        return 1e4 * (d3 * p * p / (2 * a) + g2 * p / a + e1 / (2 * a) * library.log((c + p * (2 * b + a * p)) / c)
                      + (e0 * a - e1 * b) / (2 * a * r)
                      * library.log(1 + 2 * a * p * r / ((b - r) * (b + r + a * p))))

    return call


def objective(library: Any) -> Any:
    function = enthalpy(library)
    return lambda t, sa, p: function(sa, t, p).sum()


def ordered(given: Any) -> Any:
    """Temperature first: the gradient is with respect to it."""
    return given[1], given[0], given[2]


def retape(given: Any) -> Call:
    import retape as rt

    return support.retape(objective(rt), ordered(given))


def retape_eager(given: Any) -> Call:
    import retape as rt

    return support.retape_eager(objective(rt), ordered(given))


def jax(given: Any) -> Call:
    import jax.numpy as jnp

    return support.jax(objective(jnp), ordered(given))


def torch(given: Any) -> Call:
    import torch as library

    return support.torch(objective(library), ordered(given))


def numpy(given: Any) -> Call:
    """The gradient by hand."""
    value, gradient = enthalpy(np), derivative(np)
    return lambda: (value(*given).sum(), gradient(*given))
