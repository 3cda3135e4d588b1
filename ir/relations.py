"""Guards of extents as SymPy relations, and their text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count
from typing import Any

from .extents import Extents, Relation
from .graph import note_of
from .polynomials import CONSTANT, FUNCTIONS, PYTHON, Polynomial

__all__ = ["described", "relations_of", "symbols_of"]

LETTERS = "nmklpqrstuvw"


def symbols_of(extents: Extents) -> dict[str, str]:
    """A letter for each symbol, and what it stands for: {"n": "x.shape[0]"}."""
    names = chain(LETTERS, (f"n{i}" for i in count(1)))
    return {name: extents.atoms[atom][1] for name, atom in zip(names, extents.symbols, strict=False)}


def relations_of(extents: Extents) -> Iterator[tuple[Any, Relation]]:
    """What other extents have to fulfil, as SymPy relations of whole numbers, but for what the others imply."""
    import sympy

    atoms = _atoms(extents)

    def value(form: Polynomial) -> Any:
        return sum((f * sympy.Mul(*(atoms[a] for a in p)) for p, f in form), sympy.Integer(0))

    for key, relation in extents.relations.items():
        if len(key) == 3 or not _implied(extents, *key):
            yield sympy.Rel(value(relation.left), value(relation.right), relation.op, evaluate=False), relation


def _atoms(extents: Extents) -> list[Any]:
    """The atoms as SymPy expressions."""
    import sympy

    names = iter(symbols_of(extents))
    found: list[Any] = []

    def value(form: Polynomial) -> Any:
        return sum((f * sympy.Mul(*(found[a] for a in p)) for p, f in form), sympy.Integer(0))

    binary: dict[str, Any] = {**PYTHON, "//": lambda x, y: sympy.floor(x / y), "%": sympy.Mod}
    rounded = {"ceil": sympy.ceiling, "floor": sympy.floor, "trunc": sympy.Function("trunc"),
               "round": sympy.Function("round")}
    for op, a, b in extents.atoms:
        if op == "symbol":
            whole = extents.wholes[len(found)]
            sign = {} if len(found) in extents.numbers else {"nonnegative": True}
            found.append(sympy.Symbol(next(names), **({"integer": True, **sign} if whole else {"real": True})))
        elif op == "number":
            found.append(sympy.Float(a))
        elif op in rounded:
            found.append(rounded[op](value(a)))
        elif op in FUNCTIONS:
            found.append(sympy.Function(op.replace("_", "."))(value(a)))
        else:
            found.append(binary[op.removeprefix("f")](value(a), value(b)))
    return found


def _implied(extents: Extents, form: Polynomial, op: str) -> bool:
    """Whether a relation of one extent says less than what is known of it in the end."""
    terms = [p for p, _ in form if p != CONSTANT]
    if op == "==" or len(terms) != 1 or len(terms[0]) != 1:
        return False
    low, high = extents.range(form)
    if op == "!=":
        return (low is not None and low > 1) or (high is not None and high < -1)
    return low is not None and low > 0


def described(extents: Extents) -> list[str]:
    """The symbols and the relations, each with the user's line: `n > 4  # model.py:12:8 | if n > 4:`."""
    import sympy
    from sympy.printing.str import StrPrinter

    class Printer(StrPrinter):  # type: ignore[misc]
        def _print_floor(self, expr: Any) -> str:
            top, bottom = expr.args[0].together().as_numer_denom()
            return f"({self.parenthesize(top, 60)} // {self.parenthesize(bottom, 60)})"

        def _print_Mod(self, expr: Any) -> str:  # noqa: N802
            return f"({self.parenthesize(expr.args[0], 60)} % {self.parenthesize(expr.args[1], 60)})"

        def side(self, expr: Any) -> str:
            text: str = self.doprint(expr)
            return text[1:-1] if isinstance(expr, (sympy.floor, sympy.Mod)) else text

    lines = [f"for all {name} = {stands}" + ("" if least is None else f" >= {least}")
             for (name, stands), least in zip(symbols_of(extents).items(), extents.lowest, strict=False)]
    printer = Printer()
    found = [(f"{printer.side(r.lhs)} {r.rel_op} {printer.side(r.rhs)}", note_of(relation.origin))
             for r, relation in relations_of(extents)]
    width = max((len(text) for text, _ in found), default=0)
    return lines + [f"guard: {text.ljust(width)}   {note}".rstrip() for text, note in found]
