"""Resampling of spatial dims to other extents."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from retape.ir.errors import InvalidOperands
from retape.ir.types import i64

from .creation import tensor
from .tensor import Tensor
from .vocabulary import composed, primitive, refuse, tensor_of

SLOPE = -0.75  # of the cubic kernel at its first zero, as torch and OpenCV have it


def _sizes(x: Tensor, size: Any, scale: Any) -> tuple[list[int], list[float | None]]:
    """The target extents of the spatial dims, and the scales where these were given."""
    rank = x.ndim - 2
    if size is not None:
        wanted = [size] * rank if isinstance(size, int) else list(size)
        return wanted, [None] * rank
    refuse(scale is None, "`interpolate` without a size", "the result's extents would be unknown",
           "pass `size` or `scale_factor`", InvalidOperands)
    scales = [float(scale)] * rank if isinstance(scale, (int, float)) else [float(s) for s in scale]
    return [math.floor(e * s) for e, s in zip(x.shape[2:], scales, strict=True)], [*scales]


@composed(space="nn")
def interpolate(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:
    """Spatial dims (those behind N and C) resampled: by "nearest", "nearest-exact", "linear", "bilinear",
    "bicubic" or "area"."""
    x = tensor_of(input)
    refuse(mode not in ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area") or antialias,
           f"`interpolate` by {mode!r}{' with antialias' if antialias else ''}",
           "only nearest, linear, bicubic and area are known", "use mode='bilinear'", InvalidOperands)
    sizes, scales = _sizes(x, size, scale_factor)
    if mode == "area":
        from .pooling import adaptive_average

        return adaptive_average(x, sizes)
    for number, (extent, scale) in enumerate(zip(sizes, scales, strict=True)):
        dim = number + 2
        if recompute_scale_factor:
            scale = None
        if mode.startswith("nearest"):
            x = _nearest(x, dim, extent, scale, mode == "nearest-exact")
        else:
            x = _between(x, dim, extent, scale, bool(align_corners), mode == "bicubic")
    return x


def _nearest(x: Tensor, dim: int, extent: int, scale: float | None, exact: bool) -> Tensor:
    old = x.shape[dim]
    step = 1.0 / scale if scale else old / extent
    places = np.minimum(np.floor((np.arange(extent) + (0.5 if exact else 0.0)) * step).astype(np.int64), old - 1)
    return primitive("take", x, tensor(places.tolist(), dtype=i64), axis=dim)


def cubic(distance: Any) -> list[Any]:
    """The weights of the four neighbours at -1, 0, 1 and 2 for a distance from 0 to 1: Keys's cubic convolution."""
    def near(t: Any) -> Any:
        return ((SLOPE + 2) * t - (SLOPE + 3)) * t * t + 1

    def far(t: Any) -> Any:
        return ((SLOPE * t - 5 * SLOPE) * t + 8 * SLOPE) * t - 4 * SLOPE

    return [far(distance + 1), near(distance), near(1 - distance), far(2 - distance)]


def _between(x: Tensor, dim: int, extent: int, scale: float | None, corners: bool, smooth: bool) -> Tensor:
    """Between two neighbours in a straight line, or four in a cubic one; with `corners` the first and last elements
    stay where they are."""
    old = x.shape[dim]
    order = np.arange(extent)
    if corners:
        places = order * ((old - 1) / (extent - 1) if extent > 1 else 0.0)
    else:
        places = (order + 0.5) * (1.0 / scale if scale else old / extent) - 0.5
        places = places if smooth else np.maximum(places, 0.0)
    below = np.floor(places).astype(np.int64)
    apart = places - below
    shape = (extent,) + (1,) * (x.ndim - dim - 1)
    out: Any = None
    for step, weight in zip((-1, 0, 1, 2) if smooth else (0, 1), cubic(apart) if smooth else [1.0 - apart, apart],
                            strict=True):
        index = np.clip(below + step, 0, old - 1)
        pixels = primitive("take", x, tensor(index.tolist(), dtype=i64), axis=dim)
        term = pixels * tensor(weight.tolist(), dtype=x.dtype).reshape(shape)
        out = term if out is None else out + term
    return out  # type: ignore[no-any-return]


@composed(space="nn")
def upsample(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """`interpolate`."""
    return interpolate(input, size, scale_factor, mode, align_corners)


@composed(space="nn")
def upsample_nearest(input: Any, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` by "nearest"."""
    return interpolate(input, size, scale_factor)


@composed(space="nn")
def upsample_bilinear(input: Any, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` by "bilinear", the corners staying where they are."""
    return interpolate(input, size, scale_factor, "bilinear", True)
