"""Scalar expressions of kernel text as LLVM instructions, without numba.

Types follow from those of the variables by the rules that ``native`` states: those that numba has. What is not known
here is left to numba: powers, ``math``, arithmetic with bools.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llvmlite import ir

from ..vmath.value import Value
from . import names

__all__ = ["BYTE", "TYPES", "WORD", "Scalars", "Typed", "Unknown"]

BYTE, WORD = ir.IntType(8), ir.IntType(64)
TYPES: dict[str, Any] = {"f64": ir.DoubleType(), "f32": ir.FloatType(), "i64": WORD, "i32": ir.IntType(32),
                         "i16": ir.IntType(16), "i8": BYTE, "u8": BYTE, "b1": ir.IntType(1), "u64": WORD}
FLOATS, SIGNED, UNSIGNED = ("f64", "f32"), ("i64", "i32", "i16", "i8"), ("u8", "b1", "u64")
ARITHMETIC: dict[type, tuple[str, str]] = {ast.Add: ("fadd", "add"), ast.Sub: ("fsub", "sub"),
                                           ast.Mult: ("fmul", "mul"), ast.Div: ("fdiv", "")}
BITWISE: dict[type, str] = {ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor"}
REASSOCIATED = {"radd": ("fadd", "add"), "rmul": ("fmul", "mul")}
EXTREMES = {"rmax": ("maximum", "smax", "umax"), "rmin": ("minimum", "smin", "umin")}
RELATIONS: dict[type, str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
CONSTANTS = {"inf": float("inf"), "nan": float("nan")}
LEAST, MOST = -(1 << 63), (1 << 63) - 1

Typed = tuple[str, Any]
"""The short name of a type, and an LLVM value."""


class Unknown(Exception):
    """The text says something that only numba knows."""


class Scalars:
    """Writes instructions for expressions; knows the variables so far."""

    def __init__(self, builder: Any, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.builder = builder
        self.functions = functions
        self.calls = False  # whether one of these functions has been called
        self.pointers: dict[str, Typed] = {}
        self.variables: dict[str, Typed] = {}  # those that are assigned once, and may be read where we are
        self.slots: dict[str, Typed] = {}  # the places of the others

    def place(self, node: ast.Subscript) -> Typed:
        if not (isinstance(node.value, ast.Name) and node.value.id in self.pointers):
            raise Unknown(ast.unparse(node))
        short, start = self.pointers[node.value.id]
        return short, self.builder.gep(start, [self.integer(node.slice)], inbounds=True)

    def integer(self, node: ast.expr) -> Any:
        """The value of an index or a bound."""
        short, value = typed = self.value(node)
        if short not in SIGNED:
            raise Unknown(ast.unparse(node))
        return value if short == "i64" else self.cast(typed, "i64")

    def condition(self, node: ast.expr) -> Any:
        return self.cast(self.value(node), "b1")

    def value(self, node: ast.expr) -> Typed:
        found = getattr(self, f"_{type(node).__name__.lower()}", None)
        if found is None:
            raise Unknown(ast.unparse(node))
        result: Typed = found(node)
        return result

    # ---- kinds of expressions, by the names of their nodes

    def _constant(self, node: ast.Constant) -> Typed:
        return self.literal(node.value)

    def literal(self, value: object) -> Typed:
        """A literal."""
        if isinstance(value, bool):
            return "b1", TYPES["b1"](value)
        if isinstance(value, float):
            return "f64", TYPES["f64"](value)
        if isinstance(value, int) and LEAST <= value <= MOST:
            return "i64", WORD(value)
        raise Unknown(repr(value))

    def _name(self, node: ast.Name) -> Typed:
        known = self.variables.get(node.id)
        if known is not None:
            return known
        if node.id in self.slots:
            short, slot = self.slots[node.id]
            return short, self.builder.load(slot)
        if node.id not in CONSTANTS:
            raise Unknown(node.id)
        return "f64", TYPES["f64"](CONSTANTS[node.id])

    def _subscript(self, node: ast.Subscript) -> Typed:
        short, place = self.place(node)
        value = self.builder.load(place)
        return short, self.builder.icmp_unsigned("!=", value, BYTE(0)) if short == "b1" else value

    def _unaryop(self, node: ast.UnaryOp) -> Typed:
        if isinstance(node.op, ast.Not):
            return "b1", self.builder.not_(self.condition(node.operand))
        if not isinstance(node.op, ast.USub):
            raise Unknown(ast.unparse(node))
        literal = node.operand.value if isinstance(node.operand, ast.Constant) else None
        if isinstance(literal, (int, float)) and not isinstance(literal, bool):
            return self.literal(-literal)  # the least integer is not that of a positive literal
        short, value = operand = self.value(node.operand)
        if short in FLOATS:
            return short, self.builder.fneg(value)
        wide = self.whole(short)
        return wide, self.builder.neg(self.cast(operand, wide))

    def _binop(self, node: ast.BinOp) -> Typed:
        left, right, op = self.value(node.left), self.value(node.right), type(node.op)
        if op in ARITHMETIC:
            return self.combined(ARITHMETIC[op], self.alike(left, right))
        if left[0] == right[0] == "b1" and op in BITWISE:
            return "b1", getattr(self.builder, BITWISE[op])(left[1], right[1])
        short, a, b = self.alike(left, right)
        if short in FLOATS or op not in (*BITWISE, ast.RShift, ast.FloorDiv, ast.Mod):
            raise Unknown(ast.unparse(node))
        if op is ast.RShift:
            return short, (self.builder.ashr if short in SIGNED else self.builder.lshr)(a, b)
        if op in BITWISE:
            return short, getattr(self.builder, BITWISE[op])(a, b)
        return short, self.divided(short in SIGNED, a, b)[op is ast.Mod]

    def _ifexp(self, node: ast.IfExp) -> Typed:
        for side in (node.body, node.orelse):
            self.harmless(side)
        short, a, b = self.unified(self.value(node.body), self.value(node.orelse))
        return short, self.builder.select(self.condition(node.test), a, b)

    def _boolop(self, node: ast.BoolOp) -> Typed:
        for value in node.values[1:]:
            self.harmless(value)
        first, *others = (self.value(value) for value in node.values)
        combine = self.builder.and_ if isinstance(node.op, ast.And) else self.builder.or_
        for other in others:
            if first[0] != "b1" or other[0] != "b1":
                raise Unknown(ast.unparse(node))
            first = "b1", combine(first[1], other[1])
        return first

    def _compare(self, node: ast.Compare) -> Typed:
        left, right = self.value(node.left), self.value(node.comparators[0])
        relation = RELATIONS.get(type(node.ops[0]))
        if len(node.ops) > 1 or relation is None:
            raise Unknown(ast.unparse(node))
        if left[0] == right[0] == "b1":
            return "b1", self.builder.icmp_unsigned(relation, left[1], right[1])
        short, a, b = self.alike(left, right)
        if short not in FLOATS:
            compare = self.builder.icmp_signed if short in SIGNED else self.builder.icmp_unsigned
            return "b1", compare(relation, a, b)
        compare = self.builder.fcmp_unordered if relation == "!=" else self.builder.fcmp_ordered
        return "b1", compare(relation, a, b)

    def _call(self, node: ast.Call) -> Typed:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise Unknown(ast.unparse(node))
        name, arguments = node.func.id, [self.value(argument) for argument in node.args]
        if name[:3] == "to_" and name[3:] in TYPES:
            return name[3:], self.cast(arguments[0], name[3:])
        if name in self.functions:
            short, self.calls = name.rpartition("_")[2], True
            values = [Value(self.builder, self.cast(argument, short)) for argument in arguments]
            return short, self.functions[name](*values).ir
        if name == "number" and arguments[0][0] == "i64":
            return "f64", self.builder.bitcast(arguments[0][1], TYPES["f64"])
        if name == "select":
            short, a, b = self.unified(*arguments[1:])
            return short, self.builder.select(self.cast(arguments[0], "b1"), a, b)
        if name in REASSOCIATED:
            return self.combined(REASSOCIATED[name], self.unified(*arguments), ("reassoc", "contract"))
        if name in EXTREMES:
            short, a, b = self.unified(*arguments)
            return short, self.intrinsic(EXTREMES[name][0 if short in FLOATS else 1 + (short in UNSIGNED)], a, b)
        if (name in names.UNARY or name == "copysign") and {short for short, _ in arguments} in ({"f64"}, {"f32"}):
            return arguments[0][0], self.intrinsic(name, *(value for _, value in arguments))
        raise Unknown(ast.unparse(node))

    def intrinsic(self, name: str, first: Any, *others: Any) -> Any:
        """A call of LLVM's function of this name; all operands and the result have one type."""
        b = self.builder
        return Value(b, first).call(f"llvm.{name}", *(Value(b, other) for other in others)).ir

    def harmless(self, node: ast.expr) -> None:
        """Raise `Unknown` unless an expression may be computed although its value isn't wanted."""
        if any(isinstance(part, ast.Subscript) for part in ast.walk(node)):
            raise Unknown(ast.unparse(node))

    def divided(self, signed: bool, a: Any, b: Any) -> tuple[Any, Any]:
        """Quotient and remainder of integers, rounded towards minus infinity. By zero both are 0, as in NumPy.

        Division by -1 is a negation: of the least integer it would stop the process.
        """
        w, zero, one = self.builder, a.type(0), a.type(1)
        none = w.icmp_unsigned("==", b, zero)
        if not signed:
            divisor = w.select(none, one, b)
            return w.select(none, zero, w.udiv(a, divisor)), w.select(none, zero, w.urem(a, divisor))
        negation = w.icmp_unsigned("==", b, a.type(-1))
        divisor = w.select(w.or_(none, negation), one, b)
        quotient, rest = w.sdiv(a, divisor), w.srem(a, divisor)
        apart = w.and_(w.icmp_unsigned("!=", rest, zero), w.icmp_signed("<", w.xor(rest, divisor), zero))
        quotient = w.select(negation, w.neg(a), w.sub(quotient, w.zext(apart, a.type)))
        return w.select(none, zero, quotient), w.add(rest, w.select(apart, divisor, zero))

    # ---- types

    def combined(self, op: tuple[str, str], operands: tuple[str, Any, Any], flags: Sequence[str] = ()) -> Typed:
        """One instruction on two values of one type."""
        short, a, b = operands
        name = op[short not in FLOATS]
        if not name or short == "b1":
            raise Unknown("division of integers, or arithmetic with bools")
        return short, getattr(self.builder, name)(a, b, flags=flags if short in FLOATS else ())

    def alike(self, left: Typed, right: Typed) -> tuple[str, Any, Any]:
        """Two values in the type that arithmetic on them has."""
        kinds = {left[0], right[0]}
        if kinds == {"f32"}:
            short = "f32"
        elif ("f64" in kinds and "b1" not in kinds) or kinds == {"f32", "i64"}:
            short = "f64"
        elif "b1" not in kinds and "f32" not in kinds and len({self.whole(kind) for kind in kinds}) == 1:
            short = self.whole(left[0])
        else:
            raise Unknown(" and ".join(sorted(kinds)))
        return short, self.cast(left, short), self.cast(right, short)

    def whole(self, short: str) -> str:
        """The type of arithmetic on integers of a type."""
        if short == "b1":
            raise Unknown("arithmetic with bools")
        return "i64" if short in SIGNED else "u64"

    def unified(self, left: Typed, right: Typed) -> tuple[str, Any, Any]:
        """Two values in the type of both, or that of arithmetic."""
        return (left[0], left[1], right[1]) if left[0] == right[0] else self.alike(left, right)

    def cast(self, typed: Typed, target: str) -> Any:
        """A value in another type, as C and NumPy convert it."""
        (source, value), b, kind = typed, self.builder, TYPES[target]
        if source == target:
            return value
        if target == "b1":
            compare = b.fcmp_unordered if source in FLOATS else b.icmp_unsigned
            return compare("!=", value, value.type(0.0 if source in FLOATS else 0))
        if source in FLOATS and target in FLOATS:
            return b.fpext(value, kind) if target == "f64" else b.fptrunc(value, kind)
        if source in FLOATS:  # narrow integers by way of 32 bits, and then they wrap
            return b.fptosi(value, kind) if kind.width >= 32 else b.trunc(b.fptosi(value, TYPES["i32"]), kind)
        if target in FLOATS:
            return b.uitofp(value, kind) if source in UNSIGNED else b.sitofp(value, kind)
        if kind.width <= value.type.width:
            return b.trunc(value, kind) if kind.width < value.type.width else value
        return b.zext(value, kind) if source in UNSIGNED else b.sext(value, kind)
