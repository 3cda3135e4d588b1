"""Fusion: which operations share one kernel.

Pointwise operations and reductions over one index space in one stage (`stages.py`) can share a kernel without making a
cycle, since every crossing of a kernel's boundary leads to a later stage. Those that are connected, by an edge or by
reading the same memory, do share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from retape.ir import Graph
from retape.ir.graph import Node
from retape.ir.shapes import Shape

from .loops import parts
from .regions import cuts
from .rows import KEPT, is_alias, kept_in_row, sections
from .stages import MEMORY, Stages, from_memory

__all__ = ["Group", "Plan", "fuse"]

STATEMENTS = 400  # longer functions take more than linear time to compile
UNCUT = 96  # operations from which on a kernel is searched for the periods of an unrolled loop
WINDOW = 12  # operations in a row that are alike where a loop's body begins again
PERIODS = 48  # of an unrolled loop, periods up to this length together become one kernel
AGAIN = 2.0  # additions that a kernel spends on a value rather than have it stored beside the one it comes from


@dataclass(eq=False, slots=True)
class Group:
    """Operations over one index space that become one kernel, in order.

    Where reductions are read in the kernel itself, the first `rows` dims are its rows, and `rowwise` holds the values
    that are one number a row.
    """

    stage: int
    space: Shape
    nodes: list[Node] = field(default_factory=list)
    rows: int = 0
    rowwise: frozenset[Node] = frozenset()


@dataclass(slots=True)
class Plan:
    """The kernels and other steps of a graph in an order that respects every dependence.

    `stored` holds the fused values that must be written to memory, `inlined` those that every kernel that reads them
    computes for itself: single elements, and elements of pieces.
    """

    steps: list[Group | Node]
    stored: set[Node]
    inlined: set[Node]


def fuse(graph: Graph, strict: bool = False) -> Plan:
    """Group the operations of a graph into kernels; `strict` leaves sums and products to eager execution."""
    stages = Stages(graph, strict)
    stages.delay(graph)
    inlined = {*stages.small, *(node for node in stages.fused if node.op.kind in ("piecewise", "moved"))}
    groups = _components(graph, stages, inlined)
    home = {node: group for group in groups for node in group.nodes}
    stored = _stored(graph, stages, home, inlined)
    again = _computed_again(graph, stages, home, stored)
    inlined |= again
    stored -= again
    # a single element that every reader computes for itself needs no kernel
    used = [g for g in groups if any(node in stored for node in g.nodes)]
    others: list[Group | Node] = [
        n for n in graph.nodes if n not in stages.fused and n.op.kind not in ("view", "source")]
    position = {node: i for i, node in enumerate(graph.nodes)}

    def key(step: Group | Node) -> tuple[int, int]:
        if isinstance(step, Group):
            return step.stage, position[step.nodes[0]]
        return stages.stage[step], position[step]

    return Plan(sorted([*used, *others], key=key), stored, inlined)


def _components(graph: Graph, stages: Stages, inlined: set[Node]) -> list[Group]:
    """Connected operations of one stage and space, cut where a kernel would grow too long."""
    leader: dict[Node, Node] = {}

    def find(node: Node) -> Node:
        up = leader[node]
        while up is not node:
            leader[node] = up = leader[up]
            node, up = up, leader[up]
        return node

    stage_of, space_of = stages.stage, stages.space
    readers: dict[tuple[int, Shape, Node], Node] = {}
    for node in graph.nodes:
        space = space_of.get(node)
        if space is None:
            continue
        own = leader[node] = node
        stage, rows, memory = stage_of[node], stages.reads_rows(node), node.op.kind in MEMORY
        for position, parent in enumerate(node.inputs):
            if not isinstance(parent, Node):
                continue
            if stage_of.get(parent) == stage and space_of.get(parent) == space and stages.joins(parent, space, rows) \
                    and not (memory and from_memory(node, position)):
                other = find(parent)
            elif parent not in inlined and parent.type.numel > 1:
                other = find(readers.setdefault((stage, space, parent), node))
            else:
                continue
            if other is not own:
                leader[own] = own = other
    members: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        if node in stages.fused:
            members.setdefault(find(node), []).append(node)
    return [_group(part, stages) for nodes in members.values() for part in _cut(nodes)]


def _group(nodes: list[Node], stages: Stages) -> Group:
    """One kernel's operations; it has rows if it reads what it has reduced, or goes on with what another has."""
    group = Group(stages.stage[nodes[0]], stages.space[nodes[0]], nodes)
    rowwise = frozenset(node for node in nodes if node in stages.rowwise) if stages.rowwise else frozenset()
    if any(map(stages.reads_rows, rowwise)) or (rowwise and any(p in rowwise for node in nodes for p in node.inputs)):
        group.rows, group.rowwise = stages.rows[group.space], rowwise
    return group


def _cut(nodes: list[Node]) -> list[list[Node]]:
    """Parts of bounded length. Unrolled loops are cut at their period, so that equal parts share one kernel."""
    longest = STATEMENTS // _copies(nodes)
    if len(nodes) <= min(UNCUT, longest):
        return [nodes]
    shapes = [hash((node.op, node.type.dtype, node.type.shape, node.attrs if node.op.kind == "pointwise" else None,
                    *[i.op for i in node.inputs if isinstance(i, Node)])) for node in nodes]
    parts, start = [], 0
    while start < len(nodes):
        end = min(start + longest, len(nodes))
        first, window = shapes[start], shapes[start : start + WINDOW]
        again = next((i for i in range(start + WINDOW, end)
                      if shapes[i] == first and shapes[i : i + WINDOW] == window), end)
        # whole periods, as many as keep the part short
        period = again - start
        while again + period <= start + PERIODS and again + period < len(nodes) \
                and shapes[again + period : again + period + WINDOW] == window:
            again += period
        parts.append(nodes[start:again])
        start = again
    return parts if len(parts) > 2 or len(nodes) > longest // 2 else [nodes]  # twice the same is no loop


def _copies(nodes: list[Node]) -> int:
    """How often a kernel's statements are written: once for each part of its loops."""
    known: dict[int, set[int]] = {}
    shape: Shape = ()
    for node in nodes:
        if node.op.name in ("chosen", "pieces"):
            shape = node.type.shape
            for d, places in enumerate(cuts(shape, node.attr("indices"))):
                known.setdefault(d, set()).update(places)
    written = [parts(sorted(places), shape[d], d == len(shape) - 1) for d, places in known.items()]
    return prod(sum(own for _, _, own in found) + (not all(own for _, _, own in found)) for found in written)


def _stored(graph: Graph, stages: Stages, home: dict[Node, Group], inlined: set[Node]) -> set[Node]:
    """The fused values that something outside their kernel reads, and what a kernel can't keep of a row."""
    stored = {_source(node, stages) for node in graph.roots() if node in stages.fused}
    for node in graph.nodes:
        for position, parent in enumerate(node.inputs):
            if not isinstance(parent, Node) or parent not in stages.fused:
                continue
            inside = node in stages.fused and (home[parent] is home[node] or parent in inlined) \
                and not from_memory(node, position)
            if not inside:
                stored.add(_source(parent, stages))
    for group in dict.fromkeys(home.values()):
        if group.rows:
            stored.update(_too_many(group, stored, inlined))
    return stored


def _computed_again(graph: Graph, stages: Stages, home: dict[Node, Group], stored: set[Node]) -> set[Node]:
    """The stored values that their readers had better compute again: a number times another stored value, say.

    Nothing more is read, and something less is written.
    """
    kept = {*graph.roots(), *(p for node in graph.nodes for position, p in enumerate(node.inputs)
                              if isinstance(p, Node) and p in stored and not (
                                  node in home and home[node].space == home[p].space and not home[node].rows
                                  and stages.space[node] == stages.space[p] and not from_memory(node, position)))}
    found: dict[Node, float] = {}
    for node in graph.nodes:
        if node not in stored or node in kept or node.op.kind != "pointwise" or home[node].rows:
            continue
        sources = list(node.parents())
        source = sources[0]
        if len(sources) == 1 and source.type.shape == node.type.shape \
                and source.type.dtype.itemsize <= node.type.dtype.itemsize \
                and (source in found or source in stored or source not in stages.fused):
            cost = node.op.cost + found.get(source, 0.0)
            if cost <= AGAIN:
                found[node] = cost
    return set(found)


def _too_many(group: Group, stored: set[Node], inlined: set[Node]) -> list[Node]:
    """What the sections of a kernel over rows have to hand on beyond what it can keep."""
    own = set(group.nodes)
    inside = [(node, p) for node in group.nodes for position, p in enumerate(node.inputs)
              if isinstance(p, Node) and p in own and not from_memory(node, position)]
    known = {*group.rowwise, *(own & stored), *inlined}
    return kept_in_row(group.nodes, inside, sections(group.nodes, inside), known)[KEPT:]


def _source(node: Node, stages: Stages) -> Node:
    """The value whose elements a fused node's are, where it only names them otherwise."""
    while is_alias(node) and node in stages.fused:
        source = node.inputs[0]
        assert isinstance(source, Node)
        node = source
    return node
