"""Fusion: which operations share one kernel.

Pointwise operations and reductions over one index space in one stage (`stages.py`) can share a kernel without making a
cycle, since every crossing of a kernel's boundary leads to a later stage. Those that are connected, by an edge or by
reading the same memory, do share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from math import prod
from operator import itemgetter

import numpy as np

from retape.ir import Graph
from retape.ir.graph import Node
from retape.ir.shapes import Shape

from .edges import Edges, Numbers, connected
from .loops import parts
from .regions import cuts
from .rows import KEPT, is_alias, kept_in_row, sections
from .stages import Stages, from_memory

__all__ = ["Group", "Plan", "fuse"]

STATEMENTS = 400  # longer functions take more than linear time to compile
UNCUT = 96  # operations from which on a kernel is searched for the periods of an unrolled loop
WINDOW = 12  # operations in a row that are alike where a loop's body begins again
PERIODS = 48  # of an unrolled loop, periods up to this length together become one kernel
AGAIN = 2.0  # additions that a kernel spends on a value rather than have it stored beside the one it comes from
MIXED = np.uint64(0x9E3779B97F4A7C15)  # an odd number without a pattern


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
    edges = Edges(graph)
    nodes, roots = edges.nodes, {edges.number[node] for node in graph.roots()}
    stages = Stages(edges, strict)
    stages.delay(roots)
    table = _Table(edges, stages)
    parts = [part for component in _components(table) for part in _cut(table, component)]
    groups = [_group(part, stages) for part in parts]
    table.home[list(chain.from_iterable(parts))] = np.repeat(
        np.arange(len(parts)), np.array(list(map(len, parts)), np.int64))
    stored = _stored(table, groups, roots)
    again = _computed_again(table, groups, stored, roots)
    stored -= again
    written = {nodes[number] for number in stored}
    # a single element that every reader computes for itself needs no kernel
    steps: list[tuple[tuple[int, int], Group | Node]] = [
        ((group.stage, part[0]), group) for part, group in zip(parts, groups, strict=True)
        if not written.isdisjoint(group.nodes)]
    steps += [((stages.stage[n], n), nodes[n]) for n in np.flatnonzero(~table.fused).tolist()
              if stages.stage[n] >= 0 and nodes[n].op.kind not in ("view", "source")]
    steps.sort(key=itemgetter(0))
    inlined = {nodes[number] for number in (*stages.small, *stages.moved, *again)}
    return Plan([step for _, step in steps], written, inlined)


class _Table:
    """What fusion asks of nodes (known by their numbers) and of edges, as arrays.

    `within` tells of edges whether operand and reader are computed over one space and the operand needn't lie in
    memory, `home` of nodes their group.
    """

    def __init__(self, edges: Edges, stages: Stages) -> None:
        self.edges, self.stages = edges, stages
        self.inlined = edges.among([*stages.small, *stages.moved])
        self.stage = np.array(stages.stage, np.int64)
        self.space = np.array(stages.space, np.int64)
        self.home = np.full(len(edges.nodes), -1)
        self.fused = self.space >= 0
        reader, parent = edges.reader, edges.parent
        self.within = self.fused[reader] & (self.space[reader] == self.space[parent])
        self.from_memory = edges.among(stages.memory)[reader]
        for edge in np.flatnonzero(self.from_memory).tolist():
            self.from_memory[edge] = from_memory(edges.nodes[reader[edge]], int(edges.place[edge]))
        self.within &= ~self.from_memory

    @cached_property
    def alike(self) -> Numbers:
        """Numbers that are equal for the nodes of an unrolled loop that do the same in each of its rounds."""
        found = np.array(self.stages.alike, np.int64)
        attributed: dict[object, int] = {}
        for number, node in enumerate(self.edges.nodes):
            if node.attrs and node.op.kind == "pointwise":
                found[number] = ~attributed.setdefault((int(found[number]), node.attrs), len(attributed))
        return found


def _components(table: _Table) -> list[list[int]]:
    """The numbers of connected operations of one stage and space."""
    edges, stages = table.edges, table.stages
    reader, parent, nodes = edges.reader, edges.parent, edges.nodes
    joined = table.within & (table.stage[reader] == table.stage[parent])
    rows = edges.among([number for number in stages.rowwise if stages.reads_rows(number)])[reader]
    elements = np.array(stages.elements, np.int64) >= 0
    for edge in np.flatnonzero(joined & (rows | ~elements[parent])).tolist():
        joined[edge] = stages.joins(int(parent[edge]), stages.space[reader[edge]], bool(rows[edge]))
    # those that read the same memory, but for single elements: each with the first of them
    beside = np.flatnonzero(table.fused[reader] & ~joined & ~table.inlined[parent] & stages.many[parent])
    shared = (table.stage[reader] * len(nodes) + table.space[reader]) * len(nodes) + parent
    _, first, which = np.unique(shared[beside], return_index=True, return_inverse=True)
    leader = connected(len(nodes), np.concatenate([reader[joined], reader[beside]]),
                       np.concatenate([parent[joined], reader[beside][first][which]]))
    members = np.flatnonzero(table.fused)
    members = members[np.argsort(leader[members], kind="stable")]
    ends = np.flatnonzero(np.diff(leader[members])) + 1
    return [part.tolist() for part in np.split(members, ends)] if len(members) else []


def _group(numbers: list[int], stages: Stages) -> Group:
    """One kernel's operations; it has rows if it reads what it has reduced, or goes on with what another has."""
    nodes = [stages.nodes[number] for number in numbers]
    space = stages.space[numbers[0]]
    group = Group(stages.stage[numbers[0]], stages.shapes[space], nodes)
    rowwise = stages.rowwise.intersection(numbers) if stages.rowwise else None
    if rowwise:
        known = frozenset([stages.nodes[number] for number in rowwise])
        if any(map(stages.reads_rows, rowwise)) or not all(known.isdisjoint(node.inputs) for node in nodes):
            group.rows, group.rowwise = stages.rows[space], known
    return group


def _cut(table: _Table, numbers: list[int]) -> list[list[int]]:
    """Parts of bounded length. Unrolled loops are cut at their period, so that equal parts share one kernel; what comes
    before a loop goes with its first period."""
    moved, nodes = table.stages.moved, table.edges.nodes
    longest = STATEMENTS // (_copies([nodes[number] for number in numbers if number in moved]) if moved else 1)
    if len(numbers) <= min(UNCUT, longest):
        return [numbers]
    again = _repeats(table.alike[numbers])
    parts, start = [], 0
    while start < len(numbers):
        end = min(start + longest, len(numbers))
        first = next((place for place in range(start, end) if again[place] < end), end)
        stop = again[first] if first < end else end
        # whole periods, as many as keep the part short
        period = stop - first
        while stop < len(numbers) and stop + period <= start + PERIODS and again[stop] == stop + period:
            stop += period
        parts.append(numbers[start:stop])
        start = stop
    return parts if len(parts) > 2 or len(numbers) > longest // 2 else [numbers]  # twice the same is no loop


def _repeats(kinds: Numbers) -> list[int]:
    """For each place the next one, `WINDOW` or more behind it, from which on as many operations are the same; beyond
    all places where there is none."""
    count, beyond = max(len(kinds) - WINDOW + 1, 0), len(kinds) + WINDOW
    window = np.zeros(count, np.uint64)  # hashes: that two are equal by chance would be a cut elsewhere, no harm
    for place in range(WINDOW):
        window = window * MIXED + kinds[place : place + count].astype(np.uint64)
    _, same = np.unique(window, return_inverse=True)
    here = same * beyond + np.arange(count)
    keys = np.append(np.sort(here), beyond * beyond)
    found: list[int] = (keys[np.searchsorted(keys, here + WINDOW)] - same * beyond).tolist()
    return found + [beyond] * (len(kinds) - count)


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


def _stored(table: _Table, groups: list[Group], roots: set[int]) -> set[int]:
    """The fused values that something outside their kernel reads, and what a kernel can't keep of a row."""
    edges, stages, home = table.edges, table.stages, table.home
    reader, parent = edges.reader, edges.parent
    inside = table.fused[reader] & ~table.from_memory & ((home[reader] == home[parent]) | table.inlined[parent])
    # not by `np.unique`: its first call imports masked arrays, 8 ms
    read = set(parent[table.fused[parent] & ~inside].tolist())
    stored = {_source(number, stages) for number in (*read, *(root for root in roots if stages.space[root] >= 0))}
    if stages.rows:
        inlined = {edges.nodes[number] for number in (*stages.small, *stages.moved)}
        for group in groups:
            if group.rows:
                known = {node for node in group.nodes if edges.number[node] in stored}
                stored.update([edges.number[node] for node in _too_many(group, known | inlined)])
    return stored


def _computed_again(table: _Table, groups: list[Group], stored: set[int], roots: set[int]) -> set[int]:
    """The stored values that their readers had better compute again: a number times another stored value, say.

    Nothing more is read, and something less is written.
    """
    edges, space = table.edges, table.stages.space
    rows = np.array([bool(group.rows) for group in groups], bool)
    kept = np.zeros(len(edges.nodes), bool)
    kept[edges.parent[~table.within]] = True
    if rows.any():
        kept[edges.parent[table.within & rows[table.home[edges.reader]]]] = True
    found: dict[int, float] = {}
    for number in np.flatnonzero(edges.among(stored) & ~kept).tolist():
        node = edges.nodes[number]
        if number in roots or node.op.kind != "pointwise" or groups[table.home[number]].rows:
            continue
        sources = edges.parents(number)
        source, type = sources[0], edges.nodes[sources[0]].type
        if len(sources) == 1 and type.shape == node.type.shape and type.dtype.itemsize <= node.type.dtype.itemsize \
                and (source in found or source in stored or space[source] < 0):
            cost = node.op.cost + found.get(source, 0.0)
            if cost <= AGAIN:
                found[number] = cost
    return set(found)


def _too_many(group: Group, known: set[Node]) -> list[Node]:
    """What the sections of a kernel over rows have to hand on beyond what it can keep; `known` is stored or inlined."""
    own = set(group.nodes)
    inside = [(node, p) for node in group.nodes for position, p in enumerate(node.inputs)
              if isinstance(p, Node) and p in own and not from_memory(node, position)]
    return kept_in_row(group.nodes, inside, sections(group.nodes, inside), known | group.rowwise)[KEPT:]


def _source(number: int, stages: Stages) -> int:
    """The value whose elements a fused node's are, where it only names them otherwise."""
    while stages.space[number] >= 0 and is_alias(stages.nodes[number]):
        (number,) = stages.edges.parents(number)
    return number
