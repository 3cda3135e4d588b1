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
Tables = dict[str, tuple[str, Fit]]
"""Name -> (comment, fit)."""


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


def tables(text: str, target: Real, error: Real, low: float, high: float, **degrees: int) -> Tables:
    """One table for each degree."""
    return {name: (text, (target, error, degree, low, high)) for name, degree in degrees.items()}


def odd(function: Real, cubic: float, bound: float, **degrees: int) -> Tables:
    """(f(x) - x)/x^3 in z = x^2 for an odd function f with f(x) = x + cubic x^3 + ..."""
    target = of_square(lambda x: (function(x) - x) / x**3, cubic)
    error = of_square(lambda x: x**3 / function(x), 1e-14)
    name = next(iter(degrees)).split("_")[0].lower()
    text = f"({name} x - x)/x^3 in z = x^2, |x| <= {bound}"
    return tables(text, target, error, 0, bound**2, **degrees)


def exponential() -> Tables:
    """Tables for `exp_log` and, in f64 for f32 numbers, `power`."""
    text, target = "(e^r - 1 - r)/r^2, |r| < ln(2)/2, error relative to ", near(exp_tail, 0.5)
    ends = (-LN2_HALF, LN2_HALF)
    expm1_error = near(lambda r: r**2 / mp.expm1(r), 1e-14)
    return {
        **tables(text + "e^r", target, lambda r: r**2 + TINY, *ends, EXP_F64=9, EXP_F32=4, EXP_SHORT=5),
        **tables(text + "e^r - 1", target, expm1_error, *ends, EXPM1_F64=10, EXPM1_F32=5),
    }


def logarithm() -> Tables:
    """Tables for `exp_log`, `power` and atanh; z is the square of s = f/(2+f), 1+f = (1+s)/(1-s)."""
    full, half = of_square(log_tail, mp.mpf(2) / 3), of_square(atanh_tail, mp.mpf(1) / 3)
    error: Real = lambda z: z + TINY  # noqa: E731
    text = "(2 atanh(s) - 2s)/s^3 in z = s^2, "
    root = 0.02947  # the square of (sqrt(2) - 1)/(sqrt(2) + 1)
    return {
        **tables(text + "sqrt(1/2) <= 1+f <= sqrt(2)", full, error, 0, root, LOG_F64=6, LOG_F32=2),
        **tables(text + "0 <= s <= 1/3", full, error, 0, 0.11112, LOG_WIDE_F64=10, LOG_WIDE_F32=4),
        **tables("(atanh(s) - s)/s^3 in z = s^2, sqrt(1/2) <= 1+f <= sqrt(2)", half, error, 0, root, ATANH_SHORT=4),
        **tables(
            "(atanh(s) - s)/s^3 in z = s^2, |s| <= 0.27", half, error, 0, 0.0735, ATANH_WIDE_F64=8, ATANH_WIDE_F32=3
        ),
        **tables(
            "(atanh(s)/s - 1 - z/3)/z^2, sqrt(1/2) <= 1+f <= sqrt(2)",
            of_square(atanh_tail_rest, mp.mpf(1) / 5),
            lambda z: z**2 + TINY,
            *(0, root),
            ATANH_F64=6,
        ),
    }


def odd_functions() -> Tables:
    """Tables for `trig`, `inverse_trig` and `hyperbolic`, and those of the even cosh and of the cube root."""
    cosh_tail = of_square(lambda r: 2 * mp.sinh(r / 2) ** 2 / r**2, 0.5)
    return {
        **odd(mp.sin, -1 / 6, 1.5712, SIN_F64=7, SIN_F32=3),
        **odd(mp.tan, 1 / 3, 0.7856, TAN_F64=13, TAN_F32=6),
        **odd(mp.tanh, -1 / 3, 0.5501, TANH_F64=9, TANH_F32=4),
        **odd(mp.asin, 1 / 6, 0.5, ASIN_F64=11, ASIN_F32=4),
        **odd(mp.atan, -1 / 3, 1.0, ATAN_F64=19, ATAN_F32=7),
        **odd(mp.sinh, 1 / 6, LN2_HALF, SINH_F64=4, SINH_F32=2),
        **tables(
            "(cosh r - 1)/r^2 in z = r^2, |r| < ln(2)/2",
            cosh_tail,
            lambda z: z + TINY,
            *(0, LN2_HALF**2),
            COSH_F64=5,
            COSH_F32=2,
        ),
        **tables(
            "cbrt(m), sqrt(1/2) <= m <= sqrt(2)",
            mp.cbrt,
            lambda m: 1 / mp.cbrt(m),
            *(0.7071, 1.4143),
            CBRT_F64=6,
            CBRT_F32=3,
        ),
    }


def error_functions() -> Tables:
    """Tables for `error_function`."""
    small = of_square(erf_ratio, 2 / mp.sqrt(mp.pi) - 1)
    small_error: Real = lambda z: 1 / (1 + small(z))  # noqa: E731
    log_erfc: Real = lambda x: mp.log(mp.erfc(x))  # noqa: E731
    log_erfc_error: Real = lambda x: mp.erfc(x) / mp.erf(x)  # noqa: E731
    erfc_error: Real = lambda t: 1 / (1.25 + erfc_scaled(t))  # noqa: E731
    text = "(1 + 2x) e^(x^2) erfc(x) - 5/4 in t = (x - 7/2)/(x + 7/2), "
    return {
        **tables("erf(x)/x - 1 in z = x^2, |x| <= 0.85", small, small_error, 0, 0.7226, ERF_F64=10, ERF_F32=5),
        **tables("log(erfc(x)), 0.85 <= x <= 5.95", log_erfc, log_erfc_error, 0.85, 5.95, LOG_ERFC_F64=19),
        **tables("log(erfc(x)), 0.85 <= x <= 4", log_erfc, log_erfc_error, 0.85, 4.0, LOG_ERFC_F32=7),
        **tables(text + "0.5 <= x <= 27.5", erfc_scaled, erfc_error, -0.7501, 0.7742, ERFC_F64=21),
        **tables(text + "0.5 <= x <= 10.5", erfc_scaled, erfc_error, -0.7501, 0.5001, ERFC_F32=10),
    }


def gamma_functions() -> Tables:
    """Tables for `gamma`, the short ones for numbers that were f32."""
    lgamma = near(lgamma_ratio, mp.digamma(2))
    lgamma_error: Real = lambda y: 1 / (lgamma(y) + 0.1)  # noqa: E731
    digamma_error: Real = lambda v: 1 / digamma_ratio(v)  # noqa: E731
    lgamma_text, digamma_text = "log(gamma(2+y))/y, -1 <= y <= 1/2", "digamma(3/2 + v)/(3/2 + v - x0), |v| <= 1/2"
    stirling_text = "x times the rest of Stirling's formula, in 1/x^2, x >= 4.5"
    rest_text, rest_error = "(log x - 1/(2x) - digamma(x)) x^2 in 1/x^2, x >= 4", lambda z: z + TINY
    rest_degrees = {"DIGAMMA_STIRLING": 8, "DIGAMMA_STIRLING_SHORT": 2}
    return {
        **tables(lgamma_text, lgamma, lgamma_error, -1, 0.5, LGAMMA=25, LGAMMA_SHORT=12),
        **tables(stirling_text, stirling, lambda z: 0.09, 0, 0.0494, STIRLING=8, STIRLING_SHORT=2),
        **tables(digamma_text, digamma_ratio, digamma_error, -0.5, 0.5, DIGAMMA=22, DIGAMMA_SHORT=11),
        **tables(rest_text, digamma_stirling, rest_error, 0, 0.0625, **rest_degrees),
    }


def fits() -> Tables:
    """All tables, in the order of `coefficients.py`."""
    return {**exponential(), **logarithm(), **odd_functions(), **error_functions(), **gamma_functions()}


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
