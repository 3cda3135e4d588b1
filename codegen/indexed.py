"""Where operands and results lie that aren't walked in step with the loops: indexed ones, embeds, reductions.

`take`, `gather` and their transposes read and write at run-time indices. The large array is walked with stride 0 along
the indexed dim; the index, wrapped and clamped to the dim's extent, adds the rest of the address. An index that had to
be clamped is reported through the program's status word, after which the program is run again by the interpreter, to
raise the error that names the user's line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from retape.ir.graph import Node
from retape.ir.shapes import Shape

from .expressions import identity
from .reduce import fill
from .views import View, sliced

if TYPE_CHECKING:
    from .emit import Writer

__all__ = [
    "INDEXED", "STATUS", "embedded", "extent_of", "gather", "index_strides", "indexed_strides", "is_gather",
    "is_indexed", "is_scatter", "result_strides", "scatter",
]

INDEXED = frozenset({"gather", "scatter"})  # kinds of operations that read or write at indices
STATUS = "status"  # the key of the operand through which a kernel reports an index out of bounds


def is_gather(node: Node) -> bool:
    return node.op.kind == "gather"


def is_scatter(node: Node) -> bool:
    return node.op.kind == "scatter"


def is_indexed(node: Node) -> bool:
    return node.op.kind in INDEXED


def _replaces(node: Node) -> bool:
    """Whether the index's dims stand in the place of the indexed dim; else the index has the same rank."""
    return node.op.name in ("take", "take_add")


def _index(node: Node) -> Node:
    index = node.inputs[1]
    assert isinstance(index, Node)
    return index


def large_shape(node: Node) -> Shape:
    """The shape of the array that is read or written at indices."""
    if is_scatter(node):
        return node.type.shape
    source = node.inputs[0]
    assert isinstance(source, Node)
    return source.type.shape


def extent_of(node: Node) -> int:
    """The extent that indices must lie in."""
    extent: int = large_shape(node)[node.attr("axis")]
    return extent


def indexed_strides(node: Node, view: View) -> Shape:
    """The large array's strides over the operation's index space: 0 where the index decides."""
    axis, steps = node.attr("axis"), view.strides
    if _replaces(node):
        return (*steps[:axis], *(0,) * _index(node).type.ndim, *steps[axis + 1 :])
    return tuple(0 if d == axis or extent == 1 else s
                 for d, (s, extent) in enumerate(zip(steps, large_shape(node), strict=True)))


def index_strides(node: Node, view: View, rank: int) -> Shape:
    """The index's strides over the operation's index space."""
    own = tuple(0 if extent == 1 else step for extent, step in zip(view.shape, view.strides, strict=True))
    if not _replaces(node):
        return own
    axis = node.attr("axis")
    return (*(0,) * axis, *own, *(0,) * (rank - axis - len(own)))


def embedded(node: Node, view: View) -> View:
    """Where in the result of `embed` the operand goes."""
    source = node.inputs[0]
    assert isinstance(source, Node)
    return sliced(view, node.attr("index"), source.type.shape)


def result_strides(node: Node, view: View) -> tuple[int, ...]:
    """A reduction's result over the space it is computed from: 0 along reduced dims."""
    axes = node.attr("axis")
    steps = list(view.strides)
    if not node.attr("keepdims"):
        for axis in axes:
            steps.insert(axis, 0)
    return tuple(0 if d in axes else s for d, s in enumerate(steps))


# ---- statements


def gather(w: Writer, node: Node, section: int) -> tuple[str, int]:
    """The text of one element read at an index, and the loop level from which on it is known."""
    place, level = _position(w, node, section)
    level = max(level, w.accesses[node, 0].level)
    return w.address((node, 0), level, place), level


def scatter(w: Writer, node: Node) -> None:
    """Add an operand's elements to zeros, at the places that an index gives."""
    section = w.section[node]
    text, _ = w.operand(node.inputs[0], node, section)
    place, _ = _position(w, node, section)
    fill(w, node, identity("radd", node.type.dtype))
    target = w.address(node, w.depth - 1, place)
    w.body.at(w.depth - 1, f"{target} = {target} + {text}", section)


def _position(w: Writer, node: Node, section: int) -> tuple[str, int]:
    """The part of an address that the index decides: wrapped, clamped, in elements; and from which loop on."""
    number, level = w.order[node, 1], w.accesses[node, 1].level
    extent = w.body.integer("x", number, 0, extent_of(node))
    raw, wrapped, held = f"x{number}", f"y{number}", f"z{number}"
    status = f"p{w.order[STATUS]}[0]"
    if w.body.first("bad = 0"):
        w.body.behind(-1, "if bad > 0:")  # many threads may write, but only the one value
        w.body.behind(-1, f"    {status} = bad")
    w.body.at(level, f"{raw} = to_i64({w.address((node, 1), level)})", section)
    w.body.at(level, f"{wrapped} = select({raw} < 0, {raw} + {extent}, {raw})", section)
    w.body.at(level, f"{held} = rmax(rmin({wrapped}, {extent} - 1), 0)", section)
    w.body.at(level, f"bad = rmax(bad, to_i64({wrapped} != {held}))", section)
    large = w.views[node] if is_scatter(node) else w.accesses[node, 0].view
    step = large.strides[node.attr("axis")]
    return f"{held} * {w.body.integer('t', number, 0, step)}", level
