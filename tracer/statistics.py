"""Reductions and scans: statistics, norms, extrema with their places, running sums and products."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable
from typing import Any

from retape.ir.shapes import reduced_shape
from retape.ir.types import INTEGER

from .numeric import isnan, logical_not, to, where
from .shaping import cat, narrow, squeeze
from .tensor import Tensor
from .vocabulary import axes_of, axis_of, composed, either, floating, primitive, tensor_of

Extremum = namedtuple("Extremum", ["values", "indices"])
Extremes = namedtuple("Extremes", ["min", "max"])


def count_over(x: Tensor, dim: Any) -> int:
    return math.prod(x.shape[a] for a in axes_of(dim, x))


# ---- truth values


@composed(name="any")
def any_(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool | None = None) -> Any:
    """Whether any element is true (non-zero)."""
    return count_nonzero(input, *either(dim, axis, keepdim, keepdims)) > 0


@composed(name="all")
def all_(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool | None = None) -> Any:
    """Whether all elements are true (non-zero)."""
    return logical_not(any_(logical_not(input), *either(dim, axis, keepdim, keepdims)))


@composed
def count_nonzero(input: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """How many elements are not 0."""
    x = tensor_of(input)
    hits = to(primitive("ne", x, False if x._data.dtype.kind == "b" else 0), "int64")
    return primitive("sum", hits, axis=axes_of(dim, x), keepdims=keepdim)


# ---- moments


def _moments(input: Any, dim: Any, correction: Any, keepdim: bool, unbiased: bool | None) -> tuple[Tensor, Tensor]:
    if isinstance(dim, bool):  # torch's older call: var(x, unbiased)
        dim, unbiased = None, dim
    x = floating(input)
    axes = axes_of(dim, x)
    mean = primitive("mean", x, axis=axes, keepdims=True)
    deviation = x - mean
    total = primitive("sum", deviation * deviation, axis=axes, keepdims=keepdim)
    left = max(count_over(x, dim) - (correction if unbiased is None else int(unbiased)), 0)
    if not keepdim:
        mean = primitive("reshape", mean, shape=reduced_shape(x.shape, axes))
    return (total / left if left else total * math.nan), mean


def safe_root(x: Tensor) -> Tensor:
    """A square root whose derivative at 0 is 0."""
    zero = primitive("eq", x, 0)
    return where(zero, 0.0, primitive("sqrt", where(zero, 1.0, x)))


@composed
def var(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1,
    axis: Any = None, keepdims: bool | None = None,
) -> Tensor:
    """Variance over dims, divided by the count less `correction`."""
    dim, keepdim = either(dim, axis, keepdim, keepdims)
    return _moments(input, dim, correction, keepdim, unbiased)[0]


@composed
def std(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1,
    axis: Any = None, keepdims: bool | None = None,
) -> Tensor:
    """Square root of `var`; its derivative at 0 is 0."""
    dim, keepdim = either(dim, axis, keepdim, keepdims)
    return safe_root(_moments(input, dim, correction, keepdim, unbiased)[0])


@composed
def var_mean(input: Any, dim: Any = None, *, correction: float = 1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """`var` and `mean`."""
    return _moments(input, dim, correction, keepdim, None)


@composed
def std_mean(input: Any, dim: Any = None, *, correction: float = 1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """`std` and `mean`."""
    variance, mean = _moments(input, dim, correction, keepdim, None)
    return safe_root(variance), mean


@composed
def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
    """Sum of the elements that are numbers."""
    x = tensor_of(input)
    return primitive("sum", where(isnan(x), 0.0, x), axis=axes_of(either(dim, axis)[0], x), keepdims=keepdim)


@composed
def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
    """Mean of the elements that are numbers."""
    x, dim = tensor_of(input), either(dim, axis)[0]
    return nansum(x, dim, keepdim) / count_nonzero(primitive("eq", x, x), dim, keepdim)


@composed
def norm(
    input: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, *, axis: Any = None, dtype: Any = None
) -> Tensor:
    """The p-norm over dims (the Euclidean by default); its derivative at 0 is 0."""
    x = abs(tensor_of(input) if dtype is None else to(input, dtype))
    axes = axes_of(either(dim, axis)[0], x)
    if p in (math.inf, -math.inf):
        return primitive("amax" if p > 0 else "amin", x, axis=axes, keepdims=keepdim)
    if p == 0:
        return to(count_nonzero(x, axes, keepdim), x.dtype)
    if p == 1:
        return primitive("sum", x, axis=axes, keepdims=keepdim)
    euclidean = p in (2, "fro", None)
    powers = x * x if euclidean else x**p
    total = primitive("sum", powers, axis=axes, keepdims=keepdim)
    if euclidean:
        return safe_root(total)
    # the inner `where` keeps the root's infinite slope at 0 out of the derivative
    zero = primitive("eq", total, 0)
    return where(zero, 0.0, where(zero, 1.0, total) ** (1.0 / p))


@composed
def dist(input: Any, other: Any, p: float = 2) -> Tensor:
    """The p-norm of the difference."""
    return norm(tensor_of(input) - other, p)


@composed(method=False)
def cdist(x1: Any, x2: Any, p: float = 2.0) -> Tensor:
    """The p-norm distances of all pairs of rows."""
    x, y = tensor_of(x1), tensor_of(x2)
    return norm(x.unsqueeze(-2) - y.unsqueeze(-3), p, -1)


@composed
def cov(input: Any, *, correction: int = 1) -> Tensor:
    """Covariances of the rows."""
    x = tensor_of(input)
    x = x.unsqueeze(0) if x.ndim < 2 else x
    deviation = x - primitive("mean", x, axis=(1,), keepdims=True)
    return squeeze(primitive("matmul", deviation, deviation.T) / max(x.shape[1] - correction, 0))


@composed
def corrcoef(input: Any) -> Tensor:
    """Correlation coefficients of the rows."""
    x = tensor_of(input)
    if x.ndim < 2:
        return cov(x) / cov(x)
    c = cov(x).reshape(x.shape[0], x.shape[0])
    spread = primitive("sqrt", c.diagonal())
    return c / spread.unsqueeze(1) / spread


# ---- extrema


def _reversed(x: Tensor) -> Tensor:
    """The elements in the opposite order, without overflow."""
    kind = x._data.dtype.kind
    if kind == "b":
        return logical_not(x)
    return -x if kind == "f" else primitive("sub", 255 if kind == "u" else -1, x)


@composed
def argmin(input: Any, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None) -> Tensor:
    """Index of the first smallest element along one dim, or of the flattened tensor."""
    x = tensor_of(input)
    dim = either(dim, axis)[0]
    return primitive("argmax", _reversed(x), axis=axes_of(dim, x), keepdims=keepdim)


def without(x: Tensor, at: int) -> Tensor:
    """x less a dim of extent 1."""
    return primitive("reshape", x, shape=(*x.shape[:at], *x.shape[at + 1 :]))


def picked(x: Tensor, indices: Tensor, at: int, keepdim: bool) -> Any:
    """The elements that indices of extent 1 name along a dim, and these."""
    values = primitive("gather", x, indices, axis=at) if x.ndim else x
    if keepdim or not x.ndim:
        return Extremum(values, indices)
    return Extremum(without(values, at), without(indices, at))


def _extremum(name: str, input: Any, dim: Any, keepdim: bool) -> Any:
    x = tensor_of(input)
    if dim is None:
        return primitive(f"a{name}", x, axis=axes_of(None, x), keepdims=keepdim)
    if isinstance(dim, Tensor):
        return primitive(f"{name}imum", x, dim)
    at = axis_of(dim, x)
    indices = primitive("argmax", x if name == "max" else _reversed(x), axis=(at,) if x.ndim else (), keepdims=True)
    return picked(x, indices, at, keepdim)


@composed(name="max")
def max_(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Any:
    """The largest element; with a dim the pair (values, indices); with a tensor the elementwise maximum."""
    return _extremum("max", input, axis if dim is None else dim, keepdim)


@composed(name="min")
def min_(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Any:
    """The smallest element; with a dim the pair (values, indices); with a tensor the elementwise minimum."""
    return _extremum("min", input, axis if dim is None else dim, keepdim)


@composed
def aminmax(input: Any, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest and the largest element."""
    x = tensor_of(input)
    axes = axes_of(dim, x)
    return Extremes(*(primitive(n, x, axis=axes, keepdims=keepdim) for n in ("amin", "amax")))


# ---- running sums, products and extrema


def _scan(x: Tensor, at: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Each element combined with all before it, in log2(n) steps over whole tensors."""
    step, count = 1, x.shape[at] if x.ndim else 1
    while step < count:
        later = combine(narrow(x, at, step, count - step), narrow(x, at, 0, count - step))
        x = cat([narrow(x, at, 0, step), later], at)
        step *= 2
    return x


@composed(in_place=True)
def cumsum(input: Any, dim: int = 0, *, axis: int | None = None, dtype: Any = None) -> Tensor:
    """Running sum along a dim."""
    x = tensor_of(input) if dtype is None else to(input, dtype)
    return primitive("cumsum", x, axis=axis_of(either(axis, dim)[0], x))


@composed(in_place=True)
def cumprod(input: Any, dim: int = 0, *, axis: int | None = None, dtype: Any = None) -> Tensor:
    """Running product along a dim; zeros are no trouble to its derivative."""
    x = tensor_of(input) if dtype is None else to(input, dtype)
    x = to(x, "int64") if x.dtype.category <= INTEGER else x
    return _scan(x, axis_of(either(axis, dim)[0], x), lambda later, before: later * before)


@composed
def logcumsumexp(input: Any, dim: int = 0) -> Tensor:
    """Running `logsumexp` along a dim."""
    x = floating(input)
    return _scan(x, axis_of(dim, x), lambda later, before: primitive("logaddexp", later, before))


@composed
def cummax(input: Any, dim: int = 0) -> Any:
    """The largest element so far along a dim, and its place."""
    x = tensor_of(input)
    indices = primitive("cumargmax", x, axis=axis_of(dim, x))
    return Extremum(primitive("gather", x, indices, axis=axis_of(dim, x)) if x.ndim else x, indices)


@composed
def cummin(input: Any, dim: int = 0) -> Any:
    """The smallest element so far along a dim, and its place."""
    x = tensor_of(input)
    indices = primitive("cumargmax", _reversed(x), axis=axis_of(dim, x))
    return Extremum(primitive("gather", x, indices, axis=axis_of(dim, x)) if x.ndim else x, indices)
