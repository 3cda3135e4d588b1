"""Where a mask holds: index arrays whose extent depends on values.

In a trace such an extent is a look at a value: what comes behind it has shapes that are known, as everywhere else.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from retape.ir import CATALOGUE, i64

from .apply import apply
from .state import state
from .tensor import Tensor, wrap

__all__ = ["coordinates_of", "extent_of", "places_of"]

PLACES, CAST, SUM, NE = (CATALOGUE[n] for n in ("places", "cast", "sum", "ne"))


def extent_of(total: Tensor) -> Any:
    """The number in an integer tensor without dims, as the extent of what is made next."""
    extent = int(total._data)
    return extent if state.tracer is None else state.tracer.look_at_extent(total, extent)


def places_of(x: Tensor) -> Tensor:
    """The indices into the flattened tensor of its elements that hold, or aren't 0, in order."""
    tracer = state.tracer
    if tracer is None:
        return wrap(np.flatnonzero(x._data))
    known = tracer.held.get(tracer.node_of(x))
    if known is not None:
        return known
    mask = x if x._data.dtype.kind == "b" else apply(NE, (x, 0))
    total = apply(SUM, (apply(CAST, (mask,), (i64,)),), (tuple(range(x.ndim)), False))
    found = apply(PLACES, (mask,), (extent_of(total),))
    tracer.held[tracer.node_of(x)] = found
    return found


def coordinates_of(x: Tensor) -> list[Any]:
    """For each dim of x one vector: where its elements that hold, or aren't 0, stand along it."""
    places, shape = places_of(x), x.shape
    if len(shape) == 1:
        return [places]
    found = []
    for dim, extent in enumerate(shape):
        inner = max(prod(shape[dim + 1 :]), 1)  # no element holds where an extent is 0
        along: Any = places if inner == 1 else apply(CATALOGUE["floor_divide"], (places, inner))
        found.append(along if dim == 0 else apply(CATALOGUE["remainder"], (along, max(extent, 1))))
    return found
