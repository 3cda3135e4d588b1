"""Pooling: windows of the input (views) reduced to their mean or their largest element."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from retape.ir.errors import ShapeError

from .arranging import padded
from .convolution import overlapped, per_dim, windows
from .creation import arange, tensor, zeros
from .numeric import isnan, logical_or, to, where
from .shaping import permute, stack
from .tensor import Tensor
from .vocabulary import choosing, composed, guarded, primitive, refuse, tensor_of


class _Windows:
    """Where the windows of a pooling lie."""

    def __init__(
        self, x: Tensor, rank: int, size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
    ) -> None:
        self.rank, self.extents = rank, x.shape[x.ndim - rank :]
        self.size = per_dim(size, rank)
        self.stride = self.size if stride is None or stride == [] else per_dim(stride, rank)
        self.padding, self.dilation = per_dim(padding, rank), per_dim(dilation, rank)
        self.more = []
        for extent, size_, step, pad, apart in zip(self.extents, self.size, self.stride, self.padding, self.dilation,
                                                   strict=True):
            spread, room = (size_ - 1) * apart + 1, extent + 2 * pad
            count = (room - spread) // step + 1
            if ceil_mode:
                count = -(-(room - spread) // step) + 1
                if (count - 1) * step >= extent + pad:  # the last window must begin inside
                    count -= 1
            self.more.append(max((count - 1) * step + spread - room, 0) if ceil_mode else 0)

    def of(self, x: Tensor, value: Any) -> Tensor:
        """The windows' elements in one last dim; `value` stands where they reach beyond the input."""
        pairs = [(p, p + more) for p, more in zip(self.padding, self.more, strict=True)]
        x = padded(x, [(0, 0)] * (x.ndim - self.rank) + pairs, value)
        view = windows(x, self.size, self.stride, self.dilation)
        return view.reshape(*view.shape[: view.ndim - self.rank], math.prod(self.size))

    def counts(self, include_pad: bool) -> np.ndarray[Any, Any]:
        """How many elements each window has within the (padded) input."""
        lines = []
        for extent, size, step, pad, more in zip(self.extents, self.size, self.stride, self.padding, self.more,
                                                 strict=True):
            places = (extent + 2 * pad + more - size) // step + 1
            start = np.arange(places) * step - pad
            end = np.minimum(start + size, extent + pad)
            lines.append(end - start if include_pad else np.minimum(end, extent) - np.maximum(start, 0))
        return np.asarray(math.prod(np.ix_(*lines)))


def _average(
    rank: int, input: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    x = tensor_of(input)
    place = _Windows(x, rank, kernel_size, stride, padding, 1, ceil_mode)
    view = place.of(x, 0)
    total = primitive("sum", view, axis=(view.ndim - 1,), keepdims=False)
    counts = place.counts(count_include_pad)
    if divisor_override is not None:
        return total / float(divisor_override)
    if counts.size and (counts == counts.flat[0]).all():
        return total / float(counts.flat[0])
    return total / tensor(counts.tolist(), dtype=x.dtype)


def _largest(
    rank: int, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
    return_indices: bool,
) -> Any:
    """The first largest element of each window, by comparisons alone, so that all of it is one kernel or two."""
    x = tensor_of(input)
    place = _Windows(x, rank, kernel_size, stride, padding, dilation, ceil_mode)
    view = place.of(x, -math.inf if x.dtype.is_floating_point else np.iinfo(x._data.dtype).min)
    axis = (view.ndim - 1,)
    fixed = view.detach()
    hit = logical_or(fixed == primitive("amax", fixed, axis=axis, keepdims=True), isnan(fixed))
    order = arange(view.shape[-1])
    first = primitive("amin", where(hit, order, view.shape[-1]), axis=axis, keepdims=True)
    out = primitive("sum", where(primitive("eq", order, first), view, to(tensor(0), x.dtype)), axis=axis,
                    keepdims=False)
    if not return_indices:
        return out
    rest = primitive("reshape", first, shape=out.shape)
    flat: Any = 0
    steps = [math.prod(place.extents[i + 1 :]) for i in range(rank)]
    for number in reversed(range(rank)):
        size = place.size[number]
        offset, rest = primitive("remainder", rest, size), primitive("floor_divide", rest, size)
        start = arange(out.shape[out.ndim - rank + number]) * place.stride[number] - place.padding[number]
        start = start.reshape(-1, *(1,) * (rank - number - 1))
        flat = (offset * place.dilation[number] + start) * steps[number] + flat
    return out, flat


def _adaptive(x: Tensor, sizes: Sequence[Any], reduce: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Each spatial dim divided into parts of nearly equal size, which are reduced."""
    rank = len(sizes)
    for number, wanted in enumerate(sizes):
        axis = x.ndim - rank + number
        extent = x.shape[axis]
        if wanted is None or wanted == extent:
            continue
        if extent % wanted == 0:
            shape = (*x.shape[:axis], wanted, extent // wanted, *x.shape[axis + 1 :])
            x = reduce(primitive("reshape", x, shape=shape), axis + 1)
            continue
        bounds = [(i * extent // wanted, -(-(i + 1) * extent // wanted)) for i in range(wanted)]
        x = stack([reduce(x.narrow(axis, a, b - a), axis) for a, b in bounds], axis)
    return x


def adaptive_average(x: Tensor, sizes: Sequence[Any]) -> Tensor:
    """Means over parts of nearly equal size, as many as `sizes` says."""
    return _adaptive(x, sizes, lambda part, axis: primitive("mean", part, axis=(axis,), keepdims=False))


def _register(rank: int) -> None:
    def average(
        input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Tensor:
        return _average(rank, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)

    def largest(
        input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        return _largest(rank, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)

    def adaptive_mean(input: Any, output_size: Any) -> Tensor:
        return adaptive_average(tensor_of(input), per_dim(output_size, rank))

    def adaptive_largest(input: Any, output_size: Any) -> Tensor:
        return _adaptive(tensor_of(input), per_dim(output_size, rank),
                         lambda part, axis: primitive("amax", part, axis=(axis,), keepdims=False))

    def power(
        input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> Tensor:
        x = tensor_of(input)
        total = _average(rank, x**norm_type, kernel_size, stride, 0, ceil_mode, True, 1)
        return (primitive("sign", total) * primitive("relu", abs(total))) ** (1.0 / norm_type)

    for name, function, doc in (
        ("avg_pool", average, "Means of windows."),
        ("max_pool", largest, "Largest elements of windows, and where asked for their places."),
        ("adaptive_avg_pool", adaptive_mean, "Means over parts of nearly equal size."),
        ("adaptive_max_pool", adaptive_largest, "Largest elements of parts of nearly equal size."),
        ("lp_pool", power, "Roots of the sums of powers of windows."),
    ):
        full = f"{name}{rank}d"
        function.__name__ = function.__qualname__ = full
        function.__doc__ = f"{doc[:-1]} over the last {rank} dims."
        composed(name=full, space="nn")(function)


for _rank in (1, 2, 3):
    _register(_rank)


# ---- windows as columns


def _columns(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Windows of (N, C, H, W) as columns (N, C * elements, places)."""
    x = tensor_of(input)
    size, pads = per_dim(kernel_size, 2), per_dim(padding, 2)
    view = windows(padded(x, [(0, 0), (0, 0), *((p, p) for p in pads)]), size, per_dim(stride, 2), per_dim(dilation, 2))
    return permute(view, 0, 1, 4, 5, 2, 3).reshape(x.shape[0], x.shape[1] * math.prod(size), -1)


@composed(space="nn")
def fold(
    input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Columns (N, C * elements, places) added at their places in (N, C, H, W): the transpose of `unfold`."""
    x = tensor_of(input)
    size, pads, steps, apart = (per_dim(v, 2) for v in (kernel_size, padding, stride, dilation))
    target = [e + 2 * p for e, p in zip(per_dim(output_size, 2), pads, strict=True)]
    places = [(e - (k - 1) * d - 1) // s + 1 for e, k, d, s in zip(target, size, apart, steps, strict=True)]
    view = permute(x.reshape(x.shape[0], -1, *size, *places), 0, 1, 4, 5, 2, 3)
    whole = overlapped(view, size, steps, apart, target)
    return padded(whole, [(0, 0), (0, 0), *((-p, -p) for p in pads)])


def _unpooled(
    rank: int, input: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    x, places = tensor_of(input), tensor_of(indices)
    size, pad = per_dim(kernel_size, rank), per_dim(padding, rank)
    step = size if stride is None else per_dim(stride, rank)
    lead, extents = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
    if output_size is None:
        wanted = tuple((e - 1) * s - 2 * p + k for e, s, p, k in zip(extents, step, pad, size, strict=True))
    else:
        wanted = tuple(output_size)[-rank:]
    refuse(places.shape != x.shape, f"unpooling of shape {x.shape} with places of shape {places.shape}",
           "there is one place for each element", "use the indices that `max_pool` gave", ShapeError)
    whole = zeros(*lead, math.prod(wanted), dtype=x.dtype)
    return primitive("put", whole, places.reshape(*lead, -1), x.reshape(*lead, -1), axis=len(lead)).reshape(
        *lead, *wanted)


@composed(space="nn")
def max_unpool1d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """The largest elements put back to where `max_pool1d` took them, zeros elsewhere."""
    return _unpooled(1, input, indices, kernel_size, stride, padding, output_size)


@composed(space="nn")
def max_unpool2d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """The largest elements put back to where `max_pool2d` took them, zeros elsewhere."""
    return _unpooled(2, input, indices, kernel_size, stride, padding, output_size)


@composed(space="nn")
def max_unpool3d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """The largest elements put back to where `max_pool3d` took them, zeros elsewhere."""
    return _unpooled(3, input, indices, kernel_size, stride, padding, output_size)


@choosing
def _relu(input: Any) -> Tensor:
    """max(x, 0); the derivative at 0 is 0."""
    return primitive("relu", tensor_of(input))


FUNCTIONAL_ONLY: dict[str, Callable[..., Any]] = {
    "unfold": guarded("unfold", _columns), "relu": guarded("relu", _relu)}
