"""Splits a graph and its derivative into a forward graph that saves values and a backward graph that reads them.

Backward reads values of the forward graph. Each of them is saved, or computed again from inputs and other saved values,
whichever choice for all of them together costs least: a minimum cut. (The idea is that of "min-cut rematerialisation"
as in PyTorch's AOTAutograd; there operations are forbidden or free to be computed again, here they have a price.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from ..graph import Graph, Node, input_node, make_node
from .cut import ENDLESS, Network
from .differentiate import Joint
from .eliminate import eliminate_dead

__all__ = ["backward_graph", "partition"]

FIXED = {"view": 0.0, "source": 1.0}  # the work of an element by kind, where it isn't the operation's own
# Prices in additions of eight-byte numbers, times eight, so that most are whole: of a byte, and of an array besides.
BYTE = 8  # stored and loaded again
LOADED = 4  # loaded alone
ARRAY = 800
FAR = 4  # the price of a way from what is saved, in storages: on longer ones backward would store what it computes
LARGEST = 1000  # values that are decided together


def backward_graph(joint: Joint) -> Graph:
    """The whole derivative as one graph: cotangents and the graph's inputs to gradients, nothing saved."""
    graph = joint.graph
    new: dict[Any, Node] = {node: _as_input(node) for node in graph.inputs}
    inputs = (*joint.cotangents, *new.values())
    nodes = _rewired((*graph.nodes, *joint.nodes), new)
    return eliminate_dead(Graph(f"{graph.name}_bwd", inputs, tuple(nodes),
                                tuple([new.get(node, node) for node in joint.gradients]), "backward", graph.of))


def partition(joint: Joint) -> tuple[Graph, Graph]:
    """The forward graph, returning outputs and saved values, and the backward graph of cotangents and saved values."""
    graph = joint.graph
    nodes, read = _needed(joint)
    kept = worth_saving(graph, read)
    again, leaves = _chain(graph, read, kept)
    saved = tuple([node for node in (*graph.inputs, *graph.nodes) if node in leaves])
    forward = replace(graph, name=f"{graph.name}_fwd", kind="forward", saved=saved)
    new: dict[Any, Node] = {node: _as_input(node) for node in saved}
    recomputed = []
    for node in again:
        copy = make_node(node.op, tuple([new[i] if i.__class__ is Node else i for i in node.inputs]), node.attrs,
                         node.type, node.name, f"remat {node.name}")
        new[node] = copy
        recomputed.append(copy)
    inputs = (*joint.cotangents, *[new[node] for node in saved])
    backward = Graph(f"{graph.name}_bwd", inputs, (*recomputed, *_rewired(nodes, new)),
                     tuple([new.get(node, node) for node in joint.gradients]), "backward", graph.of)
    return eliminate_dead(forward), backward


def _as_input(node: Node) -> Node:
    return input_node(node.name, node.type, node.origin)


def _rewired(nodes: Iterable[Node], new: dict[Any, Node]) -> list[Node]:
    """The nodes on what `new` has for their operands; it takes what they have become."""
    changed = new.keys()
    result = []
    for node in nodes:
        if not changed.isdisjoint(node.inputs):
            new[node] = node = make_node(node.op, tuple([new.get(i, i) for i in node.inputs]), node.attrs, node.type,
                                         node.name, node.origin)
        result.append(node)
    return result


def _needed(joint: Joint) -> tuple[list[Node], set[Any]]:
    """The derivative's nodes that a gradient depends on, and the values of the graph that they read."""
    read: set[Any] = set(joint.gradients)
    kept: list[Node] = []
    for node in reversed(joint.nodes):
        if node in read:
            read.update(node.inputs)
            kept.append(node)
    kept.reverse()
    return kept, read.intersection(chain(joint.graph.inputs, joint.graph.nodes))


def work(node: Node) -> int:
    """The price of computing a value again from its operands."""
    kind = node.op.kind
    cost = node.op.cost if kind == "pointwise" else FIXED.get(kind)
    if cost is None:
        return ENDLESS
    widest = max([node.type.dtype.itemsize, *[parent.type.dtype.itemsize for parent in node.parents()]])
    return round(cost * node.type.numel * widest)


def storage(node: Node) -> int:
    """The price of saving a value."""
    return ARRAY + BYTE * node.type.nbytes


def worth_saving(graph: Graph, read: set[Node]) -> set[Node]:
    """The values to save such that those in `read` can be had at the lowest price, none of them from afar."""
    prices: dict[Node, int] = {}  # of computing again
    paths: dict[Any, int] = {}  # of computing again from what is at hand
    kept: set[Node] = set()
    for node in graph.nodes:
        prices[node] = price = work(node)
        path = price + sum([paths.get(operand, 0) for operand in {*node.inputs}])
        if node in read and (price >= storage(node) or path > FAR * storage(node)):
            kept.add(node)
        paths[node] = 0 if node in kept or price == ENDLESS else path
    again: set[Any] = read - kept
    for node in reversed(graph.nodes):
        if node in again and prices[node] < ENDLESS:
            again.update(parent for parent in node.parents() if parent not in kept)
    undecided = {node: prices[node] for node in graph.nodes if node in again}
    loaded = read | kept
    solved: dict[Any, list[bool]] = {}  # the periods of an unrolled loop make equal networks
    for group in _groups(undecided):
        most = sum([undecided[n] + LOADED * n.type.nbytes * len(n.inputs) for n in group])
        if most > min(map(storage, group)):  # else it is cheapest to compute all of it again
            for part, wanted in _parts(group, read):
                kept |= _cheapest(part, undecided, wanted, loaded, solved)
    return kept


def _groups(prices: dict[Node, int]) -> list[list[Node]]:
    """Values that depend on each other by way of values that can be computed again."""
    head: dict[Node, Node] = {}

    def leader(node: Node) -> Node:
        while (above := head[node]) is not node:
            head[node] = node = head[above]
        return node

    for node, price in prices.items():
        head[node] = node
        if price < ENDLESS:
            for parent in node.parents():
                if parent in head:
                    head[leader(parent)] = leader(node)
    groups: defaultdict[Node, list[Node]] = defaultdict(list)
    for node in prices:
        groups[leader(node)].append(node)
    return list(groups.values())


def _parts(group: list[Node], read: set[Node]) -> Iterator[tuple[list[Node], set[Node]]]:
    """A group cut to parts that are quickly decided, each with what backward or a later part has to have of it."""
    parts = [group[i : i + LARGEST] for i in range(0, len(group), LARGEST)]
    wanted = read
    if len(parts) > 1:
        number = {node: i // LARGEST for i, node in enumerate(group)}
        wanted = read | {parent for node in group for parent in node.parents() if number.get(parent) != number[node]}
    for part in parts:
        yield part, wanted


def _cheapest(
    part: list[Node], prices: dict[Node, int], wanted: set[Node], loaded: set[Node], solved: dict[Any, list[bool]]
) -> set[Node]:
    """The values of a part to save. Each is two nodes of a network: its operands at hand, and the value at hand.

    On the sink's side stands what backward has at hand. It pays for a value to be computed (the edge from the source),
    or saved (the edge between the two), and for an input that isn't `loaded` in any case.
    """
    network = Network()
    places: dict[Node, tuple[int, int]] = {}
    inputs: dict[Node, tuple[int, int]] = {}  # the place, and the bytes that are read
    for node in part:
        operands, value = places[node] = network.node(), network.node()
        network.edge(0, operands, prices[node])
        network.edge(operands, value, storage(node))
        if node in wanted:
            network.edge(value, 1, ENDLESS)
        for parent in node.parents() if prices[node] < ENDLESS else ():
            if parent in places:
                network.edge(places[parent][1], operands, ENDLESS)
            elif parent not in loaded:
                place, size = inputs.get(parent) or (network.node(), 0)
                inputs[parent] = place, min(size + node.type.nbytes, parent.type.nbytes)
                network.edge(place, operands, ENDLESS)
    for place, size in inputs.values():
        network.edge(0, place, LOADED * size)
    form = (*network.ends, -1, *network.room)
    near = solved.get(form)
    if near is None:
        near = solved[form] = network.source_side()
    return {node for node, (operands, value) in places.items() if near[operands] and not near[value]}


def _chain(graph: Graph, read: set[Any], kept: set[Node]) -> tuple[list[Node], set[Any]]:
    """The nodes that are computed again to have what is `read`, and what they start from: `kept` values and inputs."""
    wanted = set(read)
    again: list[Node] = []
    for node in reversed(graph.nodes):
        if node in wanted and node not in kept:
            wanted.update(node.inputs)
            again.append(node)
    again.reverse()
    return again, (wanted | kept).difference(again)
