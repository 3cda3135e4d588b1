"""Shapes and views: compositions over the structural primitives, with torch's signatures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from retape.ir.errors import InvalidOperands, OutOfBounds, ShapeError
from retape.ir.shapes import canonical_shape

from .apply import located
from .indexing import getitem
from .tensor import Tensor
from .vocabulary import axes_of, axis_of, composed, dims_of, primitive, refuse, tensor_of


@composed
def reshape(input: Any, *shape: Any) -> Tensor:
    """The same elements in row-major order under `shape`; one extent may be -1. A view where possible."""
    x = tensor_of(input)
    try:
        target = canonical_shape(dims_of(shape), x.numel())
    except ShapeError as error:
        raise located(error) from None
    return primitive("reshape", x, shape=target)


@composed
def view(input: Tensor, *shape: Any) -> Tensor:
    """`reshape` that never copies. Raises `RuntimeError` where the layout doesn't allow a view."""
    out = reshape(input, *shape)
    if out._base is None and input.numel() and not np.shares_memory(out._data, input._data):
        raise located(ShapeError("view size is not compatible with input tensor's size and stride",
                                 ("why", "its elements don't lie in memory in that order"), fix="use `reshape`"))
    return out


@composed
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """`view` with another tensor's shape."""
    return view(input, *other.shape)


@composed
def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dims `start_dim` to `end_dim` merged into one."""
    x = tensor_of(input)
    if x.ndim == 0:
        return reshape(x, 1)
    first, last = axis_of(start_dim, x), axis_of(end_dim, x)
    return reshape(x, *x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :])


@composed
def ravel(input: Any) -> Tensor:
    """All elements in one dim."""
    return flatten(input)


@composed
def permute(input: Any, *dims: Any) -> Tensor:
    """Dims in another order."""
    x = tensor_of(input)
    return primitive("permute", x, axes=tuple(axis_of(d, x) for d in dims_of(dims)))


@composed
def transpose(input: Any, dim0: int | None = None, dim1: int | None = None) -> Tensor:
    """Two dims exchanged; without dims all reversed, as in NumPy."""
    x = tensor_of(input)
    order = list(range(x.ndim))
    if dim0 is None or dim1 is None:
        order.reverse()
    else:
        a, b = axis_of(dim0, x), axis_of(dim1, x)
        order[a], order[b] = order[b], order[a]
    return primitive("permute", x, axes=tuple(order))


@composed
def t(input: Any) -> Tensor:
    """The transpose of a matrix."""
    return transpose(input)


def T(input: Tensor) -> Tensor:  # noqa: N802
    """All dims reversed."""
    return transpose(input)


def mT(input: Tensor) -> Tensor:  # noqa: N802
    """The last two dims exchanged."""
    return transpose(input, -2, -1)


def H(input: Tensor) -> Tensor:  # noqa: N802
    """The last two dims exchanged, of complex matrices the conjugates."""
    turned = mT(input)
    return primitive("conj", turned) if input._data.dtype.kind == "c" else turned


@composed
def expand(input: Any, *sizes: Any) -> Tensor:
    """Extents of 1 repeated without copying; -1 keeps an extent."""
    x = tensor_of(input)
    target = dims_of(sizes)
    lead = len(target) - x.ndim
    filled = tuple(x.shape[i - lead] if e == -1 and i >= lead else e for i, e in enumerate(target))
    return primitive("expand", x, shape=filled)


@composed
def expand_as(input: Any, other: Tensor) -> Tensor:
    """`expand` to another tensor's shape."""
    return expand(input, *other.shape)


@composed
def broadcast_to(input: Any, size: Sequence[int]) -> Tensor:
    """`expand` to a shape."""
    return expand(input, *size)


@composed
def squeeze(input: Any, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without the dims of extent 1 (all of them, or those named)."""
    x = tensor_of(input)
    named = axes_of(dim, x)
    return reshape(x, tuple(e for i, e in enumerate(x.shape) if not (e == 1 and i in named)))


@composed
def unsqueeze(input: Any, dim: int) -> Tensor:
    """With a new dim of extent 1 at `dim`."""
    x = tensor_of(input)
    at = axis_of(dim, x, 1)
    return reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


@composed
def flip(input: Any, *dims: Any) -> Tensor:
    """Reversed order along dims (all by default); a copy, as in torch."""
    x = tensor_of(input)
    axes = axes_of(dims_of(dims) if dims else None, x)
    return primitive("clone", primitive("flip", x, axis=axes))


@composed
def movedim(input: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Dims moved to other places, the others in order."""
    x = tensor_of(input)
    start, goal = ([axis_of(d, x) for d in ([dims] if isinstance(dims, int) else dims)]
                   for dims in (source, destination))
    order = [d for d in range(x.ndim) if d not in start]
    for place, dim in sorted(zip(goal, start, strict=True)):
        order.insert(place, dim)
    return primitive("permute", x, axes=tuple(order))


@composed
def unflatten(input: Any, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dim divided into several; one of their extents may be -1."""
    x = tensor_of(input)
    at = axis_of(dim, x)
    return reshape(x, (*x.shape[:at], *canonical_shape(tuple(sizes), x.shape[at]), *x.shape[at + 1 :]))


@composed
def unfold(input: Any, dimension: int, size: int, step: int) -> Tensor:
    """All windows of a size along a dim, one every `step` elements; a view. Their elements are a new last dim."""
    x = tensor_of(input)
    return primitive("unfold", x, axis=axis_of(dimension, x), size=size, step=step)


@composed
def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two dims as a new last dim; a view of row-major tensors."""
    x = tensor_of(input)
    first, second = axis_of(dim1, x), axis_of(dim2, x)
    rest = [d for d in range(x.ndim) if d not in (first, second)]
    x = primitive("permute", x, axes=(*rest, first, second))
    *lead, n, m = x.shape
    start = offset if offset >= 0 else -offset * m
    count = max(min(n, m - offset) if offset >= 0 else min(n + offset, m), 0)
    every = tuple(slice(0, extent, 1) for extent in lead)
    line = slice(start, start + (count - 1) * (m + 1) + 1, m + 1) if count else slice(0, 0, 1)
    return primitive("slice", reshape(x, (*lead, n * m)), index=(*every, line))


@composed
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` neighbours along `dim`."""
    at = axis_of(dim, input)
    extent = input.shape[at] if input.ndim else 0
    start = start + extent if start < 0 else start
    refuse(not 0 <= start <= start + length <= extent, f"`narrow` to {start}..{start + length} of shape {input.shape}",
           f"dim {at} has the extent {extent}", "choose a part that lies inside", OutOfBounds)
    every = tuple(slice(0, e, 1) for e in input.shape[:at])
    return primitive("slice", input, index=(*every, slice(start, start + length, 1)))


@composed
def split(input: Tensor, size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of `size` (the last may be smaller), or of the sizes given."""
    extent = input.shape[axis_of(dim, input)]
    sizes = _equal_parts(extent, size) if isinstance(size, int) else list(size)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(narrow(input, dim, start, length) for start, length in zip(starts, sizes, strict=True))


def _equal_parts(extent: int, size: int) -> list[int]:
    """Extents of parts of `size`, the last perhaps smaller."""
    refuse(size < 1, f"`split` into parts of {size}", "a part has at least one element", "give a larger size",
           InvalidOperands)
    sizes: list[int] = []
    start = 0
    while start < extent:
        sizes.append(size if start + size < extent else extent - start)
        start = start + size
    return sizes


@composed
def tensor_split(input: Any, indices_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of nearly equal size, or cut at the places given."""
    x = tensor_of(input)
    extent = x.shape[axis_of(dim, x)]
    if isinstance(indices_or_sections, int):
        size, more = divmod(extent, indices_or_sections)
        return split(x, [size + (i < more) for i in range(indices_or_sections)], dim)
    cuts = [0, *(slice(c).indices(extent)[1] for c in indices_or_sections), extent]
    return split(x, [max(b - a, 0) for a, b in itertools.pairwise(cuts)], dim)


@composed
def select(input: Any, dim: int, index: int) -> Tensor:
    """One slice along a dim, without the dim."""
    x = tensor_of(input)
    return getitem(x, (*(slice(None),) * axis_of(dim, x), index))


@composed
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` parts of equal size."""
    return split(input, -(-input.shape[axis_of(dim, input)] // chunks), dim)


@composed
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along `dim`."""
    every = (slice(None),) * axis_of(dim, input)
    return tuple(getitem(input, (*every, i)) for i in range(input.shape[dim]))


@composed(method=False)
def cat(tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors joined along `dim`; empty vectors are left out, as in torch."""
    parts = [tensor_of(part) for part in tensors]
    refuse(not parts, "`cat` of no tensors", "their element type and shape would be unknown", "pass at least one",
           InvalidOperands)
    parts = [part for part in parts if part.shape != (0,)] or parts[:1]
    return primitive("cat", *parts, axis=axis_of(dim if axis is None else axis, parts[0]))


@composed(method=False)
def stack(tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors of one shape along a new dim."""
    at = dim if axis is None else axis
    return cat([unsqueeze(part, at) for part in tensors], at)


@composed
def repeat(input: Tensor, *sizes: Any) -> Tensor:
    """Copies side by side, `sizes[i]` of them along dim i."""
    counts = dims_of(sizes)
    refuse(len(counts) < input.ndim, f"`repeat` by {counts} of shape {input.shape}", "every dim needs a count",
           "put ones in front", ShapeError)
    x = reshape(input, (*(1,) * (len(counts) - input.ndim), *input.shape))
    doubled = [e for pair in zip((1,) * x.ndim, x.shape, strict=True) for e in pair]
    wide = [e for pair in zip(counts, x.shape, strict=True) for e in pair]
    return reshape(expand(reshape(x, doubled), *wide), [c * e for c, e in zip(counts, x.shape, strict=True)])


@composed
def contiguous(input: Tensor) -> Tensor:
    """The tensor itself where it is row-major, else a row-major copy."""
    return input if input.is_contiguous() else clone(input)


@composed
def clone(input: Tensor) -> Tensor:
    """A copy through which gradients flow."""
    return primitive("clone", input)


