"""The cube root and the hypotenuse."""

from __future__ import annotations

import math

from retape.codegen.vmath import coefficients as c
from retape.codegen.vmath.exp_log import split_power
from retape.codegen.vmath.formats import format_of
from retape.codegen.vmath.value import Scalar, bits, constant, copysign, fabs, from_bits, is_f32, poly, select, sqrt


def cbrt(x: Scalar) -> Scalar:
    """The real cube root.

    |x| = 2^(3q) m 2^j with j = -1, 0, 1. A polynomial gives cbrt(m) to 20 bits (8 in f32); times cbrt(2^j) and rounded
    to a third of the mantissa its cube is exact, and one step of Halley's iteration triples the correct bits.
    """
    form, single = format_of(x), is_f32(x)
    a = fabs(x)
    k, m, _ = split_power(a, subnormal=True)
    t = k * (1 / 3) + form.magic
    j = k - (t - form.magic) * 3.0
    scale = select(j > 0.5, constant(x, 2 ** (1 / 3)), select(j < -0.5, constant(x, 2 ** (-1 / 3)), constant(x, 1.0)))
    target = m * select(j > 0.5, constant(x, 2.0), select(j < -0.5, constant(x, 0.5), constant(x, 1.0)))
    guess = poly(m, c.CBRT_F32 if single else c.CBRT_F64) * scale
    drop = 16 if single else 35
    y = from_bits((bits(guess) + (1 << drop - 1)) & ((1 << (32 if single else 64)) - (1 << drop)))
    cube = (y * y) * y
    root = y - y * ((cube - target) / ((cube + cube) + target))
    power = from_bits((bits(t) - (form.magic_bits - form.bias)) << form.mantissa)
    ordinary = (a > 0.0) & (a < math.inf)
    return select(ordinary, copysign(root * power, x), x)


def hypot(x: Scalar, y: Scalar) -> Scalar:
    """sqrt(x^2 + y^2) without overflow or underflow on the way; infinite if either is, even beside NaN."""
    big, factor = (2.0**60, 2.0**-80) if is_f32(x) else (2.0**500, 2.0**-600)
    a, b = fabs(x), fabs(y)
    large = select(a > b, a, b)
    huge, tiny = large > big, large < 1 / big
    one = constant(x, 1.0)
    scale = select(huge, factor, select(tiny, 1 / factor, one))
    back = select(huge, 1 / factor, select(tiny, factor, one))
    a, b = a * scale, b * scale
    infinite = (fabs(x) >= math.inf) | (fabs(y) >= math.inf)
    return select(infinite, math.inf, sqrt(a * a + b * b) * back)
