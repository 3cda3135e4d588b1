"""Trigonometric functions.

sin and cos reduce modulo pi, tan modulo pi/2: r = x - n pi with pi in three parts (33, 33 and 53 bits; Cody and Waite),
whose first two products with n are exact up to 2^20, and a correction for what the last subtraction rounds away. One odd
polynomial then serves the whole interval. Larger arguments go to `far`.
"""

from __future__ import annotations

from retape.codegen.vmath.far import LIMIT, far, sine, tangent
from retape.codegen.vmath.formats import F64
from retape.codegen.vmath.value import Scalar, bits, f32, f64, fabs, from_bits, is_f32, select, u32

PI_PARTS = (3.1415926534682512, 1.2154201012607932e-10, 4.044532497591901e-21)
INVERSE_PI = 0.3183098861837907


def reduce(x: Scalar, n: Scalar, factor: float) -> tuple[Scalar, Scalar]:
    """x - n pi factor as a sum of two floats; every step but the last two is exact."""
    first, second, third = (p * factor for p in PI_PARTS)
    a = x - n * first
    b = a - n * second
    rest = n * third - ((a - b) - n * second)
    r = b - rest
    return r, (b - r) - rest


def near_sine(x: Scalar, quarter: bool) -> tuple[Scalar, Scalar]:
    """(y, t): sin of x >= 0, or its cosine, up to the sign, which is the lowest bit of t."""
    wide = f64(x)
    if quarter:
        # cos(x) = sin(x + pi/2): an odd multiple of pi/2 is subtracted.
        t = (wide * INVERSE_PI + 0.5) + F64.magic
        n = (t - F64.magic) - 0.5
    else:
        t = wide * INVERSE_PI + F64.magic
        n = t - F64.magic
    r, low = reduce(wide, n, 1.0)
    if is_f32(x):
        return sine(f32(r), None), u32(bits(t))
    return sine(r, low), bits(t)


def sign_bit(x: Scalar) -> int:
    """The mask of the sign."""
    return 1 << (31 if is_f32(x) else 63)


def sin(x: Scalar) -> Scalar:
    """The sine."""
    a = fabs(x)
    y, t = near_sine(a, quarter=False)
    sign = (t << (31 if is_f32(x) else 63)) ^ (bits(x) & sign_bit(x))
    return select(a > LIMIT, far("sin", x), from_bits(bits(y) ^ sign))


def cos(x: Scalar) -> Scalar:
    """The cosine."""
    a = fabs(x)
    y, t = near_sine(a, quarter=True)
    return select(a > LIMIT, far("cos", x), from_bits(bits(y) ^ (t << (31 if is_f32(x) else 63))))


def tan(x: Scalar) -> Scalar:
    """The tangent: with n the multiple of pi/2, tan(r) for even n and -1/tan(r) for odd n."""
    a = fabs(x)
    wide = f64(a)
    t = wide * (2 * INVERSE_PI) + F64.magic
    r, low = reduce(wide, t - F64.magic, 0.5)
    odd, y = bits(t) & 1, tangent(r, low)
    if is_f32(x):
        short = f32(r)
        odd, y = u32(bits(t)) & 1, tangent(short, f32(r - f64(short)))
    y = select(odd > 0, -1.0 / y, y)
    return select(a > LIMIT, far("tan", x), from_bits(bits(y) ^ (bits(x) & sign_bit(x))))
