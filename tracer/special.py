"""Stable forms: products with logarithms, exponentials of differences, and functions with removable gaps."""

from __future__ import annotations

import math
from typing import Any

from retape.ir.shapes import broadcast_shapes, same_shape

from .numeric import clamp, logical_or, together_as_floats, where
from .tensor import Tensor
from .vocabulary import axes_of, axis_of, composed, either, floating, primitive, tensor_of

LN2 = math.log(2.0)


@composed(in_place=True)
def sinc(input: Any) -> Tensor:
    """sin(pi x) / (pi x), and 1 at 0."""
    x = floating(input)
    zero = primitive("eq", x, 0)
    angle = where(zero, 1.0, x) * math.pi
    return where(zero, 1.0, primitive("sin", angle) / angle)


@composed(in_place=True)
def logit(input: Any, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), the inverse of `sigmoid`; `eps` holds x away from 0 and 1."""
    x = floating(input)
    if eps is not None:
        x = clamp(x, eps, 1.0 - eps)
    return primitive("log", x) - primitive("log1p", -x)


@composed(in_place=True)
def xlogy(input: Any, other: Any) -> Tensor:
    """x * log(y), and 0 where x is 0."""
    x, y = together_as_floats(input, other)
    fixed = logical_or(primitive("le", y, 0), primitive("eq", y, math.inf))
    fixed = primitive("logical_and", primitive("eq", x, 0), fixed)  # where 0 * log(y) is no number
    return where(fixed, 0.0, x * primitive("log", where(fixed, 1.0, y)))


@composed(in_place=True)
def erfinv(input: Any) -> Tensor:
    """The inverse of `erf`: infinite at -1 and 1, NaN beyond."""
    return primitive("erfinv", floating(input))


@composed
def ldexp(input: Any, other: Any) -> Tensor:
    """x * 2**y."""
    return primitive("mul", input, primitive("pow", 2.0, floating(other)))


@composed
def logaddexp2(input: Any, other: Any) -> Tensor:
    """log2(2**x + 2**y), without overflow."""
    x, y = together_as_floats(input, other)
    return primitive("logaddexp", x * LN2, y * LN2) / LN2


@composed(in_place=True)
def polygamma(n: Any, input: Any) -> Tensor:
    """The n-th derivative of `digamma`."""
    order, x = (input, n) if isinstance(n, Tensor) else (n, input)  # a method, x.polygamma(n), has them the other way
    return primitive("polygamma", x, n=int(order)) if order else primitive("digamma", x)


@composed(in_place=True)
def mvlgamma(input: Any, p: int) -> Tensor:
    """The logarithm of the gamma function of p variables."""
    x = floating(input)
    out: Any = p * (p - 1) / 4.0 * math.log(math.pi)
    for j in range(p):
        out = primitive("lgamma", x - j / 2.0) + out
    return tensor_of(out)


@composed
def cbrt(input: Any) -> Tensor:
    """Cube root, of negative numbers too."""
    x = floating(input)
    size = primitive("pow", primitive("abs", x), 1.0 / 3.0)
    # one step of Newton's method mends what 1/3 lost by rounding
    plain = logical_or(primitive("eq", x, 0), primitive("eq", abs(x), math.inf))
    mended = where(plain, 1.0, size)
    mended = mended - (mended - abs(x) / (mended * mended)).detach() / 3.0
    return primitive("sign", x) * where(plain, size, mended)


@composed(in_place=True)
def clip(input: Any, min: Any = None, max: Any = None) -> Tensor:
    """`clamp`."""
    return clamp(input, min, max)


@composed(space="special")
def entr(input: Any) -> Tensor:
    """-x log(x), 0 at 0 and -inf below."""
    x = floating(input)
    return where(x < 0, -math.inf, -xlogy(x, where(x < 0, 1.0, x)))


@composed(space="special")
def xlog1py(input: Any, other: Any) -> Tensor:
    """x * log(1 + y), and 0 where x is 0."""
    x, y = together_as_floats(input, other)
    fixed = primitive("logical_and", primitive("eq", x, 0), logical_or(y <= -1, primitive(
        "eq", y, math.inf)))
    return where(fixed, 0.0, x * primitive("log1p", where(fixed, 0.0, y)))


@composed(space="special")
def ndtr(input: Any) -> Tensor:
    """The normal distribution function."""
    return primitive("erfc", floating(input) * -math.sqrt(0.5)) * 0.5


# ---- sums of exponentials


@composed
def logsumexp(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
    """log(sum(exp(x))), shifted by the maximum; exact for infinities."""
    x = floating(input)
    axes = axes_of(axis if dim is None else dim, x)
    if any(not x.shape[a] for a in axes):
        return primitive("log", primitive("sum", primitive("exp", x), axis=axes, keepdims=keepdim))
    top = primitive("amax", x.detach(), axis=axes, keepdims=True)
    top = where(abs(top) == math.inf, 0.0, top)
    total = primitive("sum", primitive("exp", x - top), axis=axes, keepdims=True)
    out = primitive("log", total) + top
    kept = tuple(e for i, e in enumerate(x.shape) if i not in axes)
    return out if keepdim else primitive("reshape", out, shape=kept)


def shifted(x: Tensor, at: int) -> Tensor:
    """x less its largest element along an axis."""
    if not x.numel():
        return x
    return x - primitive("amax", x.detach(), axis=(at,) if x.ndim else (), keepdims=True)


@composed
def softmax(input: Any, dim: int = -1, *, axis: int | None = None, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along a dim, shifted by the maximum."""
    x = tensor_of(input) if dtype is None else tensor_of(input).to(dtype)
    at = axis_of(either(axis, dim)[0], x)
    weights = primitive("exp", shifted(x, at))
    return weights / primitive("sum", weights, axis=(at,) if x.ndim else (), keepdims=True)


@composed
def log_softmax(input: Any, dim: int = -1, *, axis: int | None = None, dtype: Any = None) -> Tensor:
    """The logarithm of `softmax`, computed without it."""
    x = tensor_of(input) if dtype is None else tensor_of(input).to(dtype)
    at = axis_of(either(axis, dim)[0], x)
    less = shifted(x, at)
    total = primitive("sum", primitive("exp", less), axis=(at,) if x.ndim else (), keepdims=True)
    return less - primitive("log", total)


def expanded(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x broadcast to a shape."""
    return x if same_shape(x.shape, shape) else primitive("expand", x, shape=shape)


def together(name: str, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors broadcast to their common shape."""
    shape = broadcast_shapes(name, [t.shape for t in tensors])
    return tuple(expanded(t, shape) for t in tensors)
