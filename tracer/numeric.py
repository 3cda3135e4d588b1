"""Numeric compositions: statistics, products, indexing along dims, stable exponentials and losses.

Python's `max` and `min` are wanted here too, so the functions of these names bear an underscore and are registered
under torch's.
"""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

from retape.ir import dtype_of
from retape.ir.ops.products import mismatch
from retape.ir.shapes import broadcast_shapes, canonical_axes

from .apply import as_operand, located
from .creation import arange
from .tensor import Tensor
from .vocabulary import axis_of, composed, primitive, tensor_of

Extremum = namedtuple("Extremum", ["values", "indices"])


def _count(x: Tensor, dim: Any) -> int:
    return math.prod(x.shape[a] for a in canonical_axes(dim, x.shape))


def _either(dim: Any, axis: Any, keepdim: bool, keepdims: bool | None) -> tuple[Any, bool]:
    return axis if dim is None else dim, keepdim if keepdims is None else keepdims


# ---- element types


@composed
def to(input: Any, dtype: Any) -> Tensor:
    """The values in another element type (a dtype, or another tensor's)."""
    x = tensor_of(input)
    wanted = dtype.dtype if isinstance(dtype, Tensor) else dtype_of(dtype)
    return x if wanted is x.dtype else primitive("cast", x, dtype=wanted)


@composed
def type_as(input: Any, other: Tensor) -> Tensor:
    """The values in another tensor's element type."""
    return to(input, other)


# ---- elementwise


@composed
def square(input: Any) -> Tensor:
    """`x * x`."""
    x = tensor_of(input)
    return primitive("mul", x, x)


@composed
def reciprocal(input: Any) -> Tensor:
    """`1 / x`."""
    return primitive("div", 1.0, tensor_of(input))


@composed
def rsqrt(input: Any) -> Tensor:
    """`1 / sqrt(x)`."""
    return primitive("div", 1.0, primitive("sqrt", tensor_of(input)))


@composed
def clamp(input: Any, min: Any = None, max: Any = None) -> Tensor:
    """`x` held between bounds; the derivative is 1 at and between them, 0 outside."""
    x = tensor_of(input)
    for bound, beyond in ((min, "lt"), (max, "gt")):
        if bound is not None:
            x = primitive("where", primitive(beyond, x, bound), bound, x)
    return x


@composed
def masked_fill(input: Any, mask: Any, value: Any) -> Tensor:
    """`x` with `value` where the mask holds."""
    return primitive("where", mask, value, tensor_of(input))


@composed
def softplus(input: Any) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    x = tensor_of(input)
    return primitive("relu", x) + primitive("log1p", primitive("exp", -abs(x)))


@composed(method=False)
def silu(input: Any) -> Tensor:
    """x * sigmoid(x)."""
    x = tensor_of(input)
    return x * primitive("sigmoid", x)


@composed(method=False)
def gelu(input: Any) -> Tensor:
    """x times the normal distribution function."""
    x = tensor_of(input)
    return x * 0.5 * (1.0 + primitive("erf", x * math.sqrt(0.5)))


@composed
def logaddexp(input: Any, other: Any) -> Tensor:
    """log(exp(x) + exp(y)), without overflow."""
    x, y = as_operand(input), as_operand(other)
    return primitive("maximum", x, y) + primitive("log1p", primitive("exp", -primitive("abs", primitive("sub", x, y))))


# ---- reductions


@composed
def var(
    input: Any, dim: Any = None, *, correction: float = 1, keepdim: bool = False, axis: Any = None,
    keepdims: bool | None = None, unbiased: bool | None = None,
) -> Tensor:
    """Variance over dims, divided by the count less `correction`."""
    x = tensor_of(input)
    dim, keepdim = _either(dim, axis, keepdim, keepdims)
    deviation = x - primitive("mean", x, axis=canonical_axes(dim, x.shape), keepdims=True)
    total = primitive("sum", deviation * deviation, axis=canonical_axes(dim, x.shape), keepdims=keepdim)
    correction = correction if unbiased is None else int(unbiased)
    left = max(_count(x, dim) - correction, 0)
    return total / left if left else total * math.nan


@composed
def std(input: Any, dim: Any = None, **options: Any) -> Tensor:
    """Square root of `var`."""
    return primitive("sqrt", var(input, dim, **options))


@composed
def norm(input: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
    """The p-norm over dims (the Euclidean by default); its derivative at 0 is 0."""
    x = tensor_of(input)
    axes = canonical_axes(axis if dim is None else dim, x.shape)
    if p in (math.inf, -math.inf):
        return primitive("amax" if p > 0 else "amin", abs(x), axis=axes, keepdims=keepdim)
    if p == 1:
        return primitive("sum", abs(x), axis=axes, keepdims=keepdim)
    powers = x * x if p in (2, "fro", None) else abs(x) ** p
    total = primitive("sum", powers, axis=axes, keepdims=keepdim)
    # the inner `where` keeps the root's infinite slope at 0 out of the derivative
    zero = total == 0
    safe = primitive("where", zero, 1.0, total)
    root = primitive("sqrt", safe) if p in (2, "fro", None) else safe ** (1.0 / p)
    return primitive("where", zero, 0.0, root)


def _extremum(name: str, input: Any, dim: Any, keepdim: bool) -> Any:
    x = tensor_of(input)
    if dim is None:
        return primitive(f"a{name}", x, axis=canonical_axes(None, x.shape), keepdims=keepdim)
    if isinstance(dim, Tensor):
        return primitive(f"{name}imum", x, dim)
    at = axis_of(dim, x)
    indices = primitive(f"arg{name}", x, axis=(at,) if x.ndim else (), keepdims=True)
    values = primitive("gather", x, indices, axis=at) if x.ndim else x
    if keepdim or not x.ndim:
        return Extremum(values, indices)
    shape = (*x.shape[:at], *x.shape[at + 1 :])
    return Extremum(primitive("reshape", values, shape=shape), primitive("reshape", indices, shape=shape))


@composed(name="max")
def max_(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Any:
    """The largest element; with a dim the pair (values, indices); with a tensor the elementwise maximum."""
    return _extremum("max", input, axis if dim is None else dim, keepdim)


@composed(name="min")
def min_(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Any:
    """The smallest element; with a dim the pair (values, indices); with a tensor the elementwise minimum."""
    return _extremum("min", input, axis if dim is None else dim, keepdim)


@composed
def cumsum(input: Any, dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Running sum along a dim."""
    x = tensor_of(input)
    return primitive("cumsum", x, axis=axis_of(dim if axis is None else axis, x))


# ---- products


@composed
def matmul(input: Any, other: Any) -> Tensor:
    """Matrix product: vectors are rows or columns as needed, dims before the last two broadcast."""
    x, y = tensor_of(input), tensor_of(other)
    left, right = x.ndim == 1, y.ndim == 1
    if (left or right) and (not x.ndim or not y.ndim or x.shape[-1] != y.shape[0 if right else -2]):
        raise located(mismatch(x.shape, y.shape))
    if left:
        x = primitive("reshape", x, shape=(1, *x.shape))
    if right:
        y = primitive("reshape", y, shape=(*y.shape, 1))
    out = primitive("matmul", x, y)
    if left or right:
        shape = out.shape[: out.ndim - 2]
        kept = () if left and right else (out.shape[-1],) if left else (out.shape[-2],)
        out = primitive("reshape", out, shape=(*shape, *kept))
    return out


for _alias in ("mm", "bmm", "mv", "dot"):
    composed(name=_alias)(matmul)


@composed
def outer(input: Any, vec2: Any) -> Tensor:
    """All products of two vectors' elements."""
    x, y = tensor_of(input), tensor_of(vec2)
    return primitive("reshape", x, shape=(x.numel(), 1)) * y


@composed(method=False)
def linear(input: Any, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`."""
    out = matmul(input, weight.T)
    return out if bias is None else out + bias


# ---- along dims


@composed
def gather(input: Any, dim: int, index: Any) -> Tensor:
    """Along `dim`, the element that `index` names at each place."""
    x = tensor_of(input)
    return primitive("gather", x, tensor_of(index), axis=axis_of(dim, x))


@composed
def take_along_dim(input: Any, indices: Any, dim: int) -> Tensor:
    """`gather` with the arguments in NumPy's order; the other dims broadcast."""
    x, index = tensor_of(input), tensor_of(indices)
    at = axis_of(dim, x)
    if x.ndim != index.ndim:
        return gather(x, at, index)  # which refuses
    wide = broadcast_shapes("take_along_dim", [(*x.shape[:at], 1, *x.shape[at + 1 :]),
                                               (*index.shape[:at], 1, *index.shape[at + 1 :])])
    x = primitive("expand", x, shape=(*wide[:at], x.shape[at], *wide[at + 1 :]))
    return gather(x, at, primitive("expand", index, shape=(*wide[:at], index.shape[at], *wide[at + 1 :])))


@composed
def index_select(input: Any, dim: int, index: Any) -> Tensor:
    """The slices along `dim` that `index` names."""
    x = tensor_of(input)
    return primitive("take", x, tensor_of(index), axis=axis_of(dim, x))


@composed
def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Tensor:
    """`input` with the elements of `src` added where `index` says along `dim`."""
    x = tensor_of(input)
    return x + primitive("scatter_add", tensor_of(src), tensor_of(index), shape=x.shape, axis=axis_of(dim, x))


# ---- stable exponentials


@composed
def logsumexp(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
    """log(sum(exp(x))), shifted by the maximum; exact for infinities."""
    x = tensor_of(input)
    axes = canonical_axes(axis if dim is None else dim, x.shape)
    top = primitive("amax", x.detach(), axis=axes, keepdims=True)
    top = primitive("where", abs(top) == math.inf, 0.0, top)
    total = primitive("sum", primitive("exp", x - top), axis=axes, keepdims=True)
    out = primitive("log", total) + top
    kept = tuple(e for i, e in enumerate(x.shape) if i not in axes)
    return out if keepdim else primitive("reshape", out, shape=kept)


@composed
def softmax(input: Any, dim: int = -1, *, axis: int | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along a dim, shifted by the maximum."""
    x = tensor_of(input)
    at = axis_of(dim if axis is None else axis, x)
    weights = primitive("exp", x - primitive("amax", x.detach(), axis=(at,), keepdims=True))
    return weights / primitive("sum", weights, axis=(at,), keepdims=True)


@composed
def log_softmax(input: Any, dim: int = -1, *, axis: int | None = None) -> Tensor:
    """The logarithm of `softmax`, computed without it."""
    x = tensor_of(input)
    at = axis_of(dim if axis is None else axis, x)
    shifted = x - primitive("amax", x.detach(), axis=(at,), keepdims=True)
    return shifted - primitive("log", primitive("sum", primitive("exp", shifted), axis=(at,), keepdims=True))


# ---- losses


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")
    return primitive(reduction, loss, axis=canonical_axes(None, loss.shape), keepdims=False)


@composed(method=False)
def nll_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """The negated log-probability of each target class; `input` (N, C) or (C,), `target` of class indices."""
    x, classes = tensor_of(input), tensor_of(target)
    dim = x.ndim - 1
    picked = primitive("gather", x, primitive("reshape", classes, shape=(*classes.shape, 1)), axis=dim)
    return _reduced(-primitive("reshape", picked, shape=classes.shape), reduction)


@composed(method=False)
def cross_entropy(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """`nll_loss` of `log_softmax`: unnormalised scores (N, C) or (C,) against class indices or probabilities."""
    x, goal = tensor_of(input), tensor_of(target)
    scores = log_softmax(x, -1)
    if goal.dtype.is_floating_point:
        axes = (x.ndim - 1,)
        return _reduced(-primitive("sum", scores * goal, axis=axes, keepdims=False), reduction)
    return nll_loss(scores, goal, reduction=reduction)


@composed(method=False)
def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """Squared differences."""
    difference = tensor_of(input) - target
    return _reduced(difference * difference, reduction)


@composed(method=False)
def layer_norm(
    input: Any, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Zero mean and unit variance over the last dims, then `weight` and `bias`."""
    x = tensor_of(input)
    axes = tuple(range(x.ndim - len(tuple(normalized_shape)), x.ndim))
    deviation = x - primitive("mean", x, axis=axes, keepdims=True)
    variance = primitive("mean", deviation * deviation, axis=axes, keepdims=True)
    out = deviation / primitive("sqrt", variance + eps)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


@composed(method=False)
def one_hot(target: Any, num_classes: int) -> Tensor:
    """1 at each class index, 0 elsewhere, as int64."""
    classes = tensor_of(target)
    return to(primitive("reshape", classes, shape=(*classes.shape, 1)) == arange(num_classes), "int64")


@composed
def tril(input: Any, diagonal: int = 0) -> Tensor:
    """The lower triangle of matrices, zeros above."""
    x = tensor_of(input)
    rows, columns = arange(x.shape[-2]).reshape(-1, 1), arange(x.shape[-1])
    return primitive("where", columns <= rows + diagonal, x, 0)


@composed
def triu(input: Any, diagonal: int = 0) -> Tensor:
    """The upper triangle of matrices, zeros below."""
    x = tensor_of(input)
    rows, columns = arange(x.shape[-2]).reshape(-1, 1), arange(x.shape[-1])
    return primitive("where", columns >= rows + diagonal, x, 0)


