"""The error function and its complement.

erf: below 0.85 x + x P(x^2); above, 1 - exp(Q(x)) where Q is a polynomial for log(erfc(x)): an absolute error of the
exponent costs only its product with erfc(x), so one polynomial reaches to where erf rounds to 1 (5.95; 4 in f32).

erfc: 1 - erf(x) for |x| < 1/2; above, e^(-x^2)/(1+2x) times a polynomial in (x - 7/2)/(x + 7/2), the form of
M. Shepherd and J. Laframboise, "Chebyshev approximation of (1+2x) exp(x^2) erfc x" (Math. Comp. 36, 1981). x^2 is
formed in two parts, since its error would be the relative error of the result. f32 is computed in f64.
"""

from __future__ import annotations

from collections.abc import Sequence

from retape.codegen.vmath import coefficients as c
from retape.codegen.vmath.exp_log import exp_tail
from retape.codegen.vmath.formats import format_of, scaling, split_exponent
from retape.codegen.vmath.value import Scalar, bits, copysign, f32, f64, fabs, from_bits, horner, is_f32, poly, select


def erf_small(x: Scalar, table: Sequence[float]) -> Scalar:
    """erf(x) for |x| < 0.85."""
    return x + x * poly(x * x, table)


def erf(x: Scalar) -> Scalar:
    """The error function 2/sqrt(pi) * integral of exp(-t^2) from 0 to x."""
    log_erfc, limit = (c.LOG_ERFC_F32, 4.0) if is_f32(x) else (c.LOG_ERFC_F64, 5.95)
    form = format_of(x)
    a = fabs(x)
    b = select(a > limit, limit, a)
    t, r, _ = split_exponent(poly(b, log_erfc))
    # 2^n is a normal number here, so its exponent is added to that of the sum.
    power = from_bits((bits(t) - (form.magic_bits + form.bias)) << form.mantissa)
    far = 1.0 - (1.0 + (r + exp_tail(r))) * power
    return copysign(select(a < 0.85, erf_small(a, c.ERF_F32 if is_f32(x) else c.ERF_F64), far), x)


def erfc(x: Scalar) -> Scalar:
    """1 - erf(x), to full relative accuracy also where it is small."""
    if is_f32(x):
        return f32(erfc_short(f64(x)))
    a = fabs(x)
    b = select(a > 27.5, 27.5, a)
    # b^2 = head^2, which is exact, and a small rest
    head = from_bits(bits(b) & 0xFFFFFFFFF8000000)
    rest = (b - head) * (b + head)
    t, r, low = split_exponent(-(head * head))
    exponent = r + (low - rest)
    lost = (r - exponent) + (low - rest)
    # e^exponent (5/4 + w) as 5/4 and a smaller sum, so that few roundings count
    power = exponent + (exp_tail(exponent) + lost)
    w = horner((b - 3.5) / (b + 3.5), c.ERFC_F64)
    inner = w + power * (1.25 + w)
    product, divisor = 1.25 + inner, 1.0 + (b + b)
    quotient = product / divisor
    # What rounding took from the two, divided by the divisor: the difference of bit patterns gives its reciprocal to an
    # eighth, which is accuracy enough.
    product_low, divisor_low = (1.25 - product) + inner, 1.0 - (divisor - (b + b))
    reciprocal = from_bits(0x7FDE623822FC16E6 - bits(divisor))
    quotient = quotient + reciprocal * (product_low - divisor_low * quotient)
    scale, scale2 = scaling(t)
    far = (quotient * scale) * scale2
    return select(a < 0.5, 1.0 - erf_small(x, c.ERF_F64), select(x < 0.0, 2.0 - far, far))


def erfc_short(x: Scalar) -> Scalar:
    """erfc(x) for an f64 that was f32: its square is exact, and so few roundings count that none is made up for."""
    a = fabs(x)
    b = select(a > 10.5, 10.5, a)
    t, r, _ = split_exponent(-(b * b))
    power = 1.0 + (r + (r * r) * poly(r, c.EXP_SHORT))
    scale, scale2 = scaling(t)
    w = 1.25 + horner((b - 3.5) / (b + 3.5), c.ERFC_F32)
    far = ((power * w) / (1.0 + (b + b)) * scale) * scale2
    return select(a < 0.5, 1.0 - erf_small(x, c.ERF_F32), select(x < 0.0, 2.0 - far, far))
