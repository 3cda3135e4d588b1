"""Erases what only differentiation looks at."""

from __future__ import annotations

from typing import Any

from ..graph import Graph, Node, Operand

__all__ = ["erase_markers"]

MARKERS = frozenset({"clone", "detach", "opaque"})


def erase_markers(graph: Graph) -> Graph:
    """The graph with every `clone`, `detach` and `opaque` replaced by its operand: values stay, derivatives go."""
    if not any(node.op.name in MARKERS for node in graph.nodes):
        return graph
    new: dict[Node, Any] = {}

    def current(operand: Operand) -> Operand:
        return new.get(operand, operand) if isinstance(operand, Node) else operand

    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(map(current, node.inputs))
        if node.op.name in MARKERS:
            new[node] = inputs[0]
            continue
        if inputs != node.inputs:
            new[node] = Node(node.op, inputs, node.attrs, node.type, node.name, node.origin)
        nodes.append(new.get(node, node))
    return graph.map_roots(nodes, current)
