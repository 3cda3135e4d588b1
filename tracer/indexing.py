"""`x[index]`: basic indices become views, integer arrays `take`, masks the places where they hold."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from retape.ir import CATALOGUE
from retape.ir.errors import DtypeError, OutOfBounds, ShapeError, UnsupportedOp
from retape.ir.extents import Deferred, Extent, plain
from retape.ir.shapes import broadcast_shapes, same_shape, slice_bounds

from .apply import apply, array_operand, located
from .places import coordinates_of, places_of
from .state import state
from .tensor import Tensor

FAR = 2**40  # no index
SLICE, TAKE, RESHAPE, PERMUTE, EXPAND = (CATALOGUE[n] for n in ("slice", "take", "reshape", "permute", "expand"))


def getitem(x: Tensor, index: Any) -> Tensor:
    """Select elements: a view for integers, slices, `...` and None, a copy for arrays and masks."""
    shape = x._data.shape if state.tracer is None else x.shape
    kind = type(index)
    if (kind is slice or kind is int) and shape:
        return apply(SLICE, (x,), ((_bounded(index, shape[0], 0),),))
    canonical = basic_index(index, shape)
    if canonical is not None:
        return apply(SLICE, (x,), (canonical,))
    return _selected(advanced(x, index))


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
    kind = type(entry)
    if kind is int:
        return True
    if kind is slice or isinstance(entry, (bool, np.bool_)):
        return False
    if isinstance(entry, Tensor):
        return entry.ndim == 0 and entry._data.dtype.kind in "iu"
    return isinstance(entry, (int, np.integer))


def _position(entry: Any) -> Any:
    """A whole number: an extent and a number out of a tensor keep their formulas."""
    if type(entry) is Extent:
        return entry
    return entry.extent() if isinstance(entry, Deferred) and isinstance(entry, int) else operator.index(entry)


_PLAIN = frozenset({int, type(None)})  # bounds that are looked at no further


def _bounded_slice(entry: slice, extent: int) -> slice:
    bounds = entry.start, entry.stop, entry.step
    if type(extent) is int and _PLAIN.issuperset(map(type, bounds)):
        start, stop, step = entry.indices(extent)
    else:
        if any(isinstance(bound, Deferred) for bound in bounds):
            entry = slice(*[bound if bound is None else _position(bound) for bound in bounds])
        start, stop, step = slice_bounds(entry, extent)
    if step > 0:
        return slice(start, stop if stop > start else start, step)
    if start < 0:  # begins before the first element
        return slice(0, 0, 1)
    return slice(start, None if stop < 0 else stop, step)


def _bounded(entry: Any, extent: int, dim: int) -> Any:
    if type(entry) is slice:  # which has no subclasses
        return _bounded_slice(entry, extent)
    position = entry if type(entry) is int else _position(entry)
    if not -extent <= position < extent:
        raise located(OutOfBounds(f"index {position} is out of bounds for dim {dim} of extent {extent}",
                                  ("why", f"indices run from {-extent} to {extent - 1}"),
                                  fix="check where the index comes from"))
    return position + extent if position < 0 else position


def mask_of(index: Any, x: Tensor) -> Tensor | None:
    """The index as a tensor where it is one boolean mask of x's shape."""
    if isinstance(index, np.ndarray):
        index = array_operand(index)
    if isinstance(index, Tensor) and index._data.dtype.kind == "b" and same_shape(index.shape, x.shape):
        return index
    return None


# ---- index arrays


@dataclass(frozen=True, slots=True)
class Selection:
    """What index arrays select from: a view, in which they stand for the dims `dims`.

    The selected elements have the shape (extents before `at`, the arrays' common shape, the extents behind). A single
    array for several dims is the index into those dims flattened.
    """

    source: Tensor
    arrays: list[Tensor]
    dims: list[int]

    @property
    def at(self) -> int:
        """Where the arrays' dims stand in the result: in their place, or in front where something lies between."""
        first = self.dims[0]
        return first if self.dims == list(range(first, first + len(self.dims))) else 0

    @property
    def order(self) -> tuple[int, ...]:
        """The source's dims with those that are indexed side by side."""
        rest = [d for d in range(self.source.ndim) if d not in self.dims]
        return (*rest[: self.at], *self.dims, *rest[self.at :])

    def flat(self) -> tuple[Tensor, Tensor]:
        """The source with its indexed dims made one, at `at`, and the index into that."""
        source, order = self.source, self.order
        if order != tuple(range(source.ndim)):
            source = apply(PERMUTE, (source,), (order,))
        if len(self.dims) == 1:
            return source, self.arrays[0]
        shape, count = source.shape, len(self.dims)
        index = self.arrays[0] if len(self.arrays) == 1 else \
            _combined(self.arrays, shape[self.at : self.at + count], self.at)
        merged = (*shape[: self.at], prod(shape[self.at : self.at + count]), *shape[self.at + count :])
        return apply(RESHAPE, (source,), (merged,)), index

    def written(self, value: Any, accumulate: bool) -> Tensor:
        """The source's new value once `value` is written to (or added at) the selected places."""
        source, index = self.flat()
        at, shape = self.at, source.shape
        target = (*shape[:at], *index.shape, *shape[at + 1 :])
        if isinstance(value, Tensor):
            value = apply(CATALOGUE["cast"], (value,), (source.dtype,)) if value.dtype is not source.dtype else value
        else:
            value = apply(CATALOGUE["full"], (), ((), value, source.dtype))
        _check_written(value.shape, target)
        value = apply(EXPAND, (value,), (target,))
        if accumulate:
            new = source + apply(CATALOGUE["take_add"], (value, index), (shape, at))
        else:
            count = index.numel()
            lined = (*shape[:at], count, *shape[at + 1 :])
            places = apply(RESHAPE, (index,), ((*(1,) * at, count, *(1,) * (len(shape) - at - 1)),))
            new = apply(CATALOGUE["put"], (source, apply(EXPAND, (places,), (lined,)),
                                           apply(RESHAPE, (value,), (lined,))), (at,))
        order = self.order
        new = apply(RESHAPE, (new,), (tuple(self.source.shape[d] for d in order),))
        return apply(PERMUTE, (new,), (tuple(order.index(d) for d in range(len(order))),))


def _check_written(shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    lead = len(target) - len(shape)
    if lead < 0 or any(a != b and a != 1 for a, b in zip(shape, target[lead:], strict=True)):
        raise located(ShapeError(f"values of shape {shape} can't be written to a selection of shape {target}",
                                 ("why", "a written value is broadcast to the selection"),
                                 fix="select as many elements as are written"))


def advanced(x: Tensor, index: Any) -> Selection:
    """Index arrays and what they select from; integers are selected and slices taken first, as torch does."""
    entries = _spelled_out(x, index)
    single = sum(isinstance(e, Tensor) and not _is_integer(e) for e in entries) == 1
    basic: list[Any] = []
    arrays: list[Tensor] = []
    dims: list[int] = []
    dim = at = 0  # of x, and of what basic indices leave of it
    for entry in entries:
        if not isinstance(entry, Tensor) or _is_integer(entry):
            basic.append(entry)
            at += not _is_integer(entry)
            dim += entry is not None
            continue
        count = _named(entry)
        covered = max(count, 1)
        if not _is_mask(entry):
            arrays.append(entry)
        else:
            _check_mask(entry, x.shape[dim : dim + count])
            arrays += [places_of(entry)] if single or covered == 1 else coordinates_of(entry)
        basic += [slice(None)] * count or [None]  # a mask without dims selects from a new one
        dims += range(at, at + covered)
        at, dim = at + covered, dim + count
    source = x if all(isinstance(e, slice) and e == slice(None) for e in basic) else getitem(x, tuple(basic))
    shape = broadcast_shapes("index", [a.shape for a in arrays])
    return Selection(source, [a if same_shape(a.shape, shape) else apply(EXPAND, (a,), (shape,)) for a in arrays],
                     dims)


def _spelled_out(x: Tensor, index: Any) -> list[Any]:
    """The entries of an index, arrays as tensors, with slices in place of `...`."""
    entries: list[Any] = []
    for entry in index if isinstance(index, tuple) else (index,):
        entry = _as_index(entry)
        if not (entry is None or entry is Ellipsis or isinstance(entry, (Tensor, slice)) or _is_integer(entry)):
            raise located(DtypeError(f"`{entry!r}` is no index",
                                     ("why", "indices are integers, slices and arrays of them"),
                                     fix="convert it to int64 first"))
        entries.append(entry)
    dots = [i for i, entry in enumerate(entries) if entry is Ellipsis]
    if len(dots) > 1:
        raise _too_many_ellipses()
    if dots:
        named = sum(map(_named, entries)) - 1
        entries[dots[0] : dots[0] + 1] = [slice(None)] * (x.ndim - named)
    return entries


def _named(entry: Any) -> int:
    """How many dims an entry of an index names."""
    return entry.ndim if _is_mask(entry) else int(entry is not None)


def _selected(selection: Selection) -> Tensor:
    source, index = selection.flat()
    return apply(TAKE, (source, index), (selection.at,))


def _combined(indices: list[Tensor], extents: tuple[int, ...], axis: int) -> Tensor:
    """Index arrays over neighbouring dims as one index into those dims flattened."""
    flat: Any = 0
    for offset, (index, extent) in enumerate(zip(indices, extents, strict=True)):
        _check_range(index, extent, axis + offset)
        # an index out of range stays out of range in the flattened dims, where `take` finds it in compiled code
        wrapped = apply(CATALOGUE["where"], (index < 0, index + extent, index))
        wrapped = apply(CATALOGUE["where"], ((wrapped < 0) | (wrapped >= extent), FAR, wrapped))
        flat = wrapped if offset == 0 else flat * extent + wrapped
    return flat  # type: ignore[no-any-return]


def _check_range(index: Tensor, extent: int, dim: int) -> None:
    data, extent = index._data, plain(extent)
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


def _check_mask(mask: Tensor, shape: tuple[int, ...]) -> None:
    if not same_shape(mask.shape, shape):
        raise located(OutOfBounds(f"a mask of shape {mask.shape} can't select from dims of shape {shape}",
                                  ("why", "a mask has the shape of what it selects from"),
                                  fix="make the mask from the tensor itself, as in `x > 0`"))
