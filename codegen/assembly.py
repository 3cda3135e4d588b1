"""Arrays put together from parts: `cat`, slice writes, sums of embeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from retape.ir.graph import Node, Operand
from retape.ir.ops.structure import sliced_shape

from .steps import Draft
from .views import sliced

__all__ = ["assemble"]

ASSEMBLED = frozenset({"cat", "embed_sum", "slice_scatter"})


def assemble(draft: Draft, node: Node) -> bool:
    """Copy parts to their places in the result, where the operation is made of such copies."""
    if node.op.name not in ASSEMBLED or (node.op.name == "embed_sum" and _overlaps(node)):
        return False
    whole = draft.views[node]
    for value, index in _parts(node):
        target = whole if index is None else sliced(whole, index, sliced_shape(whole.shape, index))
        if not (isinstance(value, Node) and draft.views.get(value) is target):  # else it lies there already
            draft.copy(value, target, node)
    return True


def _parts(node: Node) -> Iterator[tuple[Operand, tuple[Any, ...] | None]]:
    """Values and the indices at which they are written, one after the other; None stands for the whole."""
    if node.op.name == "slice_scatter":
        yield node.inputs[0], None
        yield node.inputs[1], node.attr("index")
    elif node.op.name == "embed_sum":
        if not _covers(node):
            yield 0, None
        yield from zip(node.inputs, node.attr("indices"), strict=True)
    elif node.op.name == "cat":
        axis, start = node.attr("axis"), 0
        for part in node.parents():
            extent = part.type.shape[axis]
            yield part, (*(slice(0, e, 1) for e in node.type.shape[:axis]), slice(start, start + extent, 1))
            start += extent


def _overlaps(node: Node) -> bool:
    """Whether parts of an `embed_sum` may meet in an element, so that they have to be added."""
    first = [index[0] if index else None for index in node.attr("indices")]
    return any(type(position) is not int for position in first) or len(set(first)) < len(first)


def _covers(node: Node) -> bool:
    """Whether the parts of an `embed_sum` leave no element of the result unwritten."""
    rest = 1
    for extent in node.type.shape[1:]:
        rest *= extent
    return len(node.inputs) == node.type.shape[0] and all(p.type.numel == rest for p in node.parents())
