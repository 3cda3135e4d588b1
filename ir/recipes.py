"""Formulas as functions: what a call of compiled code computes of numbers, in Python, as the traced call did."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .extents import Extents, Relation
from .polynomials import CONSTANT, UNARY, Polynomial

__all__ = ["LIMIT", "Recipe", "condition", "recipe"]

LIMIT = 2**63


class Recipe:
    """The text of a function of numbers, and the sources that give them. Equal ones compute the same from the same."""

    __slots__ = ("_run", "sources", "text")

    def __init__(self, text: str, sources: tuple[Any, ...]) -> None:
        self.text = text
        self.sources = sources
        self._run: Callable[..., Any] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and (self.text, self.sources) == (other.text, other.sources)

    def __hash__(self) -> int:
        return hash((self.text, self.sources))

    def value(self, get: Callable[[Any], Any]) -> Any:
        """What it gives where `get` says what sources stand for. Raises what Python's arithmetic raises."""
        return (self._run or self.function)(*map(get, self.sources))

    @property
    def function(self) -> Callable[..., Any]:
        """The function of what the sources stand for."""
        if self._run is None:
            scope: dict[str, Any] = {"inf": math.inf, "nan": math.nan, "fits": _fits, **UNARY}
            names = ", ".join(f"s{i}" for i in range(len(self.sources)))
            exec(f"def run({names}):\n{self.text}", scope)
            self._run = scope["run"]
        return self._run

    def __repr__(self) -> str:
        return f"<recipe of {self.sources}>"


def _fits(number: int) -> int:
    """A number that is to be an element of an int64 array."""
    if not -LIMIT <= number < LIMIT:
        raise OverflowError("a number needs more than 64 bits")
    return number


def recipe(extents: Extents, form: Polynomial, sources: Mapping[int, Any], element: bool = False) -> Recipe:
    """The function that a formula is. `sources` are those of the symbols, by atom; an `element` has to fit in int64."""
    writer = _Writer(extents, sources)
    result = writer.form(form)
    return writer.done(f"fits({result})" if element else result)


def condition(extents: Extents, relations: Iterable[Relation], sources: Mapping[int, Any]) -> Recipe:
    """Whether all relations hold."""
    writer = _Writer(extents, sources)
    for relation in relations:
        left, right = writer.form(relation.left), writer.form(relation.right)
        writer.lines.append(f"if not {left} {relation.op} {right}: return False")
    return writer.done("True")


class _Writer:
    """Lines of a function: one for each atom that is needed."""

    def __init__(self, extents: Extents, sources: Mapping[int, Any]) -> None:
        self.extents = extents
        self.sources = sources
        self.given: list[Any] = []
        self.lines: list[str] = []
        self._names: dict[int, str] = {}

    def done(self, result: str) -> Recipe:
        return Recipe("".join(f"    {line}\n" for line in (*self.lines, f"return {result}")), tuple(self.given))

    def form(self, form: Polynomial) -> str:
        """The expression of a polynomial; its atoms are computed before."""
        atoms = self.extents.atoms
        wanted: set[int] = set()
        stack = [atom for product, _ in form for atom in product]
        while stack:
            atom = stack.pop()
            if atom not in wanted and atom not in self._names:
                wanted.add(atom)
                stack += [a for part in atoms[atom][1:] if isinstance(part, tuple) for product, _ in part
                          for a in product]
        for atom in sorted(wanted):  # an atom stands behind those it is made of
            self._names[atom] = self._atom(atom, *atoms[atom])
        return self._sum(form)

    def _sum(self, form: Polynomial) -> str:
        terms = []
        for product, factor in form:
            names = [self._names[atom] for atom in product]
            if factor != 1 or product == CONSTANT:
                names.insert(0, repr(factor))
            terms.append(" * ".join(names))
        if not terms:
            return "0"
        plain = len(terms) == 1 and "*" not in terms[0] and not terms[0].startswith("-")
        return terms[0] if plain else f"({' + '.join(terms)})"

    def _atom(self, number: int, op: str, a: Any, b: Any) -> str:
        if op == "symbol":
            self.given.append(self.sources[number])
            return f"s{len(self.given) - 1}"
        if op == "number":
            return f"({a})" if a.startswith("-") else str(a)
        name = f"v{len(self._names)}"
        expression = f"{op}({self._sum(a)})" if op in UNARY \
            else f"{self._sum(a)} {op.removeprefix('f')} {self._sum(b)}"
        self.lines.append(f"{name} = {expression}")
        return name
