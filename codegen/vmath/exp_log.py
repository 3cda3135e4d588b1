"""Exponentials and logarithms of f64 and f32.

*Exponentials*: x = n ln2 + r with |r| <= ln(2)/2 (Cody and Waite, *Software Manual for the Elementary Functions*, 1980:
ln2 in two parts, the first short enough that its product with n is exact), a minimax polynomial for (e^r - 1 - r)/r^2,
and a scaling by 2^n in two exact steps, so that results may be subnormal. *Logarithms*: x = 2^k m with
sqrt(1/2) <= m < sqrt(2), and log(m) = 2 atanh(s) with s = f/(2+f), f = m - 1, summed as f - (f^2/2 - s (f^2/2 + R)),
which adds small terms to an exact leading one (K. C. Ng's arrangement, known from FreeBSD's msun).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from retape.codegen.vmath import coefficients as c
from retape.codegen.vmath.formats import format_of, inverse_power, scaling, split_exponent
from retape.codegen.vmath.value import Scalar, bits, constant, copysign, equal, fabs, from_bits, is_f32, poly, select

# Constants in two parts, the first of 24 bits in f64 and 12 bits in f32 (log10(2): 40 and 14).
LOG2_E_F64 = (1.4426950216293335, 1.9259629911266175e-08)
LOG2_E_F32 = (1.4423828125, 0.00031222838896340733)
LOG10_E_F64 = (0.4342944622039795, 1.9699272335463627e-08)
LOG10_E_F32 = (0.4342041015625, 9.038034075182765e-05)
LOG10_2_F64 = (0.30102999566361177, 3.694239077158931e-13)
LOG10_2_F32 = (0.301025390625, 4.605038981195214e-06)


def clamp(x: Scalar, low: float, high: float) -> Scalar:
    """x limited to [low, high]; NaN stays NaN."""
    x = select(x > high, high, x)
    return select(x < low, low, x)


def exp_tail(r: Scalar) -> Scalar:
    """e^r - 1 - r, good enough to be added to 1 + r."""
    return (r * r) * poly(r, c.EXP_F32 if is_f32(r) else c.EXP_F64)


def expm1_tail(r: Scalar) -> Scalar:
    """e^r - 1 - r, good enough to be added to r."""
    return (r * r) * poly(r, c.EXPM1_F32 if is_f32(r) else c.EXPM1_F64)


def exp(x: Scalar) -> Scalar:
    """e^x."""
    form = format_of(x)
    t, r, _ = split_exponent(clamp(x, form.exp_low, form.exp_high))
    a, b = scaling(t)
    return ((1.0 + (r + exp_tail(r))) * a) * b


def exp2(x: Scalar) -> Scalar:
    """2^x: as `exp`, with an exact reduction."""
    form = format_of(x)
    x = clamp(x, -152.0, 128.0) if is_f32(x) else clamp(x, -1080.0, 1024.0)
    t = x + (form.magic + 2 * form.bias)
    r = (x - (t - (form.magic + 2 * form.bias))) * math.log(2.0)
    a, b = scaling(t)
    return ((1.0 + (r + exp_tail(r))) * a) * b


def expm1(x: Scalar) -> Scalar:
    """e^x - 1 = 2^n ((1 - 2^-n) + r + tail): exact for small x, where n = 0, and without cancellation elsewhere."""
    far = 20.0 if is_f32(x) else 45.0
    y = clamp(x, -far, format_of(x).exp_high)
    t, r, low = split_exponent(y)
    # Beyond e^far the 1 is lost, and 2^-n may have no exponent.
    one = select(y > far, 1.0, 1.0 - inverse_power(t))
    a, b = scaling(t)
    return copysign((((one + r) + (low + expm1_tail(r))) * a) * b, x)


def split_power(x: Scalar, subnormal: bool) -> tuple[Scalar, Scalar, Scalar]:
    """(k, m, e) with x = 2^k m and sqrt(1/2) <= m < sqrt(2): k as a float, e = k + bias as an integer.

    For finite x > 0; subnormal numbers only where asked for (e then belongs to the lifted number).
    """
    form = format_of(x)
    # The patterns of sqrt(1/2) and of 2^mantissa; an integer put into the low bits of the latter is added to it.
    root, integer = (0x3F3504F3, 0x4B000000) if is_f32(x) else (0x3FE6A09E667F3BCD, 0x4330000000000000)
    offset = constant(x, 2.0**form.mantissa + form.bias)
    if subnormal:
        lift = form.mantissa + 2
        tiny = x < form.least_normal
        x = select(tiny, x * 2.0**lift, x)
        offset = select(tiny, offset + lift, offset)
    pattern = bits(x)
    e = (pattern + ((form.bias << form.mantissa) - root)) >> form.mantissa
    return from_bits(e | integer) - offset, from_bits(pattern - (e << form.mantissa) + (form.bias << form.mantissa)), e


def log_terms(f: Scalar, table: Sequence[float]) -> tuple[Scalar, Scalar]:
    """(f^2/2, s (f^2/2 + R)), where s = f/(2+f): log(1+f) is f minus the first plus the second."""
    s = f / (2.0 + f)
    z = s * s
    half_square = (0.5 * f) * f
    return half_square, s * (half_square + z * poly(z, table))


def log_table(f: Scalar) -> Sequence[float]:
    """The polynomial of `log_terms` for sqrt(1/2) <= 1+f <= sqrt(2)."""
    return c.LOG_F32 if is_f32(f) else c.LOG_F64


def log_special(x: Scalar, zero: float, y: Scalar) -> Scalar:
    """y for finite x above `zero`; -inf there, NaN below, and +inf and NaN as they are."""
    at_zero = select(equal(x, zero), constant(x, -math.inf), select(x < zero, constant(x, math.nan), x))
    return select(x > zero, select(x < math.inf, y, x), at_zero)


def log_sum(x: Scalar) -> tuple[Scalar, Scalar]:
    """log(x) of finite x > 0, and what the last rounding took from it."""
    form = format_of(x)
    k, m, _ = split_power(x, subnormal=True)
    f = m - 1.0
    half_square, rest = log_terms(f, log_table(f))
    whole, less = k * form.ln2_high, (half_square - (rest + k * form.ln2_low)) - f
    y = whole - less
    return y, (whole - y) - less


def log(x: Scalar) -> Scalar:
    """The natural logarithm."""
    return log_special(x, 0.0, log_sum(x)[0])


def log1p(x: Scalar) -> Scalar:
    """log(1 + x): what the sum 1 + x rounds away is added to f again, so that f = x exactly for small x."""
    form = format_of(x)
    u = 1.0 + x
    back = u - 1.0
    lost = (1.0 - (u - back)) + (x - back)
    k, m, e = split_power(u, subnormal=False)
    # 2^(1-k) has an exponent also for the largest x, 2^-k has not.
    f = (m - 1.0) + lost * (0.5 * from_bits((2 * form.bias + 1 - e) << form.mantissa))
    half_square, rest = log_terms(f, log_table(f))
    y = k * form.ln2_high - ((half_square - (rest + k * form.ln2_low)) - f)
    return log_special(x, -1.0, copysign(y, x))


def log1p_pair(x: Scalar, low: Scalar, doublings: Scalar) -> Scalar:
    """log((1 + x + low) 2^doublings), finite x >= 0, low a correction: like `log1p`, but f is a sum of two floats."""
    form = format_of(x)
    u = 1.0 + x
    back = u - 1.0
    lost = ((1.0 - (u - back)) + (x - back)) + low
    k, m, e = split_power(u, subnormal=False)
    first = m - 1.0
    second = lost * (0.5 * from_bits((2 * form.bias + 1 - e) << form.mantissa))
    f = first + second
    half_square, rest = log_terms(f, log_table(f))
    k = k + doublings
    rest = rest + (k * form.ln2_low + ((first - f) + second))
    return k * form.ln2_high - ((half_square - rest) - f)


def log_in_base(x: Scalar, k_factor: tuple[float, float], factor: tuple[float, float]) -> Scalar:
    """k log_b(2) + log(m) log_b(e), the factors in two parts: leading products are exact.

    The method of FreeBSD's `e_log2.c` and `e_log10.c`.
    """
    k, m, _ = split_power(x, subnormal=True)
    f = m - 1.0
    half_square, rest = log_terms(f, log_table(f))
    head = from_bits(bits(f - half_square) & (0xFFFFF000 if is_f32(x) else 0xFFFFFFFF00000000))
    tail = ((f - head) - half_square) + rest
    low = k * k_factor[1] + ((tail + head) * factor[1] + tail * factor[0])
    a, b = k * k_factor[0], head * factor[0]
    total = a + b
    return log_special(x, 0.0, total + (low + ((a - total) + b)))


def log2(x: Scalar) -> Scalar:
    """The logarithm to base 2."""
    return log_in_base(x, (1.0, 0.0), LOG2_E_F32 if is_f32(x) else LOG2_E_F64)


def log10(x: Scalar) -> Scalar:
    """The logarithm to base 10."""
    if is_f32(x):
        return log_in_base(x, LOG10_2_F32, LOG10_E_F32)
    return log_in_base(x, LOG10_2_F64, LOG10_E_F64)


def softplus(x: Scalar) -> Scalar:
    """log(1 + e^x) = max(x, 0) + log1p(e), e = e^-|x|, by the terms of the logarithm alone, whose s is at most 1/3.

    What rounding takes from e, up to an ULP of the result near 0, is added to them, times 1/(1+e), which is 1 - e/2 to
    an eighth.
    """
    t, r, _ = split_exponent(clamp(-fabs(x), format_of(x).exp_low, 0.0))
    a, b = scaling(t)
    q = r + exp_tail(r)
    head = 1.0 + q
    e, lost = (head * a) * b, (((1.0 - head) + q) * a) * b
    half_square, rest = log_terms(e, c.LOG_WIDE_F32 if is_f32(x) else c.LOG_WIDE_F64)
    rest = rest + lost * (1.0 - 0.5 * e)
    return select(x > 0.0, x, constant(x, 0.0)) + (e - (half_square - rest))
