"""Collects sums of `embed`s: the gradient of a tensor that a loop reads slice by slice.

Each read gives an `embed` into zeros of the whole tensor, and their sum would add the whole tensor once a read. Where
every part fills another position of one dim, the sum is one array that is written part by part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..graph import Graph, Node, reads_of, rewired
from ..ops import CATALOGUE

__all__ = ["collect_embeds"]

ADD, EMBED, EMBED_SUM = CATALOGUE["add"], CATALOGUE["embed"], CATALOGUE["embed_sum"]


@dataclass(slots=True)
class _Sum:
    """Parts and their indices, at distinct positions of `dim`."""

    parts: list[Any]
    indices: list[tuple[Any, ...]]
    dim: int
    taken: set[int]


def collect_embeds(graph: Graph) -> Graph:
    """The graph with sums of disjoint `embed`s as one `embed_sum` each."""
    if "embed" not in graph.op_names:
        return graph
    candidates = _embeds_and_sums(graph)
    reads = reads_of(graph, candidates)
    sums: dict[Any, _Sum] = {}
    known = sums.keys()
    absorbed: set[Node] = set()
    for node in candidates:
        if node.op is EMBED:
            _, index = node.attrs
            dim = next((d for d, entry in enumerate(index) if entry.__class__ is int), None)
            if dim is not None and None not in index:
                sums[node] = _Sum([node.inputs[0]], [index], dim, {index[dim]})
        elif not known.isdisjoint(node.inputs):
            first, second = node.inputs
            if first in sums and second in sums and reads[first] == reads[second] == 1:
                merged = _merged(sums[first], sums[second])
                if merged is not None:
                    absorbed.update(node.parents())
                    sums[node] = merged
    chosen = {node: found for node, found in sums.items() if node not in absorbed and len(found.parts) > 1}
    return _rebuilt(graph, chosen, absorbed) if chosen else graph


def _embeds_and_sums(graph: Graph) -> dict[Any, None]:
    """The embeds, and the additions that one of these leads to, in order."""
    found: dict[Any, None] = {}
    for node in [node for node in graph.nodes if node.op is EMBED or node.op is ADD]:
        if node.op is EMBED or not found.keys().isdisjoint(node.inputs):
            found[node] = None
    return found


def _rebuilt(graph: Graph, chosen: dict[Any, _Sum], absorbed: set[Node]) -> Graph:
    new: dict[Any, Node] = {}
    changed = new.keys()
    nodes = []
    for node in graph.nodes:
        if node in absorbed:  # what read it is one of these, too, or the whole sum
            continue
        if node in chosen:
            found = chosen[node]
            parts = tuple([new.get(i, i) for i in found.parts])  # a part may hold a sum itself
            made = Node(EMBED_SUM, parts, (node.type.shape, tuple(found.indices)), node.type, node.name, node.origin)
        elif changed.isdisjoint(node.inputs):
            made = node
        else:
            made = rewired(node, new)
        if made is not node:
            new[node] = made
        nodes.append(made)
    return graph.map_roots(nodes, lambda o: new.get(o, o))


def _merged(a: _Sum, b: _Sum) -> _Sum | None:
    """Both sums in the larger one's place; None where their parts may meet, or they are one and the same."""
    large, small = (a, b) if len(a.parts) >= len(b.parts) else (b, a)
    if a is b or a.dim != b.dim or not large.taken.isdisjoint(small.taken):
        return None
    large.parts += small.parts
    large.indices += small.indices
    large.taken |= small.taken
    return large
