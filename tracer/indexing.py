"""`x[index]`: basic indices become views, integer arrays `take`, masks their coordinates."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from retape.ir import CATALOGUE
from retape.ir.errors import DtypeError, OutOfBounds, UnsupportedOp

from .apply import apply, array_operand, located
from .state import state
from .tensor import Tensor, wrap

FAR = 2**40  # no index
SLICE, TAKE, RESHAPE = CATALOGUE["slice"], CATALOGUE["take"], CATALOGUE["reshape"]


def getitem(x: Tensor, index: Any) -> Tensor:
    """Select elements: a view for integers, slices, `...` and None, a copy for arrays and masks."""
    canonical = basic_index(index, x.shape)
    if canonical is not None:
        return apply(SLICE, (x,), (canonical,))
    return _advanced(x, index)


def basic_index(index: Any, shape: tuple[int, ...]) -> tuple[Any, ...] | None:
    """The index with bounds filled in, one entry for every dim it names; None where it holds an array.

    Raises `OutOfBounds`.
    """
    entries = index if isinstance(index, tuple) else (index,)
    for entry in entries:
        if not (entry is None or entry is Ellipsis or isinstance(entry, slice) or _is_integer(entry)):
            return None
    if sum(entry is Ellipsis for entry in entries) > 1:
        raise _too_many_ellipses()
    named = sum(1 for entry in entries if entry is not None and entry is not Ellipsis)
    if named > len(shape):
        raise located(OutOfBounds(f"{named} indices for a tensor of rank {len(shape)}",
                                  ("why", f"its shape is {shape}"), fix=f"use at most {len(shape)} indices"))
    result: list[Any] = []
    dim = 0
    for entry in entries:
        if entry is None:
            result.append(None)
        elif entry is Ellipsis:
            result += [slice(0, extent, 1) for extent in shape[dim : dim + len(shape) - named]]
            dim += len(shape) - named
        else:
            result.append(_bounded(entry, shape[dim], dim))
            dim += 1
    return tuple(result)


def _too_many_ellipses() -> OutOfBounds:
    return located(OutOfBounds("an index can hold `...` once", ("why", "it stands for all dims not named"),
                               fix="use `:` for single dims"))


def _is_integer(entry: Any) -> bool:
    if isinstance(entry, (bool, np.bool_)):
        return False
    if isinstance(entry, Tensor):
        return entry.ndim == 0 and entry._data.dtype.kind in "iu"
    return isinstance(entry, (int, np.integer))


def _bounded(entry: Any, extent: int, dim: int) -> Any:
    if isinstance(entry, slice):
        start, stop, step = entry.indices(extent)
        if step < 0:
            if start < 0:  # begins before the first element
                return slice(0, 0, 1)
            return slice(start, None if stop < 0 else stop, step)
        return slice(start, max(stop, start), step)
    position = operator.index(entry)
    if not -extent <= position < extent:
        raise located(OutOfBounds(f"index {position} is out of bounds for dim {dim} of extent {extent}",
                                  ("why", f"indices run from {-extent} to {extent - 1}"),
                                  fix="check where the index comes from"))
    return position % extent


def mask_of(index: Any, x: Tensor) -> Tensor | None:
    """The index as a tensor where it is one boolean mask of x's shape."""
    if isinstance(index, np.ndarray):
        index = array_operand(index)
    if isinstance(index, Tensor) and index._data.dtype.kind == "b" and index.shape == x.shape:
        return index
    return None


def _advanced(x: Tensor, index: Any) -> Tensor:
    """Index arrays side by side; integers are selected and slices taken first, as torch does."""
    entries: list[Any] = []
    for entry in index if isinstance(index, tuple) else (index,):
        entry = _as_index(entry)
        if not (entry is None or entry is Ellipsis or isinstance(entry, (Tensor, slice)) or _is_integer(entry)):
            raise located(DtypeError(f"`{entry!r}` is no index",
                                     ("why", "indices are integers, slices and arrays of them"),
                                     fix="convert it to int64 first"))
        if _is_mask(entry):
            dim = sum(e is not None and e is not Ellipsis for e in entries)
            entries += _coordinates(entry, x.shape[dim : dim + entry.ndim] if Ellipsis not in _basic(entries) else None)
        else:
            entries.append(entry)
    basic = _basic(entries)
    if basic.count(Ellipsis) > 1:
        raise _too_many_ellipses()
    if Ellipsis in basic:
        at = basic.index(Ellipsis)
        entries[at : at + 1] = [slice(None)] * (x.ndim - len(entries) + 1)
    if any(entry is None for entry in entries):
        raise _unsupported_mixture("None stands beside index arrays")
    selected = getitem(x, tuple(slice(None) if isinstance(e, Tensor) and not _is_integer(e) else e for e in entries))
    left = [entry for entry in entries if not _is_integer(entry)]
    positions = [i for i, entry in enumerate(left) if isinstance(entry, Tensor)]
    if positions != list(range(positions[0], positions[-1] + 1)):
        raise _unsupported_mixture("a slice stands between index arrays")
    return _take(selected, [left[i] for i in positions], positions[0])


def _basic(entries: list[Any]) -> list[Any]:
    """The entries with index arrays out of the way of comparisons."""
    return [0 if isinstance(entry, Tensor) else entry for entry in entries]


def _unsupported_mixture(why: str) -> UnsupportedOp:
    return located(UnsupportedOp("this mixture of slices and index arrays isn't supported", ("why", why),
                                 fix="index in two steps"))


def _take(x: Tensor, indices: list[Tensor], axis: int) -> Tensor:
    """Several index arrays over neighbouring dims are one index into those dims flattened."""
    shape = x.shape
    if len(indices) == 1:
        return apply(TAKE, (x, indices[0]), (axis,))
    flat: Any = 0
    for offset, index in enumerate(indices):
        extent = shape[axis + offset]
        _check_range(index, extent, axis + offset)
        # an index out of range stays out of range in the flattened dims, where `take` finds it in compiled code
        wrapped = apply(CATALOGUE["where"], (index < 0, index + extent, index))
        wrapped = apply(CATALOGUE["where"], ((wrapped < 0) | (wrapped >= extent), FAR, wrapped))
        flat = wrapped if offset == 0 else flat * extent + wrapped
    merged = (*shape[:axis], int(np.prod(shape[axis : axis + len(indices)])), *shape[axis + len(indices) :])
    return apply(TAKE, (apply(RESHAPE, (x,), (merged,)), flat), (axis,))


def _check_range(index: Tensor, extent: int, dim: int) -> None:
    data = index._data
    if data.size and (data.max() >= extent or data.min() < -extent):
        bad = int(data.max() if data.max() >= extent else data.min())
        raise located(OutOfBounds(f"index {bad} is out of bounds for dim {dim} of extent {extent}",
                                  ("why", f"indices run from {-extent} to {extent - 1}"),
                                  fix="clamp the index, or check where it comes from"))


def _as_index(entry: Any) -> Any:
    if isinstance(entry, list):
        from .creation import tensor

        return tensor(entry)
    if isinstance(entry, np.ndarray):
        return array_operand(entry)
    if isinstance(entry, Tensor) and entry._data.dtype.kind not in "iub":
        raise located(UnsupportedOp(f"a {entry.dtype.name} tensor is no index",
                                    ("why", "indices are integers or masks"),
                                    fix="convert it with `.long()`"))
    return entry


def _is_mask(entry: Any) -> bool:
    return isinstance(entry, Tensor) and entry._data.dtype.kind == "b"


def _coordinates(mask: Tensor, shape: tuple[int, ...] | None) -> list[Tensor]:
    if shape is not None and mask.shape != shape:
        raise located(OutOfBounds(f"a mask of shape {mask.shape} can't select from dims of shape {shape}",
                                  ("why", "a mask has the shape of what it selects from"),
                                  fix="make the mask from the tensor itself, as in `x > 0`"))
    if state.tracer is not None:
        raise located(UnsupportedOp("`x[mask]` has a shape that depends on values",
                                    ("why", "this version compiles only shapes that are known beforehand"),
                                    fix="`rt.where(mask, x, 0)`, if that will do"))
    return [wrap(part) for part in np.nonzero(mask._data)]
