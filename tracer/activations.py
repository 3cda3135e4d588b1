"""Activation functions."""

from __future__ import annotations

import math
from typing import Any

from retape.ir.errors import InvalidOperands, ShapeError

from .creation import rand, rand_like, zeros
from .numeric import clamp, to, where
from .special import log_softmax, softmax
from .tensor import Tensor
from .vocabulary import METHODS, axis_of, choosing, composed, floating, primitive, refuse, tensor_of


@composed(space="nn")
def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, without overflow; x itself above the threshold."""
    x = floating(input)
    scaled = x if beta == 1 else x * beta
    soft = primitive("logaddexp", where(scaled > threshold, 0.0, scaled), 0.0)
    return where(scaled > threshold, x, soft if beta == 1 else soft / beta)


@composed(space="nn")
def logsigmoid(input: Any) -> Tensor:
    """log(1 / (1 + exp(-x))), without overflow."""
    return -primitive("logaddexp", -floating(input), 0.0)


@composed(space="nn")
@choosing
def silu(input: Any) -> Tensor:
    """x * sigmoid(x)."""
    x = tensor_of(input)
    return x * primitive("sigmoid", x)


@composed(space="nn")
@choosing
def mish(input: Any) -> Tensor:
    """x * tanh(softplus(x))."""
    x = tensor_of(input)
    return x * primitive("tanh", softplus(x))


@composed(space="nn")
def gelu(input: Any, *, approximate: str = "none") -> Tensor:
    """x times the normal distribution function, or with "tanh" a near form of it."""
    x = tensor_of(input)
    if approximate == "tanh":
        inner = (x + x * x * x * 0.044715) * math.sqrt(2.0 / math.pi)
        return x * 0.5 * (1.0 + primitive("tanh", inner))
    return x * 0.5 * (1.0 + primitive("erf", x * math.sqrt(0.5)))


@composed(space="nn")
@choosing
def relu6(input: Any) -> Tensor:
    """min(max(x, 0), 6); the derivative is 0 at both ends."""
    return hardtanh(input, 0.0, 6.0)


@composed(space="nn")
@choosing
def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x held between bounds; the derivative is 0 at and beyond them."""
    x = tensor_of(input)
    return where(x <= min_val, min_val, where(x >= max_val, max_val, x))


@composed(space="nn")
@choosing
def leaky_relu(input: Any, negative_slope: float = 0.01) -> Tensor:
    """x above 0, `negative_slope * x` below."""
    x = tensor_of(input)
    return where(x > 0, x, x * negative_slope)


@composed(space="nn")
def prelu(input: Any, weight: Any) -> Tensor:
    """x above 0, `weight * x` below, with one weight a channel (dim 1) or one for all."""
    x, w = tensor_of(input), tensor_of(weight)
    if w.numel() > 1 and x.ndim > 2:
        w = w.reshape(-1, *(1,) * (x.ndim - 2))
    return where(x > 0, x, x * w)


@composed(space="nn")
@choosing
def elu(input: Any, alpha: float = 1.0) -> Tensor:
    """x above 0, `alpha * (exp(x) - 1)` below."""
    x = tensor_of(input)
    return where(x > 0, x, primitive("expm1", where(x > 0, 0.0, x)) * alpha)


@composed(space="nn")
@choosing
def celu(input: Any, alpha: float = 1.0) -> Tensor:
    """x above 0, `alpha * (exp(x / alpha) - 1)` below."""
    x = tensor_of(input)
    return where(x > 0, x, primitive("expm1", where(x > 0, 0.0, x) / alpha) * alpha)


@composed(space="nn")
@choosing
def selu(input: Any) -> Tensor:
    """`elu` scaled so that zero mean and unit variance are kept."""
    return elu(input, 1.6732632423543772) * 1.0507009873554805


@composed(space="nn")
@choosing
def hardsigmoid(input: Any) -> Tensor:
    """x / 6 + 1/2, held between 0 and 1."""
    return hardtanh(tensor_of(input) / 6.0 + 0.5, 0.0, 1.0)


@composed(space="nn")
@choosing
def hardswish(input: Any) -> Tensor:
    """x * hardsigmoid(x)."""
    x = tensor_of(input)
    return where(x <= -3.0, 0.0, where(x >= 3.0, x, x * (x / 6.0 + 0.5)))


@composed(space="nn")
def hardshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """x, and 0 where |x| <= lambd."""
    x = tensor_of(input)
    return where(abs(x) <= lambd, 0.0, x)


@composed(space="nn")
def softshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by `lambd`, as far as 0."""
    x = tensor_of(input)
    return where(x > lambd, x - lambd, where(x < -lambd, x + lambd, 0.0 * x.detach()))


@composed(space="nn")
def tanhshrink(input: Any) -> Tensor:
    """x - tanh(x)."""
    x = tensor_of(input)
    return x - primitive("tanh", x)


@composed(space="nn")
def softsign(input: Any) -> Tensor:
    """x / (1 + |x|)."""
    x = tensor_of(input)
    return x / (1.0 + abs(x))


@composed(space="nn")
@choosing
def threshold(input: Any, threshold: float, value: float) -> Tensor:
    """x above the threshold, `value` elsewhere."""
    x = tensor_of(input)
    return where(x <= threshold, value, x)


@composed(space="nn")
def glu(input: Any, dim: int = -1) -> Tensor:
    """One half times the sigmoid of the other."""
    x = tensor_of(input)
    refuse(x.shape[axis_of(dim, x)] % 2, f"`glu` of shape {x.shape}", f"the extent of dim {dim} must be even",
           "choose another dim", ShapeError)
    a, b = x.chunk(2, axis_of(dim, x))
    out: Tensor = a * primitive("sigmoid", b)
    return out


@composed(space="nn")
def softmin(input: Any, dim: int = -1) -> Tensor:
    """`softmax` of -x."""
    return softmax(-tensor_of(input), dim)


@composed(space="nn")
def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Divided by the p-norm along a dim, which counts as no less than `eps`."""
    x = tensor_of(input)
    return x / clamp(x.norm(p, dim, True), eps)


@composed(space="nn")
def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero for a random share `p` of the elements, the others larger by 1 / (1 - p)."""
    x = tensor_of(input)
    return _dropped(x, x.shape, p, training, inplace)


def _channels(x: Tensor, rank: int) -> tuple[int, ...]:
    """The shape of one draw for each channel of (N, C, ...) or (C, ...) with `rank` dims behind."""
    refuse(x.ndim not in (rank + 1, rank + 2), f"`dropout{rank}d` of shape {x.shape}",
           f"it takes (N, C) or (C,) and {rank} dims", "reshape it, or use `dropout`", ShapeError)
    lead = x.ndim - rank
    return x.shape[:lead] + (1,) * rank


def _dropped(x: Tensor, shape: tuple[int, ...], p: float, training: bool, inplace: bool) -> Tensor:
    refuse(not 0 <= p <= 1, f"a dropout of {p}", "it is a probability", "choose it from 0 to 1", InvalidOperands)
    if not training or p == 0:
        out = x
    elif p == 1:
        out = x * zeros(x.shape, dtype=x.dtype)
    else:
        out = x * to(rand(*shape, dtype=x.dtype) >= p, x.dtype) / (1.0 - p)
    return x.copy_(out) if inplace else out


@composed(space="nn")
def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`dropout` of whole channels with one dim behind."""
    x = tensor_of(input)
    return _dropped(x, _channels(x, 1), p, training, inplace)


@composed(space="nn")
def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`dropout` of whole channels with two dims behind."""
    x = tensor_of(input)
    return _dropped(x, _channels(x, 2), p, training, inplace)


@composed(space="nn")
def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`dropout` of whole channels with three dims behind."""
    x = tensor_of(input)
    return _dropped(x, _channels(x, 3), p, training, inplace)


def _alpha(x: Tensor, shape: tuple[int, ...], p: float, training: bool, inplace: bool) -> Tensor:
    refuse(not 0 <= p < 1, f"an alpha dropout of {p}", "something must be left", "choose it from 0 to below 1",
           InvalidOperands)
    out = x
    if training and p:
        limit = -1.7580993408473766  # what SELU tends to
        kept = rand(*shape, dtype=x.dtype) >= p
        scale = 1.0 / math.sqrt((1.0 - p) * (1.0 + p * limit * limit))
        out = where(kept, x, limit) * scale - scale * limit * p
    return x.copy_(out) if inplace else out


@composed(space="nn")
def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`dropout` that keeps mean and variance of what `selu` gives."""
    x = tensor_of(input)
    return _alpha(x, x.shape, p, training, inplace)


@composed(space="nn")
def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels."""
    x = tensor_of(input)
    return _alpha(x, x.shape[:2] + (1,) * (x.ndim - 2), p, training, inplace)


@composed(space="nn")
def rrelu(
    input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """x, below 0 times a slope: drawn for each element in `training`, else the middle one."""
    x = tensor_of(input)
    slope: Any = rand_like(x) * (upper - lower) + lower if training else (lower + upper) / 2.0
    out = where(x < 0, x * slope, x)
    return x.copy_(out) if inplace else out


@composed(space="nn")
def gumbel_softmax(logits: Any, tau: float = 1.0, hard: bool = False, dim: int = -1) -> Tensor:
    """`softmax` of scores with Gumbel noise; `hard` gives one-hot values with the derivative of the soft ones."""
    x = tensor_of(logits)
    noise = -primitive("log", -primitive("log", clamp(rand_like(x), 1e-37)))
    soft = softmax((x + noise) / tau, dim)
    if not hard:
        return soft
    top = to(soft >= primitive("amax", soft, axis=(axis_of(dim, x),), keepdims=True), x.dtype)
    return top - soft.detach() + soft


METHODS.update(("prelu", "hardshrink"))  # of the activations these are methods, too
composed(space="nn")(softmax)
composed(space="nn")(log_softmax)
