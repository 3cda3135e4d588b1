"""Numbers of 128 bits with a fixed point, for the few arguments where a function needs twice the precision of a double.

A *number* is a signed integer of 128 bits that counts some unit, which whoever uses it knows. A *fraction* is unsigned
and counts 2^-128, so it is below 1. Everything is off by a few units at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from functools import cache
from typing import Any

from retape.codegen.vmath.value import Scalar, bits, from_bits, repeat
from retape.codegen.vmath.wide import leading_zeros, lookup, narrow, wide


def product(a: Any, b: Any) -> Any:
    """A fraction times another; or an integer that isn't negative times a fraction, in the integer's unit."""
    a_high, a_low, b_high, b_low = (wide(narrow(k), 128) for k in (a >> 64, a, b >> 64, b))
    return a_high * b_high + (((a_high * b_low) >> 64) + ((a_low * b_high) >> 64))


def times(a: Any, fraction: Any) -> Any:
    """A number times a fraction, in the number's unit."""
    # In two's complement the unsigned a is 2^128 more where a is negative.
    return product(a, fraction) - (fraction & (0 - (a >> 127)))


def shifted(a: Any, places: Any) -> Any:
    """A number divided by 2^places, rounded down."""
    sign = 0 - (a >> 127)
    return ((a ^ sign) >> places) ^ sign


def series(name: str, table: Callable[[], Sequence[int]], fraction: Any) -> Any:
    """The polynomial whose coefficients, constant first, are a table's numbers."""
    last = len(table()) - 1

    def step(i: Scalar, total: Any) -> tuple[Any, ...]:
        return (times(total, fraction) + lookup(name, table, (last - 1) - i, 128),)

    return repeat(last, step, lookup(name, table, narrow(fraction & 0) + last, 128))[0]


def normal(k: Any) -> tuple[Any, Any]:
    """(m, e) with k = m 2^e, for an integer k > 0: m is a fraction, 1/2 <= m < 1."""
    zeros = leading_zeros(k)
    return k << zeros, 128 - zeros


def quarter_reciprocal(m: Any) -> Any:
    """1/(4 m) for a fraction 1/2 <= m < 1: the quotient of doubles, and two steps of Newton's method."""
    ones = 0xFFFFFFFFFFFFF
    start = 0.25 / from_bits(narrow(m >> 75) & ones | 1022 << 52)
    quotient = wide(bits(start + 1.0) & ones, 128) << 76
    for _ in range(2):
        quotient = quotient + (times((1 << 126) - product(quotient, m), quotient) << 2)
    return quotient


def quotient(a: Any, b: Any) -> Any:
    """a/b in 2^-116, for |a| < 2^124 and b >= 2^114."""
    m, e = normal(b)
    return shifted(times(a << 3, quarter_reciprocal(m)), e - 115)


def nearest(value: Decimal, unit: int) -> int:
    """A real in 2^-unit."""
    return int((value * 2**unit).to_integral_value())


@cache
def inverses() -> tuple[int, ...]:
    """For each part of [1/2, 1) the least multiple of 1/256 that times all of its numbers is at least 1."""
    return tuple(-(-(1 << 16) // (128 + part)) for part in range(128))


@cache
def logarithms() -> tuple[int, ...]:
    """Of the inverses, and as the last that of 2."""
    with localcontext() as context:
        context.prec = 50
        return tuple(nearest((Decimal(inverse) / 256).ln(), 120) for inverse in (*inverses(), 512))


@cache
def log1p_terms() -> tuple[int, ...]:
    """log(1 + u/64)/u = 1/64 - u/(2 64^2) + ..."""
    return tuple((-1) ** k * (1 << 120) // ((k + 1) << 6 * (k + 1)) for k in range(19))


def log(k: Any, scale: Any) -> Any:
    """log(k 2^scale) in 2^-120, for an integer k > 0: what a table's inverse leaves of it is below 1 + 1/64."""
    m, e = normal(k)
    part = narrow(m >> 120) & 127
    rest = (((m >> 9) * lookup("inverses", inverses, part, 128)) - (1 << 127)) << 7
    near = times(series("log1p", log1p_terms, rest), rest) - lookup("logarithms", logarithms, part, 128)
    return near + (e + scale) * logarithms()[-1]
