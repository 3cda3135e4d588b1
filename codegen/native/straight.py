"""Kernels without loops: from their text to LLVM's, without numba, which takes a quarter of a second to import.

Such a kernel is a list of assignments of scalar expressions. Types follow from those of the pointers by the rules that
``native`` states. What is not known here is left to numba: whole division, unsigned arithmetic, ``math``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llvmlite import ir

from ..vmath.value import Value
from . import names

__all__ = ["Unknown", "module_text"]

BYTE, WORD = ir.IntType(8), ir.IntType(64)
TYPES: dict[str, Any] = {"f64": ir.DoubleType(), "f32": ir.FloatType(), "i64": WORD, "i32": ir.IntType(32),
                         "i16": ir.IntType(16), "i8": BYTE, "u8": BYTE, "b1": ir.IntType(1)}
FLOATS, SIGNED, UNSIGNED = ("f64", "f32"), ("i64", "i32", "i16", "i8"), ("u8", "b1")
ARITHMETIC: dict[type, tuple[str, str]] = {ast.Add: ("fadd", "add"), ast.Sub: ("fsub", "sub"),
                                           ast.Mult: ("fmul", "mul"), ast.Div: ("fdiv", "")}
REASSOCIATED = {"radd": ("fadd", "add"), "rmul": ("fmul", "mul")}
EXTREMES = {"rmax": ("llvm.maximum", "llvm.smax"), "rmin": ("llvm.minimum", "llvm.smin")}
RELATIONS: dict[type, str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
CONSTANTS = {"inf": float("inf"), "nan": float("nan")}

Typed = tuple[str, Any]
"""The short name of a type, and an LLVM value."""


class Unknown(Exception):
    """The text says something that only numba knows."""


def module_text(
    source: str, symbol: str, pointers: Sequence[str], functions: Mapping[str, Callable[..., Any]], *, contract: bool,
    width: int | None,
) -> str:
    """The text of a module with a kernel as the function ``symbol``; it may call ``functions`` of `Value`s, whose names
    end with their type. Raises `Unknown`."""
    definition = ast.parse(source).body[-1]
    assert isinstance(definition, ast.FunctionDef)
    if not all(isinstance(line, ast.Assign) for line in definition.body):
        raise Unknown("a loop")
    module = ir.Module(symbol)
    table = BYTE.as_pointer().as_pointer()
    kernel = ir.Function(module, ir.FunctionType(ir.VoidType(), [table, table, WORD, WORD]), symbol)
    kernel.attributes.add("nounwind")
    if width is not None:
        set.add(kernel.attributes, f'"prefer-vector-width"="{width}"')  # llvmlite knows no string attributes
    text = _Text(ir.IRBuilder(kernel.append_basic_block()), functions)
    for number, (argument, short) in enumerate(zip(definition.args.args, pointers, strict=False)):
        text.point(argument.arg, short, kernel.args[0], number)
    for line in definition.body:
        assert isinstance(line, ast.Assign)
        text.assign(line.targets[0], text.value(line.value))
    text.builder.ret_void()
    if contract:
        _contract(module)
    return str(module)


def _contract(module: Any) -> None:
    """Allow fused multiply-add wherever nothing else is said."""
    for function in module.functions:
        for block in function.blocks:
            for instruction in block.instructions:
                if instruction.opname in ("fadd", "fsub", "fmul", "fdiv") and not instruction.flags:
                    instruction.flags.append("contract")


class _Text:
    """Writes instructions for expressions; knows the variables so far."""

    def __init__(self, builder: Any, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.builder = builder
        self.functions = functions
        self.pointers: dict[str, Typed] = {}
        self.variables: dict[str, Typed] = {}

    def point(self, name: str, short: str, table: Any, number: int) -> None:
        """A pointer parameter. Bools are bytes in memory."""
        b = self.builder
        memory = BYTE if short == "b1" else TYPES[short]
        start = b.load(b.gep(table, [WORD(number)], inbounds=True))
        self.pointers[name] = short, b.bitcast(start, memory.as_pointer())

    def place(self, node: ast.Subscript) -> Typed:
        if not (isinstance(node.value, ast.Name) and isinstance(node.slice, ast.Constant)):
            raise Unknown(ast.unparse(node))
        short, start = self.pointers[node.value.id]
        return short, self.builder.gep(start, [WORD(node.slice.value)], inbounds=True)

    def assign(self, target: ast.expr, value: Typed) -> None:
        if isinstance(target, ast.Name):
            self.variables[target.id] = value
        elif isinstance(target, ast.Subscript):
            short, place = self.place(target)
            stored = self.cast(value, short)
            self.builder.store(self.builder.zext(stored, BYTE) if short == "b1" else stored, place)
        else:
            raise Unknown(ast.unparse(target))

    def value(self, node: ast.expr) -> Typed:
        found = getattr(self, f"_{type(node).__name__.lower()}", None)
        if found is None:
            raise Unknown(ast.unparse(node))
        result: Typed = found(node)
        return result

    # ---- kinds of expressions, by the names of their nodes

    def _constant(self, node: ast.Constant) -> Typed:
        short = {bool: "b1", int: "i64", float: "f64"}[type(node.value)]
        return short, TYPES[short](node.value)

    def _name(self, node: ast.Name) -> Typed:
        if node.id in CONSTANTS:
            return "f64", TYPES["f64"](CONSTANTS[node.id])
        if node.id not in self.variables:
            raise Unknown(node.id)
        return self.variables[node.id]

    def _subscript(self, node: ast.Subscript) -> Typed:
        short, place = self.place(node)
        value = self.builder.load(place)
        return short, self.builder.icmp_unsigned("!=", value, BYTE(0)) if short == "b1" else value

    def _unaryop(self, node: ast.UnaryOp) -> Typed:
        short, value = operand = self.value(node.operand)
        if not isinstance(node.op, ast.USub) or short in UNSIGNED:
            raise Unknown(ast.unparse(node))
        return (short, self.builder.fneg(value)) if short in FLOATS else \
            ("i64", self.builder.neg(self.cast(operand, "i64")))

    def _binop(self, node: ast.BinOp) -> Typed:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(node.op, (ast.BitAnd, ast.BitOr)) and left[0] == right[0] and left[0] in ("b1", "i64"):
            combine = self.builder.and_ if isinstance(node.op, ast.BitAnd) else self.builder.or_
            return left[0], combine(left[1], right[1])
        if type(node.op) not in ARITHMETIC:
            raise Unknown(ast.unparse(node))
        return self.combined(ARITHMETIC[type(node.op)], self.alike(left, right))

    def _compare(self, node: ast.Compare) -> Typed:
        left, right = self.value(node.left), self.value(node.comparators[0])
        relation = RELATIONS.get(type(node.ops[0]))
        if len(node.ops) > 1 or relation is None:
            raise Unknown(ast.unparse(node))
        if left[0] == right[0] == "b1":
            return "b1", self.builder.icmp_unsigned(relation, left[1], right[1])
        short, a, b = self.alike(left, right)
        if short not in FLOATS:
            return "b1", self.builder.icmp_signed(relation, a, b)
        compare = self.builder.fcmp_unordered if relation == "!=" else self.builder.fcmp_ordered
        return "b1", compare(relation, a, b)

    def _call(self, node: ast.Call) -> Typed:
        name, arguments = ast.unparse(node.func), [self.value(argument) for argument in node.args]
        if name[:3] == "to_" and name[3:] in TYPES:
            return name[3:], self.cast(arguments[0], name[3:])
        if name in self.functions:
            short = name.rpartition("_")[2]
            values = [Value(self.builder, self.cast(argument, short)) for argument in arguments]
            return short, self.functions[name](*values).ir
        if name == "select":
            short, a, b = self.unified(*arguments[1:])
            return short, self.builder.select(self.cast(arguments[0], "b1"), a, b)
        if name in REASSOCIATED:
            return self.combined(REASSOCIATED[name], self.unified(*arguments), ("reassoc", "contract"))
        if name in EXTREMES:
            short, a, b = self.unified(*arguments)
            if short in UNSIGNED:
                raise Unknown(ast.unparse(node))
            return short, Value(self.builder, a).call(EXTREMES[name][short not in FLOATS], Value(self.builder, b)).ir
        if (name in names.UNARY or name == "copysign") and {short for short, _ in arguments} in ({"f64"}, {"f32"}):
            first, *others = (Value(self.builder, value) for _, value in arguments)
            return arguments[0][0], first.call(f"llvm.{name}", *others).ir
        raise Unknown(ast.unparse(node))

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
        elif ("f64" in kinds and kinds <= {*FLOATS, *SIGNED}) or kinds == {"f32", "i64"}:
            short = "f64"
        elif kinds <= set(SIGNED):
            short = "i64"
        else:
            raise Unknown(" and ".join(sorted(kinds)))
        return short, self.cast(left, short), self.cast(right, short)

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
