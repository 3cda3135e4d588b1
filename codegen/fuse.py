"""Fusion: which operations share one kernel.

Every operation gets a stage: the number of kernel boundaries on the longest way to it. A boundary is crossed wherever a
value must lie in memory before it is read: behind reductions and library calls, through views, and where shapes differ.
A reduction that gives one number a row is no boundary for operations on the same rows (`rows.py`).
Pointwise operations and reductions over one index space in one stage can share a kernel without making a cycle, since
every crossing leads to a later stage. Those that are connected, by an edge or by reading the same memory, do share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from retape.ir import Graph
from retape.ir.graph import Node
from retape.ir.shapes import Shape
from retape.ir.types import BOOL, COMPLEX, FLOAT

from .regions import cuts
from .rows import KEPT, fits, is_alias, kept_in_row, row_dims, sections

__all__ = ["REDUCING", "Group", "Plan", "from_memory", "fuse", "is_fusable", "kernel_text", "rounds_by_order",
           "space_of", "stages_of"]

REDUCING = frozenset({"embed", "reduction", "scatter"})  # computed over their operand's space, complete behind the loop
STATEMENTS = 400  # longer functions take more than linear time to compile
UNCUT = 96  # operations from which on a kernel is searched for the periods of an unrolled loop
WINDOW = 12  # operations in a row that are alike where a loop's body begins again
PERIODS = 48  # of an unrolled loop, periods up to this length together become one kernel
AGAIN = 2.0  # additions that a kernel spends on a value rather than have it stored beside the one it comes from
INLINE = 8  # operations on single elements that a kernel repeats rather than wait for


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


def is_fusable(node: Node, strict: bool = False) -> bool:
    """Whether generated code can compute the node; if `strict`, in eager execution's order of additions."""
    kind, category = node.op.kind, node.type.dtype.category
    if kind in ("view", "source", "library") or category == COMPLEX or (strict and rounds_by_order(node)):
        return False
    first = None
    for operand in node.inputs:
        if isinstance(operand, Node):
            if operand.type.dtype.category == COMPLEX:
                return False
            first = first or operand
    if first is None:
        return False
    if kind == "pointwise":
        return kernel_text(node) is not None
    if kind == "reduction":
        return bool(node.op.kernel) and first.type.dtype.category != BOOL
    return kind in ("embed", "gather", "piecewise") or (kind == "scatter" and category != BOOL)


def rounds_by_order(node: Node) -> bool:
    """Whether the order of additions or multiplications decides the node's last bits."""
    if node.type.dtype.category < FLOAT:
        return False
    return node.op.name == "matmul" or node.op.kind == "scatter" \
        or (node.op.kind == "reduction" and node.op.kernel in ("radd", "rmul"))


def kernel_text(node: Node) -> str | None:
    """The scalar expression for the node's element types, or None where there is none."""
    op = node.op
    if op.name in ("where", "cast", "clone", "eq", "ne", "logical_and", "logical_or", "logical_not"):
        return op.kernel
    category = next(node.parents()).type.dtype.category
    if category == BOOL:
        return None
    if category < FLOAT and op.kernel_integer != "":
        return op.kernel_integer
    return op.kernel or None


def from_memory(node: Node, position: int) -> bool:
    """Whether an operand must lie in memory although the operation is fused: indices, what they select from, pieces."""
    return node.op.kind in ("gather", "piecewise") or (node.op.kind == "scatter" and position == 1)


def space_of(node: Node) -> Shape:
    """The index space a node is computed over: its shape, or its operand's where it reduces."""
    shape = node.type.shape
    if node.op.kind in REDUCING:
        operand = node.inputs[0]
        assert isinstance(operand, Node)
        shape = operand.type.shape
    return () if shape.count(1) == len(shape) else shape


class _Stages:
    """Stages of nodes, found in one walk.

    `space` is the index space of the kernel that a node may be in; `rows` tells for a space with reductions of its
    trailing dims how many dims lead, and `rowwise` holds the values of one number a row of their space.
    """

    def __init__(self, graph: Graph, strict: bool) -> None:
        self.strict = strict
        self.stage: dict[Node, int] = {}
        self.space: dict[Node, Shape] = {}
        self.fused: set[Node] = set()
        self.small: dict[Node, int] = {}
        self.rows: dict[Shape, int] = {}
        self.rowwise: set[object] = set()
        for node in graph.nodes:
            if node.op.kind == "reduction" and is_fusable(node, strict):
                self.rows.setdefault(space_of(node), row_dims(space_of(node), node.attr("axis")))
        for node in graph.nodes:
            self.visit(node)

    def available(self, node: Node) -> int:
        """The first stage that can read the node from memory."""
        if node not in self.stage:
            return 0
        if node.op.kind in ("view", "source") and node not in self.fused:
            return self.stage[node]
        return self.stage[node] + 1

    def visit(self, node: Node) -> None:
        fusable = is_fusable(node, self.strict)
        if not self.rowwise.isdisjoint(node.inputs) and self._hosted(node, fusable):
            return
        if not fusable:
            self.stage[node] = max((self.available(p) for p in node.parents()), default=0)
            return
        self.fused.add(node)
        space = self.space[node] = space_of(node)
        self.stage[node] = self._stage(node, space)
        if node.op.kind == "reduction":
            if self.rows[space] and row_dims(space, node.attr("axis")) == self.rows[space]:
                self.rowwise.add(node)
        elif not space and node.op.kind == "pointwise":
            work = 1 + sum(self.small.get(p, 0) if p in self.fused else 0 for p in node.parents())
            if work <= INLINE and all(p not in self.fused or p.op.kind in REDUCING or p in self.small
                                      for p in node.parents()):
                self.small[node] = work

    def reads_rows(self, node: Node) -> bool:
        """Whether a node is computed from one number a row."""
        return node in self.rowwise and node.op.kind != "reduction"

    def _stage(self, node: Node, space: Shape) -> int:
        """The first stage in which a kernel over `space` can compute the node."""
        stage = 0
        rows = self.reads_rows(node)
        for position, parent in enumerate(node.inputs):
            if isinstance(parent, Node):
                joined = self.joins(parent, space, rows) and not from_memory(node, position)
                found = self.stage[parent] if joined else self.available(parent)
                if found > stage:
                    stage = found
        return stage

    def _hosted(self, node: Node, fusable: bool) -> bool:
        """Let the kernel that has reduced rows to numbers go on with these, where that makes it no later."""
        if not (is_alias(node) or (node.op.kind == "pointwise" and fusable)):
            return False
        known = [p for p in node.parents() if p in self.rowwise and p.type.numel == node.type.numel]
        if not known or any(p.op.kind == "piecewise" for p in node.parents()):
            return False
        last = max(known, key=self.stage.__getitem__)
        self.rowwise.add(node)
        stage = self._stage(node, self.space[last])
        if stage > self.stage[last]:
            self.rowwise.remove(node)
            return False
        self.fused.add(node)
        self.space[node], self.stage[node] = self.space[last], stage
        return True

    def joins(self, parent: Node, space: Shape, rowwise: bool) -> bool:
        """Whether a kernel over `space` can compute `parent` itself for a reader of elements, or of rows."""
        if parent not in self.fused or parent.op.kind in ("embed", "scatter"):
            return False
        if parent in self.small:
            return True
        if parent.op.kind == "piecewise":
            return self.space[parent] == space
        if parent in self.rowwise:
            return self.space[parent] == space and (
                rowwise or fits(parent.type.shape, space, self.rows[space]))
        return parent.op.kind != "reduction" and self.space[parent] == space and not rowwise


def stages_of(graph: Graph) -> dict[Node, int]:
    """The stage of each operation, with products and sums in kernels where they can be."""
    return _Stages(graph, False).stage


def fuse(graph: Graph, strict: bool = False) -> Plan:
    """Group the operations of a graph into kernels; `strict` leaves sums and products to eager execution."""
    stages = _Stages(graph, strict)
    inlined = {*stages.small, *(node for node in stages.fused if node.op.kind == "piecewise")}
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


def _components(graph: Graph, stages: _Stages, inlined: set[Node]) -> list[Group]:
    """Connected operations of one stage and space, cut where a kernel would grow too long."""
    leader: dict[Node, Node] = {}

    def find(node: Node) -> Node:
        up = leader[node]
        while up is not node:
            leader[node] = up = leader[up]
            node, up = up, leader[up]
        return node

    readers: dict[tuple[int, Shape, Node], Node] = {}
    for node in graph.nodes:
        if node not in stages.fused:
            continue
        leader[node] = node
        space, stage, rows = stages.space[node], stages.stage[node], stages.reads_rows(node)
        for position, parent in enumerate(node.inputs):
            if not isinstance(parent, Node):
                continue
            if stages.stage.get(parent) == stage and stages.space.get(parent) == space \
                    and stages.joins(parent, space, rows) and not from_memory(node, position):
                leader[find(node)] = find(parent)
            elif parent not in inlined and parent.type.numel > 1:
                other = readers.setdefault((stage, space, parent), node)
                leader[find(node)] = find(other)
    members: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        if node in stages.fused:
            members.setdefault(find(node), []).append(node)
    return [_group(part, stages) for nodes in members.values() for part in _cut(nodes)]


def _group(nodes: list[Node], stages: _Stages) -> Group:
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
    windows = [hash(tuple(shapes[i : i + WINDOW])) for i in range(len(nodes))]
    parts, start = [], 0
    while start < len(nodes):
        end = min(start + longest, len(nodes))
        again = next((i for i in range(start + WINDOW, end) if windows[i] == windows[start]), end)
        # whole periods, as many as keep the part short
        period = again - start
        while again + period <= start + PERIODS and again + period < len(nodes) \
                and windows[again + period] == windows[start]:
            again += period
        parts.append(nodes[start:again])
        start = again
    return parts


def _copies(nodes: list[Node]) -> int:
    """How often a kernel's statements are written: once for each part of its loops."""
    known: dict[int, set[int]] = {}
    for node in nodes:
        if node.op.kind == "piecewise":
            for d, places in enumerate(cuts(node.type.shape, node.attr("indices"))):
                known.setdefault(d, set()).update(places)
    return prod(len(places) + 1 for places in known.values())


def _stored(graph: Graph, stages: _Stages, home: dict[Node, Group], inlined: set[Node]) -> set[Node]:
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


def _computed_again(graph: Graph, stages: _Stages, home: dict[Node, Group], stored: set[Node]) -> set[Node]:
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


def _source(node: Node, stages: _Stages) -> Node:
    """The value whose elements a fused node's are, where it only names them otherwise."""
    while is_alias(node) and node in stages.fused:
        source = node.inputs[0]
        assert isinstance(source, Node)
        node = source
    return node
