"""Bits of integers, parts of complex numbers, and questions about element types."""

from __future__ import annotations

import math
from typing import Any

from retape.ir.errors import InvalidOperands
from retape.ir.types import COMPLEX, FLOAT, DType, dtype_of, promote, type_of

from .apply import as_operand
from .arranging import broadcast_tensors
from .creation import full_like
from .numeric import absolute, isnan, logical_not, logical_or, to, where
from .shaping import stack
from .tensor import Tensor
from .vocabulary import composed, floating, primitive, refuse, tensor_of

# ---- bits


def _both_bool(x: Any, y: Any) -> bool:
    return all(isinstance(o, bool) or (isinstance(o, Tensor) and o._data.dtype.kind == "b") for o in (x, y))


@composed(in_place=True)
def bitwise_and(input: Any, other: Any) -> Tensor:
    """The bits that both have; of truth values, whether both hold."""
    x, y = as_operand(input), as_operand(other)
    return primitive("logical_and" if _both_bool(x, y) else "bitwise_and", x, y)


@composed(in_place=True)
def bitwise_or(input: Any, other: Any) -> Tensor:
    """The bits that either has."""
    x, y = as_operand(input), as_operand(other)
    if _both_bool(x, y):
        return logical_or(x, y)
    return primitive("sub", primitive("add", x, y), primitive("bitwise_and", x, y))


@composed(in_place=True)
def bitwise_xor(input: Any, other: Any) -> Tensor:
    """The bits that one of both has."""
    x, y = as_operand(input), as_operand(other)
    if _both_bool(x, y):
        return primitive("ne", x, y)
    both = primitive("bitwise_and", x, y)
    return primitive("sub", primitive("sub", primitive("add", x, y), both), both)


@composed(in_place=True)
def bitwise_not(input: Any) -> Tensor:
    """All bits turned; of truth values, the other one."""
    x = tensor_of(input)
    if x._data.dtype.kind == "b":
        return logical_not(x)
    refuse(x.dtype.category >= FLOAT, f"`~` of {x.dtype.name}", "it works on integers and truth values",
           "compare first, as in `~(x > 0)`", InvalidOperands)
    return primitive("sub", 255 if x._data.dtype.kind == "u" else -1, x)


@composed(in_place=True)
def bitwise_left_shift(input: Any, other: Any) -> Tensor:
    """`x * 2 ** y` for integers."""
    return primitive("mul", input, primitive("pow", 2, tensor_of(other)))


@composed(in_place=True)
def bitwise_right_shift(input: Any, other: Any) -> Tensor:
    """`x / 2 ** y`, rounded down, for integers."""
    return primitive("floor_divide", input, primitive("pow", 2, tensor_of(other)))


# ---- complex numbers


@composed(in_place=True)
def sgn(input: Any) -> Tensor:
    """`sign`, and for complex numbers the direction `z / |z|`."""
    x = tensor_of(input)
    if x.dtype.category != COMPLEX:
        return primitive("sign", x)
    size = absolute(x)
    return x / where(primitive("eq", size, 0), 1.0, size)


@composed
def angle(input: Any) -> Tensor:
    """The angle of complex numbers; of real ones pi below 0."""
    x = floating(input)
    if x.dtype.category == COMPLEX:
        return primitive("atan2", primitive("imag", x), primitive("real", x))
    return where(isnan(x), math.nan, where(x < 0, math.pi, 0.0 * x.detach()))


@composed
def conj(input: Any) -> Tensor:
    """The complex conjugate."""
    x = tensor_of(input)
    return primitive("conj", x) if x.dtype.category == COMPLEX else x


@composed(method=False)
def real(input: Any) -> Tensor:
    """The real part."""
    x = tensor_of(input)
    return primitive("real", x) if x.dtype.category == COMPLEX else x


@composed(method=False)
def imag(input: Any) -> Tensor:
    """The imaginary part."""
    x = tensor_of(input)
    refuse(x.dtype.category != COMPLEX, "`imag` of a real tensor", "only complex tensors have one",
           "make zeros with `rt.zeros_like(x)`", InvalidOperands)
    return primitive("imag", x)


@composed(name="complex", method=False)
def complex_(real: Any, imag: Any) -> Tensor:
    """Complex numbers of their parts."""
    x, y = floating(real), floating(imag)
    kind = result_type(x, y)
    return primitive("complex", *broadcast_tensors(to(x, kind), to(y, kind)))


@composed(method=False)
def polar(abs: Any, angle: Any) -> Tensor:
    """Complex numbers of absolute value and angle."""
    r, phi = floating(abs), floating(angle)
    return complex_(r * primitive("cos", phi), r * primitive("sin", phi))


@composed
def view_as_real(input: Any) -> Tensor:
    """Real and imaginary parts along a new last dim (a copy)."""
    return stack([real(input), imag(input)], -1)


@composed
def view_as_complex(input: Any) -> Tensor:
    """Complex numbers of the pairs along the last dim (a copy)."""
    x = tensor_of(input)
    return complex_(x[..., 0], x[..., 1])


@composed
def is_complex(input: Tensor) -> bool:
    """Whether the elements are complex."""
    return input.dtype.category == COMPLEX


@composed
def is_floating_point(input: Tensor) -> bool:
    """Whether the elements are float32 or float64."""
    return input.dtype.is_floating_point


@composed
def isneginf(input: Any) -> Tensor:
    """Where `x` is minus infinity."""
    return _infinite(input, -math.inf)


@composed
def isposinf(input: Any) -> Tensor:
    """Where `x` is plus infinity."""
    return _infinite(input, math.inf)


def _infinite(input: Any, value: float) -> Tensor:
    x = tensor_of(input)
    refuse(x.dtype.category == COMPLEX, "the sign of a complex infinity", "complex numbers have no order",
           "ask the real part", InvalidOperands)
    return primitive("eq", floating(x), value)


@composed
def isreal(input: Any) -> Tensor:
    """Where the imaginary part is 0."""
    x = tensor_of(input)
    if x.dtype.category != COMPLEX:
        return full_like(x, True, dtype="bool")
    return primitive("eq", primitive("imag", x), 0)


# ---- questions


@composed(method=False)
def is_tensor(obj: Any) -> bool:
    """Whether something is a tensor."""
    return isinstance(obj, Tensor)


@composed(method=False)
def numel(input: Tensor) -> int:
    """How many elements a tensor has."""
    return input.numel()


@composed(method=False)
def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The element type in which an operation on both is carried out."""
    return promote(tuple(type_of(o._data) if isinstance(o, Tensor) else o for o in (tensor1, tensor2)))


@composed(method=False)
def promote_types(type1: Any, type2: Any) -> DType:
    """The smallest element type that holds the values of both."""
    return promote((dtype_of(type1)[1], dtype_of(type2)[1]))
