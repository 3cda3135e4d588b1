"""Elementwise operations: each is stated once as mathematics (`form`) and once as scalar code (`kernel`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import NoDerivative
from ..shapes import broadcast_types
from ..types import BOOL, COMPLEX, FLOAT, DType, TensorType, b1
from .op import REQUIRED, NotDifferentiable, Op, OperandType, fail_dtype, register

REAL = (-3.0, 3.0)
LN2, LN10 = math.log(2.0), math.log(10.0)
STEP = NotDifferentiable("it is piecewise constant: its derivative is zero wherever it exists")
TRUTH = NotDifferentiable("its result is a truth value")


def _infer(name: str, result: DType | None, lowest: int, highest: int) -> Callable[..., TensorType]:
    def infer(*operands: OperandType) -> TensorType:
        dtype, shape, weak = broadcast_types(name, operands)
        if dtype.category > highest:
            raise fail_dtype(name, dtype, "int64 or another integer type" if highest < FLOAT else "real numbers")
        if dtype.category < lowest:
            raise fail_dtype(name, dtype, "float32 or float64" if lowest == FLOAT else "numbers")
        return TensorType(result or dtype, shape, None, weak)

    return infer


def pointwise(
    name: str, operands: str, eager: Callable[..., Any], *rules: Callable[..., Any] | NotDifferentiable,
    kernel: str, form: str, doc: str, result: DType | None = None, lowest: int = BOOL, highest: int = COMPLEX,
    domain: tuple[tuple[float, float], ...] | None = None, promotion: str = "same", **known: Any,
) -> Op:
    vjp: Any = rules[0] if isinstance(rules[0], NotDifferentiable) else rules
    count = len(operands.split())
    return register(
        name, operands, "pointwise", infer=_infer(name, result, lowest, highest), eager=eager, vjp=vjp, doc=doc,
        kernel=kernel, form=form, domain=domain or (REAL,) * count, promotion=promotion, public=True, **known,
    )


def function(
    name: str, eager: Callable[..., Any], rule: Callable[..., Any], *, form: str, doc: str, kernel: str = "",
    domain: tuple[float, float] = REAL, cost: float = 10.0, ulp: float = 4.0,
) -> Op:
    """A real function of one variable; generated code calls the vector math of the same name."""
    return pointwise(
        name, "x", eager, rule, kernel=kernel or f"vm_{name}_{{t}}({{x}})", form=form, doc=doc, lowest=FLOAT,
        domain=(domain,), promotion="float", cost=cost, ulp=ulp,
    )


def _sigmoid(x: Any) -> Any:
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-x))


def _erf(x: Any) -> Any:
    from scipy.special import erf

    return erf(x)


def _erfc(x: Any) -> Any:
    from scipy.special import erfc

    return erfc(x)


def _power(x: Any, y: Any) -> Any:
    """Small whole powers are products, as in compiled code."""
    if y.__class__ in (int, float) and x.__class__ not in (int, float):
        if y == 3:
            return x * x * x
        if y == 4:
            square = x * x
            return square * square
    return x**y


def _pow_by_base(b: Any, ct: Any, x: Any, y: Any) -> Any:
    if isinstance(y, (int, float)):  # an exponent known now
        if y == 0:
            return b.mul(ct, 0.0)
        if y == 2:
            return b.mul(ct, b.mul(x, 2.0))
        return b.mul(ct, b.mul(b.pow(x, y - 1), y))
    slope = b.mul(b.pow(x, b.sub(y, 1)), y)
    return b.mul(ct, b.where(b.eq(y, 0), 0.0, slope))


def _pow_by_exponent(b: Any, ct: Any, x: Any, y: Any, out: Any) -> Any:
    """x ** y * log(x), with the limit 0 at x == 0; the inner `where` keeps log away from 0."""
    if isinstance(x, (int, float)):  # a base known now
        return b.mul(ct, b.mul(out, math.log(x) if x > 0 else 0.0 if x == 0 else math.nan))
    at_zero = b.eq(x, 0)
    return b.mul(ct, b.where(at_zero, 0.0, b.mul(out, b.log(b.where(at_zero, 1.0, x)))))


def _winner(b: Any, ct: Any, wins: Any, ties: Any) -> Any:
    return b.where(wins, ct, b.where(ties, b.mul(ct, 0.5), 0))


# ---- arithmetic

pointwise("add", "x y", np.add, lambda b, ct: ct, lambda b, ct: ct,
          kernel="{x} + {y}", form="x + y", doc="Sum, element by element.")
pointwise("sub", "x y", np.subtract, lambda b, ct: ct, lambda b, ct: b.neg(ct),
          kernel="{x} - {y}", form="x - y", doc="Difference.", lowest=1)
pointwise("mul", "x y", np.multiply, lambda b, ct, y: b.mul(ct, y), lambda b, ct, x: b.mul(ct, x),
          kernel="{x} * {y}", form="x*y", doc="Product.")
pointwise("div", "x y", np.true_divide,
          lambda b, ct, y: b.div(ct, y),
          lambda b, ct, y, out: b.neg(b.mul(ct, b.div(out, y))),
          kernel="{x} / {y}", form="x/y", doc="Quotient; integers give floats.", lowest=FLOAT, promotion="float",
          domain=(REAL, (0.5, 3.0)), cost=4.0)
pointwise("pow", "x y", _power, _pow_by_base, _pow_by_exponent,
          kernel="vm_pow_{t}({x}, {y})", kernel_integer=None, form="x**y", doc="`x` to the power `y`.", lowest=1,
          domain=((0.3, 3.0), REAL), cost=30.0, ulp=4.0)
pointwise("floor_divide", "x y", np.floor_divide, STEP,
          kernel="", kernel_integer="{x} // {y}",
          form="floor(x/y)", doc="Quotient rounded towards minus infinity.", lowest=1,
          domain=(REAL, (0.5, 3.0)), cost=5.0)
pointwise("remainder", "x y", np.remainder,
          lambda b, ct: ct, lambda b, ct, x, y: b.neg(b.mul(ct, b.floor_divide(x, y))),
          kernel="", kernel_integer="{x} % {y}",
          form="x - floor(x/y)*y", lowest=1,
          doc="Remainder with the sign of `y`.", domain=(REAL, (0.5, 3.0)), cost=6.0)
pointwise("neg", "x", np.negative, lambda b, ct: b.neg(ct), kernel="-{x}", form="-x", doc="Negation.", lowest=1)
pointwise("abs", "x", np.abs, lambda b, ct, x: b.mul(ct, b.sign(x)),
          kernel="fabs({x})", kernel_integer="select({x} < {zero}, -{x}, {x})", form="Abs(x)",
          doc="Absolute value; the derivative at 0 is 0.", lowest=1)
pointwise("maximum", "x y", np.maximum,
          lambda b, ct, x, y: _winner(b, ct, b.gt(x, y), b.eq(x, y)),
          lambda b, ct, x, y: _winner(b, ct, b.lt(x, y), b.eq(x, y)),
          kernel="rmax({x}, {y})", kernel_truth="{x} | {y}", form="Max(x, y)",
          doc="The larger; NaN wins; ties share the gradient. Of truth values, whether either holds.")
pointwise("minimum", "x y", np.minimum,
          lambda b, ct, x, y: _winner(b, ct, b.lt(x, y), b.eq(x, y)),
          lambda b, ct, x, y: _winner(b, ct, b.gt(x, y), b.eq(x, y)),
          kernel="rmin({x}, {y})", kernel_truth="{x} & {y}", form="Min(x, y)",
          doc="The smaller; NaN wins; ties share the gradient. Of truth values, whether both hold.")

# ---- functions of one variable

function("exp", np.exp, lambda b, ct, out: b.mul(ct, out), form="exp(x)", doc="e to the power x.")
function("expm1", np.expm1, lambda b, ct, out: b.mul(ct, b.add(out, 1.0)), form="exp(x) - 1",
         doc="exp(x) - 1, accurate near 0.")
function("log", np.log, lambda b, ct, x: b.div(ct, x), form="log(x)", domain=(0.2, 4.0), doc="Natural logarithm.")
function("log1p", np.log1p, lambda b, ct, x: b.div(ct, b.add(x, 1.0)), form="log(1 + x)", domain=(-0.7, 4.0),
         doc="log(1 + x), accurate near 0.")
function("sqrt", np.sqrt, lambda b, ct, out: b.div(ct, b.mul(out, 2.0)), form="sqrt(x)", kernel="sqrt({x})",
         domain=(0.2, 4.0), cost=6.0, ulp=0.0, doc="Square root.")
function("sin", np.sin, lambda b, ct, x: b.mul(ct, b.cos(x)), form="sin(x)", doc="Sine of an angle in radians.")
function("cos", np.cos, lambda b, ct, x: b.neg(b.mul(ct, b.sin(x))), form="cos(x)",
         doc="Cosine of an angle in radians.")
function("tanh", np.tanh, lambda b, ct, out: b.mul(ct, b.sub(1.0, b.mul(out, out))), form="tanh(x)",
         doc="Hyperbolic tangent.")
function("sigmoid", _sigmoid, lambda b, ct, out: b.mul(ct, b.mul(out, b.sub(1.0, out))), form="1/(1 + exp(-x))",
         doc="Logistic function 1 / (1 + exp(-x)).")
function("erf", _erf, lambda b, ct, x: b.mul(ct, b.mul(b.exp(b.neg(b.mul(x, x))), 2.0 / np.pi**0.5)), form="erf(x)",
         cost=20.0, doc="Error function.")
function("exp2", np.exp2, lambda b, ct, out: b.mul(ct, b.mul(out, LN2)), form="2**x", doc="2 to the power x.")
function("log2", np.log2, lambda b, ct, x: b.div(ct, b.mul(x, LN2)), form="log(x)/log(2)", domain=(0.2, 4.0),
         doc="Logarithm to the base 2.")
function("log10", np.log10, lambda b, ct, x: b.div(ct, b.mul(x, LN10)), form="log(x)/log(10)", domain=(0.2, 4.0),
         doc="Logarithm to the base 10.")
function("tan", np.tan, lambda b, ct, out: b.mul(ct, b.add(b.mul(out, out), 1.0)), form="tan(x)", domain=(-1.2, 1.2),
         doc="Tangent of an angle in radians.")
function("asin", np.arcsin, lambda b, ct, x: b.div(ct, b.sqrt(b.sub(1.0, b.mul(x, x)))), form="asin(x)",
         domain=(-0.8, 0.8), doc="Angle in radians whose sine is x.")
function("acos", np.arccos, lambda b, ct, x: b.neg(b.div(ct, b.sqrt(b.sub(1.0, b.mul(x, x))))), form="acos(x)",
         domain=(-0.8, 0.8), doc="Angle in radians whose cosine is x.")
function("atan", np.arctan, lambda b, ct, x: b.div(ct, b.add(b.mul(x, x), 1.0)), form="atan(x)",
         doc="Angle in radians whose tangent is x.")
pointwise("atan2", "x y", np.arctan2,
          lambda b, ct, x, y: b.mul(ct, b.div(y, b.add(b.mul(x, x), b.mul(y, y)))),
          lambda b, ct, x, y: b.neg(b.mul(ct, b.div(x, b.add(b.mul(x, x), b.mul(y, y))))),
          kernel="vm_atan2_{t}({x}, {y})", form="atan2(x, y)", lowest=FLOAT, promotion="float", cost=15.0, ulp=4.0,
          domain=(REAL, (0.3, 3.0)),
          doc="Angle in radians of the point (y, x) from the y axis: atan(x / y) by quadrant.")
function("sinh", np.sinh, lambda b, ct, x: b.mul(ct, b.cosh(x)), form="sinh(x)", doc="Hyperbolic sine.")
function("cosh", np.cosh, lambda b, ct, x: b.mul(ct, b.sinh(x)), form="cosh(x)", doc="Hyperbolic cosine.")
function("asinh", np.arcsinh, lambda b, ct, x: b.div(ct, b.sqrt(b.add(b.mul(x, x), 1.0))), form="asinh(x)",
         doc="Inverse of the hyperbolic sine.")
function("acosh", np.arccosh, lambda b, ct, x: b.div(ct, b.sqrt(b.sub(b.mul(x, x), 1.0))), form="acosh(x)",
         domain=(1.3, 4.0), doc="Inverse of the hyperbolic cosine.")
function("atanh", np.arctanh, lambda b, ct, x: b.div(ct, b.sub(1.0, b.mul(x, x))), form="atanh(x)",
         domain=(-0.8, 0.8), doc="Inverse of the hyperbolic tangent.")
function("erfc", _erfc, lambda b, ct, x: b.neg(b.mul(ct, b.mul(b.exp(b.neg(b.mul(x, x))), 2.0 / np.pi**0.5))),
         form="erfc(x)", cost=20.0, doc="1 - erf(x), accurate for large x.")
pointwise("relu", "x", lambda x: np.maximum(x, 0), lambda b, ct, x: b.where(b.le(x, 0), 0, ct),
          kernel="rmax({x}, {zero})", form="Max(x, 0)", doc="max(x, 0); the derivative at 0 is 0.", lowest=1)
pointwise("sign", "x", np.sign, STEP, lowest=1, form="sign(x)", doc="-1, 0 or 1.",
          kernel="select({x} > {zero}, {one}, select({x} < {zero}, -{one}, select({x} == {zero}, {zero}, {x})))")
pointwise("floor", "x", np.floor, STEP, kernel="floor({x})", form="floor(x)", doc="Largest integer not above.",
          lowest=FLOAT)
pointwise("round", "x", np.rint, STEP, kernel="rint({x})", form="floor(x + Rational(1, 2))", lowest=FLOAT,
          doc="Nearest integer, halves to even.")

# ---- comparison, logic, choice

for _name, _ufunc, _sign_text, _relation in (
    ("eq", np.equal, "==", "Eq(x, y)"), ("ne", np.not_equal, "!=", "Ne(x, y)"),
    ("lt", np.less, "<", "x < y"), ("le", np.less_equal, "<=", "x <= y"),
    ("gt", np.greater, ">", "x > y"),
):
    pointwise(_name, "x y", _ufunc, TRUTH, kernel=f"{{x}} {_sign_text} {{y}}", form=_relation, result=b1,
               doc=f"Where `x {_sign_text} y`.")
pointwise("logical_and", "x y", np.logical_and, TRUTH, kernel="({x} != {zero}) & ({y} != {zero})", form="And(x, y)",
          result=b1, doc="Where both are true (non-zero).")


def _infer_where(condition: OperandType, x: OperandType, y: OperandType) -> TensorType:
    dtype, _, _ = broadcast_types("where", (x, y))
    if isinstance(condition, TensorType) and condition.dtype is not b1:
        raise fail_dtype("where", condition.dtype, "bool as its condition")
    _, shape, weak = broadcast_types("where", (condition, x, y), mixed=True)
    return TensorType(dtype, shape, None, weak)


def _where(condition: Any, x: Any, y: Any) -> Any:
    # two literals alone would decide the element type by NumPy's defaults
    return np.where(condition, x, y)


register("where", "condition x y", "pointwise", infer=_infer_where, eager=_where,
         vjp=(lambda b, ct: None, lambda b, ct, condition: b.where(condition, ct, 0),
              lambda b, ct, condition: b.where(condition, 0, ct)),
         kernel="select({condition}, {x}, {y})", form="Piecewise((x, condition), (y, True))", promotion="where",
         domain=((0.0, 1.0), REAL, REAL), public=True, doc="`x` where the condition holds, else `y`.")


def _cast(x: Any, dtype: DType) -> Any:
    array = np.asarray(x)
    if array.dtype.kind == "c" and dtype.category < COMPLEX:
        array = array.real  # as torch does; NumPy would warn
    return array.astype(dtype.numpy, copy=False)


def _infer_cast(x: OperandType, dtype: DType) -> TensorType:
    assert isinstance(x, TensorType)
    return TensorType(dtype, x.shape)


register("cast", "x", "pointwise", infer=_infer_cast,
         eager=_cast,
         vjp=(lambda b, ct, types: b.cast(ct, dtype=types[0].dtype),), attributes={"dtype": REQUIRED},
         kernel="to_{t}({x})", form="x", domain=(REAL,), doc="The same values in another element type.")


def _infer_same(x: OperandType, *_: Any) -> TensorType:
    assert isinstance(x, TensorType)
    return TensorType(x.dtype, x.shape, None, x.weak)


def _no_rule(b: Any, ct: Any, name: str, i: int) -> Any:
    if i == 0:
        return None
    raise NoDerivative.of_function(name)


register("clone", "x", "pointwise", infer=_infer_same, eager=lambda x: np.array(x, order="C"), vjp=(lambda b, ct: ct,),
         kernel="{x}", form="x", domain=(REAL,), doc="A row-major copy.")
register("detach", "x", "pointwise", infer=_infer_same, eager=lambda x: x, vjp=(lambda b, ct: None,),
         kernel="{x}", form="x", domain=(REAL,), doc="The same values, with no derivative.")
register("overwrite", "value x", "library", infer=_infer_same, eager=lambda value, x: value,
         vjp=(lambda b, ct: None, lambda b, ct: ct), domain=(REAL, REAL), promotion="none",
         doc="What `x` is after a write in place that autograd doesn't see: the values of `value`, the history of `x`.")
register("opaque", "*values", "library", infer=_infer_same, eager=lambda *values: values[0], vjp=(_no_rule,),
         attributes={"name": REQUIRED}, domain=(REAL,),
         doc="The first operand: what a custom Function made of the others. The graph doesn't know its derivative.")
