"""Special functions, and what else the vector math offers that can't be composed without a loss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..types import FLOAT, INTEGER, TensorType
from .elementwise import function, pointwise
from .op import REQUIRED, NotDifferentiable, OperandType, fail_dtype, register


def _digamma(x: Any) -> Any:
    from scipy.special import psi

    return psi(x)


def _lgamma(x: Any) -> Any:
    from scipy.special import gammaln

    return np.where(np.isneginf(x), np.asarray(np.inf, x.dtype), gammaln(x))  # as C and torch have it


def _erfinv(x: Any) -> Any:
    from scipy.special import erfinv

    return erfinv(x)


def _infer_erfinv(x: OperandType) -> TensorType:
    assert isinstance(x, TensorType)
    if x.dtype.category != FLOAT:
        raise fail_dtype("erfinv", x.dtype, "float32 or float64")
    return TensorType(x.dtype, x.shape)


def _infer_polygamma(x: OperandType, n: int) -> TensorType:
    assert isinstance(x, TensorType)
    if x.dtype.category != FLOAT:
        raise fail_dtype("polygamma", x.dtype, "float32 or float64")
    return TensorType(x.dtype, x.shape)


def _polygamma(x: Any, n: int) -> Any:
    from scipy.special import polygamma

    return np.asarray(polygamma(n, x)).astype(x.dtype)


function("lgamma", _lgamma, lambda b, ct, x: b.mul(ct, b.digamma(x)), form="loggamma(x)", cost=30.0,
         domain=(2.3, 6.0), ulp=8.0, doc="Logarithm of the absolute value of the gamma function.")
function("digamma", _digamma, lambda b, ct, x: b.mul(ct, b.polygamma(x, n=1)), form="polygamma(0, x)", cost=30.0,
         domain=(1.7, 5.0), ulp=8.0, doc="Derivative of `lgamma`.")
register("polygamma", "x", "library", infer=_infer_polygamma, eager=_polygamma,
         vjp=(lambda b, ct, x, n: b.mul(ct, b.polygamma(x, n=n + 1)),), attributes={"n": REQUIRED},
         form="polygamma(n, x)", domain=((0.5, 4.0),), promotion="float", cost=60.0, ulp=8.0,
         doc="The n-th derivative of `digamma`.")
register("erfinv", "x", "library", infer=_infer_erfinv, eager=_erfinv,
         vjp=(lambda b, ct, out: b.mul(ct, b.mul(b.exp(b.mul(out, out)), 0.5 * math.sqrt(math.pi))),),
         form="erfinv(x)", domain=((-0.9, 0.9),), promotion="float", cost=40.0,
         doc="Inverse of `erf`: infinite at -1 and 1, NaN beyond.")
pointwise("hypot", "x y", np.hypot,
          lambda b, ct, x, out: b.mul(ct, b.div(x, out)), lambda b, ct, y, out: b.mul(ct, b.div(y, out)),
          kernel="vm_hypot_{t}({x}, {y})", form="sqrt(x**2 + y**2)", lowest=FLOAT, promotion="float", cost=10.0,
          ulp=4.0, domain=((0.2, 3.0), (0.2, 3.0)), doc="sqrt(x * x + y * y), without overflow.")
pointwise("logaddexp", "x y", np.logaddexp,
          lambda b, ct, x, y: b.mul(ct, b.sigmoid(b.sub(x, y))), lambda b, ct, x, y: b.mul(ct, b.sigmoid(b.sub(y, x))),
          kernel="select({x} == {y}, {x} + to_{t}(0.6931471805599453), "
                 "rmax({x}, {y}) + vm_softplus_{t}(-fabs({x} - {y})))",
          form="log(exp(x) + exp(y))", lowest=FLOAT, promotion="float", cost=25.0, ulp=16.0,
          doc="log(exp(x) + exp(y)), without overflow.")
pointwise("bitwise_and", "x y", np.bitwise_and, NotDifferentiable("it works on the bits of integers"),
          kernel="", kernel_integer="{x} & {y}", form="And(x, y)", lowest=INTEGER,
          highest=INTEGER, doc="The bits that both have.")
