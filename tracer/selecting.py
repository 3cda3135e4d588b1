"""Selecting and writing along dims: gather, scatter, index_*, masked_*."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retape.ir.errors import InvalidOperands, ShapeError
from retape.ir.shapes import broadcast_shapes
from retape.ir.types import i64

from .creation import full, ones
from .indexing import advanced, basic_index, getitem
from .numeric import isfinite, isnan, logical_or, masked_fill, to, where
from .shaping import cat, narrow
from .special import expanded, together
from .tensor import Tensor
from .vocabulary import axis_of, composed, primitive, refuse, tensor_of


@composed
def gather(input: Any, dim: int, index: Any) -> Tensor:
    """Along `dim`, the element that `index` names at each place."""
    x, places = tensor_of(input), tensor_of(index)
    if not x.ndim and places.ndim < 2:
        return primitive("gather", x.reshape(1), places.reshape(-1), axis=axis_of(dim, x)).reshape(places.shape)
    return primitive("gather", x, places, axis=axis_of(dim, x))


@composed
def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Tensor:
    """`gather` with the arguments in NumPy's order; the other dims broadcast."""
    x, index = tensor_of(input), tensor_of(indices)
    if dim is None:
        x, index, dim = x.reshape(-1), index.reshape(-1), 0
    at = axis_of(dim, x)
    if x.ndim != index.ndim:
        return gather(x, at, index)  # which refuses
    wide = broadcast_shapes("take_along_dim", [(*x.shape[:at], 1, *x.shape[at + 1 :]),
                                               (*index.shape[:at], 1, *index.shape[at + 1 :])])
    return gather(expanded(x, (*wide[:at], x.shape[at], *wide[at + 1 :])), at,
                  expanded(index, (*wide[:at], index.shape[at], *wide[at + 1 :])))


@composed
def index_select(input: Any, dim: int, index: Any) -> Tensor:
    """The slices along `dim` that `index` names."""
    x = tensor_of(input)
    return primitive("take", x, tensor_of(index).reshape(-1), axis=axis_of(dim, x))


@composed
def take(input: Any, index: Any) -> Tensor:
    """The elements of the flattened tensor that `index` names."""
    return primitive("take", tensor_of(input).reshape(-1), tensor_of(index), axis=0)


@composed
def masked_select(input: Any, mask: Any) -> Tensor:
    """The elements where the mask holds, as a vector."""
    x, m = together("masked_select", tensor_of(input), tensor_of(mask))
    return getitem(x, m)


# ---- writes


def _sources(index: Tensor, src: Any) -> Any:
    """What is scattered, cut to the index's shape."""
    if not isinstance(src, Tensor) or src.ndim == 0:
        return src
    return getitem(src, tuple(slice(0, extent) for extent in index.shape))


@composed(in_place=True)
def scatter(
    input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """`input` with the elements of `src` written where `index` says along `dim`."""
    x, places = tensor_of(input), tensor_of(index)
    given = _sources(places, value if src is None else src)
    if reduce is not None:
        given = expanded(to(tensor_of(given), x.dtype), places.shape)
        return scatter_reduce(x, dim, places, given, {"add": "sum"}.get(reduce, reduce))
    if isinstance(given, Tensor):
        given = to(given, x.dtype) if given.ndim == 0 else given
        refuse(given.dtype is not x.dtype, f"`scatter` of {given.dtype.name} into {x.dtype.name}",
               "both need one element type", "convert the source", InvalidOperands)
    return primitive("put", x, places, given, axis=axis_of(dim, x))


@composed(in_place=True)
def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Tensor:
    """`input` with the elements of `src` added where `index` says along `dim`."""
    x, places = tensor_of(input), tensor_of(index)
    return x + primitive("scatter_add", _sources(places, tensor_of(src)), places, shape=x.shape, axis=axis_of(dim, x))


@composed(in_place=True)
def scatter_reduce(input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Tensor:
    """What meets in a place reduced by "sum", "prod", "mean", "amax" or "amin"; `include_self` counts what was there.
    """
    x, places = tensor_of(input), tensor_of(index)
    refuse(reduce not in ("sum", "prod", "mean", "amax", "amin"), f"`scatter_reduce` by {reduce!r}",
           "it is 'sum', 'prod', 'mean', 'amax' or 'amin'", "use one of these", InvalidOperands)
    at, given = axis_of(dim, x), _sources(places, tensor_of(src))
    if not x.ndim:
        return scatter_reduce(x.reshape(1), 0, places.reshape(1), given.reshape(1), reduce,
                              include_self=include_self).reshape(())
    if reduce == "prod":
        return _products(x, at, places, given, include_self)
    hits = primitive("scatter_add", full(given.shape, 1, dtype="int64"), places, shape=x.shape, axis=at)
    if reduce in ("amax", "amin"):
        return _extremes(x, at, places, given, hits, reduce == "amax", include_self)
    total = primitive("scatter_add", given, places, shape=x.shape, axis=at)
    out = (x if include_self else where(primitive("eq", hits, 0), x, 0)) + total
    if reduce == "mean":
        count = hits + 1 if include_self else where(primitive("eq", hits, 0), 1, hits)
        out = out / count if x.dtype.is_differentiable else primitive("floor_divide", out, count)
    return to(out, x.dtype)


def _in_order(places: Tensor, given: Tensor, keys: Tensor, at: int, descending: bool = False) -> tuple[Tensor, Tensor]:
    """Places and values sorted along a dim by keys; of several writes to one place the last counts."""
    order = primitive("argsort", keys, axis=at, descending=descending)
    return gather(places, at, order), gather(given, at, order)


def _products(x: Tensor, at: int, places: Tensor, given: Tensor, include_self: bool) -> Tensor:
    """Places sorted, and each value multiplied with all before it in the same place, in log2(n) steps; division-free,
    so that zeros are no trouble to the derivative."""
    places = where(places < 0, places + x.shape[at], places)
    wide, run = _in_order(places, given, places, at)
    step, count = 1, wide.shape[at]
    while step < count:
        same = primitive("eq", narrow(wide, at, step, count - step), narrow(wide, at, 0, count - step))
        later = narrow(run, at, step, count - step) * where(same, narrow(run, at, 0, count - step), 1)
        run = cat([narrow(run, at, 0, step), to(later, run.dtype)], at)
        step *= 2
    last = primitive("ne", narrow(wide, at, 1, count - 1), narrow(wide, at, 0, count - 1)) if count else wide
    ends = ones(*wide.shape[:at], min(count, 1), *wide.shape[at + 1 :], dtype="bool")
    whole = where(cat([to(last, "bool"), ends], at), to(run, x.dtype), 0)
    product = primitive("scatter_add", whole, wide, shape=x.shape, axis=at)
    hit = primitive("ne", primitive("scatter_add", full(wide.shape, 1, dtype="int64"), wide, shape=x.shape, axis=at), 0)
    return where(hit, product * x if include_self else product, x)


def _extremes(
    x: Tensor, at: int, places: Tensor, given: Tensor, hits: Tensor, largest: bool, include_self: bool
) -> Tensor:
    """The last write of sorted values is the extreme one; those that equal it share the gradient."""
    order, values = _in_order(places, given.detach(), given.detach(), at, not largest)
    top = primitive("put", x.detach(), order, values, axis=at)
    if include_self:
        top = primitive("maximum" if largest else "minimum", top, x.detach())
    if not x.dtype.is_floating_point:
        return top
    chosen = _equal(given, gather(top, at, places))
    own = _equal(x, top) if include_self else primitive("eq", hits, 0)
    count = primitive("scatter_add", to(chosen, x.dtype), places, shape=x.shape, axis=at) + to(own, x.dtype)
    shares = primitive("scatter_add", where(chosen, given, 0), places, shape=x.shape, axis=at)
    mean = (shares + where(own, x, 0)) / count
    # the mean of equals may be off by a rounding, their difference from it is not
    return where(isfinite(mean), top + (mean - mean.detach()), mean)


def _equal(x: Tensor, y: Tensor) -> Tensor:
    return logical_or(primitive("eq", x, y), primitive("logical_and", isnan(x), isnan(y)))


def _along(index: Any, source: Tensor, at: int) -> Tensor:
    """An index of slices along a dim as one of elements."""
    places = tensor_of(index).reshape(-1, *(1,) * (source.ndim - at - 1)) if source.ndim else tensor_of(index)
    return expanded(places, source.shape)


@composed(in_place=True)
def index_reduce(input: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Tensor:
    """Slices of `source` reduced with those along `dim` that `index` names: by "prod", "mean", "amax" or "amin"."""
    x, given = tensor_of(input), tensor_of(source)
    refuse(reduce not in ("prod", "mean", "amax", "amin"), f"`index_reduce` by {reduce!r}",
           "it is 'prod', 'mean', 'amax' or 'amin'", "use one of these, or `index_add`", InvalidOperands)
    return scatter_reduce(x, dim, _along(index, given, axis_of(dim, x)), given, reduce, include_self=include_self)


@composed(in_place=True)
def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Tensor:
    """`input` with slices of `source` added to those along `dim` that `index` names."""
    x, at = tensor_of(input), axis_of(dim, tensor_of(input))
    given = tensor_of(source) if alpha == 1 else tensor_of(source) * alpha
    return x + primitive("take_add", given, tensor_of(index), shape=x.shape, axis=at)


def _put_slices(input: Any, dim: int, index: Any, value: Any) -> Tensor:
    x = tensor_of(input)
    every = (slice(None),) * axis_of(dim, x)
    return advanced(x, (*every, tensor_of(index))).written(value, False)


@composed(in_place=True)
def index_copy(input: Any, dim: int, index: Any, source: Any) -> Tensor:
    """`input` with the slices along `dim` that `index` names replaced by those of `source`."""
    return _put_slices(input, dim, index, tensor_of(source))


@composed(in_place=True)
def index_fill(input: Any, dim: int, index: Any, value: Any) -> Tensor:
    """`input` with the slices along `dim` that `index` names filled with a value."""
    x, places = tensor_of(input), tensor_of(index).reshape(-1)
    at = axis_of(dim, x)
    extent = x.shape[at] if x.ndim else 1
    hits = primitive("take_add", full(places.shape, 1, dtype="int64"), places, shape=(extent,), axis=0) > 0
    return masked_fill(x, hits.reshape(extent, *(1,) * (x.ndim - at - 1)) if x.ndim else hits[0], value)


@composed(in_place=True)
def index_put(input: Any, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Tensor:
    """`input` with `values` written (or added) at the places that index arrays name."""
    x = tensor_of(input)
    entries = tuple(slice(None) if i is None else i for i in indices)
    mask = entries[0] if len(entries) == 1 and isinstance(entries[0], Tensor) else None
    if mask is not None and mask.dtype.name == "bool" and mask.shape == x.shape and tensor_of(values).ndim == 0 \
            and not accumulate:
        return masked_fill(x, mask, values)
    return advanced(x, entries).written(tensor_of(values), accumulate)


@composed(in_place=True)
def masked_scatter(input: Any, mask: Any, source: Any) -> Tensor:
    """`input` with the elements where the mask holds replaced by those of `source`, one after the other."""
    x, values = tensor_of(input), tensor_of(source).reshape(-1)
    x, m = together("masked_scatter", x, tensor_of(mask))
    refuse(not values.numel() and x.numel(), "`masked_scatter` of no elements", "there is nothing to write",
           "give as many elements as the mask holds", ShapeError)
    places = primitive("cumsum", m.reshape(-1), axis=0) - 1
    places = where(places < 0, 0, places).reshape(m.shape)
    # places beyond the mask's last hit may lie behind the source; what stands there isn't read
    return where(m, primitive("take", values, where(m, places, 0), axis=0), x)


@composed(in_place=True)
def fill_diagonal(input: Any, fill_value: Any) -> Tensor:
    """`input` with one value along its main diagonal."""
    x = tensor_of(input)
    rows = min(x.shape)
    line = primitive("arange", start=0, stop=rows, step=1, dtype=i64)
    return advanced(x, (line,) * x.ndim).written(fill_value, False)


@composed(in_place=True)
def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Tensor:
    """`input` with elements written (or added) at places of the flattened tensor."""
    x = tensor_of(input)
    return index_put(x.reshape(-1), (tensor_of(index),), source, accumulate).reshape(x.shape)


# ---- views written to, as new tensors


def _written(x: Tensor, src: Any, index: tuple[Any, ...]) -> Tensor:
    canonical = basic_index(index, x.shape)
    value = tensor_of(src)
    value = value if value.dtype is x.dtype else to(value, x.dtype)
    return primitive("slice_scatter", x, value, index=canonical)


@composed
def slice_scatter(
    input: Any, src: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """`input` with a slice along `dim` replaced."""
    x = tensor_of(input)
    return _written(x, src, (*(slice(None),) * axis_of(dim, x), slice(start, end, step)))


@composed
def select_scatter(input: Any, src: Any, dim: int, index: int) -> Tensor:
    """`input` with the element `index` along `dim` replaced."""
    x = tensor_of(input)
    return _written(x, src, (*(slice(None),) * axis_of(dim, x), index))


@composed
def diagonal_scatter(input: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """`input` with a diagonal replaced."""
    x, value = tensor_of(input), tensor_of(src)
    row, column = axis_of(dim1, x), axis_of(dim2, x)
    rest = [d for d in range(x.ndim) if d not in (row, column)]
    axes = (row, column, *rest)
    length = max(min(x.shape[row] + min(offset, 0), x.shape[column] - max(offset, 0)), 0)
    line = primitive("arange", start=0, stop=length, step=1, dtype=i64)
    turned = primitive("permute", value, axes=(value.ndim - 1, *range(value.ndim - 1)))
    whole = index_put(primitive("permute", x, axes=axes), (line + max(-offset, 0), line + max(offset, 0)), turned)
    return primitive("permute", whole, axes=tuple(axes.index(d) for d in range(x.ndim)))
