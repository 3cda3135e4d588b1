"""Sine, cosine and tangent of large arguments: exact reduction by integer arithmetic, one number at a time.

M. Payne and R. Hanek, "Radian reduction for trigonometric functions" (SIGNUM Newsletter 18, 1983): of x/pi only the
bits next to the point matter, so the mantissa of x is multiplied by a window of 192 bits of 1/pi that begins where the
product is a multiple of 2. The product modulo 2 is exact but for 2^-138, and no double comes closer to a multiple of
pi/2 than 2^-62, so at least 70 significant bits remain.

Such arguments are rare: the vector code of `trig` calls a function for them by `rarely`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from retape.codegen.vmath import coefficients as c
from retape.codegen.vmath.value import (
    Scalar,
    Value,
    bits,
    constant,
    equal,
    f32,
    f64,
    fabs,
    from_bits,
    is_f32,
    poly,
    rarely,
    select,
)
from retape.codegen.vmath.wide import Wide, floats, narrow, wide

LIMIT = 1.5e6
"""Above this magnitude the short reduction of `trig` is not exact."""

LEAD = 64
"""Zero bits before those of 1/pi in the table: the window of the smallest far argument begins there."""
TABLE_BITS = 1408


@cache
def pi(count: int) -> int:
    """pi 2^count to the nearest integers, by Machin's formula pi = 16 atan(1/5) - 4 atan(1/239) in integers."""
    one = 1 << (count + 32)

    def atan_inverse(n: int) -> int:
        term, total, k = one // n, 0, 0
        while term:
            total += -(term // (2 * k + 1)) if k % 2 else term // (2 * k + 1)
            term //= n * n
            k += 1
        return total

    return (16 * atan_inverse(5) - 4 * atan_inverse(239)) >> 32


INVERSE_PI = (1 << 2 * TABLE_BITS) // pi(TABLE_BITS + LEAD)
"""floor(2^(TABLE_BITS - LEAD) / pi)."""


def window(exponent: Scalar) -> Any:
    """192 bits of the table, from bit number `exponent` after the highest."""
    if isinstance(exponent, Value):
        from retape.codegen.vmath.emit import window as emitted

        return emitted(exponent)
    return Wide(INVERSE_PI >> (TABLE_BITS - 192 - int(exponent)), 192)


def turns(x: Scalar) -> Any:
    """x/pi modulo 2 for finite x > LIMIT, as an integer of 192 bits whose highest bit counts 1."""
    pattern = bits(x)
    mantissa = (pattern & 0xFFFFFFFFFFFFF) | 0x10000000000000
    # x = mantissa * 2^(e - 1075); products of weight 2^1 and more are dropped.
    exponent = (pattern >> 52) - (1076 - LEAD)
    return wide(mantissa, 192) * window(exponent)


def fraction(p: Any) -> tuple[Scalar, Scalar, Scalar]:
    """(high, low, odd) with p = n + high + low, |high + low| <= 1/2 and n odd where odd is 1."""
    odd = (p + (1 << 190)) >> 191
    return *floats(p << 1, 192, -192), narrow(odd)


PI_HIGH, PI_LOW = 3.141592653589793, 1.2246467991473532e-16
PI_HEAD = 3.1415925025939941
"""pi to 23 bits, so that its product with 26 bits is exact."""


def radians(high: Scalar, low: Scalar) -> tuple[Scalar, Scalar]:
    """(high + low) * pi as a sum of two floats."""
    head = from_bits(bits(high) & 0xFFFFFFFFF8000000)
    rest = (high - head) + low
    exact = head * PI_HEAD
    tail = head * (PI_HIGH - PI_HEAD) + (rest * PI_HIGH + high * PI_LOW)
    total = exact + tail
    return total, (exact - total) + tail


def sine(r: Scalar, low: Scalar | None) -> Scalar:
    """sin(r + low) for f64 |r| <= pi/2, low a correction, which counts cos(r) times, about."""
    z = r * r
    tail = (r * z) * poly(z, c.SIN_F64)
    return r + (tail if low is None else tail + low * (1.0 - z * (0.5 - z * (1 / 24))))


def tangent(r: Scalar, low: Scalar) -> Scalar:
    """tan(r + low) for |r| <= pi/4, low a correction."""
    z = r * r
    return r + ((r * z) * poly(z, c.TAN_F32 if is_f32(r) else c.TAN_F64) + low * (1.0 + z))


KINDS = {"sin": 0, "cos": 1, "tan": 2}


def far_function(x: Scalar, kind: Scalar) -> Scalar:
    """sin, cos or tan (see KINDS) of one f64 larger than LIMIT: one function, so that a kernel needs it once.

    cos is the sine of half a turn of pi more; for tan the fraction is of pi/2.
    """
    is_cos, is_tan = equal(kind, 1), equal(kind, 2)
    p = turns(fabs(x))
    p = p + (wide(is_cos, 192) << 190)
    high, low, odd = fraction(p << wide(is_tan, 192))
    half = select(is_tan, constant(x, 0.5), constant(x, 1.0))
    r, low = radians(high * half, low * half)
    tan = tangent(r, low)
    tan = select(odd > 0, -1.0 / tan, tan)
    y = from_bits(bits(sine(r, low)) ^ (odd << 63))
    y = select(is_tan, tan, y)
    # sin and tan are odd; infinity and NaN give NaN.
    return select(is_cos, y, from_bits(bits(y) ^ (bits(x) & (1 << 63)))) + (x - x)


def far(name: str, x: Scalar) -> Scalar:
    """The function for arguments larger than LIMIT; of no use for others. In f32 computed in f64."""
    wanted = fabs(x) > LIMIT
    return f32(_far(name, wanted, f64(x))) if is_f32(x) else _far(name, wanted, x)


def _far(name: str, wanted: Scalar, x: Scalar) -> Scalar:
    return rarely("far", far_function, wanted, x, KINDS[name])
