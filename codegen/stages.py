"""Stages: when each operation can be computed, and in whose loops.

Every operation gets a stage: the number of kernel boundaries on the longest way to it. A boundary is crossed wherever a
value must lie in memory before it is read: behind reductions and library calls, through views, and where shapes differ.
A reduction that gives one number a row is no boundary for operations on the same rows (`rows.py`).
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np

from retape.ir import Graph, Op
from retape.ir.graph import Node
from retape.ir.shapes import Shape
from retape.ir.types import BOOL, COMPLEX, FLOAT

from .edges import Edges
from .rows import fits, is_alias, row_dims

__all__ = ["MEMORY", "REDUCING", "Stages", "from_memory", "is_fusable", "kernel_text", "rounds_by_order", "space_of"]

REDUCING = frozenset({"embed", "reduction", "scatter"})  # computed over their operand's space, complete behind the loop
ANY_TYPE = frozenset({"where", "cast", "clone", "eq", "ne", "logical_and", "logical_or", "logical_not"})
MEMORY = frozenset({"gather", "piecewise", "scatter"})  # kinds with operands that must lie in memory
LATEST = 1 << 60  # a stage behind all others
ALONG = 12  # operations that are moved to a later stage together
INLINE = 8  # operations on single elements that a kernel repeats rather than wait for


def is_fusable(node: Node, strict: bool = False) -> bool:
    """Whether generated code can compute the node; if `strict`, in eager execution's order of additions."""
    kind, category = node.op.kind, node.type.dtype.category
    if kind == "moved":
        return True
    if kind in ("view", "source", "library") or category == COMPLEX or (strict and rounds_by_order(node)):
        return False
    operands = [i.type.dtype.category for i in node.inputs if isinstance(i, Node)]
    if not operands or COMPLEX in operands:
        return False
    if kind == "pointwise":
        return _text(node.op, operands[0]) is not None
    if kind == "reduction":
        return bool(node.op.kernel) and operands[0] != BOOL
    return kind in ("embed", "gather", "piecewise") or (kind == "scatter" and category != BOOL)


def rounds_by_order(node: Node) -> bool:
    """Whether the order of additions or multiplications decides the node's last bits."""
    if node.type.dtype.category < FLOAT:
        return False
    return node.op.name == "matmul" or node.op.kind == "scatter" \
        or (node.op.kind == "reduction" and node.op.kernel in ("radd", "rmul"))


def kernel_text(node: Node) -> str | None:
    """The scalar expression for the node's element types, or None where there is none."""
    return _text(node.op, next(node.parents()).type.dtype.category)


def _text(op: Op, category: int) -> str | None:
    """The scalar expression for operands of a category."""
    if op.name in ANY_TYPE:
        return op.kernel
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


class Stages:
    """Stages of nodes, found in one walk.

    `space` tells for what kernels compute the index space of the kernel that it may be in, `elements` the same for what
    a kernel over elements of a space computes; `small` are the single elements that kernels repeat, `moved` those at
    shifted places and of pieces, `memory` operations with operands in memory. `rows` tells for a space with reductions
    of its trailing dims how many dims lead, and `rowwise` holds the values of one number a row of their space.
    `alike` has a number for each node, equal for equal operations on and to values of equal types and origins.
    """

    def __init__(self, graph: Graph, strict: bool = False) -> None:
        self.strict = strict
        self.stage: dict[object, int] = {}
        self.space: dict[Node, Shape] = {}
        self.elements: dict[object, Shape] = {}
        self.small: dict[Node, int] = {}
        self.moved: set[Node] = set()
        self.memory: set[Node] = set()
        self.rows: dict[Shape, int] = {}
        self.rowwise: set[Node] = set()
        self.alike: list[int] = []
        for node in graph.nodes:
            if node.op.kind == "reduction" and is_fusable(node, strict):
                self.rows.setdefault(space_of(node), row_dims(space_of(node), node.attr("axis")))
        self._walk(graph)

    def _walk(self, graph: Graph) -> None:
        """Visit all nodes. What depends on operation and types alone is found once for all that are alike; most
        operations are pointwise ones on elements."""
        stage, elements, rowwise = self.stage, self.elements, self.rowwise
        origin: dict[object, int] = {}  # of a value: a number for its operation and type
        origins: dict[object, int] = {}
        numbers: dict[object, int] = {}
        known: dict[object, tuple[int, int, bool, Shape, bool]] = {}
        for node in graph.inputs:
            origin[node] = origins.setdefault((node.op, node.type.dtype, node.type.shape), len(origins))
        for node in graph.nodes:
            key = (node.op, id(node.type), *map(origin.get, node.inputs))
            found = known.get(key)
            if found is None:
                own = origins.setdefault((node.op, node.type.dtype, node.type.shape), len(origins))
                fusable = is_fusable(node, self.strict)
                space = space_of(node) if fusable else ()
                plain = fusable and bool(space) and node.op.kind == "pointwise"
                found = known[key] = numbers.setdefault((own, *key[2:]), len(numbers)), own, fusable, space, plain
            number, origin[node], fusable, space, plain = found
            self.alike.append(number)
            if not plain or (rowwise and not rowwise.isdisjoint(node.inputs)):
                self.visit(node, fusable, space)
                continue
            latest = 0
            for parent in node.inputs:
                before = stage.get(parent, -1)
                if before >= latest:
                    if elements.get(parent) != space:
                        assert isinstance(parent, Node)
                        before = self._behind(parent, space)
                    if before > latest:
                        latest = before
            stage[node] = latest
            self.space[node] = elements[node] = space

    def available(self, node: Node) -> int:
        """The first stage that can read the node from memory."""
        if node not in self.stage:  # an input
            return 0
        if node.op.kind in ("view", "source") and node not in self.space:
            return self.stage[node]
        return self.stage[node] + 1

    def visit(self, node: Node, fusable: bool, space: Shape) -> None:
        """Find a node's stage; its operands' are known."""
        if self.rowwise and not self.rowwise.isdisjoint(node.inputs) and self._hosted(node, fusable):
            return
        if not fusable:
            self.stage[node] = max(map(self.available, node.parents()), default=0)
            return
        self.space[node] = space
        self.stage[node] = self._stage(node, space)
        kind = node.op.kind
        if kind == "pointwise":
            if not space and self._is_small(node):
                return
        elif kind == "reduction" and self.rows[space] and row_dims(space, node.attr("axis")) == self.rows[space]:
            self.rowwise.add(node)
        elif kind in ("piecewise", "moved"):
            self.moved.add(node)
        if kind in MEMORY:
            self.memory.add(node)
        if kind not in REDUCING and kind != "piecewise":
            self.elements[node] = space

    def _is_small(self, node: Node) -> bool:
        """Whether readers had better compute a single element each for themselves."""
        fused = [p for p in node.parents() if p in self.space]
        work = 1 + sum(self.small.get(p, 0) for p in fused)
        if work > INLINE or not all(p.op.kind in REDUCING or p in self.small for p in fused):
            return False
        self.small[node] = work
        return True

    def delay(self, edges: Edges, roots: set[Node]) -> None:
        """Let what only later stages read be computed in the first of them, if that keeps no more in memory.

        Derivatives of activations are the example: computed as early as they could be, they would be stored beside the
        activations until backward reads them.
        """
        stage = self.stage
        own = edges.of_nodes(stage, LATEST)
        read = np.full(len(own), LATEST)
        np.minimum.at(read, edges.parent, own[edges.reader])
        late = np.flatnonzero((own < read) & (read < LATEST))  # most values are read where they are computed
        waiting = (-late[::-1]).tolist()  # a heap, the last node first
        while waiting:
            node = edges.nodes[-heappop(waiting)]
            if node not in self.space or node.op.kind != "pointwise" or node in roots or node in self.small \
                    or node in self.rowwise or not self.rowwise.isdisjoint(node.inputs):
                continue
            readers = edges.readers(node)
            last = min(self._limit(node, *reader) for reader in readers)
            if last > stage[node] and any(stage[r] == last and self._joined(node, r, at) for r, at in readers) \
                    and self._costs_nothing(node, last, roots, edges):
                stage[node] = last
                for parent in node.parents():  # these may be read later now
                    heappush(waiting, -edges.number[parent])

    def _limit(self, node: Node, reader: Node, position: int) -> int:
        """The last stage in which a value can be computed for a reader."""
        return self.stage[reader] - (not self._joined(node, reader, position))

    def _joined(self, node: Node, reader: Node, position: int) -> bool:
        """Whether a reader's kernel can compute a value itself."""
        return reader in self.space and not from_memory(reader, position) \
            and self.joins(node, self.space[reader], self.reads_rows(reader))

    def _costs_nothing(self, node: Node, stage: int, roots: set[Node], edges: Edges) -> bool:
        """Whether a value in a later stage makes memory hold at most one other value instead."""
        held: set[Node] = set()
        stack, seen = [node], {node}
        while stack:
            for parent in stack.pop().parents():
                if parent in seen or parent in self.small or parent in roots or parent not in self.stage \
                        or parent.type.numel * 8 <= node.type.numel:
                    continue  # in memory anyhow, or small
                seen.add(parent)
                if parent.op.kind == "pointwise" and parent in self.space and parent not in self.rowwise and all(
                        self._limit(parent, *reader) >= stage
                        for reader in edges.readers(parent) if reader[0] not in seen):
                    stack.append(parent)  # comes along
                else:
                    held.add(parent)
                if len(held) > 1 or len(seen) > ALONG:
                    return False
        return True

    def reads_rows(self, node: Node) -> bool:
        """Whether a node is computed from one number a row."""
        return node in self.rowwise and node.op.kind != "reduction"

    def _stage(self, node: Node, space: Shape) -> int:
        """The first stage in which a kernel over `space` can compute the node."""
        rows, memory = self.reads_rows(node), node.op.kind in MEMORY
        return max((self.available(parent) if memory and from_memory(node, position)
                    else self._behind(parent, space, rows)
                    for position, parent in enumerate(node.inputs) if isinstance(parent, Node)), default=0)

    def _behind(self, parent: Node, space: Shape, rowwise: bool = False) -> int:
        """The first stage in which a kernel over `space` can have a value for a reader."""
        return self.stage[parent] if self.joins(parent, space, rowwise) else self.available(parent)

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
        self.space[node], self.stage[node] = self.space[last], stage
        return True

    def joins(self, parent: Node, space: Shape, rowwise: bool) -> bool:
        """Whether a kernel over `space` can compute `parent` itself for a reader of elements, or of rows."""
        elements = self.elements.get(parent)
        if elements is not None:
            return elements == space and not rowwise
        if parent not in self.space or parent.op.kind in ("embed", "scatter"):
            return False
        if parent in self.small:
            return True
        if parent.op.kind == "piecewise":
            return self.space[parent] == space
        return parent in self.rowwise and self.space[parent] == space and (
            rowwise or fits(parent.type.shape, space, self.rows[space]))
