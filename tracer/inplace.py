"""In-place operations: the result of the ordinary operation, written into the tensor's own memory.

Where a gradient flows the tensor takes over the result's history. A write to a view is a write to what it is a view of:
the base gets a new history, and the view becomes a view of that. Other views of the same memory have to be taken again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from retape.ir import CATALOGUE
from retape.ir.errors import BroadcastMismatch, DtypeError, OutOfBounds, ShapeError, UnsupportedOp

from .apply import apply, as_operand, located
from .gradnode import GradNode, next_sequence
from .state import _GradMode, describe, state
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
    recorded = state.grad_enabled and (result._requires_grad or target._requires_grad)
    if result._data.dtype != target._data.dtype:
        result = apply(CATALOGUE["cast"], (result,), (target.dtype,))
    base = target._base if state.tracer is None else state.tracer.base_of(target)
    if base is not None and (recorded or state.tracer is not None):
        return _write_through(target, base, result, recorded)
    if state.tracer is not None:
        state.tracer.write(target, result, recorded)
    np.copyto(target._data, result._data)
    target._changed()
    if recorded:
        target._grad_fn, target._requires_grad = result._grad_fn, result._requires_grad
    return target


def _write_through(view: Tensor, base: Any, result: Tensor, recorded: bool) -> Tensor:
    """Write to the tensor that `view` is a view of, then make `view` a view of its new value."""
    source, count, op, attrs = base
    if op.name == "detach":  # the same memory without history
        with _GradMode(False):
            write_result(source, result)
        assert state.tracer is not None
        state.tracer.write_behind(view, source)
        return view
    if recorded and source._version[0] != count:
        raise located(UnsupportedOp("a view was written to after its memory had been written in place",
                                    ("changed", describe(view._version[1])),
                                    ("why", "the record of how the view was made doesn't include the write"),
                                    fix="take the view again after the write"))
    source.check_writable()
    write_result(source, _spread(source, result, op.name, attrs))
    again = apply(op, (source,), attrs)
    view._grad_fn, view._requires_grad = again._grad_fn, again._requires_grad
    view._base, view._traced = again._base, again._traced
    return view


def _spread(source: Tensor, result: Tensor, name: str, attrs: tuple[Any, ...]) -> Tensor:
    """The new value of `source` once its view by operation `name` has the value `result`."""
    if name == "slice":
        return apply(CATALOGUE["slice_scatter"], (source, result), attrs)
    if name == "reshape":
        return apply(CATALOGUE["reshape"], (result,), (source.shape,))
    if name == "permute":
        back = tuple(attrs[0].index(axis) for axis in range(len(attrs[0])))
        return apply(CATALOGUE["permute"], (result,), (back,))
    if name == "flip":
        return apply(CATALOGUE["flip"], (result,), attrs)
    if name in ("real", "imag"):
        other = apply(CATALOGUE["imag" if name == "real" else "real"], (source,))
        return apply(CATALOGUE["complex"], (result, other) if name == "real" else (other, result))
    raise located(UnsupportedOp(f"an in-place write to a view made by `{name}` can't be recorded",
                                ("why", "several of its elements are one in memory"), fix="write to a `clone()` of it"))


def in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The in-place form of a function: `add_` of `add`."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.check_writable()
        start = next_sequence()
        result = function(self, *args, **kwargs)
        if result is NotImplemented:  # an operator that leaves its operand to Python
            return result
        if result._grad_fn is not None:
            _keep_old_values(result._grad_fn, self, start)
        return write_result(self, result)

    return method


def _keep_old_values(node: GradNode, target: Tensor, start: int) -> None:
    """Let the nodes made since `start` keep copies of what they saved of a tensor that is about to be overwritten."""
    copies: dict[int, Any] = {}
    stack, seen = [node], {node}
    while stack:
        kept = (node := stack.pop()).saved or {}
        for position, (array, counter, version, traced) in kept.items():
            if counter is target._version:
                kept[position] = copies.setdefault(id(array), array.copy()), [version, None], version, traced
        for edge in node.edges:
            if isinstance(edge, GradNode) and edge.sequence >= start and edge not in seen:
                seen.add(edge)
                stack.append(edge)


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


def uniform_(self: Tensor, a: float = 0.0, b: float = 1.0, *, generator: Any = None) -> Tensor:
    """Uniform numbers from [a, b) in place."""
    from .creation import rand

    return copy_(self, rand(*self.shape, dtype=self.dtype, generator=generator) * (b - a) + a)


def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Normal numbers in place."""
    from .creation import randn

    return copy_(self, randn(*self.shape, dtype=self.dtype, generator=generator) * std + mean)


def bernoulli_(self: Tensor, p: float = 0.5, *, generator: Any = None) -> Tensor:
    """1 with the probability `p`, else 0, in place."""
    from .creation import rand

    return copy_(self, rand(*self.shape, generator=generator) < p)


def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
    """Exponentially distributed numbers of rate `lambd` in place."""
    from .creation import rand

    uniform = rand(*self.shape, dtype=self.dtype, generator=generator)
    return copy_(self, -apply(CATALOGUE["log1p"], (-uniform,)) / lambd)


def log_normal_(self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> Tensor:
    """Exponentials of normal numbers in place."""
    from .creation import randn

    normal = randn(*self.shape, dtype=self.dtype, generator=generator) * std + mean
    return copy_(self, apply(CATALOGUE["exp"], (normal,)))


def random_(self: Tensor, from_: int = 0, to: int | None = None, *, generator: Any = None) -> Tensor:
    """Uniform integers from [from_, to) in place; `random_(to)` begins at 0, `random_()` takes all that are exact."""
    from .creation import randint

    if to is None and from_:
        from_, to = 0, from_
    kind = self._data.dtype
    largest = 2 if kind.kind == "b" else np.iinfo(kind).max if kind.kind in "iu" else 2 ** (np.finfo(kind).nmant + 1)
    return copy_(self, randint(from_, largest if to is None else to, self.shape, generator=generator))


METHODS = ("exponential_", "log_normal_", "random_", "fill_", "zero_", "copy_", "uniform_", "normal_", "bernoulli_")


def setitem(self: Tensor, index: Any, value: Any) -> None:
    """`x[index] = value`, for slices, masks and index arrays. Of several writes to one place the last counts."""
    from .indexing import advanced, basic_index, mask_of

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
        single = not isinstance(value, Tensor) or value.ndim == 0
        if recorded and mask is not None and single:
            write_result(self, apply(CATALOGUE["where"], (mask, value, self)))
            return
        if recorded:
            selection = advanced(self, index)
            write_result(selection.source, selection.written(value, False))
            return
        index = _raw_index(index)
    try:
        self._data[index] = value._data if isinstance(value, Tensor) else value
    except IndexError as error:
        raise located(OutOfBounds(str(error), ("why", f"the tensor's shape is {self.shape}"),
                                  fix="check where the index comes from")) from None
    except ValueError as error:
        raise located(ShapeError(str(error), ("why", "a written value is broadcast to the selection"),
                                 fix="select as many elements as are written")) from None
    self._changed()


def _raw_index(index: Any) -> Any:
    if isinstance(index, Tensor):
        return index._data
    return tuple(map(_raw_index, index)) if isinstance(index, tuple) else index
