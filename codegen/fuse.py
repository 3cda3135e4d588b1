"""Fusion: which operations share one kernel.

Every operation gets a stage: the number of kernel boundaries on the longest way to it. A boundary is crossed wherever a
value must lie in memory before it is read: behind reductions and library calls, through views, and where shapes differ.
Pointwise operations and reductions over one index space in one stage can share a kernel without making a cycle, since
every crossing leads to a later stage. Those that are connected, by an edge or by reading the same memory, do share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from retape.ir import Graph
from retape.ir.graph import Node
from retape.ir.shapes import Shape
from retape.ir.types import BOOL, COMPLEX, FLOAT

from .indexed import is_indexed, is_scatter

__all__ = ["REDUCING", "Group", "Plan", "from_memory", "fuse", "is_fusable", "kernel_text", "space_of"]

REDUCING = frozenset({"embed", "reduction", "scatter"})  # computed over their operand's space, complete behind the loop
STATEMENTS = 96  # longer functions take more than linear time to compile
WINDOW = 12  # operations in a row that are alike where a loop's body begins again
PERIODS = 48  # of an unrolled loop, periods up to this length together become one kernel
INLINE = 8  # operations on single elements that a kernel repeats rather than wait for


@dataclass(eq=False, slots=True)
class Group:
    """Operations over one index space that become one kernel, in order."""

    stage: int
    space: Shape
    nodes: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Plan:
    """The kernels and other steps of a graph in an order that respects every dependence.

    `stored` holds the fused values that must be written to memory, `inlined` single elements that kernels recompute.
    """

    steps: list[Group | Node]
    stored: set[Node]
    inlined: set[Node]


def is_fusable(node: Node) -> bool:
    """Whether generated code can compute the node."""
    operands = [i for i in node.inputs if isinstance(i, Node)]
    if not operands or node.type.dtype.category == COMPLEX or any(o.type.dtype.category == COMPLEX for o in operands):
        return False
    if node.op.kind == "embed":
        return True
    if is_indexed(node):
        return not (is_scatter(node) and node.type.dtype.category == BOOL)
    if node.op.kind == "reduction":
        return bool(node.op.kernel) and operands[0].type.dtype.category != BOOL
    return node.op.kind == "pointwise" and kernel_text(node) is not None


def kernel_text(node: Node) -> str | None:
    """The scalar expression for the node's element types, or None where there is none."""
    op = node.op
    operands = [i for i in node.inputs if isinstance(i, Node)]
    if op.name == "where":
        return op.kernel
    category = operands[0].type.dtype.category
    if op.name in ("cast", "clone", "eq", "ne", "logical_and", "logical_or", "logical_not"):
        return op.kernel
    if category == BOOL:
        return None
    if category < FLOAT and op.kernel_integer != "":
        return op.kernel_integer
    return op.kernel or None


def from_memory(node: Node, position: int) -> bool:
    """Whether an operand must lie in memory although the operation is fused: indices, and what they select from."""
    return node.op.kind == "gather" or (node.op.kind == "scatter" and position == 1)


def space_of(node: Node) -> Shape:
    """The index space a node is computed over: its shape, or its operand's where it reduces."""
    shape = node.type.shape
    if node.op.kind in REDUCING:
        operand = node.inputs[0]
        assert isinstance(operand, Node)
        shape = operand.type.shape
    return () if all(extent == 1 for extent in shape) else shape


class _Stages:
    """Stages of nodes, found in one walk."""

    def __init__(self, graph: Graph) -> None:
        self.stage: dict[Node, int] = {}
        self.space: dict[Node, Shape] = {}
        self.fused: set[Node] = set()
        self.small: dict[Node, int] = {}
        for node in graph.nodes:
            self.visit(node)

    def available(self, node: Node) -> int:
        """The first stage that can read the node from memory."""
        if node not in self.stage:
            return 0
        return self.stage[node] if node.op.kind in ("view", "source") else self.stage[node] + 1

    def visit(self, node: Node) -> None:
        if not is_fusable(node):
            self.stage[node] = max((self.available(p) for p in node.parents()), default=0)
            return
        self.fused.add(node)
        space = self.space[node] = space_of(node)
        stage = 0
        for position, parent in enumerate(node.inputs):
            if isinstance(parent, Node):
                joined = not from_memory(node, position) and self.joins(parent, space)
                stage = max(stage, self.stage[parent] if joined else self.available(parent))
        self.stage[node] = stage
        if node.type.numel == 1 and node.op.kind == "pointwise":
            work = 1 + sum(self.small.get(p, 0) if p in self.fused else 0 for p in node.parents())
            if work <= INLINE and all(p not in self.fused or p.op.kind in REDUCING or p in self.small
                                      for p in node.parents()):
                self.small[node] = work

    def joins(self, parent: Node, space: Shape) -> bool:
        """Whether a kernel over `space` can compute `parent` itself."""
        if parent not in self.fused or parent.op.kind in REDUCING:
            return False
        return self.space[parent] == space or parent in self.small


def fuse(graph: Graph) -> Plan:
    """Group the operations of a graph into kernels."""
    stages = _Stages(graph)
    inlined = set(stages.small)
    groups = _components(graph, stages, inlined)
    home = {node: group for group in groups for node in group.nodes}
    stored = _stored(graph, stages, home, inlined)
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
        while leader[node] is not node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    readers: dict[tuple[int, Shape, Node], Node] = {}
    for node in graph.nodes:
        if node not in stages.fused:
            continue
        leader[node] = node
        for position, parent in enumerate(node.inputs):
            if not isinstance(parent, Node):
                continue
            same = parent in stages.fused and not from_memory(node, position) \
                and stages.joins(parent, stages.space[node])
            if same and stages.stage[parent] == stages.stage[node] and stages.space[parent] == stages.space[node]:
                leader[find(node)] = find(parent)
            elif parent not in inlined and parent.type.numel > 1:
                other = readers.setdefault((stages.stage[node], stages.space[node], parent), node)
                leader[find(node)] = find(other)
    members: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        if node in stages.fused:
            members.setdefault(find(node), []).append(node)
    return [Group(stages.stage[part[0]], stages.space[part[0]], part) for nodes in members.values()
            for part in _cut(nodes)]


def _cut(nodes: list[Node]) -> list[list[Node]]:
    """Parts of bounded length. Unrolled loops are cut at their period, so that equal parts share one kernel."""
    if len(nodes) <= STATEMENTS:
        return [nodes]
    shapes = [hash((node.op.name, node.type, node.attrs if node.op.kind == "pointwise" else None,
                    tuple(p.op.name for p in node.parents()))) for node in nodes]
    windows = [hash(tuple(shapes[i : i + WINDOW])) for i in range(len(nodes))]
    parts, start = [], 0
    while start < len(nodes):
        end = min(start + STATEMENTS, len(nodes))
        again = next((i for i in range(start + WINDOW, end) if windows[i] == windows[start]), end)
        # whole periods, as many as keep the part short
        period = again - start
        while again + period <= start + PERIODS and again + period < len(nodes) \
                and windows[again + period] == windows[start]:
            again += period
        parts.append(nodes[start:again])
        start = again
    return parts


def _stored(graph: Graph, stages: _Stages, home: dict[Node, Group], inlined: set[Node]) -> set[Node]:
    """The fused values that something outside their kernel reads."""
    stored = {node for node in graph.roots() if node in stages.fused}
    stored |= {node for node in stages.fused if node.op.kind in REDUCING}
    for node in graph.nodes:
        for position, parent in enumerate(node.inputs):
            if not isinstance(parent, Node) or parent not in stages.fused or parent in stored:
                continue
            inside = node in stages.fused and not from_memory(node, position) \
                and (home[parent] is home[node] or parent in inlined)
            if not inside:
                stored.add(parent)
    return stored
