"""Dead code elimination."""

from __future__ import annotations

from dataclasses import replace

from ..graph import Graph, Node

__all__ = ["eliminate_dead"]


def eliminate_dead(graph: Graph) -> Graph:
    """The graph without the nodes that no output, saved value or guard depends on."""
    alive: set[object] = set(graph.roots())
    kept: list[Node] = []
    reach, keep = alive.update, kept.append
    for node in reversed(graph.nodes):
        if node in alive:
            reach(node.inputs)
            keep(node)
    if len(kept) == len(graph.nodes):
        return graph
    kept.reverse()
    return replace(graph, nodes=tuple(kept))
