"""lgamma and digamma of negative numbers where the terms of their reflection formulas cancel.

Both have zeros between the poles. Next to one, terms of double precision leave no digit of their sum. Here they have an
absolute error below 2^-108, while values at doubles are above 2^-54, so that all digits are right. With y = 1 - x, f
the distance of x from the nearest integer, and Y = y or the first of y+1, y+2, ... above 16:

    lgamma(x) = log P - log(sin(pi f)/pi) - lgamma(Y),  P = y (y+1) ... (Y-1)
    digamma(x) = digamma(Y) - (1/y + ... + 1/(Y-1)) +- pi cot(pi f)

lgamma(Y) and digamma(Y) by Stirling's series (Abramowitz and Stegun 6.1.41 and 6.3.18) of 20 terms, whose error is
below 2^-110 from 16 on. All are numbers with a fixed point (see `fixed`); `gamma` calls this by `rarely`. It takes 0.4
microseconds a number.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache
from math import comb, factorial
from typing import Any

from retape.codegen.vmath.far import pi
from retape.codegen.vmath.fixed import (
    log,
    nearest,
    normal,
    product,
    quarter_reciprocal,
    quotient,
    series,
    shifted,
    times,
)
from retape.codegen.vmath.value import Scalar, bits, repeat, select
from retape.codegen.vmath.wide import floats, leading_zeros, narrow, wide

UNIT = 116
"""The result counts 2^-116."""
PRECISE = 124
"""Polynomials count 2^-124."""
TERMS = 20


def _even_powers_of_pi(divisor: Callable[[int], int]) -> tuple[int, ...]:
    return tuple((-1) ** k * ((pi(160) ** (2 * k) << PRECISE) >> 320 * k) // divisor(k) for k in range(TERMS))


@cache
def sine_terms() -> tuple[int, ...]:
    """sin(pi f)/(pi f) in f^2."""
    return _even_powers_of_pi(lambda k: factorial(2 * k + 1))


@cache
def cosine_terms() -> tuple[int, ...]:
    """cos(pi f) in f^2."""
    return _even_powers_of_pi(lambda k: factorial(2 * k))


@cache
def bernoulli() -> tuple[Fraction, ...]:
    """The first of Bernoulli's numbers, by their recurrence."""
    numbers = [Fraction(1)]
    for n in range(1, 2 * TERMS + 1):
        numbers.append(-sum((comb(n + 1, k) * b for k, b in enumerate(numbers)), Fraction(0)) / (n + 1))
    return tuple(numbers)


@cache
def stirling_terms() -> tuple[int, ...]:
    """What Stirling's formula for lgamma(Y) leaves over, times Y, in 256/Y^2."""
    return tuple(int(bernoulli()[k] / (k * (k - 1)) / 16 ** (k - 2) * 2**PRECISE) for k in range(2, 2 * TERMS + 2, 2))


@cache
def digamma_terms() -> tuple[int, ...]:
    """(log(Y) - 1/(2Y) - digamma(Y)) Y^2, in 256/Y^2."""
    return tuple(int(bernoulli()[k] / k / 16 ** (k - 2) * 2**PRECISE) for k in range(2, 2 * TERMS + 2, 2))


@cache
def half_log_2pi() -> int:
    with localcontext() as context:
        context.prec = 60
        return nearest((Decimal(2 * pi(160)) / 2**160).ln() / 2, UNIT)


def parts(x: Scalar) -> tuple[Any, Scalar, Any]:
    """(y, above, f) for f64 x from -2^53 to -1/4: y = 1 - x in 2^-64, f as a fraction, and 1 where x is above the
    nearest integer, else 0."""
    pattern = bits(x)
    mantissa = wide((pattern & 0xFFFFFFFFFFFFF) | 0x10000000000000, 128)
    y = (mantissa << wide((pattern >> 52 & 0x7FF) - 1011, 128)) + (1 << 64)
    fraction = narrow(y)
    above = fraction >> 63
    return y, above, wide((fraction ^ (0 - above)) + above, 128) << 64


def raised(y: Any) -> tuple[Any, Any, Any, Any]:
    """(Y, N, P, e): P 2^(e - 116) = y (y+1) ... (Y-1) and 16 N/P = 1/y + ... + 1/(Y-1); y and Y in 2^-64."""
    whole = narrow(y >> 64)
    count = select(whole < 16, 16 - whole, whole & 0)
    high = y + (wide(count, 128) << 64)

    def step(i: Scalar, numerator: Any, factors: Any, exponent: Any) -> tuple[Any, ...]:
        factor = (high - (wide(i + 1, 128) << 64)) << 60  # of 16, a fraction
        numerator, factors = times(numerator, factor) + factors, times(factors, factor)
        places = leading_zeros(factors) - 11
        return numerator << places, factors << places, exponent + (4 - places)

    zero = y & 0
    return high, *repeat(count, step, zero, zero + (1 << UNIT), zero)


def inverse(high: Any) -> tuple[Any, Any]:
    """(1/Y, 256/Y^2) as fractions, for Y > 16 in 2^-64."""
    m, e = normal(high)
    w = quarter_reciprocal(m) >> (e - 66)
    return w, product(w, w) << 8


def lgamma_reflected(x: Scalar) -> Scalar:
    """log|gamma(x)| for f64 -100 < x < -1."""
    y, _, f = parts(x)
    high, _, factors, exponent = raised(y)
    w, z = inverse(high)
    rest = times(series("stirling", stirling_terms, z), w) >> (PRECISE - UNIT)
    # (Y - 1/2) log(Y): a logarithm in 2^-123 times a fraction of 128.
    main = times(log(high, -64) << 3, (high - (1 << 63)) << 57)
    upper = main - (high << (UNIT - 64)) + rest + half_log_2pi()
    sine = times(series("sine", sine_terms, product(f, f)), f)
    known = log(factors, exponent - UNIT) - log(sine, -PRECISE)
    high, low = floats(shifted(known, 4) - upper, 128, -UNIT)
    return high + low


def digamma_reflected(x: Scalar) -> Scalar:
    """digamma(x) for f64 -2^53 < x < -1/4 whose cotangent is of digamma's size."""
    y, above, f = parts(x)
    high, numerator, factors, _ = raised(y)
    w, z = inverse(high)
    rest = (w >> 13) + (times(series("digamma", digamma_terms, z), product(w, w)) >> (PRECISE - UNIT))
    upper = shifted(log(high, -64), 4) - rest - (quotient(numerator, factors) >> 4)
    square = product(f, f)
    sine, cosine = series("sine", sine_terms, square), series("cosine", cosine_terms, square)
    sign = 0 - wide(above, 128)
    cotangent = (quotient(cosine, times(sine, f)) ^ sign) - sign
    high, low = floats(upper + cotangent, 128, -UNIT)
    return high + low
