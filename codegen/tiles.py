"""Small operands that are laid out anew, so that a kernel's short rows become one long loop.

Rows of 11 numbers fill the vectors of a processor badly. Where the rows of all large arrays follow one another in
memory, the loops over the last two dims are one, unless some operand repeats along one of the two: a factor for each
column, say. Such an operand is written out over both dims, once, which is a small array that stays in the first cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from retape.ir.graph import Node

from .body import SHORT
from .fuse import Group
from .views import View

if TYPE_CHECKING:
    from .steps import Draft

__all__ = ["tiled"]

LARGEST = 2048  # elements of what is laid out anew
REPEATS = 16  # how often the kernel walks over it, at least


def tiled(draft: Draft, group: Group, stored: set[Node], inlined: set[Node]) -> dict[Node, View]:
    """Append kernels that lay out operands of a group anew; returns where these lie, if that joins two of its loops.

    [slopes of an ocean model, 78 x 77 x 11 numbers with two tanh and four quotients each: 0.75 of the time]
    """
    space = group.space
    if len(space) < 3 or not 1 < space[-1] <= SHORT or group.rows:
        return {}
    tile = space[-2:]
    if prod(tile) > LARGEST or prod(space[:-2]) < REPEATS or any(node.op.kind != "pointwise" for node in group.nodes):
        return {}
    own = set(group.nodes)
    results = [node for node in group.nodes if node in stored]
    wanted: dict[Node, View] = {}
    for node in (*results, *_operands(group, own, inlined)):
        view = draft.views.get(node)
        if view is None:
            return {}
        *lead, outer, inner = view.aligned(space)
        if outer == inner * tile[1]:
            continue
        if any(lead) or node in own:
            return {}
        wanted[node] = View(view.buffer, tile, (outer, inner), view.offset)
    return {node: draft.duplicate(view, tile, node) for node, view in wanted.items()}


def _operands(group: Group, own: set[Node], inlined: set[Node]) -> Iterator[Node]:
    """What a kernel of operations on elements reads, or what it doesn't compute element by element."""
    seen = set[Node]()
    stack = [*group.nodes]
    while stack:
        for operand in stack.pop().parents():
            if operand in own or operand in seen:
                continue
            seen.add(operand)
            if operand not in inlined or operand.op.kind != "pointwise":
                yield operand
            elif operand.type.numel > 1:
                stack.append(operand)
