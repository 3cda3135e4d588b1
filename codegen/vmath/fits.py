"""What each coefficient table approximates; `python -m retape.codegen.vmath.fits` prints `coefficients.py` anew.

A fit is (target, weight, degree, low, high): the polynomial minimises max |weight * (P - target)| on [low, high]. The
weight turns the error of the polynomial into the relative error of the function that uses it.
"""

from __future__ import annotations

import sys
import textwrap

import mpmath as mp

from retape.codegen.vmath.fit import Real, remez

TINY = mp.mpf(10) ** -14
LN2_HALF = 0.34675  # ln(2)/2 = 0.34657.. and a margin for the rounding of the quotient

Fit = tuple[Real, Real, int, float, float]


def near(function: Real, limit: float) -> Real:
    """`function`, with its limit where it would divide zero by zero."""
    return lambda v: function(v) if abs(v) > TINY else mp.mpf(limit)


def of_square(function: Real, limit: float) -> Real:
    """The same as a function of the square: z -> function(sqrt(z))."""
    return near(lambda z: function(mp.sqrt(z)), limit)


def exp_tail(r: mp.mpf) -> mp.mpf:
    """(e^r - 1 - r) / r^2."""
    return (mp.expm1(r) - r) / r**2


def log_tail(s: mp.mpf) -> mp.mpf:
    """(2 atanh(s) - 2 s) / s^3, where log(1+f) = 2 atanh(f / (2+f))."""
    return (2 * mp.atanh(s) - 2 * s) / s**3


def atanh_tail(s: mp.mpf) -> mp.mpf:
    """(atanh(s) - s) / s^3."""
    return log_tail(s) / 2


def atanh_tail_rest(s: mp.mpf) -> mp.mpf:
    """(atanh(s) - s - s^3/3) / s^5."""
    return (mp.atanh(s) - s - s**3 / 3) / s**5


def erf_ratio(x: mp.mpf) -> mp.mpf:
    """erf(x) / x - 1."""
    return mp.erf(x) / x - 1


def erfc_scaled(t: mp.mpf) -> mp.mpf:
    """(1 + 2x) e^(x^2) erfc(x) - 5/4 at x = (7/2) (1+t)/(1-t)."""
    x = (1 + t) / (1 - t) * 7 / 2
    return (1 + 2 * x) * mp.exp(x * x) * mp.erfc(x) - mp.mpf(5) / 4


def lgamma_ratio(y: mp.mpf) -> mp.mpf:
    """log(gamma(2+y)) / y."""
    return mp.loggamma(2 + y) / y


def stirling(z: mp.mpf) -> mp.mpf:
    """x times what Stirling's formula for log(gamma(x)) leaves over, z = 1/x^2."""
    if z < mp.mpf(10) ** -9:
        return mp.mpf(1) / 12 - z / 360 + z * z / 1260
    x = 1 / mp.sqrt(z)
    return (mp.loggamma(x) - (x - mp.mpf(1) / 2) * mp.log(x) + x - mp.log(2 * mp.pi) / 2) * x


def digamma_ratio(v: mp.mpf) -> mp.mpf:
    """digamma(3/2 + v) / (3/2 + v - x0), x0 the zero of digamma."""
    zero = mp.findroot(mp.digamma, mp.mpf("1.4616321449683623412626595423257"))
    return mp.digamma(v + 1.5) / (v + 1.5 - zero)


def digamma_stirling(z: mp.mpf) -> mp.mpf:
    """(log(x) - 1/(2x) - digamma(x)) x^2, z = 1/x^2."""
    if z < mp.mpf(10) ** -9:
        return mp.mpf(1) / 12 - z / 120 + z * z / 252
    x = 1 / mp.sqrt(z)
    return (mp.log(x) - 1 / (2 * x) - mp.digamma(x)) * x * x


def fits() -> dict[str, tuple[str, Fit]]:
    """Name -> (comment, fit), in the order of `coefficients.py`."""
    wide_text, wide_error = "the same for 0 <= s <= 1/3", lambda z: z + TINY
    half, third = mp.mpf(1) / 2, 2 / mp.mpf(3)
    exp_error, expm1_error = (lambda r: r**2 + TINY), near(lambda r: r**2 / mp.expm1(r), 1e-14)
    log_error = lambda z: z / 2 + TINY  # noqa: E731
    atanh, atanh_rest = of_square(atanh_tail, third / 2), of_square(atanh_tail_rest, mp.mpf(1) / 5)
    sin_tail = of_square(lambda r: (mp.sin(r) - r) / r**3, -1 / 6)
    sin_error = of_square(lambda r: r**3 / mp.sin(r), 1e-14)
    tan_tail = of_square(lambda r: (mp.tan(r) - r) / r**3, 1 / 3)
    tan_error = of_square(lambda r: r**3 / mp.tan(r), 1e-14)
    tanh_tail = of_square(lambda r: (mp.tanh(r) - r) / r**3, -1 / 3)
    tanh_error = of_square(lambda r: r**3 / mp.tanh(r), 1e-14)
    asin_tail = of_square(lambda r: (mp.asin(r) - r) / r**3, 1 / 6)
    asin_error = of_square(lambda r: r**3 / mp.asin(r), 1e-14)
    atan_tail = of_square(lambda r: (mp.atan(r) - r) / r**3, -1 / 3)
    atan_error = of_square(lambda r: r**3 / mp.atan(r), 1e-14)
    sinh_tail = of_square(lambda r: (mp.sinh(r) - r) / r**3, 1 / 6)
    sinh_error = of_square(lambda r: r**3 / mp.sinh(r), 1e-14)
    cosh_tail = of_square(lambda r: 2 * mp.sinh(r / 2) ** 2 / r**2, 0.5)
    erf_small = of_square(erf_ratio, 2 / mp.sqrt(mp.pi) - 1)
    erf_small_error = lambda z: 1 / (1 + erf_small(z))  # noqa: E731
    erfc_error = lambda t: 1 / (1.25 + erfc_scaled(t))  # noqa: E731
    erfc_text = "(1 + 2x) e^(x^2) erfc(x) - 5/4 in t = (x - 7/2)/(x + 7/2), "
    log_erfc = lambda x: mp.log(mp.erfc(x))  # noqa: E731
    log_erfc_error = lambda x: mp.erfc(x) / mp.erf(x)  # noqa: E731
    lgamma, lgamma_text = near(lgamma_ratio, mp.digamma(2)), "log(gamma(2+y))/y, -1 <= y <= 1/2"
    lgamma_error = lambda y: 1 / (lgamma(y) + 0.1)  # noqa: E731
    digamma_error = lambda v: 1 / digamma_ratio(v)  # noqa: E731
    digamma_text = "digamma(3/2 + v)/(3/2 + v - x0), |v| <= 1/2"
    stirling_text = "x times the rest of Stirling's formula, in 1/x^2, x >= 4.5"
    rest_text = "(log x - 1/(2x) - digamma(x)) x^2 in 1/x^2, x >= 4"
    exp_text = "(e^r - 1 - r)/r^2 on |r| < ln(2)/2, error relative to "
    log_text = "(2 atanh(s) - 2s)/s^3 in z = s^2, sqrt(1/2) <= (1+s)/(1-s) <= sqrt(2)"
    return {
        "EXP_F64": (exp_text + "e^r", (near(exp_tail, half), exp_error, 9, -LN2_HALF, LN2_HALF)),
        "EXP_F32": (exp_text + "e^r", (near(exp_tail, half), exp_error, 4, -LN2_HALF, LN2_HALF)),
        "EXPM1_F64": (exp_text + "e^r - 1", (near(exp_tail, half), expm1_error, 10, -LN2_HALF, LN2_HALF)),
        "EXPM1_F32": (exp_text + "e^r - 1", (near(exp_tail, half), expm1_error, 5, -LN2_HALF, LN2_HALF)),
        "LOG_F64": (log_text, (of_square(log_tail, third), log_error, 6, 0, 0.02947)),
        "LOG_F32": (log_text, (of_square(log_tail, third), log_error, 2, 0, 0.02947)),
        "LOG_WIDE_F64": (wide_text, (of_square(log_tail, third), wide_error, 10, 0, 0.11112)),
        "LOG_WIDE_F32": (wide_text, (of_square(log_tail, third), wide_error, 4, 0, 0.11112)),
        "ATANH_F64": ("(atanh(s)/s - 1 - z/3)/z^2, z as before", (atanh_rest, lambda z: z**2 + TINY, 6, 0, 0.02947)),
        "ATANH_SHORT": ("(atanh(s)/s - 1)/z, z as before", (atanh, log_error, 4, 0, 0.02947)),
        "EXP_SHORT": (exp_text + "e^r", (near(exp_tail, half), exp_error, 5, -LN2_HALF, LN2_HALF)),
        "SIN_F64": ("(sin r - r)/r^3 in z = r^2, |r| <= pi/2", (sin_tail, sin_error, 7, 0, 2.4687)),
        "SIN_F32": ("(sin r - r)/r^3 in z = r^2, |r| <= pi/2", (sin_tail, sin_error, 3, 0, 2.4687)),
        "TAN_F64": ("(tan r - r)/r^3 in z = r^2, |r| <= pi/4", (tan_tail, tan_error, 13, 0, 0.6172)),
        "TAN_F32": ("(tan r - r)/r^3 in z = r^2, |r| <= pi/4", (tan_tail, tan_error, 6, 0, 0.6172)),
        "TANH_F64": ("(tanh x - x)/x^3 in z = x^2, |x| <= 0.55", (tanh_tail, tanh_error, 9, 0, 0.3026)),
        "TANH_F32": ("(tanh x - x)/x^3 in z = x^2, |x| <= 0.55", (tanh_tail, tanh_error, 4, 0, 0.3026)),
        "ASIN_F64": ("(asin x - x)/x^3 in z = x^2, |x| <= 1/2", (asin_tail, asin_error, 11, 0, 0.25)),
        "ASIN_F32": ("(asin x - x)/x^3 in z = x^2, |x| <= 1/2", (asin_tail, asin_error, 4, 0, 0.25)),
        "ATAN_F64": ("(atan x - x)/x^3 in z = x^2, |x| <= 1", (atan_tail, atan_error, 19, 0, 1)),
        "ATAN_F32": ("(atan x - x)/x^3 in z = x^2, |x| <= 1", (atan_tail, atan_error, 7, 0, 1)),
        "SINH_F64": ("(sinh r - r)/r^3 in z = r^2, |r| < ln(2)/2", (sinh_tail, sinh_error, 4, 0, LN2_HALF**2)),
        "SINH_F32": ("(sinh r - r)/r^3 in z = r^2, |r| < ln(2)/2", (sinh_tail, sinh_error, 2, 0, LN2_HALF**2)),
        "COSH_F64": ("(cosh r - 1)/r^2 in z = r^2, |r| < ln(2)/2", (cosh_tail, log_error, 5, 0, LN2_HALF**2)),
        "COSH_F32": ("(cosh r - 1)/r^2 in z = r^2, |r| < ln(2)/2", (cosh_tail, log_error, 2, 0, LN2_HALF**2)),
        "ATANH_WIDE_F64": ("(atanh(s) - s)/s^3 in z = s^2, |s| <= 0.27", (atanh, log_error, 8, 0, 0.0735)),
        "ATANH_WIDE_F32": ("(atanh(s) - s)/s^3 in z = s^2, |s| <= 0.27", (atanh, log_error, 3, 0, 0.0735)),
        "CBRT_F64": ("cbrt(m), sqrt(1/2) <= m <= sqrt(2)", (mp.cbrt, lambda m: 1 / mp.cbrt(m), 6, 0.7071, 1.4143)),
        "CBRT_F32": ("cbrt(m), sqrt(1/2) <= m <= sqrt(2)", (mp.cbrt, lambda m: 1 / mp.cbrt(m), 3, 0.7071, 1.4143)),
        "ERF_F64": ("erf(x)/x - 1 in z = x^2, |x| <= 0.85", (erf_small, erf_small_error, 10, 0, 0.7226)),
        "ERF_F32": ("erf(x)/x - 1 in z = x^2, |x| <= 0.85", (erf_small, erf_small_error, 5, 0, 0.7226)),
        "LOG_ERFC_F64": ("log(erfc(x)), 0.85 <= x <= 5.95", (log_erfc, log_erfc_error, 19, 0.85, 5.95)),
        "LOG_ERFC_F32": ("log(erfc(x)), 0.85 <= x <= 4", (log_erfc, log_erfc_error, 7, 0.85, 4.0)),
        "ERFC_F64": (erfc_text + "0.5 <= x <= 27.5", (erfc_scaled, erfc_error, 21, -0.7501, 0.7742)),
        "ERFC_F32": (erfc_text + "0.5 <= x <= 10.5", (erfc_scaled, erfc_error, 10, -0.7501, 0.5001)),
        "LGAMMA": (lgamma_text, (lgamma, lgamma_error, 25, -1, 0.5)),
        "LGAMMA_SHORT": (lgamma_text, (lgamma, lgamma_error, 12, -1, 0.5)),
        "STIRLING": (stirling_text, (stirling, lambda z: 0.09, 8, 0, 0.0494)),
        "STIRLING_SHORT": (stirling_text, (stirling, lambda z: 0.09, 2, 0, 0.0494)),
        "DIGAMMA": (digamma_text, (digamma_ratio, digamma_error, 22, -0.5, 0.5)),
        "DIGAMMA_SHORT": (digamma_text, (digamma_ratio, digamma_error, 11, -0.5, 0.5)),
        "DIGAMMA_STIRLING": (rest_text, (digamma_stirling, lambda z: z + TINY, 8, 0, 0.0625)),
        "DIGAMMA_STIRLING_SHORT": (rest_text, (digamma_stirling, lambda z: z + TINY, 2, 0, 0.0625)),
    }


def main() -> None:
    """Print the module of coefficients; names on the command line select tables."""
    mp.mp.dps = 50
    print('"""Minimax coefficients, constant first; written by `fits.py`, do not edit."""\n\n# fmt: off')
    for name, (comment, fit) in fits().items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        coefficients, worst = remez(*fit)
        print(f"\n# {comment}; error 2^{float(mp.log(worst, 2)):.1f}\n{name} = (")
        rows = textwrap.wrap(", ".join(map(repr, coefficients)), 116)
        print("".join(f"    {row}\n" for row in rows).rstrip() + ",\n)")


if __name__ == "__main__":
    main()
