"""Where the elements of `pieces` come from: boxes of other arrays, at shifted places, and zeros between them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, Any

from retape.ir.graph import Node
from retape.ir.shapes import Shape

from .expressions import literal_text
from .loops import Choice
from .regions import bounds, cuts

if TYPE_CHECKING:
    from .emit import Writer

__all__ = ["chosen", "is_cut", "piece", "piece_strides", "shift"]


def is_cut(node: Node) -> bool:
    """Whether a node's loops are cut where its pieces begin and end."""
    return node.op.name in ("chosen", "pieces")


def piece_strides(node: Node, position: int, strides: Shape) -> Shape:
    """A piece's strides over the whole array's dims: 0 along those that its index takes one place of."""
    steps = iter(strides)
    return tuple(next(steps) if isinstance(entry, slice) else 0 for entry in node.attr("indices")[position])


def shift(node: Node, position: int, strides: Shape) -> int:
    """How far before its first element a piece would begin if it filled the whole array."""
    return sum(bounds(entry)[0] * step for entry, step in zip(node.attr("indices")[position], strides, strict=True))


def piece(w: Writer, node: Node) -> tuple[str | Choice, int]:
    """The text of one element in each part of the loops, and the level from which on it is known."""
    reach = max((w.accesses[node, position].level for position in range(len(node.inputs))), default=-1)
    return _choice(w, node, reach, lambda position, level: w.address((node, position), level))


def chosen(w: Writer, node: Node, section: int) -> tuple[str | Choice, int]:
    """The same where the pieces are values that are known, at the same places."""
    known = [w.operand(operand, node, section) for operand in node.inputs]
    return _choice(w, node, max((level for _, level in known), default=-1), lambda position, _: known[position][0])


def _choice(w: Writer, node: Node, reach: int, text: Callable[[int, int], str]) -> tuple[str | Choice, int]:
    """In each part of the loops the text of the piece that lies there; pieces are known from level `reach` on."""
    nest = w.body.nest
    own = cuts(node.type.shape, node.attr("indices"))
    levels = sorted({nest.places[d][0] for d, places in enumerate(own) if places})
    level = max([-1, *levels, reach])
    texts: dict[tuple[int, ...], str] = {}
    for part in product(*(range(len(nest.cuts[at]) + 1) for at in levels)):
        starts = {at: (0, *nest.cuts[at])[number] for at, number in zip(levels, part, strict=True)}
        found = next((p for p, index in enumerate(node.attr("indices")) if _holds(w, index, starts)), None)
        texts[part] = literal_text(0, node.type.dtype) if found is None else text(found, level)
    return (Choice(tuple(levels), texts) if levels else texts[()]), level


def _holds(w: Writer, index: tuple[Any, ...], starts: dict[int, int]) -> bool:
    """Whether a piece covers the part of the loops that begins at `starts`."""
    for d, entry in enumerate(index):
        level, scale = w.body.nest.places[d]
        low, high = bounds(entry)
        if level in starts and (low, high) != (0, w.group.space[d]) and not low * scale <= starts[level] < high * scale:
            return False
    return True
