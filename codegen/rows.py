"""Kernels over rows: the values that are one number a row, and the loops that a row's elements pass through.

Softmax is the example: a row's maximum, the sum of its exponentials, then their quotients. Each reduction over the
trailing dims of a space ends one **section** of the kernel, a loop over the row's elements; operations on the reduced
values stand between the loops, and the next section reads the row again while it is in the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

from retape.ir.graph import Node
from retape.ir.shapes import Shape

__all__ = ["fits", "is_alias", "kept_in_row", "row_dims", "row_strides", "sections"]

FEWEST = 4  # rows from which on a kernel over rows is made
SHORTEST = 16  # elements of a row: below, operations on single rows would outweigh those on elements
LONGEST = 32 * 1024  # bytes of a row of eight-byte elements: what has to be kept of a row lies on the stack
KEPT = 4  # values of a row that a kernel keeps

# Operations that are computed again in another section rather than kept: they are cheap and round nothing that a
# multiplication beside them could round otherwise.
AGAIN = frozenset({
    "abs", "add", "cast", "clone", "detach", "eq", "gt", "le", "logical_and", "lt",
    "maximum", "minimum", "ne", "neg", "sub", "where",
})  # fmt: skip
SHORT_WORK = 3


def row_dims(space: Shape, axes: tuple[int, ...]) -> int:
    """How many leading dims are rows where a reduction over `axes` gives one number a row; 0 if it doesn't."""
    rows = len(space) - len(axes)
    if not axes or tuple(sorted(axes)) != tuple(range(rows, len(space))):
        return 0
    length = prod(space[rows:])
    return rows if prod(space[:rows]) >= FEWEST and SHORTEST <= length <= LONGEST // 8 else 0


def is_alias(node: Node) -> bool:
    """Whether a view only adds or drops dims of extent 1, so that elements stay in step."""
    source = node.inputs[0] if node.op.name == "reshape" else None
    return isinstance(source, Node) and _long(source.type.shape) == _long(node.type.shape)


def _long(shape: Shape) -> Shape:
    return tuple(extent for extent in shape if extent != 1)


def fits(shape: Shape, space: Shape, rows: int) -> bool:
    """Whether a value of one number a row is broadcast along the rows' elements, as NumPy aligns shapes."""
    return tuple(shape) == (*space[:rows], *(1,) * (len(space) - rows))


def row_strides(shape: Shape, strides: Shape, space: Shape, rows: int) -> Shape:
    """Strides over the space of a value whose dims are those of the rows but for extents of 1."""
    steps = iter([step for extent, step in zip(shape, strides, strict=True) if extent != 1])
    return (*(0 if extent == 1 else next(steps) for extent in space[:rows]), *(0,) * (len(space) - rows))


def sections(nodes: Iterable[Node], inside: Sequence[tuple[Node, Node]]) -> dict[Node, int]:
    """The section of each node, given in order, from the pairs (reader, operand) that the kernel computes itself."""
    if not any(operand.op.kind == "reduction" for _, operand in inside):
        return dict.fromkeys(nodes, 0)
    operands: dict[Node, list[Node]] = {}
    for reader, operand in inside:
        operands.setdefault(reader, []).append(operand)
    found: dict[Node, int] = {}
    for node in nodes:
        found[node] = max((found[p] + (p.op.kind == "reduction") for p in operands.get(node, ())), default=0)
    return found


def kept_in_row(nodes: Sequence[Node], inside: Iterable[tuple[Node, Node]], section: dict[Node, int],
                known: set[Node]) -> list[Node]:
    """The values of a row's elements that a later section reads, where computing them again would not be cheap.

    `known` are the values that need neither: those of one number a row, and those that lie in memory anyhow.
    """
    if not any(section.values()):
        return []
    operands: dict[Node, list[Node]] = {}
    late: set[Node] = set()
    for reader, operand in inside:
        operands.setdefault(reader, []).append(operand)
        if section[reader] > section[operand]:
            late.add(operand)
    work: dict[Node, int] = {}
    for node in nodes:
        own = 1 if node.op.name in AGAIN else SHORT_WORK + 1
        work[node] = 0 if node in known else own + sum(work[p] for p in operands.get(node, ()))
    kept: list[Node] = []
    for node in reversed(nodes):
        if node in late and node not in known:
            if work[node] > SHORT_WORK:
                kept.append(node)
            else:
                late.update(operands.get(node, ()))
    return kept[::-1]
