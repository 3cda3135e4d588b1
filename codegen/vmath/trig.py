"""Trigonometric functions.

sin and cos reduce modulo pi, tan modulo pi/2: r = x - n pi with pi in three parts (33, 33 and 53 bits; Cody and
Waite), whose first two products with n are exact up to 2^20, and a correction for what the last subtraction rounds
away. One odd polynomial then serves the whole interval. In f32 sin and cos are computed in f64, which is as fast as to
reduce by four parts in f32. Larger arguments go to `far`.
"""

from __future__ import annotations

from retape.codegen.vmath import coefficients as c
from retape.codegen.vmath.far import LIMIT, far, sine, tangent
from retape.codegen.vmath.formats import F64
from retape.codegen.vmath.value import Scalar, bits, f32, f64, fabs, from_bits, is_f32, poly, select, u32

PI_PARTS = (3.1415926534682512, 1.2154201012607932e-10, 4.044532497591901e-21)
PI_REST = 1.2154201013012384e-10
"""pi less its first part."""
INVERSE_PI = 0.3183098861837907


def reduce(x: Scalar, n: Scalar, factor: float, small: bool = False) -> tuple[Scalar, Scalar]:
    """x - n pi factor as a sum of two floats; every step but the last two is exact.

    The first rounds where x may be `small`, less than half of what is subtracted: that is made up for.
    """
    first, second, third = (p * factor for p in PI_PARTS)
    a = x - n * first
    b = a - n * second
    rest = n * third - ((a - b) - n * second)
    if small:
        rest = rest - (x - (a + n * first))
    r = b - rest
    return r, (b - r) - rest


def reduce_short(x: Scalar, n: Scalar, factor: float) -> Scalar:
    """x - n pi factor for an f64 that was f32: up to LIMIT none comes closer to a multiple of pi/2 than 2^-28."""
    return (x - n * (PI_PARTS[0] * factor)) - n * (PI_REST * factor)


def nearest(x: Scalar, quarter: bool) -> tuple[Scalar, Scalar]:
    """(n, t): the multiple of pi to subtract from f64 x, and a float whose lowest bit is 1 where the sign changes.

    A cosine is the sine of pi/2 more: an odd multiple of pi/2 is subtracted.
    """
    if quarter:
        t = (x * INVERSE_PI + 0.5) + F64.magic
        return (t - F64.magic) - 0.5, t
    t = x * INVERSE_PI + F64.magic
    return t - F64.magic, t


def sin_or_cos(x: Scalar, quarter: bool) -> Scalar:
    """sin or cos of 0 <= x <= LIMIT; in f32 computed in f64, with fewer terms."""
    wide = f64(x)
    n, t = nearest(wide, quarter)
    if is_f32(x):
        r = reduce_short(wide, n, 1.0)
        z = r * r
        y = r + (r * z) * poly(z, c.SIN_F32)
    else:
        y = sine(*reduce(wide, n, 1.0, small=quarter))
    signed = from_bits(bits(y) ^ (bits(t) << 63))
    return f32(signed) if is_f32(x) else signed


def sign_of(x: Scalar) -> Scalar:
    """The sign bit in place."""
    return bits(x) & (1 << (31 if is_f32(x) else 63))


def sin(x: Scalar) -> Scalar:
    """The sine."""
    a = fabs(x)
    y = sin_or_cos(a, quarter=False)
    return select(a > LIMIT, far("sin", x), from_bits(bits(y) ^ sign_of(x)))


def cos(x: Scalar) -> Scalar:
    """The cosine."""
    a = fabs(x)
    return select(a > LIMIT, far("cos", x), sin_or_cos(a, quarter=True))


def tan(x: Scalar) -> Scalar:
    """The tangent: with n the multiple of pi/2, tan(r) for even n and -1/tan(r) for odd n."""
    a = fabs(x)
    wide = f64(a)
    t = wide * (2 * INVERSE_PI) + F64.magic
    n = t - F64.magic
    if is_f32(x):
        r = reduce_short(wide, n, 0.5)
        short = f32(r)
        odd, y = u32(bits(t)) & 1, tangent(short, f32(r - f64(short)))
    else:
        odd, y = bits(t) & 1, tangent(*reduce(wide, n, 0.5))
    y = select(odd > 0, -1.0 / y, y)
    return select(a > LIMIT, far("tan", x), from_bits(bits(y) ^ sign_of(x)))
