"""Makes equal views one.

An unrolled loop reads the same part of an array in every step. What is one value has one cotangent, which is summed up
before it is put to its place in the array's: else every read gives zeros of the whole array with a part among them.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ..builder import value_key
from ..graph import Graph, Node, rewired

__all__ = ["share_views"]


def share_views(graph: Graph) -> Graph:
    """The graph in which no view equals an earlier one. What nothing changes stays the same node."""
    known: dict[Hashable, Node] = {}
    keys: dict[int, Hashable] = {}  # of attributes, which live as long as the graph
    new: dict[Any, Node] = {}
    changed = new.keys()
    nodes: list[Node] = []
    for old in graph.nodes:
        node = old if changed.isdisjoint(old.inputs) else rewired(old, new)
        if old.op.kind == "view":
            key = keys.get(id(old.attrs))
            if key is None:
                key = keys[id(old.attrs)] = value_key(old.attrs)
            found = known.setdefault((old.op, key, *node.inputs), node)
            if found is not node:
                new[old] = found
                continue
        if node is not old:
            new[old] = node
        nodes.append(node)
    return graph.map_roots(nodes, lambda o: new.get(o, o)) if new else graph
