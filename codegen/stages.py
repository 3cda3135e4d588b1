"""Stages: when each operation can be computed, and in whose loops.

Every operation gets a stage: the number of kernel boundaries on the longest way to it. A boundary is crossed wherever a
value must lie in memory before it is read: behind reductions and library calls, through views, and where shapes differ.
A reduction that gives one number a row is no boundary for operations on the same rows (`rows.py`).
"""

from __future__ import annotations

from retape.ir import Graph, Op
from retape.ir.graph import Node
from retape.ir.shapes import Shape
from retape.ir.types import BOOL, COMPLEX, FLOAT

from .rows import fits, is_alias, row_dims

__all__ = ["MEMORY", "REDUCING", "Stages", "from_memory", "is_fusable", "kernel_text", "rounds_by_order", "space_of"]

REDUCING = frozenset({"embed", "reduction", "scatter"})  # computed over their operand's space, complete behind the loop
ANY_TYPE = frozenset({"where", "cast", "clone", "eq", "ne", "logical_and", "logical_or", "logical_not"})
MEMORY = frozenset({"gather", "piecewise", "scatter"})  # kinds with operands that must lie in memory
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

    `space` is the index space of the kernel that a node may be in; `rows` tells for a space with reductions of its
    trailing dims how many dims lead, and `rowwise` holds the values of one number a row of their space.
    """

    def __init__(self, graph: Graph, strict: bool = False) -> None:
        self.strict = strict
        self.stage: dict[Node, int] = {}
        self.space: dict[Node, Shape] = {}
        self.fused: set[Node] = set()
        self.small: dict[Node, int] = {}
        self.rows: dict[Shape, int] = {}
        self.rowwise: set[object] = set()
        self._elements: dict[object, Shape] = {}  # what a kernel over elements of a space computes, with that space
        for node in graph.nodes:
            if node.op.kind == "reduction" and is_fusable(node, strict):
                self.rows.setdefault(space_of(node), row_dims(space_of(node), node.attr("axis")))
        for node in graph.nodes:
            self.visit(node)

    def available(self, node: Node) -> int:
        """The first stage that can read the node from memory."""
        if node not in self.stage:  # an input
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
                return
        elif not space and node.op.kind == "pointwise":
            work = 1 + sum(self.small.get(p, 0) if p in self.fused else 0 for p in node.parents())
            if work <= INLINE and all(p not in self.fused or p.op.kind in REDUCING or p in self.small
                                      for p in node.parents()):
                self.small[node] = work
                return
        if node.op.kind not in REDUCING and node.op.kind != "piecewise":
            self._elements[node] = space

    def delay(self, graph: Graph) -> None:
        """Let what only later stages read be computed in the first of them, if that keeps no more in memory.

        Derivatives of activations are the example: computed as early as they could be, they would be stored beside the
        activations until backward reads them.
        """
        readers: dict[Node, list[tuple[Node, int]]] = {}
        for node in graph.nodes:
            for position, parent in enumerate(node.inputs):
                if parent in self.fused:
                    readers.setdefault(parent, []).append((node, position))
        roots = set(graph.roots())
        stage = self.stage
        for node in reversed(graph.nodes):
            read = readers.get(node)
            if read is None or node.op.kind != "pointwise" or node in roots:
                continue
            own = stage[node]
            if min([stage[reader] for reader, _ in read]) <= own:
                continue  # most values are read where they are computed
            if node in self.small or node in self.rowwise or not self.rowwise.isdisjoint(node.inputs):
                continue
            last = min(self._limit(node, *reader) for reader in read)
            if last > own and any(stage[r] == last and self._joined(node, r, at) for r, at in read) \
                    and self._costs_nothing(node, last, roots, readers):
                stage[node] = last

    def _limit(self, node: Node, reader: Node, position: int) -> int:
        """The last stage in which a value can be computed for a reader."""
        return self.stage[reader] - (not self._joined(node, reader, position))

    def _joined(self, node: Node, reader: Node, position: int) -> bool:
        """Whether a reader's kernel can compute a value itself."""
        return reader in self.fused and not from_memory(reader, position) \
            and self.joins(node, self.space[reader], self.reads_rows(reader))

    def _costs_nothing(
        self, node: Node, stage: int, roots: set[Node], readers: dict[Node, list[tuple[Node, int]]]
    ) -> bool:
        """Whether a value in a later stage makes memory hold at most one other value instead."""
        held: set[Node] = set()
        stack, seen = [node], {node}
        while stack:
            for parent in stack.pop().parents():
                if parent in seen or parent in self.small or parent in roots or parent not in self.stage \
                        or parent.type.numel * 8 <= node.type.numel:
                    continue  # in memory anyhow, or small
                seen.add(parent)
                if parent.op.kind == "pointwise" and parent in self.fused and parent not in self.rowwise and all(
                        self._limit(parent, *reader) >= stage for reader in readers[parent] if reader[0] not in seen):
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
        stage, known, elements = 0, self.stage, self._elements
        rows, memory = self.reads_rows(node), node.op.kind in MEMORY
        for position, parent in enumerate(node.inputs):
            if parent in known:
                assert isinstance(parent, Node)
                found = known[parent]
                if found >= stage:
                    if rows or memory or elements.get(parent) != space:
                        joined = self.joins(parent, space, rows) and not from_memory(node, position)
                        found = found if joined else self.available(parent)
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
        elements = self._elements.get(parent)
        if elements is not None:
            return elements == space and not rowwise
        if parent not in self.fused or parent.op.kind in ("embed", "scatter"):
            return False
        if parent in self.small:
            return True
        if parent.op.kind == "piecewise":
            return self.space[parent] == space
        return parent in self.rowwise and self.space[parent] == space and (
            rowwise or fits(parent.type.shape, space, self.rows[space]))
