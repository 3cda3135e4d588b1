"""Complex numbers: their parts and the conjugate.

A cotangent of a complex value z is dL/d(Re z) + i dL/d(Im z), as in torch. The rules of the holomorphic operations are
the real ones, applied to conjugated cotangents (`Rule.conjugated`); those of the parts are written here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DtypeError, ShapeError
from ..types import COMPLEX, DType, TensorType, complex_of, f32, f64
from .op import OperandType, register


def real_of(dtype: DType) -> DType:
    """The float type of a complex type's parts; other types are their own."""
    return dtype if dtype.category != COMPLEX else f64 if dtype.itemsize == 16 else f32


def _infer(part: bool) -> Callable[..., TensorType]:
    def infer(x: OperandType) -> TensorType:
        assert isinstance(x, TensorType)
        return TensorType(real_of(x.dtype) if part else x.dtype, x.shape)

    return infer


def _infer_joined(x: OperandType, y: OperandType) -> TensorType:
    assert isinstance(x, TensorType) and isinstance(y, TensorType)
    if x.dtype is not y.dtype or not x.dtype.is_floating_point:
        raise DtypeError(f"`complex` of {x.dtype.name} and {y.dtype.name}",
                         ("why", "both parts are of one float type"), fix="convert them with `.to`")
    if x.shape != y.shape:
        raise ShapeError(f"`complex` of shapes {x.shape} and {y.shape}", ("why", "each element has both parts"),
                         fix="broadcast them first")
    return TensorType(complex_of(x.dtype), x.shape)


def _joined(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    out = np.empty(x.shape, np.result_type(x, np.complex64))
    out.real, out.imag = x, y  # arithmetic would spoil infinite parts
    return out


register("complex", "x y", "library", infer=_infer_joined, eager=_joined,
         vjp=(lambda b, ct: b.real(ct), lambda b, ct: b.imag(ct)), domain=((-3.0, 3.0), (-3.0, 3.0)),
         doc="The complex number of a real and an imaginary part.")
register("real", "x", "library", infer=_infer(True), eager=np.real, shares=True,
         vjp=(lambda b, ct, types: b.cast(ct, dtype=types[0].dtype),), domain=((-3.0, 3.0),),
         doc="The real part.")
register("imag", "x", "library", infer=_infer(True), eager=lambda x: np.asarray(np.imag(x)), shares=True,
         vjp=(lambda b, ct, types: b.mul(b.cast(ct, dtype=types[0].dtype), 1j if types[0].dtype.category == COMPLEX
                                         else 0.0),),
         domain=((-3.0, 3.0),), doc="The imaginary part; zeros for real operands.")
register("conj", "x", "library", infer=_infer(False), eager=np.conj, vjp=(lambda b, ct: b.conj(ct),),
         domain=((-3.0, 3.0),), doc="The complex conjugate.")
