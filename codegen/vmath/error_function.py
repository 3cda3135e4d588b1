"""The error function.

Below 0.85 erf(x) = x P(x^2). Above, erf(x) = 1 - exp(Q(x)) where Q is a polynomial for log(erfc(x)): an absolute error of
the exponent costs only its product with erfc(x), so one polynomial reaches to where erf rounds to 1 (5.95; 4 in f32).
"""

from __future__ import annotations

from retape.codegen.vmath import coefficients as c
from retape.codegen.vmath.exp_log import exp_tail
from retape.codegen.vmath.formats import format_of, split_exponent
from retape.codegen.vmath.value import Scalar, bits, copysign, fabs, from_bits, is_f32, poly, select

TWO_OVER_ROOT_PI_LESS_1 = 0.1283791670955126


def erf(x: Scalar) -> Scalar:
    """The error function 2/sqrt(pi) * integral of exp(-t^2) from 0 to x."""
    small, log_erfc, limit = (c.ERF_F32, c.LOG_ERFC_F32, 4.0) if is_f32(x) else (c.ERF_F64, c.LOG_ERFC_F64, 5.95)
    form = format_of(x)
    a = fabs(x)
    near = a + a * poly(a * a, (small[0] - 1.0, *small[1:]))
    b = select(a > limit, limit, a)
    t, r, _ = split_exponent(poly(b, log_erfc))
    # 2^n is a normal number here, so its exponent is added to that of the sum.
    power = from_bits((bits(t) - (form.magic_bits + form.bias)) << form.mantissa)
    far = 1.0 - (1.0 + (r + exp_tail(r))) * power
    return copysign(select(a < 0.85, near, far), x)
