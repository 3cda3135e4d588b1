"""Polynomials with whole coefficients over atoms, and the table of the atoms.

A polynomial is a sorted tuple of (atoms of the product, coefficient); equal polynomials are equal tuples. A float is a
single atom with the coefficient 1.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

__all__ = ["CONSTANT", "ELEMENTARY", "FUNCTIONS", "PYTHON", "ROUNDED", "UNARY", "Polynomial", "Table", "constant_of",
           "plus", "scaled", "times"]

Product = tuple[int, ...]
Polynomial = tuple[tuple[Product, Any], ...]
Bounds = tuple["int | None", "int | None"]
CONSTANT: Product = ()
ROUNDED: dict[str, Callable[[Any], int]] = {
    "ceil": math.ceil, "floor": math.floor, "trunc": math.trunc, "round": round}


def _scalar(function: Any, value: Any) -> float:
    return float(function(float(value)))


ELEMENTARY = ("sqrt", "exp", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh")
FUNCTIONS: dict[str, Callable[[Any], float]] = {f"math_{name}": getattr(math, name) for name in ELEMENTARY}
FUNCTIONS |= {f"np_{name}": partial(_scalar, getattr(np, name)) for name in ELEMENTARY}
UNARY: dict[str, Callable[[Any], Any]] = {**ROUNDED, **FUNCTIONS}
PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod, "**": operator.pow}


def plus(a: Polynomial, b: Polynomial) -> Polynomial:
    if not a or not b:
        return a or b
    terms = dict(a)
    for product, factor in b:
        terms[product] = terms.get(product, 0) + factor
    return tuple(sorted((p, f) for p, f in terms.items() if f))


def scaled(a: Polynomial, factor: int) -> Polynomial:
    return a if factor == 1 else tuple((p, f * factor) for p, f in a) if factor else ()


def times(a: Polynomial, b: Polynomial) -> Polynomial:
    terms: dict[Product, int] = {}
    for p, f in a:
        for q, g in b:
            product = tuple(sorted(p + q))
            terms[product] = terms.get(product, 0) + f * g
    return tuple(sorted((p, f) for p, f in terms.items() if f))


def constant_of(a: Polynomial) -> int | None:
    """The number that a constant polynomial is."""
    if not a:
        return 0
    return a[0][1] if len(a) == 1 and a[0][0] == CONSTANT else None


def _degree(term: tuple[Product, Any]) -> tuple[int, Product]:
    return len(term[0]), term[0]


class Table:
    """Atoms: their definitions, whether they are whole numbers, and what is known of the bounds of those.

    A definition is an operation and its polynomials: "//" and "%" of whole numbers, "f+" and so on of floats, "ceil"
    and so on from floats to whole numbers, "math_exp" and so on to floats; or ("symbol", name), or ("number", text) for
    a float.
    """

    def __init__(self) -> None:
        self.atoms: list[tuple[str, Any, Any]] = []
        self.bounds: list[Bounds] = []
        self.wholes: list[bool] = []
        self.symbols: list[int] = []  # the symbols' atoms
        self.lowest: list[int | None] = []  # what each symbol is at least
        self.depends: list[frozenset[int]] = []  # the symbols' atoms that each atom depends on
        self._known: dict[tuple[str, Any, Any], int] = {}

    def atom(self, op: str, a: Any, b: Any = None, whole: bool = True, bounds: Bounds | None = None) -> Polynomial:
        """The atom with a definition, as a polynomial."""
        key = (op, a, b)
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self.atoms)
            self.atoms.append(key)
            self.wholes.append(whole)
            self.bounds.append(bounds or self._bounded(op, a, b))
            self.depends.append(frozenset({number}) if op == "symbol" else self.symbols_in(a, b))
        return (((number,), 1),)

    def symbols_in(self, *forms: Any) -> frozenset[int]:
        """The symbols' atoms on which polynomials depend."""
        return frozenset().union(*(self.depends[atom] for form in forms if isinstance(form, tuple)
                                   for product, _ in form for atom in product))

    def _bounded(self, op: str, a: Any, b: Any) -> Bounds:
        if op not in ("//", "%"):
            return None, None
        low, high = self.range(a)
        least, most = self.range(b)
        if least is None or least <= 0:
            return None, None
        if op == "%":
            return 0, None if most is None else most - 1
        if least == most:
            return None if low is None else low // least, None if high is None else high // least
        return (0, high) if low is not None and low >= 0 else (None, None)

    def divided(self, a: Polynomial, b: Polynomial, op: str) -> Polynomial:
        """`a // b` or `a % b` of whole numbers, b not 0: (q * b + r) // b is q + r // b, and only that is an atom."""
        quotient, rest = self._split(a, b)
        divisor, number = constant_of(b), constant_of(rest)
        if divisor is not None and number is not None:
            value = PYTHON[op](number, divisor)
            inner: Polynomial = ((CONSTANT, value),) if value else ()
        else:
            if divisor is not None and op == "//":
                common = math.gcd(divisor, *(f for _, f in rest))
                rest, b = tuple((p, f // common) for p, f in rest), ((CONSTANT, divisor // common),)
            inner = self.atom(op, rest, b) if rest else ()
        return plus(quotient, inner) if op == "//" else inner

    @staticmethod
    def _split(a: Polynomial, b: Polynomial) -> tuple[Polynomial, Polynomial]:
        """(q, r) with a = q * b + r: the terms of `a` that the first one of `b` divides, one after the other."""
        first, factor = max(b, key=_degree)
        quotient: Polynomial = ()
        rest: Polynomial = ()
        steps = 0
        while a:
            steps += 1
            term = product, f = max(a, key=_degree)
            left = list(product)
            for atom in first:
                if atom in left:
                    left.remove(atom)
            if len(left) == len(product) - len(first) and f % factor == 0 and steps < 32:
                part = ((tuple(left), f // factor),)
                quotient = plus(quotient, part)
                a = plus(a, scaled(times(part, b), -1))
            else:
                rest = plus(rest, (term,))
                a = tuple(t for t in a if t is not term)
        return quotient, rest

    # ---- bounds

    def range(self, a: Polynomial) -> Bounds:
        """Bounds of a polynomial of whole numbers, as far as they are known."""
        low: int | None = 0
        high: int | None = 0
        for product, factor in a:
            below: int | None = 1
            above: int | None = 1
            for atom in product:
                lowest, highest = self.bounds[atom]
                if lowest is None or lowest < 0:
                    if len(product) > 1:
                        return None, None
                    below, above = lowest, highest
                    break
                below = None if below is None else below * lowest
                above = None if above is None or highest is None else above * highest
            if factor < 0:
                below, above = above, below
            low = None if low is None or below is None else low + below * factor
            high = None if high is None or above is None else high + above * factor
        return low, high

    def follows(self, form: Polynomial, op: str) -> bool:
        """Whether `form op 0` holds by the bounds."""
        if not self._whole(form):
            return False
        low, high = self.range(form)
        if op == "==":
            return low == high == 0
        if op == "!=":
            return (low is not None and low > 0) or (high is not None and high < 0)
        return low is not None and (low > 0 if op == ">" else low >= 0)

    def learn(self, form: Polynomial, op: str) -> None:
        """Take bounds of an atom from a relation that holds."""
        terms = [(p, f) for p, f in form if p != CONSTANT]
        if len(terms) != 1 or len(terms[0][0]) != 1 or not self._whole(form):
            return
        ((atom,), factor), = terms
        shift = dict(form).get(CONSTANT, 0)
        low, high = self.bounds[atom]
        edge = -shift // factor if shift % factor == 0 else None
        if op == "==" and edge is not None:
            low = high = edge
        elif op == "!=" and edge is not None:
            low = low + 1 if low is not None and low == edge else low
            high = high - 1 if high is not None and high == edge else high
        elif op == ">=" and factor > 0:
            least = -(shift // factor)
            low = least if low is None else max(low, least)
        elif op == ">=":
            most = shift // -factor
            high = most if high is None else min(high, most)
        self.bounds[atom] = low, high

    def _whole(self, form: Polynomial) -> bool:
        return all(self.wholes[atom] for p, _ in form for atom in p)

    # ---- values

    def values(self, symbols: Sequence[int | None]) -> list[Any]:
        """The atoms' values for other symbols, None where symbols that aren't given (None, or missing at the end) are
        needed. Raises what Python's arithmetic raises, and `ValueError` where a symbol is less than it may be."""
        if any(value is not None and least is not None and value < least
               for value, least in zip(symbols, self.lowest, strict=False)):
            raise ValueError("a symbol is out of its bounds")
        given = iter(symbols)
        found: list[Any] = []
        for op, a, b in self.atoms:
            if op == "symbol":
                found.append(next(given, None))
            elif op == "number":
                found.append(float(a))
            else:
                x, y = self.evaluate(a, found), None if op in UNARY else self.evaluate(b, found)
                if x is None or (y is None and op not in UNARY):
                    found.append(None)
                else:
                    found.append(UNARY[op](x) if op in UNARY else PYTHON[op.removeprefix("f")](x, y))
        return found

    @staticmethod
    def evaluate(form: Polynomial, atoms: Sequence[Any]) -> Any:
        """The value of a polynomial, None where an atom has none."""
        if len(form) == 1:
            (product, factor), = form
            if not product:
                return factor
            if factor == 1 and len(product) == 1:
                return atoms[product[0]]
        total = 0
        for product, factor in form:
            for atom in product:
                if atoms[atom] is None:
                    return None
                factor = factor * atoms[atom]
            total += factor
        return total
