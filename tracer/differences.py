"""Differences, integrals and slopes of samples, and distances of points."""

from __future__ import annotations

from typing import Any

import numpy as np

from retape.ir.errors import InvalidOperands, ShapeError

from .creation import constant
from .numeric import where
from .shaping import cat, narrow
from .statistics import norm
from .tensor import Tensor
from .vocabulary import axis_of, composed, floating, primitive, refuse, tensor_of


@composed
def diff(input: Any, n: int = 1, dim: int = -1) -> Tensor:
    """Differences of neighbours along a dim, `n` times."""
    x = tensor_of(input)
    at = axis_of(dim, x)
    for _ in range(n):
        count = max(x.shape[at] - 1, 0)
        later, before = narrow(x, at, x.shape[at] - count, count), narrow(x, at, 0, count)
        x = primitive("ne", later, before) if x._data.dtype.kind == "b" else later - before
    return x


def _areas(y: Any, x: Any, dx: float, dim: int) -> tuple[Tensor, int]:
    """The areas between neighbouring samples, and the dim counted from the front."""
    values = tensor_of(y)
    at, count = axis_of(dim, values), values.shape[dim] - 1
    means = (narrow(values, at, 1, count) + narrow(values, at, 0, count)) / 2.0
    if x is None:
        return means * dx, at
    steps = diff(x, 1, -1 if tensor_of(x).ndim == 1 else at)
    if steps.ndim == 1:
        steps = steps.reshape((count,) + (1,) * (values.ndim - at - 1))
    return means * steps, at


@composed(method=False)
def trapezoid(y: Any, x: Any = None, *, dx: float = 1.0, dim: int = -1) -> Tensor:
    """The integral of samples by the trapezoidal rule."""
    areas, at = _areas(y, x, dx, dim)
    return primitive("sum", areas, axis=(at,), keepdims=False)


@composed(method=False)
def cumulative_trapezoid(y: Any, x: Any = None, *, dx: float = 1.0, dim: int = -1) -> Tensor:
    """The integral up to each sample but the first, by the trapezoidal rule."""
    areas, at = _areas(y, x, dx, dim)
    return primitive("cumsum", areas, axis=at)


def _slope(x: Tensor, at: int, spacing: Any, edge_order: int) -> Tensor:
    """Second-order differences inside, one-sided ones at the ends; `spacing` is a number or a vector of places."""
    count = x.shape[at]
    refuse(count < edge_order + 1, f"`gradient` along dim {at} of shape {x.shape}",
           f"it needs {edge_order + 1} samples or more", "give more samples", ShapeError)
    side = (-1, *(1,) * (x.ndim - at - 1))

    def take(first: int, number: int) -> Tensor:
        return narrow(x, at, first, number)

    def apart(first: int, number: int) -> Any:
        if not isinstance(spacing, Tensor):
            return spacing
        return diff(narrow(spacing, 0, first, number + 1)).reshape(side)

    low, high = (take(1, 1) - take(0, 1)) / apart(0, 1), (take(count - 1, 1) - take(count - 2, 1)) / apart(count - 2, 1)
    if count == 2:
        return cat([low, high], at)
    left, right = apart(0, count - 2), apart(1, count - 2)
    slopes = (take(1, count - 2) - take(0, count - 2)) / left, (take(2, count - 2) - take(1, count - 2)) / right
    inner = (slopes[0] * right + slopes[1] * left) / (left + right)
    if edge_order == 2:
        first, second = apart(0, 1), apart(1, 1)
        low = low + (low - (take(2, 1) - take(1, 1)) / second) * first / (first + second)
        last, before = apart(count - 2, 1), apart(count - 3, 1)
        high = high + (high - (take(count - 2, 1) - take(count - 3, 1)) / before) * last / (last + before)
    return cat([low, inner, high], at)


@composed(method=False)
def gradient(input: Any, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """The slopes of samples along each dim (or those named); `spacing` is a number, or one (or a vector) for each."""
    x = floating(input)
    dims = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    axes = [axis_of(d, x) for d in dims]
    steps = list(spacing) if isinstance(spacing, (tuple, list)) else [spacing] * len(axes)
    refuse(len(steps) != len(axes) or edge_order not in (1, 2),
           f"`gradient` along {len(axes)} dims with {len(steps)} spacings, of order {edge_order}",
           "each dim has its spacing, and the order is 1 or 2", "give one number", InvalidOperands)
    return tuple(_slope(x, at, step, edge_order) for at, step in zip(axes, steps, strict=True))


@composed(space="nn")
def pdist(input: Any, p: float = 2.0) -> Tensor:
    """The p-norm distances of each row from those after it."""
    x = tensor_of(input)
    refuse(x.ndim != 2, f"`pdist` of shape {x.shape}", "it takes rows", "use `cdist` for batches", ShapeError)
    first, second = (primitive("take", x, constant(line), axis=0)
                     for line in np.triu_indices(x.shape[0], 1))
    return norm(first - second, p, -1)


@composed(in_place=True)
def renorm(input: Any, p: float, dim: int, maxnorm: float) -> Tensor:
    """Slices along a dim whose p-norm is above `maxnorm` scaled down to it."""
    x = floating(input)
    at = axis_of(dim, x)
    size = norm(x, p, tuple(d for d in range(x.ndim) if d != at), True)
    return where(size > maxnorm, x * (maxnorm / (size + 1e-7)), x)
