"""Numbers with formulas: extents of shapes, and floats computed from them.

An `Extent` stands where an int would. It is no int for C code, which would read it unseen, but `isinstance(n, int)`
holds. Arithmetic gives such numbers again, comparisons ask `home`, the `Extents` of a trace, and so does whatever asks
for the number itself (`range`, an index of a list, `hash`, a format). A `Measure` is the same for floats (`n / 2`).
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from .polynomials import FUNCTIONS, PYTHON, ROUNDED, Polynomial, plus, scaled, times

__all__ = ["TRACKED", "Deferred", "Extent", "Measure", "Tracked", "is_symbolic", "plain", "product", "whole"]


class Deferred:
    """A number that is known when a program runs. It has operators of its own, which are asked first."""

    __slots__ = ()

    def extent(self) -> Any:
        """The number where shapes are made of it."""
        return int(self)  # type: ignore[call-overload]


class Tracked:
    """What extents and measures have in common."""

    __slots__ = ("_form", "_home", "_value")

    def __init__(self, home: Any, form: Polynomial, value: Any) -> None:
        self._home = home
        self._form = form
        self._value = value

    def _float(self, op: str, a: Any, b: Any) -> Any:
        if not (_is_number(a) and _is_number(b)):
            return NotImplemented
        value = PYTHON[op](plain(a), plain(b))
        if isinstance(value, complex):
            return PYTHON[op](*(self._home.exactly(v) if type(v) in TRACKED else v for v in (a, b)))
        return self._home.opaque(f"f{op}", a, b, value)

    def __truediv__(self, other: Any) -> Any:
        return self._float("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._float("/", other, self)

    def __eq__(self, other: object) -> Any:
        return self._home.holds(self, other, "==") if _is_number(other) else NotImplemented

    def __ne__(self, other: object) -> Any:
        return self._home.holds(self, other, "!=") if _is_number(other) else NotImplemented

    def __lt__(self, other: Any) -> Any:
        return self._home.holds(self, other, "<") if _is_number(other) else NotImplemented

    def __le__(self, other: Any) -> Any:
        return self._home.holds(self, other, "<=") if _is_number(other) else NotImplemented

    def __gt__(self, other: Any) -> Any:
        return self._home.holds(self, other, ">") if _is_number(other) else NotImplemented

    def __ge__(self, other: Any) -> Any:
        return self._home.holds(self, other, ">=") if _is_number(other) else NotImplemented

    def __bool__(self) -> bool:
        return bool(self._home.holds(self, 0, "!="))

    def __hash__(self) -> int:
        return hash(self._home.exactly(self))

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        asked: Any = self
        return self if asked >= 0 else -asked

    # what asks for the number itself

    def __int__(self) -> int:
        return int(self._home.exactly(self))

    def __float__(self) -> float:
        return float(self._home.exactly(self))

    def __complex__(self) -> complex:
        return complex(self._home.exactly(self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self._home.exactly(self), dtype=dtype)

    def function(self, name: str) -> Any:
        """An elementary function of the number, as `math_exp` or `np_exp`."""
        return self._home.opaque(name, self, None, FUNCTIONS[name](self._value))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """NumPy's functions: elementary ones are formulas, others ask for the number, unless they are of tensors."""
        if not all(type(v) in TRACKED or isinstance(v, (int, float, complex, np.ndarray, np.generic)) for v in inputs):
            return NotImplemented
        if method == "__call__" and not options and f"np_{ufunc.__name__}" in FUNCTIONS:
            return self.function(f"np_{ufunc.__name__}")
        given = [v._home.exactly(v) if type(v) in TRACKED else v for v in inputs]
        return getattr(ufunc, method)(*given, **options)

    def _shown(self) -> Any:
        return self._value if self._home.unseen() else self._home.exactly(self)

    def __repr__(self) -> str:
        return repr(self._shown())

    def __format__(self, spec: str) -> str:
        return format(self._shown(), spec)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._home.exactly(self), name)  # what only a number has

    def __reduce__(self) -> Any:
        return type(self._value), (self._home.exactly(self),)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self


class Measure(Tracked):
    """A float with a formula. Operations are repeated as they were, so that they round as they did."""

    __slots__ = ()
    __class__ = float  # type: ignore[assignment]
    __hash__ = Tracked.__hash__

    def __add__(self, other: Any) -> Any:
        return self._float("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return self._float("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return self._float("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self._float("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return self._float("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._float("*", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self._float("//", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._float("//", other, self)

    def __mod__(self, other: Any) -> Any:
        return self._float("%", self, other)

    def __rmod__(self, other: Any) -> Any:
        return self._float("%", other, self)

    def __pow__(self, other: Any) -> Any:
        return self._float("**", self, other)

    def __rpow__(self, other: Any) -> Any:
        return self._float("**", other, self)

    def __neg__(self) -> Any:
        return self._float("*", -1.0, self)

    def _rounded(self, op: str) -> Any:
        return self._home.opaque(op, self, None, ROUNDED[op](self._value))

    def __ceil__(self) -> Any:
        return self._rounded("ceil")

    def __floor__(self) -> Any:
        return self._rounded("floor")

    def __trunc__(self) -> Any:
        return self._rounded("trunc")

    def __round__(self, digits: int | None = None) -> Any:
        return self._rounded("round") if digits is None else round(self._home.exactly(self), digits)


class Extent(Tracked):
    """A whole number with a formula."""

    __slots__ = ()
    __class__ = int  # type: ignore[assignment]
    __hash__ = Tracked.__hash__

    def __index__(self) -> int:
        return int(self._home.exactly(self))

    def _sum(self, other: Any, sign: int, own: int) -> Any:
        if isinstance(other, Deferred):
            return NotImplemented
        if isinstance(other, float):
            return self._float("+", self, other) if own == sign == 1 else self._float(
                "-", *((self, other) if own == 1 else (other, self)))
        if not isinstance(other, int):
            return NotImplemented
        home = self._home
        form = plus(scaled(self._form, own), scaled(home.form_of(other), sign))
        return home.made(form, own * self._value + sign * plain(other))

    def __add__(self, other: Any) -> Any:
        return self._sum(other, 1, 1)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._sum(other, -1, 1)

    def __rsub__(self, other: Any) -> Any:
        return self._sum(other, 1, -1)

    def __neg__(self) -> Any:
        return self._home.made(scaled(self._form, -1), -self._value)

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Deferred):
            return NotImplemented
        if isinstance(other, float):
            return self._float("*", self, other)
        if not isinstance(other, int):
            return NotImplemented
        home = self._home
        return home.made(times(self._form, home.form_of(other)), self._value * plain(other))

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        return self._divided(self, other, "//")

    def __rfloordiv__(self, other: Any) -> Any:
        return self._divided(other, self, "//")

    def __mod__(self, other: Any) -> Any:
        return self._divided(self, other, "%")

    def __rmod__(self, other: Any) -> Any:
        return self._divided(other, self, "%")

    def _divided(self, a: Any, b: Any, op: str) -> Any:
        if isinstance(a, Deferred) or isinstance(b, Deferred):
            return NotImplemented
        if isinstance(a, float) or isinstance(b, float):
            return self._float(op, a, b)
        if not (isinstance(a, int) and isinstance(b, int)):
            return NotImplemented
        home = self._home
        if not b:  # asked of an extent, this is a guard
            return PYTHON[op](plain(a), 0)
        return home.made(home.divided(home.form_of(a), home.form_of(b), op), PYTHON[op](plain(a), plain(b)))

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        if modulus is None and type(other) is int and 0 <= other <= 8:
            result: Any = 1
            for _ in range(other):
                result = self * result
            return result
        if isinstance(other, Deferred):
            return NotImplemented
        if modulus is None and (isinstance(other, float) or type(other) is int):
            return self._float("**", self, other)
        return pow(self._home.exactly(self), other, modulus)

    def __rpow__(self, other: Any) -> Any:
        if type(other) is int and self >= 0:
            return self._home.opaque("f**", other, self, other**self._value)
        return self._float("**", other, self)

    def _itself(self) -> Any:
        return self

    __ceil__ = __floor__ = __trunc__ = _itself

    def __round__(self, digits: int | None = None) -> Any:
        return self if digits is None or digits >= 0 else round(self._home.exactly(self), digits)


def _bits(name: str) -> Any:
    """Operations on bits ask for the number."""
    def method(self: Any, other: Any) -> Any:
        return getattr(operator, name.strip("_"))(self._home.exactly(self), other)

    def reflected(self: Any, other: Any) -> Any:
        return getattr(operator, name.strip("_"))(other, self._home.exactly(self))

    return method, reflected


for _name in ("and_", "or_", "xor", "lshift", "rshift"):
    _method, _reflected = _bits(_name)
    setattr(Extent, f"__{_name.strip('_')}__", _method)
    setattr(Extent, f"__r{_name.strip('_')}__", _reflected)

TRACKED = frozenset({Extent, Measure})


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, (np.generic, Deferred))


def is_symbolic(value: Any) -> bool:
    """Whether a value is an extent with a formula, or holds one in nested tuples and slices."""
    kind = type(value)
    if kind in TRACKED:
        return True
    if kind is tuple or kind is list:
        return any(map(is_symbolic, value))
    return kind is slice and (type(value.start) in TRACKED or type(value.stop) in TRACKED
                              or type(value.step) in TRACKED)


def plain(value: Any) -> Any:
    """A value with numbers in place of extents; nothing is written down."""
    kind = type(value)
    if kind in TRACKED:
        return value._value
    if kind is tuple or kind is list:
        return kind(map(plain, value))
    return slice(plain(value.start), plain(value.stop), plain(value.step)) if kind is slice else value


def whole(value: Any) -> Any:
    """`int(value)` that leaves an extent what it is."""
    if type(value) is Extent:
        return value
    return value.extent() if isinstance(value, Deferred) else int(value)


def product(extents: Iterable[Any]) -> Any:
    """The product of extents."""
    result: Any = 1
    for extent in extents:
        result = result * extent
    return result
