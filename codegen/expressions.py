"""The text of scalar expressions: literals of an element type, one element of an operation, names for readers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache

from retape.ir import DType
from retape.ir.graph import Node, Operand, Origin, note_of
from retape.ir.ops import Op
from retape.ir.types import BOOL, FLOAT, INTEGER

from .stages import kernel_text

__all__ = ["IDENTITY", "count_of", "element_text", "identity", "joined", "literal_text", "operand_dtype", "reciprocal",
           "rename"]

IDENTITY = {"radd": "0", "rmul": "1"}


def rename(source: str, labels: dict[str, tuple[str, Origin]], pointers: dict[str, str]) -> str:
    """Kernel text in the graph's names; `labels` gives for each variable its name there, and where it comes from."""
    table = {**pointers, **{name: label for name, (label, _) in labels.items()}}
    lines: list[str] = []
    last = ""
    for line in source.splitlines():
        found = re.match(r"( *)(v\d+) = ", line)
        if found:
            note = note_of(labels[found[2]][1])
            if note and note != last:
                lines.append(f"{found[1]}# {note}")
                last = note
        lines.append(re.sub(r"\b[vp]\d+\b", lambda m: table.get(m[0], m[0]), line))
    return "\n".join(lines) + "\n"


def operand_dtype(node: Node) -> DType:
    """The element type in which a node's literals are written."""
    operands: Sequence[Operand] = node.inputs[1:] if node.op.name == "where" else node.inputs
    for operand in operands:
        if operand.__class__ is Node:
            return operand.type.dtype
    return node.type.dtype


def element_text(node: Node, operands: list[str]) -> str:
    """The scalar expression that computes one element of a node from those of its operands."""
    return _pattern(node.op, operand_dtype(node), node.type.dtype).format(*operands)


@cache
def _pattern(op: Op, dtype: DType, result: DType) -> str:
    """The same for operands of an element type, with a place for each operand's text."""
    text = kernel_text(op, dtype.category)
    assert text is not None
    places = {name: f"{{{number}}}" for number, name in enumerate(op.operands)}
    text = text.format(**places, t=result.short, zero=literal_text(0, dtype), one=literal_text(1, dtype))
    # arithmetic on small integers is done in 64 bits: bring it back, so that it wraps as NumPy's does
    wraps = result.short in ("i8", "i16", "i32", "u8") and op.name != "cast"
    return f"to_{result.short}({text})" if wraps else text


def literal_text(value: object, dtype: DType) -> str:
    """A Python number as a constant of an element type."""
    if dtype.category == BOOL:
        return str(bool(value))
    if dtype.category == INTEGER:
        text = repr(int(value))  # type: ignore[call-overload]
        return text if dtype.short == "i64" else f"to_{dtype.short}({text})"
    number = float(value)  # type: ignore[arg-type]
    text = repr(number) if math.isfinite(number) else {math.inf: "inf", -math.inf: "-inf"}.get(number, "nan")
    return text if dtype.short == "f64" else f"to_{dtype.short}({text})"


def count_of(value: object, reader: Node) -> int | None:
    """The number that a literal is, where it seems to count elements: what a mean's derivative is divided by, say.

    Division by a power of two is a product where it is written out; beside a loop that doesn't matter.
    """
    if reader.op.name != "div" or reader.inputs[0] is value or operand_dtype(reader).category != FLOAT \
            or not isinstance(value, (int, float)) or not 2 < value < 2**53 or value != int(value):
        return None
    count = int(value)
    return count if reader.type.numel == 1 or count & (count - 1) else None


def reciprocal(node: Node) -> float | None:
    """What a quotient's numerator can be multiplied by instead: with a rounding more, in a fraction of the time."""
    divisor = node.inputs[1] if node.op.name == "div" else None
    if not isinstance(divisor, float) or count_of(divisor, node) is not None or node.type.dtype.category != FLOAT:
        return None
    small = 1e-30 if node.type.dtype.short == "f32" else 1e-300  # neither it nor its reciprocal is subnormal
    return 1.0 / divisor if small < abs(divisor) < 1.0 / small else None


def identity(combine: str, dtype: DType) -> str:
    if combine in IDENTITY:
        return literal_text(int(IDENTITY[combine]), dtype)
    sign = -1 if combine == "rmax" else 1
    if dtype.category == FLOAT:
        return literal_text(sign * math.inf, dtype)
    bits = dtype.itemsize * 8
    if dtype.short.startswith("u"):
        return literal_text(0 if sign < 0 else 2**bits - 1, dtype)
    return literal_text(-(2 ** (bits - 1)) if sign < 0 else 2 ** (bits - 1) - 1, dtype)


def joined(combine: str, a: str, b: str) -> str:
    return {"radd": f"{a} + {b}", "rmul": f"{a} * {b}"}[combine]
