"""The discrete Fourier transform of complex arrays; the other transforms are composed of it."""

from __future__ import annotations

from typing import Any

from ..types import COMPLEX, TensorType
from .op import REQUIRED, OperandType, fail_dtype, register


def _infer(x: OperandType, axes: tuple[int, ...], inverse: bool) -> TensorType:
    assert isinstance(x, TensorType)
    if x.dtype.category != COMPLEX:
        raise fail_dtype("fft", x.dtype, "complex64 or complex128")
    return TensorType(x.dtype, x.shape)


def _fft(x: Any, axes: tuple[int, ...], inverse: bool) -> Any:
    import scipy.fft

    if inverse:
        return scipy.fft.ifftn(x, axes=axes, norm="forward")
    return scipy.fft.fftn(x, axes=axes, norm="backward")


register("fft", "x", "library", infer=_infer, eager=_fft,
         vjp=(lambda b, ct, axes, inverse: b.fft(ct, axes=axes, inverse=not inverse),),
         attributes={"axes": REQUIRED, "inverse": False}, domain=((-3.0, 3.0),), cost=10.0, ulp=64.0,
         doc="Sums with weights exp(-2 pi i j k / n) over axes (exp(+...) for the inverse), unscaled.")
