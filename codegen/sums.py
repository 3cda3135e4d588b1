"""Long sums in the order in which their terms are ready.

The gradient of a value that every step of a loop reads is a sum with a term a step. Terms may be ready in another order
than the one in which they are added: then all of them would be kept in memory until the first is.
"""

from __future__ import annotations

from typing import Any

from retape.ir import Graph
from retape.ir.graph import Node, Operand, users_of
from retape.ir.types import FLOAT

from .stages import Stages

__all__ = ["order_sums"]

TERMS = 8  # sums of fewer are left alone


def order_sums(graph: Graph) -> Graph:
    """The graph with each long chain of additions in the order of its terms' stages."""
    chains = _chains(graph)
    if not chains:
        return graph
    stages = Stages(graph).stage
    moved: dict[Node, list[Node]] = {}
    for last, (links, terms) in chains.items():
        ordered = sorted(terms, key=lambda term: stages.get(term, 0))
        if ordered != terms:
            moved[last] = ordered
            for link in links:
                moved.setdefault(link, [])
    if not moved:
        return graph
    new: dict[Any, Operand] = {}
    nodes: list[Node] = []
    for old in graph.nodes:
        if old not in moved:
            inputs = tuple([new.get(i, i) for i in old.inputs])
            node = old if inputs == old.inputs else Node(old.op, inputs, old.attrs, old.type, old.name, old.origin)
            nodes.append(node)
            if node is not old:
                new[old] = node
        elif moved[old]:
            terms = moved[old]
            total: Operand = new.get(terms[0], terms[0])
            for number, term in enumerate(terms[1:], 2):
                name = old.name if number == len(terms) else f"{old.name}_{number}"
                total = Node(old.op, (total, new.get(term, term)), (), old.type, name, old.origin)
                nodes.append(total)
            new[old] = total
    return graph.map_roots(nodes, lambda o: new.get(o, o))


def _chains(graph: Graph) -> dict[Node, tuple[list[Node], list[Node]]]:
    """Chains of additions of one type, each link read by the next alone: the last link to the others and the terms."""
    users = users_of(graph)
    roots = set(graph.roots())
    chains: dict[Node, tuple[list[Node], list[Node]]] = {}
    for node in graph.nodes:
        if node.op.name != "add" or node.type.dtype.category < FLOAT \
                or not all(isinstance(i, Node) and i.type == node.type for i in node.inputs):
            continue
        first, second = node.parents()
        if second in chains and first not in chains:
            first, second = second, first
        if first in chains and users[first] == [node] and first not in roots:
            links, terms = chains.pop(first)
            links.append(first)
            terms.append(second)
            chains[node] = links, terms
        else:
            chains[node] = [], [first, second]
    return {last: chain for last, chain in chains.items() if len(chain[1]) >= TERMS}
