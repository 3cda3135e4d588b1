"""Inverse trigonometric functions.

asin and acos: below 1/2 an odd polynomial; above, asin(a) = pi/2 - 2 asin(sqrt((1-a)/2)) with the same polynomial
(FreeBSD's msun, K. C. Ng). atan: an odd polynomial on [0, 1], and pi/2 - atan(1/a) above, so that at most one division
rounds before the polynomial. Multiples of pi/2 are added in two parts.
"""

from __future__ import annotations

from retape.codegen.vmath import coefficients as c
from retape.codegen.vmath.value import (
    Scalar,
    bits,
    constant,
    copysign,
    equal,
    fabs,
    horner,
    is_f32,
    is_nan,
    poly,
    select,
    sqrt,
)


def half_pi(x: Scalar) -> tuple[float, float]:
    """pi/2 in two parts of the type of x."""
    return (1.5707963705062866, -4.371139000186241e-08) if is_f32(x) else (1.5707963267948966, 6.123233995736766e-17)


def asin_parts(a: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """(large, s, tail): s + tail is asin(a) for a <= 1/2, and asin(sqrt((1-a)/2)) where a is large, for 0 <= a <= 1."""
    large = a > 0.5
    z = select(large, 0.5 - 0.5 * a, a * a)
    s = select(large, sqrt(z), a)
    return large, s, (s * z) * poly(z, c.ASIN_F32 if is_f32(a) else c.ASIN_F64)


def asin(x: Scalar) -> Scalar:
    """The arc sine; NaN outside of [-1, 1]."""
    high, low = half_pi(x)
    large, s, tail = asin_parts(fabs(x))
    double = s + s
    first = high - double
    # What rounding took from the difference goes back in with the small terms.
    y = select(large, first + (((high - first) - double) + (low - (tail + tail))), s + tail)
    return copysign(y, x)


def acos(x: Scalar) -> Scalar:
    """The arc cosine; NaN outside of [-1, 1]."""
    high, low = half_pi(x)
    large, s, tail = asin_parts(fabs(x))
    negative = x < 0.0
    s, tail = select(large, s + s, s), select(large, tail + tail, tail)
    signed, signed_tail = copysign(s, x), copysign(tail, x)
    # acos(x) = pi/2 - asin(x) near 0, 2 asin(sqrt((1-x)/2)) near 1, pi minus the like near -1.
    middle = high - (signed - (low - signed_tail))
    end = select(negative, (2.0 * high - s) + (2.0 * low - tail), s + tail)
    return select(large, end, middle)


def atan_unit(q: Scalar) -> tuple[Scalar, Scalar]:
    """(q, tail) whose sum is atan(q), for 0 <= q <= 1. Even and odd powers apart would cancel near 1."""
    z = q * q
    return q, (q * z) * horner(z, c.ATAN_F32 if is_f32(q) else c.ATAN_F64)


def atan(x: Scalar) -> Scalar:
    """The arc tangent."""
    high, low = half_pi(x)
    a = fabs(x)
    steep = a > 1.0
    q, tail = atan_unit(select(steep, 1.0 / a, a))
    return copysign(select(steep, (high - q) + (low - tail), q + tail), x)


def atan2(y: Scalar, x: Scalar) -> Scalar:
    """The angle of the point (x, y), in [-pi, pi], with the special cases of C17, F.10.1.4."""
    high, low = half_pi(x)
    a, b = fabs(x), fabs(y)
    steep = b > a
    small, large = select(steep, a, b), select(steep, b, a)
    # 0/0 and inf/inf are the quotients 0 and 1.
    quotient = select(equal(small, large), select(equal(large, 0.0), constant(x, 0.0), constant(x, 1.0)), small / large)
    q, tail = atan_unit(quotient)
    left = (bits(x) >> (31 if is_f32(x) else 63)) > 0
    # angle = multiple of pi/2, plus or minus q
    turn = select(steep, constant(x, 1.0), select(left, constant(x, 2.0), constant(x, 0.0)))
    sign = select(steep ^ left, constant(x, -1.0), constant(x, 1.0))
    angle = (turn * high + sign * q) + (turn * low + sign * tail)
    angle = select(is_nan(x) | is_nan(y), x + y, angle)
    return copysign(angle, y)
