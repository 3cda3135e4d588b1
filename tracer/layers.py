"""Layers: linear maps, norms, embeddings, attention, resampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from retape.ir.errors import InvalidOperands, ShapeError

from .activations import dropout
from .arranging import padded
from .creation import arange, full
from .numeric import to, where
from .products import einsum, matmul
from .selecting import scatter_reduce
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


@composed(space="nn")
def embedding_bag(
    input: Any, weight: Tensor, offsets: Any = None, mode: str = "mean", per_sample_weights: Any = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or largest elements of the rows of `weight` that each bag of indices names.

    Bags are the rows of a matrix, or begin in a vector at `offsets`; indices equal to `padding_idx` don't count.
    """
    index = tensor_of(input)
    refuse(mode not in ("sum", "mean", "max"), f"`embedding_bag` by {mode!r}", "it is 'sum', 'mean' or 'max'",
           "use one of these", InvalidOperands)
    refuse((index.ndim == 1) == (offsets is None) or index.ndim > 2, f"`embedding_bag` of shape {index.shape}",
           "bags are the rows of a matrix, or begin at `offsets` in a vector", "give one or the other", ShapeError)
    refuse(per_sample_weights is not None and mode != "sum", f"`embedding_bag` by {mode!r} with weights",
           "they are defined for sums", "use mode='sum'", InvalidOperands)
    if offsets is None:
        count, flat = index.shape[0], index.reshape(-1)
        bags = arange(count).unsqueeze(1).expand(*index.shape).reshape(-1)
    else:
        starts, flat = tensor_of(offsets), index
        count = starts.shape[0] - include_last_offset
        bags = primitive("searchsorted", starts[:count], arange(flat.shape[0]), right=True) - 1
    rows = primitive("take", weight, flat, axis=0)
    counted = primitive("ne", flat, -1 if padding_idx is None else padding_idx % weight.shape[0])
    if per_sample_weights is not None:
        rows = rows * tensor_of(per_sample_weights).reshape(-1, 1)
    shape = (count, weight.shape[1])
    hits = primitive("take_add", to(counted, "int64"), bags, shape=(count,), axis=0).unsqueeze(1)
    if mode == "max":
        lowest = full(shape, -math.inf, dtype=weight.dtype)
        kept = where(counted.unsqueeze(1), rows, -math.inf)
        top = scatter_reduce(lowest, 0, bags.unsqueeze(1).expand(*rows.shape), kept, "amax")
        return where(primitive("eq", hits, 0), 0.0, top)
    total = primitive("take_add", where(counted.unsqueeze(1), rows, 0.0), bags, shape=shape, axis=0)
    return total if mode == "sum" else total / where(primitive("eq", hits, 0), 1, hits)


@composed(space="nn")
def channel_shuffle(input: Any, groups: int) -> Tensor:
    """Channels (dim 1) dealt out in turn to groups."""
    x = tensor_of(input)
    refuse(x.ndim < 3 or groups < 1 or x.shape[1] % groups, f"{groups} groups of shape {x.shape}",
           "the groups of channels are equally large", "choose a divisor of the channels", ShapeError)
    n, c, *rest = x.shape
    return x.reshape(n, groups, c // groups, *rest).transpose(1, 2).reshape(x.shape)


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


@composed(space="nn")
def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha m) ** beta, with m the mean square over `size` neighbouring channels, zeros beyond the ends."""
    x = tensor_of(input)
    refuse(x.ndim < 3 or size < 1, f"`local_response_norm` of shape {x.shape}, {size} channels",
           "it takes (N, C, ...) with dims behind", "reshape it", ShapeError)
    pairs = [(0, 0)] * x.ndim
    pairs[1] = (size // 2, (size - 1) // 2)
    near = padded(x * x, pairs, 0.0).unfold(1, size, 1)
    mean = primitive("mean", near, axis=(x.ndim,), keepdims=False)
    return x / primitive("pow", mean * alpha + k, beta)


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
