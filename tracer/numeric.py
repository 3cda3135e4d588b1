"""Elementwise compositions: arithmetic, rounding, choice, tests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from retape.ir import dtype_of
from retape.ir.errors import DtypeError, InvalidOperands
from retape.ir.types import COMPLEX, INTEGER, DType, default_float, promote, type_of

from .apply import as_operand, located
from .creation import full_like
from .tensor import Tensor
from .vocabulary import composed, primitive, refuse, tensor_of


def where(condition: Any, x: Any, y: Any) -> Tensor:
    return primitive("where", condition, x, y)


def dtype_named(spec: Any) -> DType:
    """An element type. Raises the located `DtypeError` where it isn't one of retape's."""
    try:
        return dtype_of(spec)
    except TypeError as error:
        raise located(DtypeError(str(error), ("why", "there is no code for it"),
                                 fix="use float32 or float64")) from None


@composed
def to(input: Any, dtype: Any) -> Tensor:
    """The values in another element type (a dtype, or another tensor's)."""
    x = tensor_of(input)
    wanted = dtype.dtype if isinstance(dtype, Tensor) else dtype_named(dtype)
    return x if wanted is x.dtype else primitive("cast", x, dtype=wanted)


@composed
def type_as(input: Any, other: Tensor) -> Tensor:
    """The values in another tensor's element type."""
    return to(input, other)


# ---- arithmetic


def together_as_floats(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Two operands in the element type that they have together, integers as floats."""
    x, y = as_operand(x), as_operand(y)
    kind = promote(tuple(type_of(o._data) if isinstance(o, Tensor) else o for o in (x, y)))
    kind = kind if kind.is_differentiable else default_float()
    return to(tensor_of(x), kind), to(tensor_of(y), kind)


@composed(in_place=True)
def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """`x + alpha * y`."""
    return primitive("add", input, other if alpha == 1 else primitive("mul", other, alpha))


@composed(in_place=True)
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """`x - alpha * y`."""
    return primitive("sub", input, other if alpha == 1 else primitive("mul", other, alpha))


@composed
def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """`y - alpha * x`."""
    return sub(other, input, alpha=alpha)


@composed(in_place=True)
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """`x / y`, rounded towards zero ("trunc") or towards minus infinity ("floor") where asked for."""
    if rounding_mode == "floor":
        return primitive("floor_divide", input, other)
    refuse(rounding_mode not in (None, "trunc"), f"rounding_mode {rounding_mode!r}", "it is 'trunc', 'floor' or None",
           "leave it out", InvalidOperands)
    if rounding_mode is None:
        return primitive("div", input, other)
    x, y = tensor_of(input), as_operand(other)
    exact = primitive("sub", x, fmod(x, y))
    if exact.dtype.category <= INTEGER:
        return primitive("floor_divide", exact, y)
    return trunc(primitive("div", x, y))


@composed(in_place=True)
def fmod(input: Any, other: Any) -> Tensor:
    """Remainder with the sign of `x`."""
    x, y = tensor_of(input), as_operand(other)
    if not isinstance(y, Tensor) or y.dtype.category >= INTEGER:  # truth values have no sign
        y = abs(y)
    if x.dtype.category < INTEGER:
        return primitive("remainder", x, y)
    return where(x < 0, -primitive("remainder", -x, y), primitive("remainder", x, y))


@composed
def float_power(input: Any, exponent: Any) -> Tensor:
    """`x ** y` in double precision."""
    x, y = tensor_of(input), as_operand(exponent)
    parts = [o.dtype.category == COMPLEX if isinstance(o, Tensor) else isinstance(o, complex) for o in (x, y)]
    kind = "complex128" if any(parts) else "float64"
    return primitive("pow", to(x, kind), to(y, kind) if isinstance(y, Tensor) else y)


@composed(in_place=True)
def square(input: Any) -> Tensor:
    """`x * x`."""
    x = tensor_of(input)
    return primitive("mul", x, x)


@composed(in_place=True)
def reciprocal(input: Any) -> Tensor:
    """`1 / x`."""
    return primitive("div", 1.0, tensor_of(input))


@composed(in_place=True)
def rsqrt(input: Any) -> Tensor:
    """`1 / sqrt(x)`."""
    return primitive("div", 1.0, primitive("sqrt", tensor_of(input)))


@composed(in_place=True)
def lerp(input: Any, end: Any, weight: Any) -> Tensor:
    """From `input` (weight 0) to `end` (weight 1) in a straight line."""
    x = tensor_of(input)
    out: Tensor = x + weight * (end - x)
    return out


@composed(in_place=True)
def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """`input + value * tensor1 * tensor2`."""
    out: Tensor = tensor_of(input) + primitive("mul", tensor1, tensor2) * value
    return out


@composed(in_place=True)
def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """`input + value * tensor1 / tensor2`."""
    out: Tensor = tensor_of(input) + primitive("div", tensor1, tensor2) * value
    return out


@composed(in_place=True)
def deg2rad(input: Any) -> Tensor:
    """Degrees in radians."""
    return tensor_of(input) * (math.pi / 180.0)


@composed(in_place=True)
def rad2deg(input: Any) -> Tensor:
    """Radians in degrees."""
    return tensor_of(input) * (180.0 / math.pi)


# ---- rounding


@composed(in_place=True)
def floor(input: Any) -> Tensor:
    """Largest integer not above; integers stay what they are."""
    x = tensor_of(input)
    return x.clone() if x.dtype.category <= INTEGER else primitive("floor", x)


@composed(in_place=True)
def ceil(input: Any) -> Tensor:
    """Smallest integer not below."""
    x = tensor_of(input)
    return x.clone() if x.dtype.category <= INTEGER else -primitive("floor", -x)


@composed(name="round", in_place=True)
def round_(input: Any, decimals: int = 0) -> Tensor:
    """Nearest integer (or decimal fraction), halves to even."""
    x = tensor_of(input)
    if x.dtype.category <= INTEGER:
        return x.clone()
    if decimals == 0:
        return primitive("round", x)
    scale = 10.0 ** abs(decimals)
    return primitive("round", x * scale) / scale if decimals > 0 else primitive("round", x / scale) * scale


@composed(in_place=True)
def trunc(input: Any) -> Tensor:
    """The integer part."""
    x = tensor_of(input)
    return x.clone() if x.dtype.category <= INTEGER else where(x < 0, ceil(x), primitive("floor", x))


@composed(in_place=True)
def frac(input: Any) -> Tensor:
    """What `trunc` leaves."""
    x = tensor_of(input)
    return x - trunc(x)


# ---- choice


@composed(in_place=True)
def clamp(input: Any, min: Any = None, max: Any = None) -> Tensor:
    """`x` held between bounds; the derivative is 1 at and between them, 0 outside."""
    x = tensor_of(input)
    refuse(min is None and max is None, "`clamp` without bounds", "it holds values between `min` and `max`",
           "give at least one of them", InvalidOperands)
    for bound, beyond in ((min, "lt"), (max, "gt")):
        if bound is not None:
            x = where(primitive(beyond, x, bound), bound, x)
    return x


@composed(in_place=True)
def clamp_min(input: Any, min: Any) -> Tensor:
    """`x` where it isn't below `min`."""
    return clamp(input, min)


@composed(in_place=True)
def clamp_max(input: Any, max: Any) -> Tensor:
    """`x` where it isn't above `max`."""
    return clamp(input, None, max)


@composed(in_place=True)
def masked_fill(input: Any, mask: Any, value: Any) -> Tensor:
    """`x` with `value` where the mask holds."""
    x = tensor_of(input)
    if isinstance(value, Tensor) and value.dtype is not x.dtype:
        value = to(value, x.dtype)
    out = where(mask, value, x)
    return to(out, x.dtype)


@composed
def fmax(input: Any, other: Any) -> Tensor:
    """The larger; a number wins over NaN."""
    x, y = tensor_of(input), tensor_of(other)
    return where(isnan(x), y, where(isnan(y), x, primitive("maximum", x, y)))


@composed
def fmin(input: Any, other: Any) -> Tensor:
    """The smaller; a number wins over NaN."""
    x, y = tensor_of(input), tensor_of(other)
    return where(isnan(x), y, where(isnan(y), x, primitive("minimum", x, y)))


@composed(in_place=True)
def nan_to_num(input: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """Numbers in place of NaN and infinities: 0 and the largest finite ones, if not told otherwise."""
    x = tensor_of(input)
    if x.dtype.category <= INTEGER:
        return x.clone()
    limit = float(np.finfo(x._data.dtype).max)
    x = where(isnan(x), nan, x)
    x = where(primitive("eq", x, math.inf), limit if posinf is None else posinf, x)
    return where(primitive("eq", x, -math.inf), -limit if neginf is None else neginf, x)


@composed(in_place=True)
def heaviside(input: Any, values: Any) -> Tensor:
    """0 below 0, 1 above, `values` at 0."""
    x = tensor_of(input)
    return where(primitive("eq", x, 0), values, to(x > 0, x.dtype)).detach()


@composed(in_place=True)
def copysign(input: Any, other: Any) -> Tensor:
    """The magnitude of `x` with the sign of `y`."""
    x = primitive("abs", together_as_floats(input, other)[0])
    return where(signbit(other), -x, x)


@composed(name="abs", in_place=True)
def absolute(input: Any) -> Tensor:
    """Absolute value; the derivative at 0 is 0."""
    x = tensor_of(input)
    if x.dtype.category != COMPLEX:
        return primitive("abs", x)
    a, b = primitive("real", x), primitive("imag", x)
    zero = primitive("logical_and", primitive("eq", a, 0), primitive("eq", b, 0))
    return where(zero, 0.0, primitive("hypot", where(zero, 1.0, a), b))


# ---- tests


@composed(in_place=True)
def ge(input: Any, other: Any) -> Tensor:
    """Where `x >= y`."""
    return primitive("le", other, input)


@composed
def isnan(input: Any) -> Tensor:
    """Where `x` is not a number."""
    x = tensor_of(input)
    return primitive("ne", x, x)


@composed
def isinf(input: Any) -> Tensor:
    """Where `x` is infinite."""
    x = tensor_of(input)
    if x.dtype.category <= INTEGER:
        return full_like(x, False, dtype="bool")
    return primitive("eq", absolute(x), math.inf)


@composed
def isfinite(input: Any) -> Tensor:
    """Where `x` is neither infinite nor NaN."""
    x = tensor_of(input)
    if x.dtype.category <= INTEGER:
        return full_like(x, True, dtype="bool")
    return absolute(x) < math.inf


@composed
def signbit(input: Any) -> Tensor:
    """Where `x` is negative; of zeros, -0.0 is."""
    x = tensor_of(input)
    if x.dtype.category <= INTEGER:
        return x < 0
    return logical_or(x < 0, primitive("div", 1.0, x) < 0)


@composed
def isclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Where `|x - y| <= atol + rtol * |y|`, or both are the same infinity."""
    x, y = tensor_of(input), tensor_of(other)
    near = primitive("logical_and", absolute(x - y) <= atol + rtol * absolute(y), isfinite(y))
    close = logical_or(primitive("eq", x, y), near)
    return logical_or(close, primitive("logical_and", isnan(x), isnan(y))) if equal_nan else close


@composed
def allclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether `isclose` holds everywhere."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


@composed
def equal(input: Any, other: Any) -> bool:
    """Whether two tensors have one shape and equal elements."""
    x, y = tensor_of(input), tensor_of(other)
    return x.shape == y.shape and bool(primitive("eq", x, y).all())


def _truth(input: Any) -> Tensor:
    x = tensor_of(input)
    return x if x._data.dtype.kind == "b" else primitive("ne", x, 0)


@composed(in_place=True)
def logical_not(input: Any) -> Tensor:
    """Where `x` is false (zero)."""
    x = tensor_of(input)
    return primitive("eq", x, False if x._data.dtype.kind == "b" else 0)


@composed(in_place=True)
def logical_or(input: Any, other: Any) -> Tensor:
    """Where either is true (non-zero)."""
    return primitive("maximum", _truth(input), _truth(other))


@composed(in_place=True)
def logical_xor(input: Any, other: Any) -> Tensor:
    """Where one of both is true (non-zero)."""
    return primitive("ne", logical_not(input), logical_not(other))
