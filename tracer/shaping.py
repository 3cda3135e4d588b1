"""Shapes and views: compositions over the structural primitives, with torch's signatures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from retape.ir.errors import ShapeError
from retape.ir.shapes import canonical_axes, canonical_shape

from .apply import located
from .indexing import getitem
from .tensor import Tensor
from .vocabulary import axis_of, composed, dims_of, primitive, tensor_of


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
        raise RuntimeError("view size is not compatible with input tensor's size and stride; use reshape() instead")
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


@composed
def expand(input: Any, *sizes: Any) -> Tensor:
    """Extents of 1 repeated without copying; -1 keeps an extent."""
    x = tensor_of(input)
    target = dims_of(sizes)
    lead = len(target) - x.ndim
    filled = tuple(x.shape[i - lead] if e == -1 and i >= lead else e for i, e in enumerate(target))
    return primitive("expand", x, shape=filled)


@composed
def broadcast_to(input: Any, size: Sequence[int]) -> Tensor:
    """`expand` to a shape."""
    return expand(input, *size)


@composed
def squeeze(input: Any, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without the dims of extent 1 (all of them, or those named)."""
    x = tensor_of(input)
    named = canonical_axes(dim, x.shape)
    return reshape(x, tuple(e for i, e in enumerate(x.shape) if not (e == 1 and i in named)))


@composed
def unsqueeze(input: Any, dim: int) -> Tensor:
    """With a new dim of extent 1 at `dim`."""
    x = tensor_of(input)
    at = axis_of(dim, x, 1)
    return reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


@composed
def flip(input: Any, dims: int | Sequence[int]) -> Tensor:
    """Reversed order along dims."""
    x = tensor_of(input)
    return primitive("flip", x, axis=canonical_axes(dims, x.shape))


@composed
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` neighbours along `dim`."""
    every = (slice(None),) * axis_of(dim, input)
    return getitem(input, (*every, slice(start, start + length)))


@composed
def split(input: Tensor, size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of `size` (the last may be smaller), or of the sizes given."""
    extent = input.shape[axis_of(dim, input)]
    sizes = [min(size, extent - i) for i in range(0, extent, size)] if isinstance(size, int) else list(size)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(narrow(input, dim, start, length) for start, length in zip(starts, sizes, strict=True))


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
    """Tensors joined along `dim`."""
    parts = [tensor_of(part) for part in tensors]
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


