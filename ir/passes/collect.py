"""Collects sums of `embed`s: the gradient of a tensor that a loop reads slice by slice.

Each read gives an `embed` into zeros of the whole tensor, and their sum would add the whole tensor once a read. Where
every part fills another position of one dim, the sum is one array that is written part by part.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ..graph import Graph, Node, rewired
from ..ops import CATALOGUE
from .eliminate import eliminate_dead

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
    if EMBED not in {node.op for node in graph.nodes}:
        return graph
    reads = Counter(chain.from_iterable([node.inputs for node in graph.nodes]))
    reads.update(graph.roots())
    sums: dict[Any, _Sum] = {}
    known = sums.keys()
    absorbed: set[Node] = set()
    for node in graph.nodes:
        if node.op is EMBED:
            _, index = node.attrs
            dim = next((d for d, entry in enumerate(index) if entry.__class__ is int), None)
            if dim is not None and None not in index:
                sums[node] = _Sum([node.inputs[0]], [index], dim, {index[dim]})
        elif node.op is ADD and not known.isdisjoint(node.inputs):
            first, second = node.inputs
            if first in sums and second in sums and reads[first] == reads[second] == 1:
                merged = _merged(sums[first], sums[second])
                if merged is not None:
                    absorbed.update(node.parents())
                    sums[node] = merged
    chosen = {node: found for node, found in sums.items() if node not in absorbed and len(found.parts) > 1}
    if not chosen:
        return graph
    new: dict[Any, Node] = {}
    nodes = []
    for node in graph.nodes:
        found, made = chosen.get(node), rewired(node, new)
        if found:
            parts = tuple([new.get(i, i) for i in found.parts])  # a part may hold a sum itself
            made = Node(EMBED_SUM, parts, (node.type.shape, tuple(found.indices)), node.type, node.name, node.origin)
        if made is not node:
            new[node] = made
        nodes.append(made)
    return eliminate_dead(graph.map_roots(nodes, lambda o: new.get(o, o)))


def _merged(a: _Sum, b: _Sum) -> _Sum | None:
    """Both sums in the larger one's place; None where their parts may meet, or they are one and the same."""
    large, small = (a, b) if len(a.parts) >= len(b.parts) else (b, a)
    if a is b or a.dim != b.dim or not large.taken.isdisjoint(small.taken):
        return None
    large.parts += small.parts
    large.indices += small.indices
    large.taken |= small.taken
    return large
