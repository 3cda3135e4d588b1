"""Groups sums of `embed`s by where they embed: an unrolled loop reads the same slice of an array in every step.

Each read gives an `embed` into zeros of the whole array. Those at one index are an `embed` of the sum of their
operands:

    embed(a, index) + embed(b, index) = embed(a + b, index).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from itertools import chain
from typing import Any

from ..builder import GraphBuilder, value_key
from ..graph import Graph, Node, Operand, rewired
from ..ops import CATALOGUE
from .eliminate import eliminate_dead

__all__ = ["group_embeds"]

ADD, EMBED = CATALOGUE["add"], CATALOGUE["embed"]


def group_embeds(graph: Graph) -> Graph:
    """The graph in which no sum has two `embed`s of a small part of an array at one index.

    Single elements are left where they are: a sum of each of them would be more work than one of the whole arrays. So
    are parts that fill most of an array: loops over the whole can read them where they are.
    """
    while "embed" in graph.op_names and (sums := _repeating(graph)):  # what is embedded may be a sum of embeds again
        graph = _rebuilt(graph, sums)
    return graph


def _repeating(graph: Graph) -> dict[Node, list[list[Node]]]:
    """The sums that have several `embed`s at one index, with their terms, those that belong together side by side."""
    embeds = [node for node in graph.nodes if node.op is EMBED]
    keys = {id(attrs): value_key(attrs) for attrs in {id(node.attrs): node.attrs for node in embeds}.values()}
    index: dict[Any, Any] = {node: keys[id(node.attrs)] for node in embeds if _is_part(node)}
    if len(set(index.values())) == len(index):
        return {}
    reads = Counter(chain.from_iterable([node.inputs for node in graph.nodes]))
    reads.update(graph.roots())
    index = {node: key for node, key in index.items() if reads[node] == 1}
    added = {*index}
    sums: dict[Any, None] = {}
    for node in graph.nodes:
        if node.op is ADD and not added.isdisjoint(node.inputs) and _is_plain(node):
            sums[node] = None
            added.add(node)
    found: dict[Node, list[list[Node]]] = {}
    inner: set[Node] = set()
    for node in reversed(sums):
        if node not in inner:
            terms = _terms(node, sums, reads, inner)
            groups: dict[Any, list[Node]] = {}
            for number, term in enumerate(terms):
                groups.setdefault(index.get(term, number), []).append(term)
            if len(groups) < len(terms):
                found[node] = [*groups.values()]
    return found


def _is_plain(node: Node) -> bool:
    """Whether a sum is one of two arrays of its own type."""
    return all(i.__class__ is Node and (i.type is node.type or i.type == node.type) for i in node.inputs)


def _is_part(embed: Node) -> bool:
    """Whether what is embedded is worth a sum of its own."""
    return 1 < next(embed.parents()).type.numel <= embed.type.numel // 2


def _terms(top: Node, sums: Container[Node], reads: Counter[Any], inner: set[Node]) -> list[Node]:
    """What a tree of `sums` adds up, in order; those below the top are noted as `inner`."""
    terms: list[Node] = []
    stack = [*top.parents()][::-1]
    while stack:
        term = stack.pop()
        if term in sums and reads[term] == 1:
            inner.add(term)
            first, second = term.parents()
            stack += (second, first)
        else:
            terms.append(term)
    return terms


def _rebuilt(graph: Graph, sums: dict[Node, list[list[Node]]]) -> Graph:
    b = GraphBuilder(consing=False)
    b.reserve(chain(graph.inputs, graph.nodes))
    new: dict[Any, Operand] = {}
    changed, nodes = new.keys(), b.nodes
    for node in graph.nodes:
        if node in sums:
            b.origin = node.origin
            new[node] = _grouped(b, sums[node], new)
            continue
        made = node
        if not changed.isdisjoint(node.inputs):
            made = new[node] = rewired(node, new)
        nodes.append(made)
    return eliminate_dead(graph.map_roots(b.nodes, lambda o: new.get(o, o)))


def _grouped(b: GraphBuilder, groups: list[list[Node]], new: dict[Any, Operand]) -> Any:
    """The sum of all terms, one for each group."""
    total: Any = None
    for first, *others in groups:
        term: Any = new.get(first, first)
        if others:
            term = new.get(first.inputs[0], first.inputs[0])
            type = None
            for other in others:
                part: Any = new.get(other.inputs[0], other.inputs[0])
                if term.type is type and part.type is type:  # the type that sums of two such have
                    term = b.append(ADD, (term, part), (), type)
                    continue
                same = term.type is part.type
                term = b.add(term, part)
                type = term.type if same and term.type is part.type else None
            term = b.emit(first.op, (term,), first.attrs)
        total = term if total is None else b.add(total, term)
    return total
