"""Hyperbolic functions and the logistic function, on the parts of the exponential (see `exp_log`)."""

from __future__ import annotations

from retape.codegen.vmath import coefficients as c
from retape.codegen.vmath.exp_log import clamp, exp_tail
from retape.codegen.vmath.formats import format_of, inverse_power, scaling, split_exponent
from retape.codegen.vmath.value import Scalar, copysign, fabs, is_f32, poly, select


def tanh(x: Scalar) -> Scalar:
    """A polynomial below 0.55, and 1 - 2/(e^(2a) + 1) with a = |x| above, where that is at least 1/2.

    The quotient is divided through by 2^n: 2^(1-n) / ((1 + 2^-n) + (e^r - 1)). Beyond the limit tanh rounds to 1.
    """
    limit = 9.5 if is_f32(x) else 20.0
    a = fabs(x)
    z = a * a
    near = a + (a * z) * poly(z, c.TANH_F32 if is_f32(x) else c.TANH_F64)
    b = select(a > limit, limit, a)
    t, r, _ = split_exponent(b + b)
    power = inverse_power(t)
    far = 1.0 - (power + power) / ((1.0 + power) + (r + exp_tail(r)))
    return copysign(select(a < 0.55, near, far), x)


def sigmoid(x: Scalar) -> Scalar:
    """1 / (1 + e^-x) = 2^n / (2^n + e^-r) for x = n ln2 + r; 2^n of the numerator may be subnormal."""
    high = 20.0 if is_f32(x) else 40.0
    t, r, _ = split_exponent(clamp(x, format_of(x).exp_low, high))
    a, b = scaling(t)
    power = a * b
    # The larger of the two is added last, so the inner sum's rounding is small against the result.
    large, small = select(power > 1.0, power, 1.0), select(power > 1.0, 1.0, power)
    return (a / (large + (small + (exp_tail(-r) - r)))) * b
