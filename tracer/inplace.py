"""In-place operations: the result of the ordinary operation, written into the tensor's own memory.

Where a gradient flows the tensor takes over the result's history. A write through a view that would have to enter the
history of its base is refused, in eager code and in traces alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from retape.ir import CATALOGUE
from retape.ir.errors import BroadcastMismatch, DtypeError, UnsupportedOp

from .apply import apply, as_operand, located
from .state import state
from .tensor import Tensor

_ORDER = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


def write_result(target: Tensor, result: Tensor) -> Tensor:
    """Give `target` the values and the history of `result`. Raises before anything is changed."""
    target.check_writable()
    if result.shape != target.shape:
        raise located(BroadcastMismatch(f"an in-place result of shape {result.shape} doesn't fit into {target.shape}",
                                        ("why", "a write in place can't change the shape"),
                                        fix="write `x = ...` instead"))
    if _ORDER[result._data.dtype.kind] > _ORDER[target._data.dtype.kind]:
        raise located(DtypeError(f"result type {result.dtype.name} can't be written to {target.dtype.name}",
                                 ("why", "the value would lose its kind"), fix="write `x = ...` instead"))
    recorded = result._requires_grad or target._requires_grad
    if target._base is not None and ((recorded and state.grad_enabled) or state.tracer is not None):
        raise located(UnsupportedOp("an in-place write to a view can't be recorded",
                                    ("why", "the base it shares memory with would need a new history"),
                                    fix="write to the base (`base[index] = value`), or work out of place"))
    if state.tracer is not None:
        state.tracer.write(target, result)
    if result._data.dtype != target._data.dtype:
        result = apply(CATALOGUE["cast"], (result,), (target.dtype,))
    np.copyto(target._data, result._data)
    target._changed()
    if state.grad_enabled and recorded:
        target._grad_fn, target._requires_grad = result._grad_fn, result._requires_grad
    return target


def in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The in-place form of a function: `add_` of `add`."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.check_writable()
        return write_result(self, function(self, *args, **kwargs))

    return method


def fill_(self: Tensor, value: Any) -> Tensor:
    """Set every element to `value`."""
    return copy_(self, value)


def zero_(self: Tensor) -> Tensor:
    """Set every element to 0."""
    return copy_(self, 0)


def copy_(self: Tensor, source: Any) -> Tensor:
    """Take over the elements of `source`, broadcast and converted."""
    from .creation import full

    source = as_operand(source)
    if not isinstance(source, Tensor):
        source = full((), source, dtype=self.dtype)
    if source.dtype is not self.dtype:
        source = apply(CATALOGUE["cast"], (source,), (self.dtype,))
    return write_result(self, apply(CATALOGUE["expand"], (source,), (self.shape,)))


def setitem(self: Tensor, index: Any, value: Any) -> None:
    """`x[index] = value`. Basic indices and masks are recorded; integer arrays only outside of recording."""
    from .indexing import basic_index, mask_of

    self.check_writable()
    value = as_operand(value)
    recorded = state.tracer is not None or (
        state.grad_enabled and (self._requires_grad or (isinstance(value, Tensor) and value._requires_grad)))
    canonical = basic_index(index, self.shape)
    if canonical is not None:
        if recorded:
            write_result(self, apply(CATALOGUE["slice_scatter"], (self, value), (canonical,)))
            return
        index = canonical
    else:
        mask = mask_of(index, self)
        if recorded and mask is not None:
            write_result(self, apply(CATALOGUE["where"], (mask, value, self)))
            return
        if recorded:
            raise located(UnsupportedOp("assignment through integer indices can't be recorded",
                                        ("why", "this version records writes to slices and masks only"),
                                        fix="use `rt.where`, a mask of the tensor's shape, or slices"))
        index = _raw_index(index)
    self._data[index] = value._data if isinstance(value, Tensor) else value
    self._changed()


def _raw_index(index: Any) -> Any:
    if isinstance(index, Tensor):
        return index._data
    return tuple(map(_raw_index, index)) if isinstance(index, tuple) else index
