"""Arrays that are read piece by piece: `cat`, padding, and the transposes of slices.

Where every reader of such an array is a loop over its index space, the array is never put together. The loops are cut
where one piece ends and the next begins, and in each part the readers take the elements from the piece that lies there,
at shifted places, or take zeros. So a gradient of stencils is one kernel: a sum of slices, shifted back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

from retape.ir import CATALOGUE, Graph
from retape.ir.graph import Node, rewired, users_of
from retape.ir.shapes import Shape
from retape.ir.types import COMPLEX

from .regions import cuts
from .stages import is_fusable, space_of

__all__ = ["read_in_pieces"]

PIECES = replace(CATALOGUE["embed_sum"], name="pieces", kind="piecewise")
PUT_TOGETHER = frozenset({"cat", "embed"})
MOST = 4  # pieces of one array
ALONG = 8  # places at which one dim is cut; unrolled loops, which take a dim place by place, cut it at more
PARTS = 25  # into which the loops over one index space are cut at most: a stencil in two dims reads five in each


def read_in_pieces(graph: Graph) -> Graph:
    """The graph with `pieces` for those `cat`s and `embed`s of which loops can read the pieces themselves."""
    if PUT_TOGETHER.isdisjoint(graph.op_names):
        return graph
    arrays = [node for node in graph.nodes if node.op.name in PUT_TOGETHER]
    users, roots = users_of(graph, {*arrays, *(p for n in arrays for p in n.parents())}), set(graph.roots())
    boxes: dict[object, _Boxes] = {}  # most arrays are put together as others are
    candidates: dict[Node, _Boxes] = {}
    for node in arrays:
        if node not in roots and _suits(node, users):
            key = (id(node.type), id(node.attrs)) if node.op.name == "embed" else node
            found = boxes.get(key)
            if found is None:
                found = boxes[key] = _boxes(node)
            candidates[node] = found
    if not candidates:
        return graph
    every: dict[Shape, list[set[int]]] = {}
    for one in boxes.values():
        every[one.shape] = _wider(every.get(one.shape), one.cut)
    places: dict[Shape, list[set[int]]] = {}
    new: dict[Any, Node] = {}
    changed = new.keys()
    nodes: list[Node] = []
    for old in graph.nodes:
        node = old if changed.isdisjoint(old.inputs) else rewired(old, new)
        if old in candidates:
            one = candidates[old]
            if one.read is None:  # places are only added: what fits, or doesn't, goes on to
                wider = _wider(places.get(one.shape), one.cut)
                repeated = any(
                    more and len(known) > ALONG for more, known in zip(one.cut, every[one.shape], strict=True))
                one.read = not repeated and prod([len(known) + 1 for known in wider]) <= PARTS
                if one.read:
                    places[one.shape] = wider
            if one.read:
                node = Node(PIECES, node.inputs, (one.shape, one.indices), old.type, old.name, old.origin)
        if node is not old:
            new[old] = node
        nodes.append(node)
    return graph.map_roots(nodes, lambda o: new.get(o, o)) if new else graph


@dataclass(slots=True)
class _Boxes:
    """How an array is put together: a basic index for each piece, the places at which these cut the loops over each
    dim, and whether it is read in pieces, when that is decided."""

    shape: Shape
    indices: tuple[tuple[Any, ...], ...]
    cut: list[set[int]]
    read: bool | None = None


def _boxes(node: Node) -> _Boxes:
    indices = _indices(node)
    return _Boxes(node.type.shape, indices, cuts(node.type.shape, indices))


def _wider(known: list[set[int]] | None, more: list[set[int]]) -> list[set[int]]:
    """The places at which loops over a shape are cut, with those of more pieces."""
    return more if known is None else [have | new for have, new in zip(known, more, strict=True)]


def _suits(node: Node, users: dict[Any, list[Node]]) -> bool:
    """Whether an array is put together from few boxes, is read by loops over its shape, and by nothing else."""
    name, shape = node.op.name, node.type.shape
    if node.type.numel < 2 or node.type.dtype.category == COMPLEX:
        return False
    if any(not isinstance(i, Node) or not i.type.numel for i in node.inputs) or len(node.inputs) > MOST:
        return False
    if name == "cat" and all(users[p] == [node] and p.op.kind in ("pointwise", "gather") for p in node.parents()):
        return False  # their own kernels write them to their places
    if name == "embed" and not all(_is_box(entry) for entry in node.attr("index")):
        return False
    return all(user.op.kind in ("pointwise", "reduction") and is_fusable(user) and space_of(user) == shape
               for user in users[node])


def _is_box(entry: Any) -> bool:
    return entry.__class__ is int or (isinstance(entry, slice) and entry.step in (None, 1))


def _indices(node: Node) -> tuple[tuple[Any, ...], ...]:
    """For each piece the basic index at which it lies, with an entry for each dim."""
    shape = node.type.shape
    whole = tuple(slice(0, extent, 1) for extent in shape)
    if node.op.name == "embed":
        index = node.attr("index")
        return ((*index, *whole[len(index) :]),)
    axis, start, result = node.attr("axis"), 0, []
    for part in node.parents():
        end = start + part.type.shape[axis]
        result.append((*whole[:axis], slice(start, end, 1), *whole[axis + 1 :]))
        start = end
    return tuple(result)
