"""Convolutions: windows of the input (views) times the weights, as one matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from retape.ir.errors import InvalidOperands, ShapeError

from .arranging import padded
from .shaping import flip, permute, transpose
from .tensor import Tensor
from .vocabulary import composed, primitive, refuse, tensor_of


def per_dim(value: Any, rank: int) -> tuple[Any, ...]:
    """One number for each spatial dim."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * rank if len(given) == 1 else given


def windows(x: Tensor, size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """All windows over the last dims: (..., places, elements of a window); a view."""
    first = x.ndim - len(size)
    refuse(min((*size, *stride, *dilation)) < 1, f"windows of {tuple(size)} at a stride of {tuple(stride)}",
           "sizes, strides and dilations are at least 1", "check them", InvalidOperands)
    for number, (extent, step, apart) in enumerate(zip(size, stride, dilation, strict=True)):
        axis, spread = first + number, (extent - 1) * apart + 1
        refuse(spread > x.shape[axis] or not x.shape[axis], f"windows of {spread} in an extent of {x.shape[axis]}",
               "a window must fit into the (padded) input", "pad the input, or use a smaller window", ShapeError)
        x = primitive("unfold", x, axis=axis, size=spread, step=step)
        if apart > 1:
            every = tuple(slice(0, e, 1) for e in x.shape[:-1])
            x = primitive("slice", x, index=(*every, slice(0, spread, apart)))
    return x


def overlapped(x: Tensor, size: Sequence[int], stride: Sequence[int], dilation: Sequence[int], target: Sequence[int]) \
        -> Tensor:
    """Windows (..., places, elements) added at their places in the extents `target`: the transpose of `windows`."""
    rank = len(size)
    first = x.ndim - 2 * rank
    for number in reversed(range(rank)):
        axis, count = first + number, x.shape[first + number]
        shape = (*x.shape[:axis], target[number], *x.shape[axis + 1 : -1])
        before = tuple(slice(0, e, 1) for e in x.shape[:axis])
        every = tuple(slice(0, e, 1) for e in x.shape[:-1])
        whole: Any = 0
        for k in range(size[number]):
            start = k * dilation[number]
            place = slice(start, start + (count - 1) * stride[number] + 1, stride[number])
            part = primitive("slice", x, index=(*every, k))
            whole = primitive("embed", part, shape=shape, index=(*before, place)) + whole
        x = whole
    return x


def _check(name: str, x: Tensor, weight: Tensor, groups: int, rank: int, axis: int) -> None:
    refuse(x.ndim not in (rank + 1, rank + 2) or weight.ndim != rank + 2,
           f"`{name}` of shape {x.shape} with weights of shape {weight.shape}",
           f"it takes (N, C) and {rank} spatial dims, and weights (out, in / groups) and {rank} more", "reshape them",
           ShapeError)
    channels = x.shape[-rank - 1]
    needed = weight.shape[1] * groups if axis else weight.shape[0]
    refuse(channels != needed or weight.shape[0] % groups,
           f"`{name}` of {channels} channels in {groups} groups with weights of shape {weight.shape}",
           f"the weights take {needed} channels", "check `groups` and the weights", ShapeError)


def _convolved(x: Tensor, weight: Tensor, stride: Sequence[int], dilation: Sequence[int], groups: int) -> Tensor:
    rank = weight.ndim - 2
    n, c = x.shape[:2]
    out, size = weight.shape[0], weight.shape[2:]
    view = windows(x, size, stride, dilation)
    places = view.shape[2 : 2 + rank]
    count, many = c // groups * math.prod(size), math.prod(places)
    spatial, inner = range(2, 2 + rank), range(2 + rank, 2 + 2 * rank)
    if groups == 1:
        columns = permute(view, 0, 1, *inner, *spatial).reshape(n, count, many)
        return primitive("matmul", weight.reshape(1, out, count), columns).reshape(n, out, *places)
    columns = permute(view, 1, *inner, 0, *spatial).reshape(groups, count, n * many)
    product = primitive("matmul", weight.reshape(groups, out // groups, count), columns)
    return transpose(product.reshape(out, n, *places), 0, 1)


def _conv(
    rank: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    x, w = tensor_of(input), tensor_of(weight)
    _check(f"conv{rank}d", x, w, groups, rank, 1)
    if x.ndim == rank + 1:
        return _conv(rank, x.unsqueeze(0), w, bias, stride, padding, dilation, groups).squeeze(0)
    stride, dilation = per_dim(stride, rank), per_dim(dilation, rank)
    if padding == "same":
        refuse(any(s != 1 for s in stride), "padding='same' with a stride", "the extents couldn't stay the same",
               "give the padding in elements", InvalidOperands)
        total = [(k - 1) * d for k, d in zip(w.shape[2:], dilation, strict=True)]
        pairs = [(t // 2, t - t // 2) for t in total]
    else:
        pairs = [(p, p) for p in per_dim(0 if padding == "valid" else padding, rank)]
    out = _convolved(padded(x, [(0, 0), (0, 0), *pairs]), w, stride, dilation, groups)
    return out if bias is None else out + tensor_of(bias).reshape(-1, *(1,) * rank)


def _transposed(
    rank: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: int,
    dilation: Any,
) -> Tensor:
    """The transpose of a convolution: of the input spread out by the stride, with turned weights."""
    x, w = tensor_of(input), tensor_of(weight)
    _check(f"conv_transpose{rank}d", x, w, groups, rank, 0)
    if x.ndim == rank + 1:
        return _transposed(rank, x.unsqueeze(0), w, bias, stride, padding, output_padding, groups, dilation).squeeze(0)
    stride, dilation = per_dim(stride, rank), per_dim(dilation, rank)
    padding, output_padding = per_dim(padding, rank), per_dim(output_padding, rank)
    size = w.shape[2:]
    spread = tuple((e - 1) * s + 1 for e, s in zip(x.shape[2:], stride, strict=True))
    index = (slice(0, x.shape[0], 1), slice(0, x.shape[1], 1), *(slice(0, e, s) for e, s in zip(spread, stride,
                                                                                              strict=True)))
    x = primitive("embed", x, shape=(*x.shape[:2], *spread), index=index)
    pairs = [(d * (k - 1) - p, d * (k - 1) - p + more)
             for d, k, p, more in zip(dilation, size, padding, output_padding, strict=True)]
    turned = flip(w, *range(2, 2 + rank)).reshape(groups, w.shape[0] // groups, w.shape[1], *size)
    turned = transpose(turned, 1, 2).reshape(groups * w.shape[1], w.shape[0] // groups, *size)
    out = _convolved(padded(x, [(0, 0), (0, 0), *pairs]), turned, (1,) * rank, dilation, groups)
    return out if bias is None else out + tensor_of(bias).reshape(-1, *(1,) * rank)


def _register(rank: int) -> None:
    def conv(
        input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        return _conv(rank, input, weight, bias, stride, padding, dilation, groups)

    def conv_transpose(
        input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, dilation: Any = 1,
    ) -> Tensor:
        return _transposed(rank, input, weight, bias, stride, padding, output_padding, groups, dilation)

    conv.__name__, conv_transpose.__name__ = f"conv{rank}d", f"conv_transpose{rank}d"
    conv.__doc__ = f"Convolution (cross-correlation) over {rank} spatial dims; weights (out, in / groups, ...)."
    conv_transpose.__doc__ = f"Transpose of `conv{rank}d`; weights (in, out / groups, ...)."
    composed(space="nn")(conv)
    composed(space="nn")(conv_transpose)


for _rank in (1, 2, 3):
    _register(_rank)
