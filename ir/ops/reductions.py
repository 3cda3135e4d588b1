"""Reductions over axes, and what is scanned along one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..shapes import canonical_axes, reduced_shape
from ..types import BOOL, FLOAT, INTEGER, DType, TensorType, i64
from .op import REQUIRED, NotDifferentiable, Op, OperandType, fail_dtype, register

Axes = tuple[int, ...]
AXES = {"axis": REQUIRED, "keepdims": False}


def keep(b: Any, value: Any, shape: tuple[int, ...], axis: Axes, keepdims: bool) -> Any:
    """A reduced value with its reduced axes put back as extents of 1."""
    return value if keepdims else b.reshape(value, shape=reduced_shape(shape, axis, True))


def _spread(b: Any, ct: Any, types: Any, axis: Axes, keepdims: bool) -> Any:
    shape = types[0].shape
    leading = axis == tuple(range(len(axis)))  # broadcasting adds dims in front by itself
    return b.expand(ct if leading and not keepdims else keep(b, ct, shape, axis, keepdims), shape=shape)


def count_over(shape: tuple[int, ...], axis: Axes) -> int:
    count = 1
    for a in axis:
        count *= shape[a]
    return count


def _infer(name: str, result: Callable[[DType], DType], lowest: int = BOOL) -> Callable[..., TensorType]:
    def infer(x: OperandType, axis: Axes, keepdims: bool) -> TensorType:
        assert isinstance(x, TensorType)
        if x.dtype.category < lowest:
            raise fail_dtype(name, x.dtype, "float32 or float64")
        return TensorType(result(x.dtype), reduced_shape(x.shape, canonical_axes(axis, x.shape), keepdims))

    return infer


def _reduction(
    name: str, eager: Callable[..., Any], rule: Callable[..., Any] | NotDifferentiable, *, doc: str,
    result: Callable[[DType], DType] = lambda d: d, lowest: int = BOOL, kernel: str = "", **known: Any,
) -> Op:
    return register(
        name, "x", "reduction", infer=_infer(name, result, lowest), eager=eager, doc=doc, kernel=kernel,
        vjp=rule if isinstance(rule, NotDifferentiable) else (rule,), attributes=AXES, public=True,
        domain=((-3.0, 3.0),), **known,
    )


def _wide(dtype: DType) -> DType:
    return i64 if dtype.category <= INTEGER else dtype


def _reduce(ufunc: Any, x: Any, axis: Axes, keepdims: bool) -> Any:
    """NumPy's reduction; integers and truth values are added up as int64.

    NumPy adds in the order in which elements lie in memory. Floats are brought into row-major order first, so that the
    rounding of a sum depends on its operand's values alone.
    """
    if x.dtype.kind not in "fc":
        return ufunc.reduce(x, axis, np.int64, None, keepdims)
    return ufunc.reduce(x if x.flags.c_contiguous else x.copy(), axis, None, None, keepdims)


def _mean(x: Any, axis: Axes, keepdims: bool) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.true_divide(_reduce(np.add, x, axis, keepdims), count_over(x.shape, axis), dtype=x.dtype)


def _mean_rule(b: Any, ct: Any, types: Any, axis: Axes, keepdims: bool) -> Any:
    count = count_over(types[0].shape, axis)
    return _spread(b, b.div(ct, 1.0 * count) if count else ct, types, axis, keepdims)


def _extremum_rule(b: Any, ct: Any, x: Any, out: Any, types: Any, axis: Axes, keepdims: bool) -> Any:
    shape, dtype = types[0].shape, types[0].dtype
    hit = b.cast(b.eq(x, keep(b, out, shape, axis, keepdims)), dtype=dtype)
    shared = b.div(keep(b, ct, shape, axis, keepdims), b.sum(hit, axis=axis, keepdims=True))
    return b.mul(hit, shared)


def _prod_rule(b: Any, ct: Any, x: Any, types: Any, axis: Axes, keepdims: bool) -> Any:
    """Products of the others, from both sides, so that zeros are no trouble."""
    shape, dtype = types[0].shape, types[0].dtype
    kept = tuple(i for i in range(len(shape)) if i not in axis)
    order, count = (*kept, *axis), count_over(shape, axis)
    lead = tuple(shape[i] for i in kept)
    flat = b.reshape(b.permute(x, axes=order), shape=(*lead, count))
    others = flat if count == 0 else b.mul(
        _exclusive(b, flat, lead, count, dtype, False), _exclusive(b, flat, lead, count, dtype, True))
    others = b.reshape(others, shape=tuple(shape[i] for i in order))
    back = tuple(order.index(i) for i in range(len(shape)))
    return b.mul(_spread(b, ct, types, axis, keepdims), b.permute(others, axes=back))


def _exclusive(b: Any, x: Any, lead: tuple[int, ...], count: int, dtype: DType, reverse: bool) -> Any:
    """Cumulative products without the element itself, by doubling strides: log2(count) multiplications."""
    every = tuple(slice(0, extent, 1) for extent in lead)
    axis = len(lead)

    def shift(value: Any, step: int) -> Any:
        ones = b.full(shape=(*lead, step), value=1.0, dtype=dtype)
        if reverse:
            return b.cat(b.slice(value, index=(*every, slice(step, count, 1))), ones, axis=axis)
        return b.cat(ones, b.slice(value, index=(*every, slice(0, count - step, 1))), axis=axis)

    result, step = shift(x, 1), 1
    while step < count:
        result = b.mul(result, shift(result, step))
        step *= 2
    return result


_reduction("sum", partial(_reduce, np.add), _spread, result=_wide, kernel="radd", ulp=8.0,
           doc="Sum over `axis` (all axes by default).")
_reduction("mean", _mean, _mean_rule, lowest=FLOAT, kernel="radd", promotion="none", ulp=4.0,
           doc="Mean over `axis`.")
_reduction("prod", partial(_reduce, np.multiply), _prod_rule, result=_wide, kernel="rmul", ulp=64.0,
           doc="Product over `axis`.")
_reduction("amax", lambda x, axis, keepdims: np.maximum.reduce(x, axis=axis, keepdims=keepdims), _extremum_rule,
           kernel="rmax", doc="Largest element over `axis`; ties share the gradient.")
_reduction("amin", lambda x, axis, keepdims: np.minimum.reduce(x, axis=axis, keepdims=keepdims), _extremum_rule,
           kernel="rmin", doc="Smallest element over `axis`; ties share the gradient.")


def _arg(name: str, eager: Callable[..., Any], doc: str) -> None:
    def run(x: Any, axis: Axes, keepdims: bool) -> Any:
        if len(axis) == 1:
            return eager(x, axis=axis[0], keepdims=keepdims)
        return eager(x, keepdims=keepdims)  # all axes: an index into the flattened tensor

    _reduction(name, run, NotDifferentiable("its result is an index"), result=lambda d: i64, doc=doc)


_arg("argmax", np.argmax, "Index of the first largest element along one axis, or of the flattened tensor.")


def _infer_scan(x: OperandType, axis: int) -> TensorType:
    assert isinstance(x, TensorType)
    return TensorType(_wide(x.dtype), x.shape)


def _cumsum(x: Any, axis: int) -> Any:
    return np.cumsum(x, axis=axis, dtype=np.int64 if x.dtype.kind in "bui" else None).reshape(x.shape)


def _cumsum_rule(b: Any, ct: Any, types: Any, axis: int) -> Any:
    turned = (axis,) if types[0].shape else ()
    return b.flip(b.cumsum(b.flip(ct, axis=turned), axis=axis), axis=turned)


register("cumsum", "x", "library", infer=_infer_scan, eager=_cumsum,
         vjp=(_cumsum_rule,), attributes={"axis": 0}, domain=((-3.0, 3.0),), ulp=4.0,
         doc="Running sum along one axis.")
