"""Order: sorting, ranks, quantiles, distinct values, counting."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np

from retape.ir.errors import AxisError, OutOfBounds
from retape.ir.types import i64

from .creation import arange, constant, full, rand, tensor
from .numeric import clamp, floor, isnan, logical_or, to, where
from .places import coordinates_of, extent_of, places_of
from .shaping import cat, movedim, narrow, stack
from .statistics import Extremum, any_, count_nonzero, picked
from .tensor import Tensor
from .vocabulary import axis_of, composed, either, floating, primitive, refuse, tensor_of

Histogram = namedtuple("Histogram", ["hist", "bin_edges"])


@composed
def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False, *, axis: int | None = None) \
        -> Tensor:
    """Indices that sort along a dim; equal elements keep their order."""
    x = tensor_of(input)
    return primitive("argsort", x, axis=axis_of(either(axis, dim)[0], x), descending=descending)


@composed
def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False, *, axis: int | None = None) -> Any:
    """The elements sorted along a dim, and their former places."""
    x = tensor_of(input)
    at = axis_of(either(axis, dim)[0], x)
    indices = primitive("argsort", x, axis=at, descending=descending)
    return Extremum(primitive("gather", x, indices, axis=at) if x.ndim else x, indices)


@composed
def msort(input: Any) -> Tensor:
    """The elements sorted along the first dim."""
    return sort(input, 0).values  # type: ignore[no-any-return]


@composed
def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The `k` largest (or smallest) elements along a dim, in order, and their places."""
    x = tensor_of(input)
    at = axis_of(dim, x)
    refuse(not 0 <= k <= (x.shape[at] if x.ndim else 1), f"`topk` of {k} from shape {x.shape}",
           f"dim {at} holds fewer", "ask for fewer", OutOfBounds)
    if not x.ndim:
        return Extremum(x, primitive("argsort", x, axis=0, descending=False))
    indices = primitive("argsort", x, axis=at, descending=largest, count=k)
    return Extremum(primitive("gather", x, indices, axis=at), indices)


@composed
def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest element along a dim (the first for k = 1), and its place."""
    x = tensor_of(input)
    at = axis_of(dim, x)
    refuse(not 1 <= k <= (x.shape[at] if x.ndim else 1), f"`kthvalue` of {k} from shape {x.shape}",
           f"k runs from 1 to the extent of dim {at}", "check `k`", OutOfBounds)
    indices = primitive("argsort", x, axis=at, descending=False, count=k)
    return picked(x, narrow(indices, at, k - 1, 1) if x.ndim else indices, at, keepdim)


def _middle(input: Any, dim: int | None, keepdim: bool, skip: bool) -> Any:
    x = tensor_of(input)
    refuse(not x.numel() and dim is None, "`median` of no elements", "there is none in the middle",
           "check the tensor's shape", OutOfBounds)
    if dim is None:  # of all elements: equal ones share the gradient
        value = _middle(x.detach().reshape(-1), 0, False, skip).values
        hit = logical_or(primitive("eq", x, value), primitive("logical_and", isnan(x), isnan(value)))
        total = primitive("sum", where(hit, x, to(tensor(0), x.dtype)), axis=tuple(range(x.ndim)), keepdims=False)
        return to(total / count_nonzero(hit), x.dtype) if x.dtype.is_floating_point else value
    at = axis_of(dim, x)
    indices = primitive("argsort", x, axis=at, descending=False)
    if not x.ndim:
        return Extremum(x, indices)
    count, broken = x.shape[at], count_nonzero(isnan(x), at, True)
    # NaN is sorted behind the numbers: the first one is the median, or none is looked at
    ranks = primitive("floor_divide", count - broken - 1, 2) if skip else \
        where(broken > 0, count - broken, (count - 1) // 2)
    ranks = where(ranks < 0, 0, ranks)
    return picked(x, primitive("gather", indices, ranks, axis=at), at, keepdim)


@composed
def median(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element, the lower of two; with a dim the pair (values, indices)."""
    return _middle(input, dim, keepdim, False)


@composed
def nanmedian(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle one of the elements that are numbers."""
    return _middle(input, dim, keepdim, True)


@composed
def mode(input: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent value along a dim, the least of several, and its last place."""
    x = tensor_of(input)
    at = axis_of(dim, x)
    refuse(x.ndim and not x.shape[at], "`mode` of no elements", "there is none", "check the shape", OutOfBounds)
    if not x.ndim:
        return Extremum(x, primitive("argsort", x, axis=0, descending=False))
    indices = movedim(primitive("argsort", x, axis=at, descending=False), at, -1)
    rows = primitive("gather", movedim(x.detach(), at, -1), indices, axis=x.ndim - 1)
    behind = primitive("searchsorted", rows, rows, right=True)
    counts = behind - primitive("searchsorted", rows, rows, right=False)
    run = primitive("argmax", counts, axis=(x.ndim - 1,), keepdims=True)
    last = primitive("gather", behind, run, axis=x.ndim - 1) - 1
    return picked(x, movedim(primitive("gather", indices, last, axis=x.ndim - 1), -1, at), at, keepdim)


@composed
def quantile(input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear") \
        -> Tensor:
    """The value below which the share `q` of the elements lies, between neighbours in a straight line."""
    x, share = tensor_of(input), tensor_of(q) if isinstance(q, Tensor) else tensor(q, dtype=tensor_of(input).dtype)
    flat, kept = (x.reshape(-1), 0) if dim is None else (x, axis_of(dim, x))
    rows = movedim(sort(flat, kept).values, kept, -1)
    count = rows.shape[-1]
    place = share * (1.0 * (count - 1))
    if interpolation in ("lower", "higher", "nearest"):
        place = {"lower": floor(place), "higher": -floor(-place), "nearest": primitive("round", place)}[interpolation]
    below = floor(place)
    weight = place - below
    index = to(below, "int64")
    upper = where(index + 1 < count, index + 1, count - 1)
    low, high = (primitive("take", rows, i.reshape(-1), axis=rows.ndim - 1) for i in (index, upper))
    out = low + (high - low) * (0.5 if interpolation == "midpoint" else weight.reshape(-1))
    broken = count_nonzero(isnan(rows), -1, True) > 0
    out = movedim(where(broken, float("nan"), out), -1, 0)
    if keepdim:
        out = out.reshape(-1, *(1,) * x.ndim) if dim is None else out.unsqueeze(kept + 1)
    return out.reshape(*share.shape, *out.shape[1:])


@composed
def nanquantile(input: Any, q: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """`quantile` of the elements that are numbers; NaN where there is none."""
    x = tensor_of(input)
    share = tensor_of(q) if isinstance(q, Tensor) else tensor(q, dtype=x.dtype)
    flat, kept = (x.reshape(-1), 0) if dim is None else (x, axis_of(dim, x))
    rows = movedim(sort(flat, kept).values, kept, -1)  # NaN stands behind the numbers
    count = to(count_nonzero(primitive("eq", rows, rows), -1, True), x.dtype) - 1.0
    place = clamp(share.reshape(-1), 0.0, 1.0) * where(count < 0, 0.0, count)
    below = floor(place)
    index = to(below, "int64")
    upper = where(below < count, index + 1, index)
    low, high = (primitive("gather", rows, i, axis=rows.ndim - 1) for i in (index, upper))
    out = movedim(low + (high - low) * (place - below), -1, 0)
    if keepdim:
        out = out.reshape(-1, *(1,) * x.ndim) if dim is None else out.unsqueeze(kept + 1)
    return out.reshape(*share.shape, *out.shape[1:])


# ---- distinct values and counts


@composed
def searchsorted(
    sorted_sequence: Any, values: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None,
) -> Tensor:
    """Where values belong in sorted rows, before (or with `right` behind) equal elements."""
    row, x = tensor_of(sorted_sequence), tensor_of(values)
    found = primitive("searchsorted", row, x, right=right or side == "right")
    return to(found, "int32") if out_int32 else found


@composed
def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The bucket between sorted boundaries that each element falls into."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def _runs(x: Tensor, first: Tensor, inverse: bool, counts: bool, order: Tensor | None, at: int, shape: Any) -> Any:
    """The slices of x along `at` (in an order) that begin a run, and what else is asked for of `unique`'s results.

    `first` tells where runs begin; `shape` is that of the inverse.
    """
    begin = places_of(first)
    chosen = begin if order is None else primitive("take", order, begin, axis=0)
    found = [primitive("take", x, chosen, axis=at)]
    run = primitive("cumsum", to(first, i64), axis=0) - 1  # the number of the run that each slice belongs to
    if inverse:
        back = run if order is None else primitive("take_add", run, order, shape=run.shape, axis=0)
        found.append(primitive("reshape", back, shape=shape))
    if counts:
        ones = full(run.shape, 1, dtype="int64")
        found.append(primitive("take_add", ones, run, shape=begin.shape, axis=0))
    return found[0] if len(found) == 1 else tuple(found)


def _changes(rows: Tensor) -> Tensor:
    """Which rows of a matrix differ from the one before; the first does."""
    differs = any_(primitive("ne", rows[1:], rows[:-1]), 1)
    return cat([full((1,), True), differs])[: rows.shape[0]]


def _row_order(rows: Tensor) -> Tensor:
    """Indices that sort the rows of a matrix by their first column, equal ones by the next, and so on: each column is
    sorted in the order that those behind it left, since sorting keeps the order of equals."""
    order = arange(rows.shape[0])
    for column in reversed(range(rows.shape[1])):
        keys = primitive("take", rows[:, column], order, axis=0)
        order = primitive("take", order, primitive("argsort", keys, axis=0, descending=False), axis=0)
    return order


@composed
def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None,
) -> Any:
    """The distinct values in order; with them, where asked for, which each element is, and how often each stands."""
    given = tensor_of(input).detach()
    x, at = (given.reshape(-1), 0) if dim is None else (given, axis_of(dim, given))
    if x.ndim == 1:
        order = primitive("argsort", x, axis=0, descending=False)
        rows = primitive("take", x, order, axis=0).reshape(-1, 1)
    else:
        rows = movedim(x, at, 0)
        rows = rows.reshape(x.shape[at], x.numel() // max(x.shape[at], 1))
        order = _row_order(rows)
        rows = primitive("take", rows, order, axis=0)
    shape = given.shape if dim is None else order.shape
    return _runs(x, _changes(rows), return_inverse, return_counts, order, at, shape)


@composed
def unique_consecutive(input: Any, return_inverse: bool = False, return_counts: bool = False) -> Any:
    """The values without repetitions of the one before."""
    x = tensor_of(input).detach()
    flat = x.reshape(-1)
    return _runs(flat, _changes(flat.reshape(-1, 1)), return_inverse, return_counts, None, 0, x.shape)


@composed
def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each non-negative integer stands in a vector, or the sums of its weights."""
    x = tensor_of(input)
    refuse(x.ndim != 1, f"`bincount` of shape {x.shape}", "it counts the elements of a vector", "flatten it", AxisError)
    length = minlength
    if x.numel():
        top = primitive("amax", x, axis=(0,), keepdims=False) + 1
        length = extent_of(to(where(top < minlength, minlength, top), i64))
    parts = full(x.shape, 1, dtype="int64") if weights is None else tensor_of(weights)
    return primitive("scatter_add", parts, x, shape=(length,), axis=0)


@composed
def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements fall into each of `bins` equal parts of [min, max]."""
    x = floating(input).reshape(-1)
    least: Any = min
    most: Any = max
    if min == 0 and max == 0 and x.numel():
        low, high = x.detach().amin(), x.detach().amax()
        flat = primitive("eq", low, high)
        least, most = where(flat, low - 1, low), where(flat, high + 1, high)
    elif min == max:
        least, most = min - 1, max + 1
    place = to(floor((x - least) * (bins / (most - least))), "int64")
    place = where(primitive("eq", x, most), bins - 1, place)
    inside = primitive("logical_and", x >= least, x <= most)
    return primitive("take_add", to(inside, x.dtype), where(inside, place, 0), shape=(bins,), axis=0)


@composed
def histogram(
    input: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    """How many elements (or what weight) each bin holds, and the bins' edges: so many equal parts, or edges given."""
    x = floating(input).reshape(-1)
    if isinstance(bins, int):
        low, high = (float(x.amin()), float(x.amax())) if range is None and x.numel() else range or (0.0, 1.0)
        low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
        edges = constant(np.linspace(low, high, bins + 1), x.dtype)
    else:
        edges = tensor_of(bins)
    count = edges.shape[0] - 1
    place = primitive("searchsorted", edges, x, right=True) - 1
    place = where(primitive("eq", x, edges[-1:]), count - 1, place)
    inside = primitive("logical_and", place >= 0, place < count)
    parts = to(inside, x.dtype) if weight is None else where(inside, tensor_of(weight).reshape(-1), 0)
    hist = primitive("take_add", parts, where(inside, place, 0), shape=(count,), axis=0)
    if density:
        hist = hist / (hist.sum() * (edges[1:] - edges[:-1]))
    return Histogram(hist, edges)


@composed(method=False)
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Where an element is one of `test_elements`."""
    x, known = tensor_of(elements), tensor_of(test_elements).reshape(-1)
    if not known.numel():
        return full(x.shape, invert, dtype="bool")
    row = sort(known).values
    place = primitive("searchsorted", row, x, right=False)
    found = primitive("eq", primitive("take", row, where(place < row.numel(), place, 0), axis=0), x)
    return primitive("eq", found, False) if invert else found


@composed
def multinomial(input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Tensor:
    """Indices drawn with the weights in the last dim, without `replacement` each at most once."""
    weights = floating(input).detach()
    *lead, count = weights.shape
    if replacement:
        sums = primitive("cumsum", weights, axis=weights.ndim - 1)
        draws = rand(*lead, num_samples, dtype=weights.dtype, generator=generator) * sums[..., -1:]
        return searchsorted(sums, draws, right=True)
    refuse(num_samples > count, f"{num_samples} draws of {count} without replacement", "each is drawn at most once",
           "draw fewer, or with `replacement=True`", OutOfBounds)
    # the largest of exponential races: log(weight) - log(-log(uniform))
    noise = -primitive("log", -primitive("log", rand(*weights.shape, dtype=weights.dtype, generator=generator)))
    return topk(primitive("log", weights) + noise, num_samples).indices  # type: ignore[no-any-return]


# ---- coordinates


@composed
def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """Coordinates of the elements that are not 0, one row for each; or one vector for each dim."""
    x = tensor_of(input)
    parts = coordinates_of(x if x.ndim else x.reshape(1))
    if as_tuple:
        return tuple(parts)
    return stack(parts, 1) if x.ndim else full((parts[0].shape[0], 0), 0, dtype="int64")


@composed
def argwhere(input: Any) -> Tensor:
    """Coordinates of the elements that are not 0, one row for each."""
    return nonzero(input)  # type: ignore[no-any-return]


@composed(name="where")
def where_(condition: Any, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, else `other`; with neither, the coordinates at which it holds."""
    return nonzero(condition, as_tuple=True) if input is None and other is None else where(condition, input, other)
