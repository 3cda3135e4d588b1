"""Hyperbolic functions, their inverses, and the logistic function, on the parts of `exp_log`."""

from __future__ import annotations

import math

from retape.codegen.vmath import coefficients as c
from retape.codegen.vmath.exp_log import clamp, exp_tail, log1p_pair
from retape.codegen.vmath.formats import format_of, inverse_power, scaling, split_exponent
from retape.codegen.vmath.value import (
    Scalar,
    bits,
    constant,
    copysign,
    equal,
    fabs,
    from_bits,
    is_f32,
    poly,
    select,
    sqrt,
)


def tanh(x: Scalar) -> Scalar:
    """A polynomial below 0.55, and 1 - 2/(e^(2a) + 1) with a = |x| above, where that is at least 1/2.

    The quotient is divided through by 2^n: 2^(1-n) / ((1 + 2^-n) + (e^r - 1)). Beyond the limit tanh rounds to 1.
    """
    limit = 9.5 if is_f32(x) else 20.0
    a = fabs(x)
    z = a * a
    near = a + (a * z) * poly(z, c.TANH_F32 if is_f32(x) else c.TANH_F64)
    b = select(a > limit, limit, a)
    t, r, _ = split_exponent(b + b)
    power = inverse_power(t)
    far = 1.0 - (power + power) / ((1.0 + power) + (r + exp_tail(r)))
    return copysign(select(a < 0.55, near, far), x)


def sigmoid(x: Scalar) -> Scalar:
    """1 / (1 + e^-x) = 2^n / (2^n + e^-r) for x = n ln2 + r; 2^n of the numerator may be subnormal."""
    high = 20.0 if is_f32(x) else 40.0
    t, r, _ = split_exponent(clamp(x, format_of(x).exp_low, high))
    a, b = scaling(t)
    power, rest = a * b, exp_tail(-r) - r
    # 1 + 2^n is exact or larger than all that is lost; a small 2^n is added to e^-r - 1 first.
    small = power < 1.0
    return (a / (select(small, 1.0, 1.0 + power) + select(small, rest + power, rest))) * b


def hyperbolic_parts(x: Scalar) -> tuple[Scalar, Scalar, Scalar, Scalar, Scalar]:
    """(t, sum, difference, cosh(r) - 1, sinh(r)) for |x| = n ln2 + r; the sum is (1 + 2^-2n)/2, t as in `scaling`.

    Then e^|x| and e^-|x| are 2^n (cosh r + sinh r) and 2^-n (cosh r - sinh r): no division is needed.
    """
    end, far = (90.0, 20.0) if is_f32(x) else (711.0, 45.0)
    a = fabs(x)
    a = select(a > end, end, a)
    t, r, low = split_exponent(a)
    z = r * r
    sinh_r = r + (low + (r * z) * poly(z, c.SINH_F32 if is_f32(x) else c.SINH_F64))
    cosh_tail = z * poly(z, c.COSH_F32 if is_f32(x) else c.COSH_F64)
    # Beyond `far` e^-|x| does not count, and 2^-n may have no exponent.
    power = inverse_power(t)
    half_square = select(a > far, 0.0, (0.5 * power) * power)
    return t, 0.5 + half_square, 0.5 - half_square, cosh_tail, sinh_r


def sinh(x: Scalar) -> Scalar:
    """(e^x - e^-x) / 2."""
    t, plus, minus, cosh_tail, sinh_r = hyperbolic_parts(x)
    a, b = scaling(t)
    return copysign(((minus + (minus * cosh_tail + plus * sinh_r)) * a) * b, x)


def cosh(x: Scalar) -> Scalar:
    """(e^x + e^-x) / 2."""
    t, plus, minus, cosh_tail, sinh_r = hyperbolic_parts(x)
    a, b = scaling(t)
    return ((plus + (plus * cosh_tail + minus * sinh_r)) * a) * b


def asinh(x: Scalar) -> Scalar:
    """log(a + sqrt(a^2 + 1)) with the sign of x: log1p of a + a^2/(1 + sqrt(1 + a^2)); log(2a) for large a = |x|."""
    a = fabs(x)
    large = a > (2.0**13 if is_f32(x) else 2.0**28)
    square = a * a
    rest = square / (1.0 + sqrt(1.0 + square))
    total = a + rest
    low = (a - total) + rest
    y = log1p_pair(select(large, a, total), select(large, -1.0, low), select(large, constant(x, 1.0), constant(x, 0.0)))
    return copysign(select(a < math.inf, y, a), x)


def acosh(x: Scalar) -> Scalar:
    """log(x + sqrt(x^2 - 1)): log1p of t + sqrt(t^2 + 2t), t = x - 1; log(2x) for large x, NaN below 1."""
    large = x > (2.0**13 if is_f32(x) else 2.0**28)
    t = x - 1.0
    root = sqrt(t * t + (t + t))
    total = root + t
    low = (root - total) + t
    y = log1p_pair(select(large, x, total), select(large, -1.0, low), select(large, constant(x, 1.0), constant(x, 0.0)))
    return select(x >= 1.0, select(x < math.inf, y, x), constant(x, math.nan))


def atanh(x: Scalar) -> Scalar:
    """log((1+a)/(1-a))/2 with the sign of x: k ln(2)/2 + atanh(s), s = ((1+a) - 2^k (1-a)) / ((1+a) + 2^k (1-a)).

    2^k is near the quotient of 1+a and 1-a, found from the difference of their bit patterns; for a < 1/4 it is 1 and
    s = a, so that what is added to ln(2)/2 from there on is small. The numerator is exact but for one rounding: for
    a < 1/2 through the head of a, else because 1-a is exact.
    """
    form, single = format_of(x), is_f32(x)
    a = fabs(x)
    plus, minus = 1.0 + a, 1.0 - a
    steps = (bits(plus) - bits(minus) + (1 << form.mantissa - 2)) >> form.mantissa
    k = from_bits(steps | (0x4B000000 if single else 0x4330000000000000)) - 2.0**form.mantissa
    power = from_bits((steps + form.bias) << form.mantissa)
    head = from_bits(bits(a) & (0xFFFFF000 if single else 0xFFFFFFFFF8000000))
    factor = 1.0 + power
    numerator = select(a < 0.5, ((1.0 - power) + head * factor) + (a - head) * factor, (1.0 - power * minus) + a)
    s = numerator / (plus + power * minus)
    z = s * s
    tail = (s * z) * poly(z, c.ATANH_WIDE_F32 if single else c.ATANH_WIDE_F64)
    y = k * (0.5 * form.ln2_high) + (s + (tail + k * (0.5 * form.ln2_low)))
    edge = select(equal(a, 1.0), constant(x, math.inf), constant(x, math.nan))
    return copysign(select(a < 1.0, y, edge), x)
