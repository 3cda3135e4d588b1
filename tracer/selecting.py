"""Selecting and writing along dims: gather, scatter, index_*, masked_*."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retape.ir.errors import InvalidOperands, ShapeError
from retape.ir.shapes import broadcast_shapes
from retape.ir.types import i64

from .creation import full, ones_like
from .indexing import advanced, getitem
from .numeric import masked_fill, to, where
from .special import expanded, together
from .tensor import Tensor
from .vocabulary import axis_of, composed, primitive, refuse, tensor_of


@composed
def gather(input: Any, dim: int, index: Any) -> Tensor:
    """Along `dim`, the element that `index` names at each place."""
    x = tensor_of(input)
    return primitive("gather", x, tensor_of(index), axis=axis_of(dim, x))


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
    """`scatter_add` ("sum"), or the mean of what meets in a place; `include_self` counts what was there."""
    x, places = tensor_of(input), tensor_of(index)
    refuse(reduce not in ("sum", "mean"), f"`scatter_reduce` by {reduce!r}", "only 'sum' and 'mean' are known",
           "sort by the index and use `unique_consecutive`, or loop over the values", InvalidOperands)
    at, given = axis_of(dim, x), _sources(places, tensor_of(src))
    total = primitive("scatter_add", given, places, shape=x.shape, axis=at)
    hits = primitive("scatter_add", ones_like(given), places, shape=x.shape, axis=at)
    kept = x if include_self else where(primitive("eq", hits, 0), x, 0)
    out = kept + total
    if reduce == "mean":
        count = hits + 1 if include_self else where(primitive("eq", hits, 0), 1, hits)
        out = out / count if x.dtype.is_differentiable else primitive("floor_divide", out, count)
    return to(out, x.dtype)


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
