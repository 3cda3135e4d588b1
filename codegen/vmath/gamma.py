"""The logarithm of |gamma| and its derivative, digamma.

Both rest on the recurrence gamma(x+1) = x gamma(x), a polynomial on a short interval, Stirling's series above 4.5 and 4
(Abramowitz and Stegun 6.1.41 and 6.3.18, as minimax polynomials in 1/x^2), and the reflection formulas 6.1.17 and 6.3.7
for negative x. Near their zeros at positive x they are accurate to a few ULP, because the polynomials have those zeros
as factors. Where the terms of a reflection formula cancel, `reflection` computes the value. f32 is computed in f64.
"""

from __future__ import annotations

import math

from retape.codegen.vmath import coefficients as c
from retape.codegen.vmath.exp_log import log, log_sum
from retape.codegen.vmath.far import sine
from retape.codegen.vmath.reflection import digamma_reflected, lgamma_reflected
from retape.codegen.vmath.value import (
    Scalar,
    constant,
    equal,
    f32,
    f64,
    fabs,
    horner,
    is_f32,
    is_nan,
    poly,
    rarely,
    select,
)

LGAMMA_STIRLING, DIGAMMA_STIRLING = 4.5, 4.0
CANCELLED, CANCELLED_SHORT = 0.5, 2.0**-5
"""A sum smaller than this part of its terms' magnitudes is computed anew."""
HALF_LOG_2PI = 0.9189385332046728
# The zero of digamma, in two parts.
ZERO_HIGH, ZERO_LOW = 1.4616321449683622, 9.549995429965697e-17


def sine_over_pi(fraction: Scalar) -> Scalar:
    """sin(pi f)/pi for |f| <= 1/2; f itself where it is tiny."""
    z = (math.pi * fraction) * (math.pi * fraction)
    return fraction + (fraction * z) * poly(z, c.SIN_F64)


def fraction_of(x: Scalar) -> Scalar:
    """|x| less the nearest integer."""
    a = fabs(x)
    return select(a < 2.0**52, a - ((a + 2.0**52) - 2.0**52), 0.0)


def argument(x: Scalar) -> tuple[Scalar, Scalar]:
    """x, or 1 - x where x is negative, as a sum of two floats."""
    negative, y = x < 0.0, 1.0 - x
    return select(negative, y, x), select(negative & (y < math.inf), (1.0 - y) - x, 0.0)


def lgamma_positive(x: Scalar, low: Scalar, short: bool) -> Scalar:
    """log(gamma(x + low)) for f64 x > 0 and what rounding took from x, which counts digamma(x) times, about.

    y B(y) is log(gamma(2+y)) for -1 < y < 1/2. Below 1.25, y = x-1 and log(x) is subtracted; up to 2.5, y = x-2; up to
    4.5 factors x-1 and x-2 are split off until the rest is below 2.5, and the logarithm of their product is added.
    """
    below, large = x < 1.25, x >= LGAMMA_STIRLING
    y = select(below, x - 1.0, x - 2.0)
    product = constant(x, 1.0)
    for i in (1, 2):
        more = x >= 1.5 + i
        product = select(more, product * (x - i), product)
        y = select(more, x - (2 + i), y)
    logarithm, lost = log_sum(select(below | large, x, product))
    base = y * horner(y, c.LGAMMA_SHORT if short else c.LGAMMA)
    near = select(below, base - logarithm, base + logarithm)
    w = 1.0 / x
    rest = w * poly(w * w, c.STIRLING_SHORT if short else c.STIRLING)
    if not short:
        near = near + select(below, 0.0, low * (1.5 - 2.1 * w))
        rest = rest + (low * logarithm + x * lost)
    far = (x - 0.5) * (logarithm - 1.0) + ((HALF_LOG_2PI - 0.5) + rest)
    return select(large, far, near)


def lgamma_wide(x: Scalar, short: bool) -> Scalar:
    """log|gamma(x)| for f64; with short polynomials for numbers that were f32."""
    negative = x < 0.0
    positive = lgamma_positive(*argument(x), short)
    fraction = fabs(fraction_of(x))
    # gamma(x) gamma(1-x) = pi / sin(pi x)
    logarithm, rest = log_sum(sine_over_pi(fraction))
    y = select(negative, -(logarithm + (positive + rest)), positive)
    size = fabs(logarithm) + fabs(positive)
    lost = negative & (fraction > 0.0) & (fabs(y) < size * (CANCELLED_SHORT if short else CANCELLED))
    y = select(lost, rarely("lgamma", lgamma_reflected, lost, x), y)
    infinite = (fabs(x) >= math.inf) | equal(x, 0.0) | (negative & equal(fraction, 0.0))
    return select(infinite, math.inf, y)


def lgamma(x: Scalar) -> Scalar:
    """log|gamma(x)|; infinite at 0, -1, -2, ..."""
    return f32(lgamma_wide(f64(x), True)) if is_f32(x) else lgamma_wide(x, False)


def digamma_positive(x: Scalar, low: Scalar, short: bool) -> Scalar:
    """digamma(x + low) for f64 x > 0 and what rounding took from x, which counts 1/x + 0.6/x^2 times, about.

    A polynomial times (x - x0) on [1, 2). The reciprocals 1/(x-1) + 1/(x-2) that lead there from above, or the one
    1/x to subtract from below, are one quotient.
    """
    below = x < 1.0
    u = select(below, x + 1.0, x)
    numerator = select(below, constant(x, -1.0), constant(x, 0.0))
    divisor = select(below, x, constant(x, 1.0))
    for i in (1, 2):
        more = x >= 1.0 + i
        numerator = select(more, numerator * (x - i) + divisor, numerator)
        divisor = select(more, divisor * (x - i), divisor)
        u = select(more, x - i, u)
    base = ((u - ZERO_HIGH) - ZERO_LOW) * horner(u - 1.5, c.DIGAMMA_SHORT if short else c.DIGAMMA)
    w = 1.0 / x
    z = w * w
    far = log(x) - (0.5 * w + z * poly(z, c.DIGAMMA_STIRLING_SHORT if short else c.DIGAMMA_STIRLING))
    y = select(x >= DIGAMMA_STIRLING, far, base + numerator / divisor)
    return y if short else y + select(below, 0.0, low * (w + 0.6 * z))


def digamma_wide(x: Scalar, short: bool) -> Scalar:
    """digamma(x) for f64; with short polynomials for numbers that were f32."""
    negative = x < 0.0
    positive = digamma_positive(*argument(x), short)
    fraction = fraction_of(x)
    # digamma(1-x) - digamma(x) = pi cot(pi x), and the fraction is that of -x
    cotangent = sine(math.pi * (0.5 - fabs(fraction)), None) / sine_over_pi(fraction)
    y = select(negative, positive + cotangent, positive)
    size = (fabs(positive) + fabs(cotangent)) + 1.0  # both are small near -1/2
    lost = negative & (fabs(fraction) > 0.0) & (fabs(y) < size * (CANCELLED_SHORT if short else CANCELLED))
    y = select(lost, rarely("digamma", digamma_reflected, lost, x), y)
    pole = (negative & equal(fraction, 0.0)) | is_nan(x)
    y = select(x < math.inf, y, x)
    return select(pole, math.nan, select(equal(x, 0.0), -1.0 / x, y))


def digamma(x: Scalar) -> Scalar:
    """The derivative of log(gamma(x)); NaN at -1, -2, ..., and infinite at 0 with the sign of -x."""
    return f32(digamma_wide(f64(x), True)) if is_f32(x) else digamma_wide(x, False)
