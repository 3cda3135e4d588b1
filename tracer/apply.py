"""The one door: every operation on tensors passes `apply`, which computes it at once and records it."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from retape.ir import CATALOGUE, Op, dtype_of, promote
from retape.ir.errors import (
    DtypeNotDifferentiable,
    EscapedTensor,
    InvalidOperands,
    RetapeError,
    UnsupportedOp,
)
from retape.ir.extents import Deferred, plain
from retape.ir.quantities import TRACKED
from retape.ir.types import TensorType, default_float, type_of, weak_type

from .gradnode import GradNode
from .numbers import I64, NumberTensor
from .quiet import hush, unhush
from .state import describe, site, state
from .tensor import Tensor, wrap

E = TypeVar("E", bound=RetapeError)

_ndarray = np.ndarray
DOUBLE, SINGLE = np.dtype(np.float64), np.dtype(np.float32)
CAST = CATALOGUE["cast"]
_SCALARS = (float, int, bool, complex)
_KINDS = {"f": float, "i": int, "c": complex, "b": bool}


def apply(op: Op, operands: tuple[Any, ...], attrs: tuple[Any, ...] = ()) -> Tensor:
    """Carry out `op` on tensors, arrays and Python numbers.

    Returns a tensor that remembers how it was made where a gradient may flow. Raises the located errors of the op.
    """
    arrays: list[Any] = []
    requires = False
    dtype = None
    plain = True
    for operand in operands:
        kind = type(operand)
        if kind is Tensor:
            array = operand._data
            arrays.append(array)
            if operand._requires_grad:
                requires = True
            if array.dtype is not dtype:
                if dtype is not None:
                    plain = False
                dtype = array.dtype
            base, traced = operand._base, operand._traced
            if (base is not None and operand._version[0] != base[1]) or (traced is not None and traced[0].finished):
                _check_state(operand)
        elif kind is float or kind is int:
            arrays.append(operand)
        else:
            return _apply_slowly(op, operands, attrs)
    if op.promotion != "none" and not (plain and (dtype is DOUBLE or dtype is SINGLE)):
        return _apply_slowly(op, operands, attrs)
    return _carry_out(op, operands, arrays, attrs, requires)


def _carry_out(op: Op, operands: tuple[Any, ...], arrays: list[Any], attrs: tuple[Any, ...], requires: bool) -> Tensor:
    tracer = state.tracer
    numbers = attrs
    if tracer is not None and tracer.formulas is not None:
        attrs = tracer.formulas.pinned(attrs)
        arrays, numbers = plain(arrays), plain(attrs)
    view = op.shares
    quiet = None if view else hush()
    try:
        result = op.eager(*arrays, *numbers) if numbers else op.eager(*arrays)
    except RetapeError as error:
        raise located(error) from None
    except (ValueError, TypeError, IndexError) as error:
        raise _explained(op, arrays, numbers, error) from None
    finally:
        if not view:
            unhush(quiet)
    if type(result) is not _ndarray:
        result = np.asarray(result)
    out = wrap(result)
    if view:
        _mark_view(out, operands[0], op, attrs)
    recorded = requires and state.grad_enabled and op.differentiable and result.dtype.kind in "fc"
    if recorded or tracer is not None:
        place = None
        if recorded or not tracer.note:  # type: ignore[union-attr]
            # `apply` is called by retape's own functions alone
            place = site(4) if tracer is None else site(4, tracer.places)
        if tracer is not None:
            tracer.record(op, operands, attrs, out, requires and not recorded, place)
        if recorded:
            assert place is not None
            out._requires_grad = True
            out._grad_fn = GradNode.record(op, operands, attrs, out, place)
            if tracer is not None and tracer.formulas is not None:
                tracer.formulas.describe(out._grad_fn, operands, out)
    return out


def _mark_view(out: Tensor, source: Any, op: Op, attrs: tuple[Any, ...]) -> None:
    """A view shares its source's version counter where it shares its memory, and remembers how it was made."""
    data = source._data
    base = out._data.base
    if base is not None and (base is data or base is data.base or out._data is data):
        version = out._version = source._version
        out._base = (source, version[0], op, attrs)


def located(error: E) -> E:
    """The error with the user's line among its facts."""
    if not any(label == "where" for label, _ in error.facts):
        error.facts = (("where", describe(site())), *error.facts)
    return error


def _explained(op: Op, arrays: list[Any], attrs: tuple[Any, ...], error: Exception) -> Exception:
    """What the op's type rule says of operands that NumPy refused, or what NumPy says, with the user's line."""
    try:
        op.infer(*(type_of(a) if isinstance(a, _ndarray) else a for a in arrays), *attrs)
    except RetapeError as known:
        return located(known)
    if not isinstance(error, ValueError):
        kinds = [a.dtype.name if isinstance(a, _ndarray) else type(a).__name__ for a in arrays]
        return located(UnsupportedOp(f"`{op.name}` of {', '.join(kinds)}", ("why", str(error)),
                                     fix="convert the operands first, as in `x.to(rt.float64)`"))
    return located(InvalidOperands(f"`{op.name}`: {error}", ("why", "NumPy refuses these operands"),
                                   fix="check their extents and values"))


def _check_state(operand: Tensor) -> None:
    """Refuse tensors whose history no longer tells how their present values came about."""
    traced = operand._traced
    if traced is not None and traced[0].finished:
        raise located(EscapedTensor(
            "a tensor made while a compiled function was traced was kept outside it", ("made", traced[1].note),
            ("why", "the compiled function doesn't make it again, so its values would be stale"),
            fix="return the tensor from the function instead"))
    base = operand._base
    if base is not None and operand._requires_grad and operand._version[0] != base[1] and state.grad_enabled:
        raise located(UnsupportedOp(
            "a view was used after its memory had been written in place",
            ("changed", describe(operand._version[1])),
            ("why", "the record of how the view was made doesn't include the write"),
            fix="take the view again after the write, or write `x = x + 1` in place of `x += 1`"))


# ---- operands of other kinds, and promotion


def as_operand(value: Any) -> Any:
    """A tensor or a Python number for anything that may stand in an operation. Raises `UnsupportedOp`."""
    if isinstance(value, Deferred):
        return value.operand()  # type: ignore[attr-defined]
    if type(value) in TRACKED and is_recorded(value):
        assert state.tracer is not None and state.tracer.formulas is not None
        return state.tracer.formulas.operand(state.tracer, value)
    if isinstance(value, (Tensor, *_SCALARS)) and not isinstance(value, np.generic):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return array_operand(value)
    raise located(UnsupportedOp(f"`{type(value).__name__}` is no operand",
                                ("why", "operations take tensors, NumPy arrays and Python numbers"),
                                fix="make a tensor of it with `rt.tensor(...)`"))


def is_recorded(value: Any) -> bool:
    """Whether a number of Python is another in other calls of the code that is being traced."""
    if type(value) in TRACKED:
        formulas = None if state.tracer is None else state.tracer.formulas
        return formulas is not None and value._home is formulas.extents and formulas.extents.varies(value)
    return isinstance(value, Deferred)


def plain_array(array: Any) -> np.ndarray[Any, Any]:
    """The memory of an ndarray's subclass as an ndarray. Raises `UnsupportedOp` for masked arrays."""
    if isinstance(array, np.ma.MaskedArray):
        raise located(UnsupportedOp("a masked array is no operand", ("why", "its mask would be lost"),
                                    fix="fill it first (`a.filled(0)`), or use `rt.where` with the mask"))
    return np.asarray(array)


def check_dtype(array: np.ndarray[Any, Any]) -> None:
    """Raise `UnsupportedOp` where tensors don't have the element type of an array."""
    try:
        dtype_of(array.dtype)
    except TypeError as error:
        raise located(UnsupportedOp(f"an array of {array.dtype} can't be recorded", ("why", str(error)),
                                    fix="convert it with `.astype`")) from None


def array_operand(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor over an array's memory; in a trace, the input that the array stands for."""
    if type(array) is not _ndarray:
        array = plain_array(array)
    check_dtype(array)
    out = wrap(array)
    if state.tracer is not None:
        state.tracer.adopt_array(array, out)
    return out


def _apply_slowly(op: Op, operands: tuple[Any, ...], attrs: tuple[Any, ...]) -> Tensor:
    operands = tuple(map(as_operand, operands))
    for operand in operands:
        if isinstance(operand, Tensor) and (operand._base is not None or operand._traced is not None):
            _check_state(operand)
    operands = _promoted(op, operands)
    arrays = [operand._data if isinstance(operand, Tensor) else operand for operand in operands]
    requires = any(isinstance(operand, Tensor) and operand._requires_grad for operand in operands)
    return _carry_out(op, operands, arrays, attrs, requires)


def _promoted(op: Op, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """The operands brought to the element type in which torch would compute."""
    if op.promotion == "none":
        return operands
    first = 1 if op.promotion == "where" else 0
    values = operands[first:]
    if op.promotion == "first":
        dtype = dtype_of(operands[0]._data.dtype)
    else:
        dtype = promote(tuple(operand_type(v) if isinstance(v, Tensor) else plain(v) for v in values))
        if op.promotion == "float" and not dtype.is_differentiable:
            dtype = default_float()
    converted = tuple(_converted(v, dtype) for v in values)
    if not any(isinstance(v, Tensor) for v in operands[:first] + converted) or (
        first and not any(isinstance(v, Tensor) for v in converted)
    ):
        from .creation import full

        converted = tuple(full((), v, dtype=dtype) for v in converted)
    return operands[:first] + converted


def operand_type(tensor: Tensor) -> TensorType:
    return weak_type(_KINDS[tensor._data.dtype.kind]) if isinstance(tensor, NumberTensor) else type_of(tensor._data)


def _converted(value: Any, dtype: Any) -> Any:
    if isinstance(value, NumberTensor) and dtype.category == I64.category and dtype is not I64 \
            and state.tracer is not None and state.tracer.formulas is not None:
        value = state.tracer.formulas.fitting(value, dtype)
    if isinstance(value, Tensor):
        return value if value._data.dtype == dtype.numpy else apply(CAST, (value,), (dtype,))
    # a literal takes part in the common element type: 2 becomes 2.0 beside floats
    return value


def require_differentiable(tensor: Tensor) -> None:
    """Raises `DtypeNotDifferentiable` for integer and bool tensors."""
    if tensor._data.dtype.kind not in "fc":
        raise located(DtypeNotDifferentiable(
            f"{dtype_of(tensor._data.dtype).name} tensors can't require grad",
            ("why", "only floating-point and complex values vary continuously"),
            fix="convert the tensor first, as in `x.to(rt.float64)`"))


