"""Numbers that a trace has recorded: what `x.item()` and `x.tolist()` give while a trace is taken.

A recorded number stands where a Python float or int would. Arithmetic on it is Python's (double precision for floats,
whole numbers without overflow, the same errors) and goes on in the trace; a comparison is a look at its outcome; what
asks for the very number (a format, `hash`, `math.sqrt`, an index, `range`) is a look at the number. It is no float for
C code, which would read it unseen, but `isinstance(k, float)` holds.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from retape.ir import CATALOGUE, Array, DType, Node, dtype_of, type_of
from retape.ir.builder import value_key
from retape.ir.errors import UnsupportedOp
from retape.ir.extents import Deferred, plain
from retape.ir.quantities import TRACKED

from .state import _is_internal, site, state
from .tensor import Tensor, wrap

if TYPE_CHECKING:
    from .tracer import Tracer

__all__ = ["F64", "I64", "Number", "NumberTensor", "Numbers", "check_few", "emit", "is_number", "known",
           "settled"]

LOOK_LIMIT = 64
F64, I64 = dtype_of("float64"), dtype_of("int64")


class NumberTensor(Tensor):
    """A Python number among the operands of an operation: without dims, and yielding to the types that it meets."""

    __slots__ = ()

    @classmethod
    def of(cls, tensor: Tensor) -> Self:
        out: Self = object.__new__(cls)
        for name in Tensor.__slots__[1:]:
            setattr(out, name, getattr(tensor, name))
        return out


class Numbers:
    """The numbers of one trace: what they were taken from, and which looks there were at them."""

    def __init__(self) -> None:
        self.made = False
        self._seen: set[Any] = set()

    def of(self, tracer: Tracer, tensor: Tensor, value: Any) -> Any:
        """The elements of a tensor as numbers that are recorded: nested lists of them, or its only one.

        `value` is what they are now. Raises `UnsupportedOp` where there are many.
        """
        check_few(tensor)
        node, data = tracer.node_of(tensor), tensor._data
        if not isinstance(node, Node):  # a constant
            return value
        self.made = True
        source = Source(node, Array(data, type_of(data)) if data.ndim else data.item())
        from .reckoning import Integer, Real

        kind = Real if data.dtype.kind == "f" else Integer

        def elements(values: Any, index: tuple[int, ...]) -> Any:
            if isinstance(values, list):
                return [elements(value, (*index, i)) for i, value in enumerate(values)]
            return kind(tracer, values, source=source, index=index)

        return elements(value, ())

    def first(self, *key: Any) -> bool:
        """Whether something is seen for the first time."""
        known = key in self._seen
        self._seen.add(key)
        return not known

    def look(self, tracer: Tracer, node: Node, value: Any) -> None:
        """Python saw a value; that it saw the same before need not be said again."""
        if self.first(node):
            tracer.guard(node, value)

    def condition(self, tracer: Tracer, name: str, operands: tuple[Any, ...], value: bool) -> None:
        """Python saw whether a relation holds."""
        operands = _entered(tracer, operands)
        if self.first(name, *[o if isinstance(o, Node) else o._form if type(o) in TRACKED else value_key(o)
                              for o in operands]):
            found = emit(tracer, name, operands)
            if isinstance(found, Node):
                tracer.guard(found, value)


class Source:
    """The tensor that numbers are the elements of: its node then, and its value as a guard has it."""

    __slots__ = ("node", "value")

    def __init__(self, node: Node, value: Any) -> None:
        self.node = node
        self.value = value


def check_few(tensor: Tensor) -> None:
    """Raises `UnsupportedOp` where Python looks at more elements than a guard is to hold. Their number is seen."""
    if tensor._data.size > LOOK_LIMIT:
        from .apply import located

        raise located(UnsupportedOp(
            f"Python looks at all {tensor._data.size} elements of a tensor in a compiled function",
            ("why", "the trace would hold for these very values only"),
            fix="compute with the tensor itself, or do this outside the compiled function"))
    if tensor._data.ndim:
        all(int(extent) + 1 for extent in tensor.shape)


def _entered(tracer: Tracer, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """Operands with inputs in place of the numbers that are found by name."""
    formulas = tracer.formulas
    return operands if formulas is None else tuple([formulas.element(tracer, operand) for operand in operands])


def emit(tracer: Tracer, name: str, operands: tuple[Any, ...], attrs: tuple[Any, ...] = ()) -> Any:
    """Record an operation on nodes, numbers and extents."""
    operands = _entered(tracer, operands)
    node = tracer.builder.emit(CATALOGUE[name], plain(operands), attrs, origin=tracer.note or site(1, tracer.places))
    if tracer.formulas is not None:
        tracer.formulas.note(node, operands, attrs)
    return node


class Number(Deferred):
    """A number, its formula, and where it comes from. `kind` is the element type that it is computed in."""

    kind: DType

    __slots__ = ("_extent", "_index", "_limit", "_node", "_parents", "_source", "_tensor", "_tracer", "_value")

    def __init__(self, tracer: Tracer, value: Any, node: Node | None = None, parents: tuple[Number, ...] = (),
                 source: Source | None = None, index: tuple[int, ...] = (), limit: int | None = None) -> None:
        self._tracer = tracer
        self._value = value
        self._node = node
        self._parents = parents  # the numbers it was computed from
        self._source = source
        self._index = index
        self._limit = limit  # of a whole number: no larger, and no less than its negative
        self._tensor: Any = None
        self._extent: Any = None  # where shapes were made of it

    def _live(self) -> bool:
        """Whether the trace is being taken. A number that has escaped from it is what it was then."""
        return state.tracer is self._tracer and not self._tracer.finished

    def _made(self) -> Any:
        """The node of its value."""
        if self._node is None:
            assert self._source is not None
            tracer, node = self._tracer, self._source.node
            if node.type.shape:
                index = (*self._index, *(0 for _ in node.type.shape[len(self._index):]))
                node = emit(tracer, "slice", (node,), (index,))
            if node.type.dtype.is_differentiable:
                node = emit(tracer, "detach", (node,))
            self._node = node if node.type.dtype is self.kind else emit(tracer, "cast", (node,), (self.kind,))
        return self._node

    def operand(self) -> Any:
        """What stands for it among the operands of tensors' operations: a tensor that yields to their element types."""
        if not self._live():
            return self._value
        if self._tensor is None:
            self._tensor = NumberTensor.of(wrap(np.asarray(self._value, self.kind.numpy)))
            self._tensor._traced = self._tracer, self._made(), 0
        return self._tensor

    def output(self) -> Any:
        """The tensor that brings its value out of the trace, in memory of its own."""
        tensor = self.operand()
        node = self._made()
        if node.op.shares or node.op.name in ("input", "detach", "overwrite", "opaque"):
            tensor._traced = self._tracer, emit(self._tracer, "clone", (node,)), 0
        return tensor

    @property
    def _looks(self) -> Numbers:
        numbers = self._tracer.numbers
        assert numbers is not None
        return numbers

    def exactly(self) -> Any:
        """The number itself, which Python has asked for."""
        if self._live():
            self._look()
        return self._value

    def _look(self) -> None:
        """Floats are looked at where they come from: what is computed from them is rounded otherwise when compiled."""
        waiting, seen = [self], {id(self)}
        numbers = self._looks
        while waiting:
            number = waiting.pop()
            if number._source is not None:
                numbers.look(self._tracer, number._source.node, number._source.value)
            elif number.kind is I64:
                numbers.look(self._tracer, number._made(), number._value)
            else:
                waiting += [p for p in number._parents if id(p) not in seen]
                seen.update(map(id, number._parents))

    # what asks for the number itself

    def __float__(self) -> float:
        return float(self.exactly())

    def __complex__(self) -> complex:
        return complex(self.exactly())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self.exactly(), dtype=dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """NumPy's functions: among tensors and arrays as these have them, else on the number itself."""
        if any(isinstance(v, (Tensor, np.ndarray)) for v in inputs):
            from .apply import as_operand

            operands = [as_operand(v) if isinstance(v, (Number, np.ndarray)) else v for v in inputs]
            tensor: Any = next(v for v in operands if isinstance(v, Tensor))
            return tensor.__array_ufunc__(ufunc, method, *operands, **options)
        mapped = self._mapped(ufunc, inputs) if method == "__call__" and not options and self._live() else None
        return getattr(ufunc, method)(*map(settled, inputs), **options) if mapped is None else mapped

    def _mapped(self, ufunc: Any, inputs: tuple[Any, ...]) -> Any:
        """What a function of NumPy gives of numbers, where that can be recorded; else None."""

    def _shown(self) -> Any:
        return self._value if _is_internal(sys._getframe(2).f_code.co_filename) else self.exactly()

    def __repr__(self) -> str:
        return repr(self._shown())

    def __format__(self, spec: str) -> str:
        return format(self._shown(), spec)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.exactly(), name)  # what only a number has

    def __reduce__(self) -> Any:
        return type(self._value), (self.exactly(),)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self


# ---- what numbers are to each other


def known(value: Any) -> Any:
    """The present value of a number; nothing is written down."""
    return value._value if isinstance(value, Number) else plain(value)


def settled(value: Any) -> Any:
    """A value with the numbers themselves in place of recorded ones, in nested tuples and lists too."""
    if isinstance(value, Number):
        return value.exactly()
    return type(value)(map(settled, value)) if type(value) in (tuple, list) else value


def is_number(value: Any) -> bool:
    """Whether a value is a number of Python, or stands for one."""
    return isinstance(value, (int, float)) and not isinstance(value, np.generic)
