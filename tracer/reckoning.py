"""Arithmetic on the numbers of a trace, and the two kinds of them."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from retape.ir import DType, Node
from retape.ir.errors import UnsupportedOp
from retape.ir.polynomials import PYTHON
from retape.ir.quantities import TRACKED, Extent

from .numbers import F64, I64, Number, emit, is_number, known, settled
from .tensor import Tensor, wrap

if TYPE_CHECKING:
    from .tracer import Tracer

__all__ = ["Integer", "Real"]

NAMES = {"+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floor_divide", "%": "remainder"}
TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le}
FEW, MANY = 2**20, 2**31  # sizes of the whole numbers that are computed with; results are known to be larger then
EXACT, WORD = 2**53, 2**62  # what a double and a word hold for certain


class Reckoned(Number):
    """A number with Python's operators."""

    __slots__ = ()

    def __eq__(self, other: object) -> Any:
        return _compared("eq", self, other, self) if is_number(other) else NotImplemented

    def __ne__(self, other: object) -> Any:
        return _compared("ne", self, other, self) if is_number(other) else NotImplemented

    def __lt__(self, other: Any) -> Any:
        return _compared("lt", self, other, self) if is_number(other) else NotImplemented

    def __le__(self, other: Any) -> Any:
        return _compared("le", self, other, self) if is_number(other) else NotImplemented

    def __gt__(self, other: Any) -> Any:
        return _compared("lt", other, self, self) if is_number(other) else NotImplemented

    def __ge__(self, other: Any) -> Any:
        return _compared("le", other, self, self) if is_number(other) else NotImplemented

    def is_zero(self) -> bool:
        return bool(_compared("eq", self, 0, self))

    def __bool__(self) -> bool:
        return bool(_compared("ne", self, 0, self))

    def __hash__(self) -> int:
        return hash(self.exactly())

    def __pos__(self) -> Any:
        return self

    def __neg__(self) -> Any:
        return self._alone("neg", operator.neg)

    def __abs__(self) -> Any:
        return self._alone("abs", operator.abs)

    def _alone(self, name: str, compute: Callable[[Any], Any]) -> Any:
        if not self._live() or not _bounded(self):
            return compute(self.exactly())
        return type(self)(self._tracer, compute(self._value), emit(self._tracer, name, (self._made(),)), (self,),
                          limit=self._limit)

    def __divmod__(self, other: Any) -> Any:
        return (self // other, self % other) if is_number(other) else NotImplemented

    def __rdivmod__(self, other: Any) -> Any:
        return (other // self, other % self) if is_number(other) else NotImplemented


def _binary(op: str) -> tuple[Any, Any]:
    def method(self: Any, other: Any) -> Any:
        return _computed(op, self, other, self) if is_number(other) else NotImplemented

    def reflected(self: Any, other: Any) -> Any:
        return _computed(op, other, self, self) if is_number(other) else NotImplemented

    return method, reflected


for _op, _name in (("+", "add"), ("-", "sub"), ("*", "mul"), ("/", "truediv"), ("//", "floordiv"), ("%", "mod"),
                   ("**", "pow")):
    _method, _reflected = _binary(_op)
    setattr(Reckoned, f"__{_name}__", _method)
    setattr(Reckoned, f"__r{_name}__", _reflected)


class Real(Reckoned):
    """A float."""

    kind = F64
    __slots__ = ()
    __class__ = float  # type: ignore[assignment]
    __hash__ = Reckoned.__hash__

    def __int__(self) -> int:
        """Python wants an int: the whole part is looked at, not the number."""
        value, tracer = self._value, self._tracer
        if not self._live() or not math.isfinite(value):
            return int(self.exactly())
        if self._looks.first("int", self._made()):  # adding 0.0 makes both zeros one
            tracer.guard(emit(tracer, "add", (self._whole("trunc"), 0.0)), float(int(value)))
        return int(value)

    def _mapped(self, ufunc: Any, inputs: tuple[Any, ...]) -> Any:
        """NumPy computes on floats in double precision, as on an array of one element."""
        numbers = tuple(v for v in inputs if isinstance(v, Number))
        if not all(type(v) in (Real, int, float, np.float64) for v in inputs):
            return None
        operands = [v.element() if isinstance(v, Number) else v for v in inputs]
        try:
            found = self.element().__array_ufunc__(ufunc, "__call__", *operands)
        except UnsupportedOp:
            return None
        if found.dtype is F64 and not found.requires_grad:
            return Real(self._tracer, found._data.item(), self._tracer.node_of(found), numbers)
        return bool(found) if found._data.dtype.kind == "b" else None

    def element(self) -> Tensor:
        """A tensor of double precision that is no Python number to others."""
        out = wrap(np.asarray(self._value))
        out._traced = self._tracer, self._made(), 0
        return out

    def _whole(self, name: str) -> Any:
        """The node of the whole number at or beside it, as a double."""
        tracer, node = self._tracer, self._made()
        if name in ("floor", "round"):
            return emit(tracer, name, (node,))
        above = emit(tracer, "neg", (emit(tracer, "floor", (emit(tracer, "neg", (node,)),)),))
        if name == "ceil":
            return above
        return emit(tracer, "where", (emit(tracer, "lt", (node, 0.0)), above, emit(tracer, "floor", (node,))))

    def _rounded(self, name: str, compute: Callable[[Any], Any]) -> Any:
        tracer, value = self._tracer, self._value
        if not self._live() or not abs(value) <= MANY:
            return compute(self.exactly())
        self._looks.condition(tracer, "le", (emit(tracer, "abs", (self._made(),)), float(MANY)), True)
        return Integer(tracer, compute(value), emit(tracer, "cast", (self._whole(name),), (I64,)), (self,), limit=MANY)

    def __trunc__(self) -> Any:
        return self._rounded("trunc", math.trunc)

    def __floor__(self) -> Any:
        return self._rounded("floor", math.floor)

    def __ceil__(self) -> Any:
        return self._rounded("ceil", math.ceil)

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.exactly(), digits) if digits is not None else self._rounded("round", round)


class Integer(Reckoned):
    """A whole number."""

    kind = I64
    __slots__ = ()
    __class__ = int  # type: ignore[assignment]
    __hash__ = Reckoned.__hash__

    def __int__(self) -> int:
        return int(self.exactly())

    def __index__(self) -> int:
        return int(self.exactly())

    def extent(self) -> Any:
        """The number as an extent that a value decides."""
        if self._live() and self._extent is None:
            self._extent = self._tracer.look_at_extent(self.operand(), self._value)
        return self._extent if self._live() else self._value

    def _itself(self) -> Any:
        return self

    __ceil__ = __floor__ = __trunc__ = _itself

    def __round__(self, digits: int | None = None) -> Any:
        return self if digits is None or digits >= 0 else round(self.exactly(), digits)

    def __invert__(self) -> Any:
        return -self - 1


def _bits(name: str) -> tuple[Any, Any]:
    """Operations on bits ask for the number."""
    compute = getattr(operator, name)

    def method(self: Any, other: Any) -> Any:
        return compute(self.exactly(), settled(other))

    def reflected(self: Any, other: Any) -> Any:
        return compute(settled(other), self.exactly())

    return method, reflected


for _name in ("and_", "or_", "xor", "lshift", "rshift"):
    _method, _reflected = _bits(_name)
    setattr(Integer, f"__{_name.strip('_')}__", _method)
    setattr(Integer, f"__r{_name.strip('_')}__", _reflected)


# ---- how it is done


def _compared(name: str, a: Any, b: Any, own: Number) -> bool:
    """Whether a relation between two numbers, of which `own` is one, holds: a look at that."""
    value = TESTS[name](known(a), known(b))
    if own._live():
        pair = _paired(own._tracer, a, b)
        if pair is None:
            return TESTS[name](settled(a), settled(b))
        own._looks.condition(own._tracer, name, pair[1:], value)
    return value


def _bounded(number: Any) -> bool:
    """Whether a number is a float, or a whole one whose size is known: the trace holds for all of that size."""
    if type(number) is Extent:
        return bool(-MANY <= number <= MANY)
    if type(number) is not Integer or number._limit is not None:
        return True
    assert number._source is not None
    dtype: DType = number._source.node.type.dtype
    if dtype.itemsize < 4:
        number._limit = 2 ** (8 * dtype.itemsize)
    elif abs(number._value) <= MANY:
        number._limit = FEW if abs(number._value) <= FEW else MANY
        tracer, node = number._tracer, number._made()
        size = emit(tracer, "abs", (emit(tracer, "cast", (node,), (F64,)),))
        tracer.guard(emit(tracer, "le", (size, float(number._limit))), True)
    return number._limit is not None


def _limit_of(value: Any) -> int:
    if type(value) is Extent:
        return MANY
    limit: Any = value._limit if type(value) is Integer else abs(int(value))
    return int(limit)


def _paired(tracer: Tracer, a: Any, b: Any) -> tuple[bool, Any, Any] | None:
    """Whether two numbers are to be taken as floats, and what stands for them as operands of one kind.

    None where no kind holds both exactly.
    """
    if not (_bounded(a) and _bounded(b)):
        return None
    floats = isinstance(a, float) or isinstance(b, float)
    found = []
    for value in (a, b):
        if isinstance(value, int) and _limit_of(value) > (EXACT if floats else WORD):
            return None
        if isinstance(value, Number):
            node = value._made() if value._live() else value._value
            if floats and isinstance(node, Node) and node.type.dtype is I64:
                node = emit(tracer, "cast", (node,), (F64,))
        else:
            node = value if type(value) in TRACKED else float(value) if floats else int(value)
            if type(value) in TRACKED and tracer.formulas is not None:
                node = tracer.formulas.element(tracer, value * 1.0 if floats and type(value) is Extent else value)
        found.append(node)
    return floats, found[0], found[1]


def _computed(op: str, a: Any, b: Any, own: Number) -> Any:
    """`a op b`, of which `own` is one."""
    tracer = own._tracer
    if not own._live():
        return PYTHON[op](known(a), known(b))
    if op in ("/", "//", "%") and (b.is_zero() if isinstance(b, Reckoned) else not b):
        return PYTHON[op](known(a), known(b))  # raises: that the divisor is 0 has been seen
    if op == "**":
        return _power(own, a, b)
    pair = _paired(tracer, a, b)
    if pair is None:
        return PYTHON[op](settled(a), settled(b))
    value = PYTHON[op](known(a), known(b))
    parents = tuple(v for v in (a, b) if isinstance(v, Number))
    floats, *operands = pair
    if floats:
        return Real(tracer, value, emit(tracer, NAMES[op], tuple(operands)), parents)
    few, many = _limit_of(a), _limit_of(b)
    if op == "/":
        if max(few, many) > EXACT:
            return settled(a) / settled(b)
        operands = [emit(tracer, "cast", (v,), (F64,)) if isinstance(v, Node) else v for v in operands]
        return Real(tracer, value, emit(tracer, "div", tuple(operands)), parents)
    limit = few * many if op == "*" else few if op == "//" else many if op == "%" else few + many
    if limit > WORD:
        return PYTHON[op](settled(a), settled(b))
    return Integer(tracer, value, emit(tracer, NAMES[op], tuple(operands)), parents, limit=limit)


def _power(own: Any, a: Any, b: Any) -> Any:
    """`a ** b`: as products, or as floats where the result is real and finite."""
    a, b = (v._home.exactly(v) if type(v) in TRACKED and v._home.varies(v) else v for v in (a, b))
    if isinstance(a, int) and isinstance(b, int):
        if type(b) is not int or not 0 <= b <= 8:
            return settled(a) ** settled(b)
        result: Any = 1
        for _ in range(b):
            result = a * result
        return result
    tracer = own._tracer
    pair = _paired(tracer, a, b)
    base, exponent = known(a), known(b)
    fraction = isinstance(b, Number) or not float(exponent).is_integer()
    if pair is None or not (math.isfinite(base) and math.isfinite(exponent)) or (base == 0 and exponent < 0) \
            or (fraction and base <= 0) or (base and exponent * math.log2(abs(base)) > sys.float_info.max_exp - 2):
        return settled(a) ** settled(b)
    if isinstance(a, Number) and (fraction or exponent < 0):
        _compared("lt" if fraction else "ne", 0, a, a)
    node = emit(tracer, "pow", pair[1:])
    own._looks.condition(tracer, "le", (emit(tracer, "abs", (node,)), sys.float_info.max), True)
    return Real(tracer, base**exponent, node, tuple(v for v in (a, b) if isinstance(v, Number)))
