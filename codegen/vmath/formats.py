"""The constants of the two float types, and the steps every exponential shares: round by magic number, scale by 2^n."""

from __future__ import annotations

from dataclasses import dataclass

from retape.codegen.vmath.value import Scalar, bits, from_bits, is_f32


@dataclass(frozen=True)
class Format:
    """One IEEE 754 binary format."""

    name: str
    mantissa: int
    """Stored mantissa bits."""
    bias: int
    magic: float
    magic_bits: int
    """1.5 * 2^mantissa: `x + magic` has round(x) in its low bits, `(x + magic) - magic` is round(x), ties to even."""
    top: int
    """Mask of sign and exponent."""
    least_normal: float
    ln2_high: float
    """ln(2) to few enough bits that its product with any binary exponent is exact."""
    ln2_low: float
    exp_low: float
    """Below this argument exp is 0, and above exp_high infinite."""
    exp_high: float


F64 = Format(
    name="f64",
    mantissa=52,
    bias=1023,
    magic=6755399441055744.0,
    magic_bits=0x4338000000000000,
    top=0xFFF0000000000000,
    least_normal=2.0**-1022,
    ln2_high=0.6931471803691238,
    ln2_low=1.9082149292705877e-10,
    exp_low=-746.0,
    exp_high=710.0,
)
F32 = Format(
    name="f32",
    mantissa=23,
    bias=127,
    magic=12582912.0,
    magic_bits=0x4B400000,
    top=0xFF800000,
    least_normal=2.0**-126,
    ln2_high=0.693359375,
    ln2_low=-2.12194440054690583e-4,
    exp_low=-104.0,
    exp_high=89.0,
)
LOG2_E = 1.4426950408889634


def format_of(x: Scalar) -> Format:
    """The format of a float."""
    return F32 if is_f32(x) else F64


def split_exponent(x: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """(t, r, low) with x = n ln2 + (r + low), |r| <= ln(2)/2 and t = n + magic + 2*bias; Cody and Waite's reduction."""
    form = format_of(x)
    shift = form.magic + 2 * form.bias
    t = x * LOG2_E + shift
    n = t - shift
    head = x - n * form.ln2_high
    r = head - n * form.ln2_low
    return t, r, (head - r) - n * form.ln2_low


def scaling(t: Scalar) -> tuple[Scalar, Scalar]:
    """Two powers of two whose product is 2^n, for t = n + magic + 2*bias: n may be outside of the exponent range.

    The sum n + 2*bias stands in the low bits of t. Shifted to the top it is twice a biased exponent, and its half and
    the rest are biased exponents again. Only the second multiplication of `(p * a) * b` can round, so subnormal results
    are rounded once.
    """
    form = format_of(t)
    both = bits(t) << form.mantissa
    half = (both >> 1) & (form.top >> 1 & form.top)
    return from_bits(half), from_bits(both - half)


def inverse_power(t: Scalar) -> Scalar:
    """2^-n for t = n + magic + 2*bias, where -n is in the exponent range."""
    form = format_of(t)
    return from_bits((form.magic_bits + 3 * form.bias - bits(t)) << form.mantissa)
