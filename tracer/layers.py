"""Layers: linear maps, norms, embeddings, attention, resampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from retape.ir.errors import InvalidOperands, ShapeError
from retape.ir.types import i64

from .activations import dropout
from .creation import arange, tensor
from .numeric import where
from .products import einsum, matmul
from .special import softmax
from .state import no_grad
from .tensor import Tensor
from .vocabulary import composed, primitive, refuse, tensor_of


@composed(space="nn")
def linear(input: Any, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`."""
    out = matmul(input, weight.T)
    return out if bias is None else out + bias


@composed(space="nn")
def bilinear(input1: Any, input2: Any, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x1 @ weight[k] @ x2` for each k, plus a bias."""
    out = einsum("...i,kij,...j->...k", input1, weight, input2)
    return out if bias is None else out + bias


@composed(space="nn")
def embedding(input: Any, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """The rows of `weight` that indices name; the row `padding_idx` gets no gradient."""
    index = tensor_of(input)
    out = primitive("take", weight, index, axis=0)
    if padding_idx is None:
        return out
    fixed = primitive("eq", index, padding_idx % weight.shape[0]).unsqueeze(-1)
    return where(fixed, out.detach(), out)


# ---- norms


def _scaled(x: Tensor, weight: Any, bias: Any) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _centred(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """Zero mean and unit variance over axes."""
    deviation = x - primitive("mean", x, axis=axes, keepdims=True)
    variance = primitive("mean", deviation * deviation, axis=axes, keepdims=True)
    return deviation / primitive("sqrt", variance + eps)


def _last(x: Tensor, normalized_shape: Sequence[int]) -> tuple[int, ...]:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    refuse(x.shape[x.ndim - len(shape) :] != shape, f"a norm over {shape} of shape {x.shape}",
           "the last extents must be those of `normalized_shape`", "check it", ShapeError)
    return tuple(range(x.ndim - len(shape), x.ndim))


@composed(space="nn")
def layer_norm(
    input: Any, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Zero mean and unit variance over the last dims, then `weight` and `bias`."""
    x = tensor_of(input)
    return _scaled(_centred(x, _last(x, normalized_shape), eps), weight, bias)


@composed(space="nn")
def rms_norm(input: Any, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """Divided by the root of the mean square over the last dims, then `weight`."""
    x = tensor_of(input)
    eps = float(np.finfo(x._data.dtype).eps) if eps is None else eps
    mean = primitive("mean", x * x, axis=_last(x, normalized_shape), keepdims=True)
    return _scaled(x / primitive("sqrt", mean + eps), weight, None)


def _per_channel(parameter: Any, x: Tensor) -> Any:
    return None if parameter is None else tensor_of(parameter).reshape(-1, *(1,) * (x.ndim - 2))


@composed(space="nn")
def batch_norm(
    input: Any, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:
    """Each channel (dim 1) by its mean and variance in the batch (`training`) or by the running ones.

    Training moves the running values in place by the share `momentum`.
    """
    x = tensor_of(input)
    scale, shift = _per_channel(weight, x), _per_channel(bias, x)
    if not training:
        refuse(running_mean is None or running_var is None, "`batch_norm` without running values",
               "outside of training they are what is divided by", "pass them, or `training=True`", InvalidOperands)
        variance = _per_channel(running_var, x)
        return _scaled((x - _per_channel(running_mean, x)) / primitive("sqrt", variance + eps), scale, shift)
    axes = (0, *range(2, x.ndim))
    count = math.prod(x.shape[a] for a in axes)
    refuse(count < 2, f"`batch_norm` in training of shape {x.shape}", "one value a channel has no variance",
           "use larger batches", ShapeError)
    if running_mean is not None and running_var is not None:
        with no_grad():
            mean = primitive("mean", x, axis=axes, keepdims=False)
            variance = x.var(axes)
            running_mean.copy_(running_mean * (1.0 - momentum) + mean * momentum)
            running_var.copy_(running_var * (1.0 - momentum) + variance * momentum)
    return _scaled(_centred(x, axes, eps), scale, shift)


@composed(space="nn")
def group_norm(
    input: Any, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Zero mean and unit variance over groups of channels (dim 1) and all later dims."""
    x = tensor_of(input)
    n, c = x.shape[:2]
    refuse(c % num_groups, f"{num_groups} groups of {c} channels", "the groups are equally large",
           "choose a divisor of the channels", ShapeError)
    rows = x.reshape(n, num_groups, -1)
    return _scaled(_centred(rows, (2,), eps).reshape(x.shape), _per_channel(weight, x), _per_channel(bias, x))


@composed(space="nn")
def instance_norm(
    input: Any, running_mean: Any = None, running_var: Any = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:
    """Zero mean and unit variance over the dims behind the channels; running values are not kept."""
    x = tensor_of(input)
    refuse(not use_input_stats, "`instance_norm` by running values", "they are not kept", "use `batch_norm`",
           InvalidOperands)
    return _scaled(_centred(x, tuple(range(2, x.ndim)), eps), _per_channel(weight, x), _per_channel(bias, x))


# ---- attention


@composed(space="nn")
def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False, *,
    scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:
    """softmax(q k^T * scale + mask) v over the last two dims; a boolean mask says what takes part."""
    q, k, v = tensor_of(query), tensor_of(key), tensor_of(value)
    if enable_gqa:
        k, v = (t.repeat_interleave(q.shape[-3] // t.shape[-3], -3) for t in (k, v))
    scores = matmul(q * (1.0 / math.sqrt(q.shape[-1]) if scale is None else scale), k.mT)
    if is_causal:
        refuse(attn_mask is not None, "attention that is causal and has a mask", "one of both says what takes part",
               "put both into the mask", InvalidOperands)
        attn_mask = arange(scores.shape[-2]).reshape(-1, 1) >= arange(scores.shape[-1])
    if attn_mask is not None:
        mask = tensor_of(attn_mask)
        scores = where(mask, scores, -math.inf) if mask._data.dtype.kind == "b" else scores + mask
    weights = softmax(scores, -1)
    return matmul(dropout(weights, dropout_p) if dropout_p else weights, v)


# ---- resampling


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
    """Spatial dims (those behind N and C) resampled: "nearest", "nearest-exact", "linear", "bilinear", "area"."""
    x = tensor_of(input)
    refuse(mode not in ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "area") or antialias,
           f"`interpolate` by {mode!r}{' with antialias' if antialias else ''}",
           "only nearest, linear and area are known", "use mode='bilinear'", InvalidOperands)
    sizes, scales = _sizes(x, size, scale_factor)
    if mode == "area":
        from .pooling import adaptive_average

        return adaptive_average(x, sizes)
    for number, (extent, scale) in enumerate(zip(sizes, scales, strict=True)):
        dim = number + 2
        if recompute_scale_factor:
            scale = None
        x = _nearest(x, dim, extent, scale, mode == "nearest-exact") if mode.startswith("nearest") else \
            _straight(x, dim, extent, scale, bool(align_corners))
    return x


def _nearest(x: Tensor, dim: int, extent: int, scale: float | None, exact: bool) -> Tensor:
    old = x.shape[dim]
    step = 1.0 / scale if scale else old / extent
    places = np.minimum(np.floor((np.arange(extent) + (0.5 if exact else 0.0)) * step).astype(np.int64), old - 1)
    return primitive("take", x, tensor(places.tolist(), dtype=i64), axis=dim)


def _straight(x: Tensor, dim: int, extent: int, scale: float | None, corners: bool) -> Tensor:
    """Between neighbours in a straight line; with `corners` the first and last elements stay where they are."""
    old = x.shape[dim]
    order = np.arange(extent)
    if corners:
        places = order * ((old - 1) / (extent - 1) if extent > 1 else 0.0)
    else:
        places = np.maximum((order + 0.5) * (1.0 / scale if scale else old / extent) - 0.5, 0.0)
    below = np.minimum(np.floor(places).astype(np.int64), old - 1)
    above = np.minimum(below + 1, old - 1)
    shape = (extent,) + (1,) * (x.ndim - dim - 1)
    weight = tensor((places - below).tolist(), dtype=x.dtype).reshape(shape)
    low, high = (primitive("take", x, tensor(i.tolist(), dtype=i64), axis=dim) for i in (below, above))
    return low * (1.0 - weight) + high * weight


