"""Splits a graph and its derivative into a forward graph that saves values and a backward graph that reads them.

Backward reads values of the forward graph. Each of them is saved, or computed again from inputs and other saved values,
whichever choice for all of them together costs least: a minimum cut. (The idea is that of "min-cut rematerialisation"
as in PyTorch's AOTAutograd; there operations are forbidden or free to be computed again, here they have a price.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from ..graph import Graph, Node, make_node
from ..ops import INPUT
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
    return make_node(INPUT, (), (), node.type, node.name, node.origin)


def _rewired(nodes: Iterable[Node], new: dict[Any, Node]) -> list[Node]:
    """The nodes on what `new` has for their operands; it takes what they have become."""
    unchanged, become = new.keys().isdisjoint, new.get
    result = []
    for node in nodes:
        operands = node.inputs
        if not unchanged(operands):
            new[node] = node = make_node(node.op, tuple([become(i, i) for i in operands]), node.attrs, node.type,
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
    kind, dtype = node.op.kind, node.type.dtype
    cost = node.op.cost if kind == "pointwise" else FIXED.get(kind)
    if cost is None:
        return ENDLESS
    widest = dtype.itemsize
    for operand in node.inputs:
        if operand.__class__ is Node and operand.type.dtype is not dtype:
            widest = max(widest, operand.type.dtype.itemsize)
    return round(cost * node.type.numel * widest)


def storage(node: Node) -> int:
    """The price of saving a value."""
    return ARRAY + BYTE * node.type.nbytes


def worth_saving(graph: Graph, read: set[Any]) -> set[Node]:
    """The values to save such that those in `read` can be had at the lowest price, none of them from afar."""
    prices: dict[Node, int] = {}  # of computing again
    paths: dict[Any, int] = {}  # of computing again from what is at hand, where that is neither free nor impossible
    far = paths.keys()
    kept: set[Node] = set()
    given: dict[Any, int] = {node: node.type.nbytes for node in graph.inputs}  # and views of them: bytes to be loaded
    for node in graph.nodes:
        prices[node] = path = price = work(node)
        if node.op.kind == "view" and node.inputs[0] in given:  # of that nothing is to be decided
            given[node] = min(node.type.nbytes, given[node.inputs[0]])
        elif price < ENDLESS:
            for operand in far & node.inputs:
                path += paths[operand]
        if node in read and (price >= (price_of_saving := storage(node)) or path > FAR * price_of_saving):
            kept.add(node)
        elif 0 < path < ENDLESS:
            paths[node] = path
    again = set(read)
    undecided: list[Node] = []
    for node in reversed(graph.nodes):
        if node in again and node not in kept and node not in given:
            undecided.append(node)
            if prices[node] < ENDLESS:
                again.update(node.inputs)
    undecided.reverse()
    loaded = read | kept
    solved: dict[Any, list[int]] = {}  # the periods of an unrolled loop are equal problems
    for group in _groups(undecided, prices):
        for part, wanted in _parts(group, read):
            problem = _described(part, prices, wanted, loaded, given)
            cheapest = solved.get(problem)
            if cheapest is None:
                cheapest = solved[problem] = _cheapest(*problem)
            kept.update([part[i] for i in cheapest])
    return kept


def _groups(nodes: list[Node], prices: dict[Node, int]) -> list[list[Node]]:
    """Values that depend on each other by way of values that can be computed again."""
    head: dict[Any, Any] = {}

    def leader(node: Any) -> Any:
        while (above := head[node]) is not node:
            head[node] = node = head[above]
        return node

    for node in nodes:
        head[node] = node
        if prices[node] < ENDLESS:
            for operand in node.inputs:
                if operand in head:
                    head[leader(operand)] = leader(node)
    groups: defaultdict[Node, list[Node]] = defaultdict(list)
    for node in nodes:
        groups[leader(node)].append(node)
    return list(groups.values())


def _parts(group: list[Node], read: set[Any]) -> Iterator[tuple[list[Node], set[Any]]]:
    """A group cut to parts that are quickly decided, each with what backward or a later part has to have of it."""
    if len(group) <= LARGEST:
        yield group, read
        return
    number = {node: i // LARGEST for i, node in enumerate(group)}
    wanted = read | {parent for node in group for parent in node.parents() if number.get(parent) != number[node]}
    for i in range(0, len(group), LARGEST):
        yield group[i : i + LARGEST], wanted


def _described(
    part: list[Node], prices: dict[Node, int], wanted: set[Any], loaded: set[Any], given: dict[Any, int]
) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """What decides which values of a part are saved.

    Of each value the price of computing it again, its bytes, whether it is wanted, and operands: positions in the part
    or, from -1 down, among the inputs that aren't `loaded` in any case. And the inputs' bytes, for some as `given`.
    """
    places: dict[Any, int] = {}
    sizes: list[int] = []
    values = []
    for position, node in enumerate(part):
        places[node] = position
        size, price = node.type.nbytes, prices[node]
        operands = []
        for operand in node.inputs if price < ENDLESS else ():
            place = places.get(operand)
            if place is None:
                if operand in loaded or operand.__class__ is not Node:
                    continue
                place = places[operand] = ~len(sizes)
                sizes.append(given.get(operand, operand.type.nbytes))
            operands.append(place)
        values.append((price, size, node in wanted, *operands))
    return tuple(values), tuple(sizes)


def _cheapest(values: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> list[int]:
    """The positions of the values to save. Each is two nodes of a network: its operands at hand, and the value at hand.

    On the sink's side stands what backward has at hand. It pays for a value to be computed (the edge from the source),
    or saved (the edge between the two), and for an input to be loaded.
    """
    again = sum([price + LOADED * size * len(operands) for price, size, _, *operands in values])
    if again <= ARRAY + BYTE * min([size for _, size, *_ in values]):
        return []  # whatever is saved costs more than to compute all of it again
    network = Network()
    places: list[tuple[int, int]] = []
    inputs = [network.node() for _ in sizes]
    reads = [0] * len(inputs)  # bytes
    for price, size, wanted, *found in values:
        operands, value = network.node(), network.node()
        places.append((operands, value))
        network.edge(0, operands, price)
        network.edge(operands, value, ARRAY + BYTE * size)
        if wanted:
            network.edge(value, 1, ENDLESS)
        for place in found:
            network.edge(inputs[~place] if place < 0 else places[place][1], operands, ENDLESS)
            if place < 0:
                reads[~place] += size
    for node, size, read in zip(inputs, sizes, reads, strict=True):
        network.edge(0, node, LOADED * min(size, read))
    near = network.source_side()
    return [i for i, (operands, value) in enumerate(places) if near[operands] and not near[value]]


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
