"""Order: indices that sort, positions in sorted rows, where running maxima were reached, where a mask holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..types import BOOL, TensorType, f64, i64
from .op import REQUIRED, NotDifferentiable, OperandType, fail_dtype, register

INDEX = NotDifferentiable("its result is an index")


def _infer_indices(x: OperandType, *_: Any) -> TensorType:
    assert isinstance(x, TensorType)
    return TensorType(i64, x.shape)


def _infer_argsort(x: OperandType, axis: int, descending: bool, count: int | None) -> TensorType:
    assert isinstance(x, TensorType)
    if count is None or not x.shape:
        return TensorType(i64, x.shape)
    return TensorType(i64, (*x.shape[:axis], count, *x.shape[axis + 1 :]))


def _argsort(x: Any, axis: int, descending: bool, count: int | None) -> Any:
    """Stable in both directions; NaN is the largest value, as in torch."""
    if not x.ndim:
        return np.zeros((), np.int64)
    if descending:  # the stable order of the reversed row, read from behind
        found = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    else:
        found = np.argsort(x, axis=axis, kind="stable")
    return found if count is None else np.ascontiguousarray(found[(*(slice(None),) * axis, slice(count))])


def _cumargmax(x: Any, axis: int) -> Any:
    if not x.ndim:
        return np.zeros((), np.int64)
    reached = np.maximum.accumulate(x, axis=axis)
    hit = x == reached
    if x.dtype.kind == "f":
        hit |= np.isnan(x)
    shape = tuple(-1 if i == axis else 1 for i in range(x.ndim))
    places = np.arange(x.shape[axis], dtype=np.int64).reshape(shape)
    return np.maximum.accumulate(np.where(hit, places, 0), axis=axis)


def _infer_searchsorted(row: OperandType, values: OperandType, right: bool) -> TensorType:
    assert isinstance(row, TensorType) and isinstance(values, TensorType)
    if row.ndim != 1 and row.shape[:-1] != values.shape[:-1]:
        raise ShapeError(f"`searchsorted` in rows of shape {row.shape} for values of shape {values.shape}",
                         ("why", "there is one row for all values, or one for each row of values"),
                         fix="make the dims before the last equal")
    return TensorType(i64, values.shape)


def _searchsorted(row: Any, values: Any, right: bool) -> Any:
    side: Any = "right" if right else "left"
    if row.ndim == 1:
        return np.asarray(np.searchsorted(row, values, side=side), np.int64)
    result = np.empty(values.shape, np.int64)
    if row.shape[:-1] != values.shape[:-1]:
        raise ValueError(f"rows of shape {row.shape} for values of shape {values.shape}")
    for place in np.ndindex(row.shape[:-1]):
        result[place] = np.searchsorted(row[place], values[place], side=side)
    return result


def _places(mask: Any, count: int) -> Any:
    found = np.flatnonzero(mask)
    if len(found) != count:
        raise ShapeError(f"a mask holds at {len(found)} places, not {count}",
                         ("why", "the program was made for masks that hold as often as the one that was seen"),
                         fix="trace the function again with this mask")
    return found


def _infer_places(mask: OperandType, count: int) -> TensorType:
    if not isinstance(mask, TensorType) or mask.dtype.category != BOOL:
        raise fail_dtype("places", mask.dtype if isinstance(mask, TensorType) else f64, "bool masks")
    return TensorType(i64, (count,))


register("argsort", "x", "library", infer=_infer_argsort, eager=_argsort, vjp=INDEX,
         attributes={"axis": REQUIRED, "descending": False, "count": None}, domain=((-3.0, 3.0),),
         doc="Indices that sort along an axis, or the first `count` of them; equal elements keep their order.")
register("cumargmax", "x", "library", infer=_infer_indices, eager=_cumargmax, vjp=INDEX,
         attributes={"axis": REQUIRED}, domain=((-3.0, 3.0),),
         doc="Index of the largest element up to each place, the last among equal ones.")
register("searchsorted", "row values", "library", infer=_infer_searchsorted, eager=_searchsorted, vjp=INDEX,
         attributes={"right": False}, domain=((-3.0, 3.0),) * 2, promotion="same",
         doc="Where values belong in sorted rows, before (or with `right` behind) equal elements.")
register("places", "mask", "library", infer=_infer_places, eager=_places, vjp=INDEX,
         attributes={"count": REQUIRED}, domain=((-3.0, 3.0),),
         doc="The `count` indices into a flattened mask at which it holds, in order.")
