"""Powers.

pow computes y log2|x| to about 64 bits and 2 to that power. In f64 the logarithm is a sum of two floats after FreeBSD's
msun (`e_pow.c`, K. C. Ng): with s = f/(2+f) split in a head of 26 bits and an exact remainder, the series
log(m) = 2 s (1 + s^2/3 + ...) is formed from products of heads, which are exact, so that contraction to FMA cannot
change them. In f32 everything is computed in f64.
"""

from __future__ import annotations

import math

from retape.codegen.vmath import coefficients as c
from retape.codegen.vmath.exp_log import clamp, exp_tail, split_power
from retape.codegen.vmath.formats import F64, format_of, scaling
from retape.codegen.vmath.value import (
    Scalar,
    bits,
    constant,
    copysign,
    equal,
    f32,
    f64,
    fabs,
    from_bits,
    is_f32,
    is_nan,
    poly,
    select,
)

HEAD_MASK = 0xFFFFFFFFF8000000
"""Keeps 26 significant bits of an f64: a product of two such heads is exact."""
LOG2_E_HEAD, LOG2_E_TAIL = 1.4426950216293335, 1.9259629911266175e-08
LN2_HEAD, LN2_TAIL = 0.6931471824645996, -1.904654299957768e-09


def head(x: Scalar) -> Scalar:
    """The first 26 bits of an f64."""
    return from_bits(bits(x) & HEAD_MASK)


def log2_pair(x: Scalar) -> tuple[Scalar, Scalar]:
    """log2(x) for f64 x > 0 as head + tail, the head of 26 bits; relative error about 2^-66."""
    k, m, _ = split_power(x, subnormal=True)
    f = m - 1.0
    d = 2.0 + f
    inverse = 1.0 / d
    quotient = f * inverse
    s = head(quotient)
    # f - s d, with d = 2 + f in two exact parts.
    d_head = head(d)
    s_tail = ((f - s * d_head) - s * ((2.0 - d_head) + f)) * inverse
    # atanh: log(1+f) = 2 (s + s_tail) (1 + z/3 + rest), z = s^2 exactly.
    z, z_tail = s * s, s_tail * (s + s + s_tail)
    full = quotient * quotient
    rest = z_tail * (1 / 3) + (full * full) * poly(full, c.ATANH_F64)
    # z/3 in two parts: an exact product of heads and what is left.
    third = z * (1 / 3)
    factor = head(third)
    left = ((z - factor * 3.0) * (1 / 3)) + rest
    # (s + s_tail) (1 + factor + left), times 2 log2(e)
    outer = head(1.0 + factor)
    inner = ((1.0 - outer) + factor) + left
    first = s * outer
    second = s_tail * outer + (s + s_tail) * inner
    p = head(first + second)
    p_tail = (first - p) + second
    a = p * (2 * LOG2_E_HEAD)
    b = p * (2 * LOG2_E_TAIL) + p_tail * (2 * (LOG2_E_HEAD + LOG2_E_TAIL))
    total = head(k + (a + b))
    return total, ((k - total) + a) + b


def exp2_pair(high: Scalar, low: Scalar) -> Scalar:
    """2^(high + low), f64."""
    shift = F64.magic + 2 * F64.bias
    t = high + shift
    fraction = high - (t - shift)
    first = head(fraction)
    rest = (fraction - first) + low
    a = first * LN2_HEAD
    b = first * LN2_TAIL + rest * (LN2_HEAD + LN2_TAIL)
    r = a + b
    lost = (a - r) + b
    scale, scale2 = scaling(t)
    return ((1.0 + (r + (exp_tail(r) + lost))) * scale) * scale2


def pow_magnitude(a: Scalar, y: Scalar) -> Scalar:
    """a^y for f64 0 < a < inf; y may be infinite."""
    # Larger exponents saturate all the same, and their products with the logarithm stay finite.
    y = clamp(y, -(2.0**70), 2.0**70)
    log_head, log_tail = log2_pair(a)
    y_head = head(y)
    product = y_head * log_head
    rest = (y - y_head) * log_head + y * log_tail
    total = product + rest
    low = (product - total) + rest
    over = fabs(total) > 1100.0
    return exp2_pair(clamp(total, -1100.0, 1100.0), select(over, 0.0, low))


def pow_special(x: Scalar, y: Scalar, magnitude: Scalar) -> Scalar:
    """The sign and the special cases of C's pow (C17, F.10.4.4), which NumPy follows."""
    a, size = fabs(x), fabs(y)
    # An f64 above 2^52 is whole, above 2^53 even; below, adding 2^52 rounds to a whole number. In f32, 2^23 and 2^24.
    unit = 2.0 ** format_of(x).mantissa
    size = select(size > 2.0 * unit, 2.0 * unit, size)
    half = 0.5 * size
    whole, even = equal((size + unit) - unit, size) | (size >= unit), equal((half + unit) - unit, half)
    zero, infinite = equal(a, 0.0), equal(a, math.inf)
    extreme = select(zero ^ (y < 0.0), constant(x, 0.0), constant(x, math.inf))
    magnitude = select(zero | infinite, extreme, magnitude)
    signed = select(whole & (even ^ True), copysign(magnitude, x), magnitude)
    invalid = (x < 0.0) & (a < math.inf) & (whole ^ True)
    result = select(invalid, math.nan, signed)
    result = select(is_nan(x) | is_nan(y), x + y, result)
    return select(equal(y, 0.0) | equal(x, 1.0), 1.0, result)


def pow(x: Scalar, y: Scalar) -> Scalar:
    """x^y."""
    if is_f32(x):
        return pow_special(x, y, f32(pow_wide(f64(fabs(x)), f64(y))))
    return pow_special(x, y, pow_magnitude(fabs(x), y))


def pow_wide(x: Scalar, y: Scalar) -> Scalar:
    """x^y for x > 0, f64 numbers that were f32: one float holds the logarithm well enough."""
    k, m, _ = split_power(x, subnormal=False)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    log2 = k + (s * (2.0 * (LOG2_E_HEAD + LOG2_E_TAIL))) * (1.0 + z * poly(z, c.ATANH_SHORT))
    total = clamp(clamp(y, -(2.0**70), 2.0**70) * log2, -300.0, 300.0)
    shift = F64.magic + 2 * F64.bias
    t = total + shift
    r = (total - (t - shift)) * math.log(2.0)
    power = from_bits((bits(t) - (F64.magic_bits + F64.bias)) << 52)
    return (1.0 + (r + (r * r) * poly(r, c.EXP_SHORT))) * power
