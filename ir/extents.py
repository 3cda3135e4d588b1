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
        self.open = True  # guards are written down

    def symbol(self, name: str, value: int, low: int = 0) -> Extent:
        """A new symbol, no less than `low`."""
        self.symbols.append(len(self.atoms))
        self.lowest.append(low)
        return Extent(self, self.atom("symbol", name, len(self.symbols), bounds=(low, None)), value)

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
        return Extent(self, form, value) if type(value) is int else Measure(self, form, value)

    def opaque(self, op: str, a: Any, b: Any, value: Any) -> Any:
        """The result of an operation that is an atom of its own."""
        form = self.atom(op, self.form_of(a), None if b is None else self.form_of(b), type(value) is int)
        return self.made(form, value)

    # ---- guards

    def holds(self, a: Any, b: Any, op: str) -> bool:
        """Whether `a op b` does, now; that it does or not is written down where it isn't so for all symbols."""
        value = TESTS[op](plain(a), plain(b))
        if self.open:
            relation = op if value else OPPOSITE[op]
            left, right = self.form_of(a), self.form_of(b)
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
        if self.open:
            self.holds(value, value._value, "==")
        return value._value

    # ---- other extents

    def at(self, symbols: Sequence[int]) -> Callable[[Any], Any] | None:
        """What puts numbers for other symbols in place of extents, in nested tuples, slices and dicts too; None where
        a guard doesn't hold there. The last symbols may be missing: then there is None in place of what needs them."""
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
