"""Extents that are known by a formula: what arithmetic on shapes gives while a trace for all extents is taken.

    extent   ::= a whole number now, and a polynomial over atoms
    atom     ::= symbol | floor(p / q) | p mod q | float operation on polynomials
    relation ::= formula (== | != | < | <= | > | >=) formula

A comparison of extents is a relation that is written down as a guard, unless it follows from bounds; so is the number
itself where something asks for it. The formulas of one trace live in its `Extents`, which gives their values for other
symbols.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import get_ident
from typing import Any

from .polynomials import CONSTANT, Polynomial, Table, constant_of, plus, scaled
from .quantities import TRACKED, Deferred, Extent, Measure, is_symbolic, plain, product, whole

__all__ = ["Deferred", "Extent", "Extents", "Measure", "Relation", "is_symbolic", "plain", "product", "whole"]


@dataclass(frozen=True, slots=True)
class Relation:
    """`left op right`, and where Python asked."""

    left: Polynomial
    op: str
    right: Polynomial
    origin: Any = None


OPPOSITE = {"==": "!=", "!=": "==", ">": "<=", ">=": "<", "<": ">=", "<=": ">"}
TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


class Extents(Table):
    """The symbols, formulas and guards of one trace.

    `origin` gives the place in the user's code that a guard is from; `unseen` tells whether who asks for a text of a
    number is retape itself, for an error message perhaps.
    """

    def __init__(self, origin: Callable[[], Any] = lambda: None, unseen: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self.origin = origin
        self.unseen = unseen
        self.relations: dict[Any, Relation] = {}  # by what they say
        self.numbers: dict[int, Any] = {}  # symbols that are no extents, by atom, and their values now
        self.looked: set[int] = set()  # atoms of symbols that values decide
        self._thread = get_ident()  # of the trace: for all others the numbers are plain
        self.open = True  # guards are written down

    def symbol(self, name: str, value: Any, low: int | None = 0) -> Any:
        """A new symbol, no less than `low`: an extent, or a whole number or float of any sign, where that is None."""
        number = len(self.atoms)
        self.symbols.append(number)
        self.lowest.append(low)
        form = self.atom("symbol", name, len(self.symbols), type(value) is int, (low, None))
        if low is None:
            self.numbers[number] = value
        return Extent(self, form, value) if type(value) is int else Measure(self, form, value)

    def varies(self, value: Any) -> bool:
        """Whether a number depends on symbols that are no extents."""
        return bool(self.numbers) and not self.numbers.keys().isdisjoint(self.symbols_in(value._form))

    def late(self, *forms: Polynomial) -> bool:
        """Whether formulas depend on extents that values decide: these aren't known when a call begins."""
        return not self.looked.isdisjoint(self.symbols_in(*forms))

    # ---- formulas

    def form_of(self, value: Any) -> Polynomial:
        """The formula of an extent or of a number."""
        if type(value) in TRACKED:
            form: Polynomial = value._form
            return form
        if isinstance(value, float):
            return self.atom("number", repr(value), whole=False)
        return ((CONSTANT, int(value)),) if value else ()

    def made(self, form: Polynomial, value: Any) -> Any:
        """The number that has a formula: a plain one where the formula is constant."""
        known = constant_of(form)
        if known is not None:
            return known
        if not self.open or get_ident() != self._thread:
            return value
        return Extent(self, form, value) if type(value) is int else Measure(self, form, value)

    def opaque(self, op: str, a: Any, b: Any, value: Any) -> Any:
        """The result of an operation that is an atom of its own."""
        form = self.atom(op, self.form_of(a), None if b is None else self.form_of(b), type(value) is int)
        return self.made(form, value)

    # ---- guards

    def holds(self, a: Any, b: Any, op: str) -> bool:
        """Whether `a op b` does, now; that it does or not is written down where it isn't so for all symbols."""
        value = TESTS[op](plain(a), plain(b))
        if self.open and get_ident() == self._thread:
            relation = op if value else OPPOSITE[op]
            left, right = self.form_of(a), self.form_of(b)
            if self.numbers and self.looked and self.late(left, right):
                self._fix(left, right)
            if isinstance(a, int) and isinstance(b, int):
                difference = plus(left, scaled(right, -1))
                form, asked = difference, relation
                if relation in ("<", "<="):
                    form, asked = scaled(form, -1), ">" if relation == "<" else ">="
                if asked == ">":
                    form, asked = plus(form, ((CONSTANT, -1),)), ">="
                if asked in ("==", "!=") and form and form[-1][1] < 0:
                    form = scaled(form, -1)
                if not self.follows(form, asked) and (form, asked) not in self.relations:
                    self.relations[form, asked] = Relation(left, relation, right, self.origin())
                    self.learn(form, asked)
            else:
                self.relations.setdefault((left, relation, right), Relation(left, relation, right, self.origin()))
        return value

    def exactly(self, value: Any) -> Any:
        """The number itself, which Python has asked for."""
        if value._value != value._value:
            raise ValueError("NaN, which equals nothing, is no guard")
        if self.open:
            self.holds(value, value._value, "==")
        return value._value

    def _fix(self, *forms: Polynomial) -> None:
        """Have the numbers in formulas be these very ones: a relation with extents that are only known while a call
        runs can't be tested before."""
        for atom in self.numbers.keys() & self.symbols_in(*forms):
            form: Polynomial = (((atom,), 1),)
            value = self.numbers[atom]
            self.holds(Extent(self, form, value) if type(value) is int else Measure(self, form, value), value, "==")

    # ---- other extents

    def at(self, symbols: Sequence[int | None]) -> Callable[[Any], Any] | None:
        """What puts numbers for other symbols in place of extents, in nested tuples, slices and dicts too; None where
        a guard doesn't hold there. Symbols may be None, or missing at the end: so is then what needs them."""
        try:
            atoms = self.values(symbols)
        except (ArithmeticError, ValueError):
            return None
        value = self.evaluate
        for relation in self.relations.values():
            left, right = value(relation.left, atoms), value(relation.right, atoms)
            if left is not None and right is not None and not TESTS[relation.op](left, right):
                return None
        known: dict[Polynomial, Any] = {}

        def filled(given: Any) -> Any:
            kind = type(given)
            if kind in TRACKED:
                if given._form not in known:
                    known[given._form] = value(given._form, atoms)
                return known[given._form]
            if kind is tuple or kind is list:
                return kind(map(filled, given))
            return slice(filled(given.start), filled(given.stop), filled(given.step)) if kind is slice else given

        return filled
