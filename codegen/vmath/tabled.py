"""Powers of one number at a time, by tables: half as long a chain of dependent operations as the vector form has.

P. T. P. Tang, "Table-driven implementation of the logarithm function in IEEE floating-point arithmetic" and "... of the
exponential function ..." (ACM TOMS 16, 1990, and 15, 1989). The logarithm: x = 2^k m, and m is near one of 128 numbers
c whose reciprocals have 16 bits, so that r = m/c - 1 comes from exact products; log(x) = k ln2 + log(c) + log(1+r) is
formed as a sum of two floats. The exponential: n/128 of an octave is taken from a table, the rest is a short series.

A table is a load for each number, which vectors would have to gather: `power` has the form for loops. It is also what
is called here for all that is rare: powers of numbers that aren't positive or are subnormal, and powers out of range.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import cache

from retape.codegen.vmath import power
from retape.codegen.vmath.formats import F64
from retape.codegen.vmath.power import head
from retape.codegen.vmath.value import Scalar, bits, fabs, from_bits, is_f32, lookup, usually

PARTS = 128
ROOT = 0x3FE6B00000000000
"""The pattern of the least m, about sqrt(1/2); 1 lies inside of one of the 128 intervals of patterns from there on."""
STEP = 1 << 45
"""How many patterns an interval has."""
LN2_HEAD, LN2_TAIL = 0.6931471805598903, 5.497923018708371e-14
"""ln(2): a multiple of 2^-43, which times k is exact, and the rest."""

PART_HEAD, PART_TAIL = 0.0054152123482253955, -1.0082281460997769e-13
"""ln(2)/128: a multiple of 2^-42, which times n is exact, and the rest."""


@cache
def log_table() -> tuple[float, ...]:
    """For each interval of m: 1/c to 16 bits, log(c) to a multiple of 2^-43, the rest of log(c), and a zero."""
    words: list[float] = []
    with localcontext() as context:
        context.prec = 50
        for part in range(PARTS):
            middle = ROOT + part * STEP + STEP // 2
            exponent, mantissa = (middle >> 52) - 1023, middle & ((1 << 52) - 1)
            inverse = round(2.0**16 / math.ldexp(1.0 + mantissa / 2.0**52, exponent)) / 2.0**16
            log = -Decimal(inverse).ln()
            first = round(log * 2**43) / 2.0**43
            words += [inverse, first, float(log - Decimal(first)), 0.0]
    return tuple(words)


@cache
def exp_table() -> tuple[float, ...]:
    """2^(i/128), and what rounding took from it as a part of it."""
    words: list[float] = []
    with localcontext() as context:
        context.prec = 50
        power, factor = Decimal(1), (Decimal(2).ln() / PARTS).exp()
        for _ in range(PARTS):
            words += [float(power), float(power / Decimal(float(power)) - 1)]
            power *= factor
    return tuple(words)


def log_pair(x: Scalar) -> tuple[Scalar, Scalar]:
    """log(x) for normal f64 x > 0 as head + tail, the head of 26 bits; relative error about 2^-66."""
    place = bits(x) - ROOT
    e = (place + (1023 << 52)) >> 52
    k = from_bits(e | 0x4330000000000000) - (2.0**52 + 1023)  # e in the low bits of 2^52 is added to it
    m = bits(x) - (e << 52) + (1023 << 52)
    row = ((place >> 45) & (PARTS - 1)) << 2
    inverse, first, second = (lookup("log", log_table, row + word) for word in range(3))
    # m is rounded to 16 bits: so r_head has 26, its square is exact, and where |r| is least it is 0.
    m_head = from_bits((m + (1 << 35)) & 0xFFFFFFF000000000)
    r_head, r_tail = m_head * inverse - 1.0, (from_bits(m) - m_head) * inverse
    r = r_head + r_tail
    known = k * LN2_HEAD + first
    near = known + r
    lost = ((known - near) + r_head) + r_tail
    # log(1+r) = r - r^2/2 + r^3 (...), of which r^2/2 in two parts
    half_square = (r_head * r_head) * -0.5
    square = r * r
    series = (1 / 3 - 0.25 * r) + square * ((0.2 - r * (1 / 6)) + square * (1 / 7 - 0.125 * r))
    total = near + half_square
    low = (lost + (k * LN2_TAIL + second)) + ((near - total) + half_square)
    low = low + (-0.5 * r_tail) * (r + r_head) + (square * r) * series
    log = head(total)
    return log, (total - log) + low


def exp_pair(high: Scalar, low: Scalar) -> Scalar:
    """e^(high + low), f64, for |high| < 700 and |low| < 0.01."""
    t = high * (PARTS / math.log(2.0)) + F64.magic
    n = t - F64.magic
    r = (high - n * PART_HEAD) + (low - n * PART_TAIL)
    row = (bits(t) & (PARTS - 1)) << 1
    factor = from_bits(bits(lookup("exp", exp_table, row)) + ((bits(t) >> 7) << 52))
    square = r * r
    series = (0.5 + r * (1 / 6)) + square * ((1 / 24 + r * (1 / 120)) + square * (1 / 720))
    rest = (lookup("exp", exp_table, row + 1) + r) + square * series
    return factor + factor * rest


def pow(x: Scalar, y: Scalar) -> Scalar:
    """x^y."""
    if is_f32(x):
        return power.pow(x, y)
    log_head, log_tail = log_pair(x)
    y_head = head(y)
    high = y_head * log_head
    low = (y - y_head) * log_head + y * log_tail
    ordinary = (bits(x) - (1 << 52) < 0x7FE0000000000000) & (fabs(high) < 700.0)
    return usually("pow", ordinary, lambda: exp_pair(high, low), power.pow, x, y)
