"""Dead code elimination."""

from __future__ import annotations

from dataclasses import replace

from ..graph import Graph, Node

__all__ = ["eliminate_dead"]


def eliminate_dead(graph: Graph) -> Graph:
    """The graph without the nodes that no output, saved value or guard depends on."""
    alive: set[Node] = set(graph.roots())
    for node in reversed(graph.nodes):
        if node in alive:
            alive.update(node.parents())
    if all(node in alive for node in graph.nodes):
        return graph
    return replace(graph, nodes=tuple(node for node in graph.nodes if node in alive))
