"""Long sums in the order in which their terms are ready.

The gradient of a value that every step of a loop reads is a sum with a term a step. Terms may be ready in another order
than the one in which they are added: then all of them would be kept in memory until the first is.
"""

from __future__ import annotations

from typing import Any

from retape.ir import CATALOGUE, Graph
from retape.ir.graph import Node, Operand, reads_of, rewired
from retape.ir.types import FLOAT

__all__ = ["order_sums"]

ADD = CATALOGUE["add"]
TERMS = 8  # sums of fewer are left alone


def order_sums(graph: Graph) -> Graph:
    """The graph with each long chain of additions in the order in which its terms are ready."""
    chains = _chains(graph)
    if not chains:
        return graph
    ready = _ready(graph)
    moved: dict[Node, list[Node]] = {}
    for last, (links, terms) in chains.items():
        ordered = sorted(terms, key=lambda term: ready.get(term, 0))
        if ordered != terms:
            moved[last] = ordered
            for link in links:
                moved.setdefault(link, [])
    if not moved:
        return graph
    new: dict[Any, Operand] = {}
    nodes: list[Node] = []
    changed = new.keys()
    for old in graph.nodes:
        if old not in moved:
            node = old
            if not changed.isdisjoint(old.inputs):
                node = new[old] = rewired(old, new)
            nodes.append(node)
        elif moved[old]:
            terms = moved[old]
            total: Operand = new.get(terms[0], terms[0])
            for number, term in enumerate(terms[1:], 2):
                name = old.name if number == len(terms) else f"{old.name}_{number}"
                total = Node(old.op, (total, new.get(term, term)), (), old.type, name, old.origin)
                nodes.append(total)
            new[old] = total
    return graph.map_roots(nodes, lambda o: new.get(o, o))


def _ready(graph: Graph) -> dict[Any, int]:
    """When each value is ready, about: how often memory must be gone through before, on the longest way to it.

    That is behind everything but a pointwise operation on values of its own shape, and views.
    """
    ready: dict[Any, int] = {}
    for node in graph.nodes:
        latest, type, pointwise = 0, node.type, node.op.kind == "pointwise"
        for operand in node.inputs:
            found = ready.get(operand, -1)
            if found >= latest:
                assert isinstance(operand, Node)
                near = pointwise and (operand.type is type or operand.type.shape == type.shape)
                latest = found if near or operand.op.kind == "view" else found + 1
        ready[node] = latest
    return ready


def _chains(graph: Graph) -> dict[Node, tuple[list[Node], list[Node]]]:
    """Chains of additions of one type, each link read by the next alone: the last link to the others and the terms."""
    sums = {node: None for node in graph.nodes if node.op is ADD and node.type.dtype.category >= FLOAT}
    linked = {operand for node in sums for operand in node.inputs if operand in sums}
    if len(linked) < TERMS - 2:
        return {}
    reads = reads_of(graph, linked)
    chains: dict[Any, tuple[list[Node], list[Node]]] = {}
    for node in sums:
        if node not in linked and linked.isdisjoint(node.inputs):
            continue
        first, second = node.inputs
        if not isinstance(first, Node) or not isinstance(second, Node) \
                or (first.type is not node.type and first.type != node.type) \
                or (second.type is not node.type and second.type != node.type):
            continue
        if second in chains and first not in chains:
            first, second = second, first
        if first in chains and reads[first] == 1:
            links, terms = chains.pop(first)
            links.append(first)
            terms.append(second)
            chains[node] = links, terms
        else:
            chains[node] = [], [first, second]
    return {last: found for last, found in chains.items() if len(found[1]) >= TERMS}
