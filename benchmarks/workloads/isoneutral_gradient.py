"""Isoneutral mixing, differentiated: all outputs of `isoneutral`, weighted by sin(index + 1) and summed.

Value and gradient with respect to temperature, salinity and K_iso.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import Array, Call
from benchmarks.workloads import isoneutral
from benchmarks.workloads.isoneutral import jax_mixing, retape_mixing, torch_mixing

OUTPUTS = len(isoneutral.NAMES)


def inputs(size: int = 65536) -> tuple[Array, ...]:
    """Those of `isoneutral`, and the weights of the outputs."""
    given = isoneutral.inputs(size)
    shapes = [given[0].shape] * 3 + [(*given[0].shape, 2, 2)] * 4
    return (*given, *(np.sin(np.arange(1, np.prod(shape) + 1.0)).reshape(shape) for shape in shapes))


def tiny() -> tuple[Array, ...]:
    return inputs(4096)


def objective(mixing: Any) -> Any:
    def call(*given: Any) -> Any:
        parts = mixing(*given[:-OUTPUTS])
        return sum((part * weight).sum() for part, weight in zip(parts, given[-OUTPUTS:], strict=True))

    return call


def retape(given: Any) -> Call:
    return support.retape(objective(retape_mixing()), given, (0, 1, 2))


def retape_eager(given: Any) -> Call:
    return support.retape_eager(objective(retape_mixing()), given, (0, 1, 2))


def jax(given: Any) -> Call:
    return support.jax(objective(jax_mixing()), given, (0, 1, 2))


def torch(given: Any) -> Call:
    return support.torch(objective(torch_mixing()), given, (0, 1, 2))
