"""Stages: when each operation can be computed, and in whose loops.

Every operation gets a stage: the number of kernel boundaries on the longest way to it. A boundary is crossed wherever a
value must lie in memory before it is read: behind reductions and library calls, through views, and where shapes differ.
A reduction that gives one number a row is no boundary for operations on the same rows (`rows.py`).
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import prod
from typing import NamedTuple

import numpy as np

from retape.ir import DType, Op
from retape.ir.graph import Node
from retape.ir.ops import INPUT
from retape.ir.shapes import Shape
from retape.ir.types import BOOL, COMPLEX, FLOAT

from .edges import Edges, Numbers
from .rows import fits, is_alias, row_dims

__all__ = ["MEMORY", "REDUCING", "Stages", "from_memory", "is_fusable", "kernel_text", "rounds_by_order", "space_of"]

REDUCING = frozenset({"embed", "reduction", "scatter"})  # computed over their operand's space, complete behind the loop
ANY_TYPE = frozenset({"where", "cast", "clone", "eq", "ne", "logical_and"})
MEMORY = frozenset({"gather", "piecewise", "scatter"})  # kinds with operands that must lie in memory
LATEST = 1 << 60  # a stage behind all others
ALONG = 12  # operations that are moved to a later stage together
WRITTEN = 3  # operands by which nodes are told apart one by one; more are one key
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
        return kernel_text(node.op, operands[0]) is not None
    if kind == "reduction":
        return bool(node.op.kernel) and operands[0] != BOOL
    return kind in ("embed", "gather", "piecewise") or (kind == "scatter" and category != BOOL)


def rounds_by_order(node: Node) -> bool:
    """Whether the order of additions or multiplications decides the node's last bits."""
    if node.type.dtype.category < FLOAT:
        return False
    return node.op.name == "matmul" or node.op.kind == "scatter" \
        or (node.op.kind == "reduction" and node.op.kernel in ("radd", "rmul"))


def kernel_text(op: Op, category: int) -> str | None:
    """The scalar expression for operands of a category, or None where there is none."""
    if op.name in ANY_TYPE:
        return op.kernel
    if category == BOOL:
        return op.kernel_truth or None
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


class _Kind(NamedTuple):
    """What nodes that are alike have in common: their index space (-1 where no kernel computes them), whether they are
    operations on elements of it, which most are, and whether they are reductions."""

    space: int
    plain: bool
    reduced: bool


def _kind(node: Node, strict: bool, shapes: dict[Shape, int]) -> _Kind:
    """The kind of a node; `shapes` numbers the index spaces."""
    if not is_fusable(node, strict):
        return _Kind(-1, False, False)
    shape = space_of(node)
    return _Kind(shapes.setdefault(shape, len(shapes)), bool(shape) and node.op.kind == "pointwise",
                 node.op.kind == "reduction")


def _joined(numbers: Numbers, columns: Numbers) -> list[int]:
    """One number for each number and column of others, equal where all of them are; these are -1 or more."""
    count = int(numbers.max(initial=0)) + 1
    for column in columns:
        base = int(column.max(initial=-1)) + 2
        if count * base >= 1 << 62:
            _, numbers = np.unique(numbers, return_inverse=True)
            count = len(numbers)
        numbers, count = numbers * base + column + 1, count * base
    found: list[int] = numbers.tolist()
    return found


class Stages:
    """Stages of nodes, found in one walk. Nodes are known by their numbers in `edges`, inputs among them.

    `space` tells for what kernels compute the index space of the kernel that it may be in (its number in `shapes`; -1
    for other nodes), `elements` the same for what a kernel over elements of a space computes; `small` are the single
    elements that kernels repeat, `moved` those at shifted places and of pieces, `memory` operations with operands in
    memory. `rows` tells for a space with reductions of its trailing dims how many dims lead, and `rowwise` holds the
    values of one number a row of their space. `alike` has a number for each node, equal for equal operations on and to
    values of equal types and origins; `many` tells which values have more than one element. Inputs have stage -1.
    """

    def __init__(self, edges: Edges, strict: bool = False) -> None:
        self.edges, self.strict = edges, strict
        self.nodes = edges.nodes
        self.shapes: list[Shape] = []
        self.small: dict[int, int] = {}
        self.moved: set[int] = set()
        self.memory: set[int] = set()
        self.rows: dict[int, int] = {}
        self.rowwise: set[int] = set()
        kinds = self._kinds()
        alike = np.array(self.alike, np.int64)
        self.stage: list[int] = [-1] * len(self.nodes)
        self.space: list[int] = np.array([kind.space for kind in kinds], np.int64)[alike].tolist()
        plain = np.array([kind.plain for kind in kinds], bool)[alike]
        self.elements: list[int] = np.where(plain, self.space, -1).tolist()
        reduced = np.array([kind.reduced for kind in kinds], bool)[alike]
        for number in np.flatnonzero(reduced).tolist():
            space = self.space[number]
            self.rows.setdefault(space, row_dims(self.shapes[space], self.nodes[number].attr("axis")))
        self._walk(plain.tolist())

    def _kinds(self) -> list[_Kind]:
        """What depends on operation and types alone, found once for all nodes that are alike."""
        edges, nodes = self.edges, self.nodes
        types: dict[tuple[Op, DType, Shape], int] = {}
        known: dict[object, int] = {}
        own: list[int] = []  # a number for operation and type
        for node in nodes:
            number = known.get(key := (node.op, id(node.type)))
            if number is None:
                number = known[key] = types.setdefault((node.op, node.type.dtype, node.type.shape), len(types))
            own.append(number)
        self.many = np.array([prod(shape) > 1 for _, _, shape in types], bool)[own]
        origins, columns = np.array(own, np.int64), np.full((WRITTEN + 1, len(nodes)), -1)
        for place in range(WRITTEN):
            chosen = edges.place == place
            columns[place, edges.reader[chosen]] = origins[edges.parent[chosen]]
        longer: dict[object, int] = {}
        for number in set(edges.reader[edges.place >= WRITTEN].tolist()):
            operands = [own[edges.number[p]] if p.__class__ is Node else -1 for p in nodes[number].inputs]
            columns[WRITTEN, number] = longer.setdefault(tuple(operands), len(longer))
        told = _joined(origins, columns)
        shapes: dict[Shape, int] = {}
        kinds = {key: _kind(node, self.strict, shapes) for key, node in dict(zip(told, nodes, strict=True)).items()}
        numbers = dict(zip(kinds, range(len(kinds)), strict=True))
        self.alike: list[int] = list(map(numbers.__getitem__, told))
        self.shapes = list(shapes)
        return list(kinds.values())

    def _walk(self, plain: list[bool]) -> None:
        """Visit all nodes; most operations are pointwise ones on elements, and `plain`."""
        stage, elements, rowwise = self.stage, self.elements, self.rowwise
        parents, starts = self.edges.operands
        for number, node in enumerate(self.nodes):
            if node.op is INPUT:
                continue
            own = parents[starts[number] : starts[number + 1]]
            if not plain[number] or (rowwise and not rowwise.isdisjoint(own)):
                self._visit(number, own)
                continue
            latest, space = 0, elements[number]
            for parent in own:
                before = stage[parent]
                if before >= latest:
                    if elements[parent] != space:
                        before = self._behind(parent, space)
                    if before > latest:
                        latest = before
            stage[number] = latest

    def available(self, number: int) -> int:
        """The first stage that can read a node from memory."""
        stage = self.stage[number]
        if stage < 0:  # an input
            return 0
        if self.space[number] < 0 and self.nodes[number].op.kind in ("view", "source"):
            return stage
        return stage + 1

    def _visit(self, number: int, parents: list[int]) -> None:
        """Find a node's stage; its operands' are known."""
        if self.rowwise and not self.rowwise.isdisjoint(parents) and self._hosted(number, parents):
            return
        node, space = self.nodes[number], self.space[number]
        if space < 0:
            self.stage[number] = max(map(self.available, parents), default=0)
            return
        shape = self.shapes[space]
        self.stage[number] = self._stage(number, space)
        kind = node.op.kind
        if kind == "pointwise":
            if not shape and self._is_small(number, parents):
                return
        elif kind == "reduction" and self.rows[space] and row_dims(shape, node.attr("axis")) == self.rows[space]:
            self.rowwise.add(number)
        elif kind in ("piecewise", "moved"):
            self.moved.add(number)
        if kind in MEMORY:
            self.memory.add(number)
        if kind not in REDUCING and kind != "piecewise":
            self.elements[number] = space

    def _is_small(self, number: int, parents: list[int]) -> bool:
        """Whether readers had better compute a single element each for themselves."""
        fused = [parent for parent in parents if self.space[parent] >= 0]
        work = 1 + sum(self.small.get(parent, 0) for parent in fused)
        if work > INLINE or not all(self.nodes[p].op.kind in REDUCING or p in self.small for p in fused):
            return False
        self.small[number] = work
        return True

    def delay(self, roots: set[int]) -> None:
        """Let what only later stages read be computed in the first of them, if that keeps no more in memory.

        Derivatives of activations are the example: computed as early as they could be, they would be stored beside the
        activations until backward reads them.
        """
        stage, edges = self.stage, self.edges
        own = np.array(stage, np.int64)
        own[own < 0] = LATEST
        read = np.full(len(own), LATEST)
        np.minimum.at(read, edges.parent, own[edges.reader])
        late = np.flatnonzero((own < read) & (read < LATEST))  # most values are read where they are computed
        waiting = (-late[::-1]).tolist()  # a heap, the last node first
        while waiting:
            number = -heappop(waiting)
            if self.space[number] < 0 or self.nodes[number].op.kind != "pointwise" or number in roots \
                    or number in self.small or number in self.rowwise:
                continue
            parents = edges.parents(number)
            if not self.rowwise.isdisjoint(parents):
                continue
            readers = edges.readers(number)
            last = min(self._limit(number, *reader) for reader in readers)
            if last > stage[number] and any(stage[r] == last and self._joined(number, r, at) for r, at in readers) \
                    and self._costs_nothing(number, last, roots):
                stage[number] = last
                for parent in parents:  # these may be read later now
                    heappush(waiting, -parent)

    def _limit(self, number: int, reader: int, position: int) -> int:
        """The last stage in which a value can be computed for a reader."""
        return self.stage[reader] - (not self._joined(number, reader, position))

    def _joined(self, number: int, reader: int, position: int) -> bool:
        """Whether a reader's kernel can compute a value itself."""
        space = self.space[reader]
        return space >= 0 and not from_memory(self.nodes[reader], position) \
            and self.joins(number, space, self.reads_rows(reader))

    def _costs_nothing(self, number: int, stage: int, roots: set[int]) -> bool:
        """Whether a value in a later stage makes memory hold at most one other value instead."""
        nodes, elements = self.nodes, self.nodes[number].type.numel
        held: set[int] = set()
        stack, seen = [number], {number}
        while stack:
            for parent in self.edges.parents(stack.pop()):
                if parent in seen or parent in self.small or parent in roots or self.stage[parent] < 0 \
                        or nodes[parent].type.numel * 8 <= elements:
                    continue  # in memory anyhow, or small
                seen.add(parent)
                if self.space[parent] >= 0 and nodes[parent].op.kind == "pointwise" and parent not in self.rowwise \
                        and all(self._limit(parent, *reader) >= stage
                                for reader in self.edges.readers(parent) if reader[0] not in seen):
                    stack.append(parent)  # comes along
                else:
                    held.add(parent)
                if len(held) > 1 or len(seen) > ALONG:
                    return False
        return True

    def reads_rows(self, number: int) -> bool:
        """Whether a node is computed from one number a row."""
        return number in self.rowwise and self.nodes[number].op.kind != "reduction"

    def _stage(self, number: int, space: int) -> int:
        """The first stage in which a kernel over a space can compute the node."""
        rows, node, edges = self.reads_rows(number), self.nodes[number], self.edges
        if node.op.kind not in MEMORY:
            return max([self._behind(parent, space, rows) for parent in edges.parents(number)], default=0)
        parents = [(position, edges.number[p]) for position, p in enumerate(node.inputs) if p.__class__ is Node]
        return max([self.available(parent) if from_memory(node, position) else self._behind(parent, space, rows)
                    for position, parent in parents], default=0)

    def _behind(self, parent: int, space: int, rowwise: bool = False) -> int:
        """The first stage in which a kernel over a space can have a value for a reader."""
        return self.stage[parent] if self.joins(parent, space, rowwise) else self.available(parent)

    def _hosted(self, number: int, parents: list[int]) -> bool:
        """Let the kernel that has reduced rows to numbers go on with these, where that makes it no later."""
        node, before = self.nodes[number], self.space[number]
        if not (is_alias(node) or (node.op.kind == "pointwise" and before >= 0)):
            return False
        known = [p for p in parents if p in self.rowwise and self.nodes[p].type.numel == node.type.numel]
        if not known or any(self.nodes[p].op.kind == "piecewise" for p in parents):
            return False
        last = max(known, key=self.stage.__getitem__)
        self.rowwise.add(number)
        stage = self._stage(number, self.space[last])
        if stage > self.stage[last]:
            self.rowwise.remove(number)
            return False
        self.space[number], self.stage[number], self.elements[number] = self.space[last], stage, -1
        return True

    def joins(self, parent: int, space: int, rowwise: bool) -> bool:
        """Whether a kernel over a space can compute `parent` itself for a reader of elements, or of rows."""
        elements = self.elements[parent]
        if elements >= 0:
            return elements == space and not rowwise
        if self.space[parent] < 0:
            return False
        node = self.nodes[parent]
        if node.op.kind in ("embed", "scatter"):
            return False
        if parent in self.small:
            return True
        if node.op.kind == "piecewise":
            return self.space[parent] == space
        return parent in self.rowwise and self.space[parent] == space and (
            rowwise or fits(node.type.shape, self.shapes[space], self.rows[space]))
