"""Order: sorting, ranks, quantiles, distinct values, counting."""

from __future__ import annotations

from typing import Any

import numpy as np

from retape.ir.errors import AxisError, OutOfBounds, UnsupportedOp

from .apply import located
from .creation import full, rand, tensor, zeros
from .numeric import floor, isnan, to, where
from .shaping import movedim, narrow, stack
from .state import state
from .statistics import Extremum, count_nonzero, picked
from .tensor import Tensor, wrap
from .vocabulary import axis_of, composed, either, floating, primitive, refuse, tensor_of


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
    indices = narrow(primitive("argsort", x, axis=at, descending=largest), at, 0, k)
    return Extremum(primitive("gather", x, indices, axis=at), indices)


@composed
def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest element along a dim (the first for k = 1), and its place."""
    x = tensor_of(input)
    at = axis_of(dim, x)
    refuse(not 1 <= k <= (x.shape[at] if x.ndim else 1), f"`kthvalue` of {k} from shape {x.shape}",
           f"k runs from 1 to the extent of dim {at}", "check `k`", OutOfBounds)
    indices = primitive("argsort", x, axis=at, descending=False)
    return picked(x, narrow(indices, at, k - 1, 1) if x.ndim else indices, at, keepdim)


def _middle(input: Any, dim: int | None, keepdim: bool, skip: bool) -> Any:
    x = tensor_of(input)
    refuse(not x.numel() and dim is None, "`median` of no elements", "there is none in the middle",
           "check the tensor's shape", OutOfBounds)
    if dim is None:  # of all elements: equal ones share the gradient
        value = _middle(x.detach().reshape(-1), 0, False, skip).values
        hit = primitive("logical_or", primitive("eq", x, value), primitive("logical_and", isnan(x), isnan(value)))
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
def quantile(input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear") \
        -> Tensor:
    """The value below which the share `q` of the elements lies, between neighbours in a straight line."""
    x, share = tensor_of(input), tensor_of(q) if isinstance(q, Tensor) else tensor(q, dtype=tensor_of(input).dtype)
    flat, kept = (x.reshape(-1), 0) if dim is None else (x, axis_of(dim, x))
    rows = movedim(sort(flat, kept).values, kept, -1)
    count = rows.shape[-1]
    place = share * float(count - 1)
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


def counted(name: str) -> None:
    """Refuse in a trace what gives shapes that depend on values."""
    if state.tracer is not None:
        raise located(UnsupportedOp(f"`{name}` has a shape that depends on values",
                                    ("why", "this version compiles only shapes that are known beforehand"),
                                    fix="call it outside the compiled function, or use a mask with `rt.where`"))


@composed
def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None,
) -> Any:
    """The distinct values in order; with them, where asked for, which each element is, and how often each stands."""
    counted("unique")
    x = tensor_of(input)
    values, inverse, counts = np.unique(x._data, return_inverse=True, return_counts=True, axis=dim, equal_nan=False)
    inverse = inverse.reshape(x.shape if dim is None else (-1,))
    found = [wrap(values), *([wrap(inverse)] if return_inverse else []), *([wrap(counts)] if return_counts else [])]
    return found[0] if len(found) == 1 else tuple(found)


@composed
def unique_consecutive(input: Any, return_inverse: bool = False, return_counts: bool = False) -> Any:
    """The values without repetitions of the one before."""
    counted("unique_consecutive")
    x = tensor_of(input)
    flat = x._data.reshape(-1)
    first = np.concatenate([[True], flat[1:] != flat[:-1]])[: flat.size]
    places = np.flatnonzero(first)
    found = [wrap(flat[first])]
    if return_inverse:
        found.append(wrap((np.cumsum(first) - 1).reshape(x.shape)))
    if return_counts:
        found.append(wrap(np.diff([*places, flat.size]).astype(np.int64)))
    return found[0] if len(found) == 1 else tuple(found)


@composed
def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each non-negative integer stands in a vector, or the sums of its weights."""
    x = tensor_of(input)
    refuse(x.ndim != 1, f"`bincount` of shape {x.shape}", "it counts the elements of a vector", "flatten it", AxisError)
    length = max(int(primitive("amax", x, axis=(0,), keepdims=False)) + 1 if x.numel() else 0, minlength)
    parts = full(x.shape, 1, dtype="int64") if weights is None else tensor_of(weights)
    return primitive("scatter_add", parts, x, shape=(length,), axis=0)


@composed
def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements fall into each of `bins` equal parts of [min, max]."""
    x = floating(input).reshape(-1)
    if min == 0 and max == 0 and x.numel():
        min, max = float(x.amin()), float(x.amax())
    if min == max:
        min, max = min - 1, max + 1
    place = to(floor((x - min) * (bins / (max - min))), "int64")
    place = where(primitive("eq", x, max), bins - 1, place)
    inside = primitive("logical_and", x >= min, x <= max)
    return primitive("take_add", to(inside, x.dtype), where(inside, place, 0), shape=(bins,), axis=0)


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
    counted("nonzero")
    parts = [wrap(part) for part in np.nonzero(np.atleast_1d(tensor_of(input)._data))]
    return tuple(parts) if as_tuple else stack(parts, 1) if tensor_of(input).ndim else \
        zeros(parts[0].shape[0], 0, dtype="int64")


@composed
def argwhere(input: Any) -> Tensor:
    """Coordinates of the elements that are not 0, one row for each."""
    return nonzero(input)  # type: ignore[no-any-return]
