"""From a graph to steps: kernels, matrix products and host calls over buffers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from retape.ir import CATALOGUE, Graph, TensorType, i64
from retape.ir.graph import Node, Operand, users_of
from retape.ir.ops.structure import sliced_shape
from retape.ir.passes import collect_embeds, erase_markers, simplify
from retape.ir.shapes import row_major_strides
from retape.ir.types import COMPLEX

from .emit import Emitted, emit
from .fuse import Group, Plan, fuse
from .tiny import emit_tiny, suits
from .views import Buffer, View, apply_view, contiguous_view, sliced

__all__ = ["HostStep", "KernelStep", "Lowered", "ProductStep", "lower"]


@dataclass(frozen=True, slots=True)
class KernelStep:
    """Run a generated kernel over the whole range of its outermost loop."""

    emitted: Emitted


@dataclass(frozen=True, slots=True)
class ProductStep:
    """C = A @ B through BLAS: `arguments` are those of `native.blas.product`."""

    operands: tuple[View, View, View]
    arguments: dict[str, Any]
    batch: int


@dataclass(frozen=True, slots=True)
class HostStep:
    """An operation that runs its eager form in Python; its result becomes the buffer's memory."""

    node: Node
    operands: tuple[View | Any, ...]
    result: Buffer


Step = KernelStep | ProductStep | HostStep


@dataclass(slots=True)
class Lowered:
    """A program before it is bound to memory. `outputs` tells where each result lies, and whether it is copied out."""

    graph: Graph
    steps: list[Step] = field(default_factory=list)
    inputs: list[Buffer] = field(default_factory=list)
    outputs: list[tuple[View | Any, bool]] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    status: Buffer = field(default_factory=lambda: Buffer(i64, 1, "status"))


def lower(graph: Graph) -> Lowered:
    """Simplify, fuse and place a graph's operations. The graph may be of any kind: saved values and guards are
    further outputs, in that order."""
    owners = _owners(graph)
    graph = _with_copies(collect_embeds(simplify(erase_markers(graph))))
    return _Lowering(graph).run(owners)


def results_of(graph: Graph) -> list[Operand]:
    """Everything that a program returns: outputs, saved values, guarded values."""
    return [*graph.outputs, *graph.saved, *(guard.node for guard in graph.guards)]


def _owners(graph: Graph) -> list[Operand]:
    """For each output the value whose memory it shares in eager execution: itself, or what it is a view of."""
    owner: dict[Node, Operand] = {}
    for node in graph.nodes:
        source = node.inputs[0] if node.inputs else None
        if isinstance(source, Node) and (node.op.kind == "view" or node.op.name in ("detach", "opaque")):
            owner[node] = owner.get(source, source)
    return [owner.get(o, o) if isinstance(o, Node) else o for o in graph.outputs]


def _with_copies(graph: Graph) -> Graph:
    """The graph with a `clone` wherever a reshape can't be a view."""
    views: dict[Node, View] = {}
    new: dict[Node, Node] = {}
    nodes: list[Node] = []
    for node in graph.inputs:
        views[node] = _input_view(node, Buffer(node.type.dtype, node.type.numel, "input"))
    for old in graph.nodes:
        inputs = tuple(new.get(i, i) if isinstance(i, Node) else i for i in old.inputs)
        node = old if inputs == old.inputs else Node(old.op, inputs, old.attrs, old.type, old.name, old.origin)
        buffer = Buffer(node.type.dtype, node.type.numel, "arena")
        view: View | None = contiguous_view(buffer, node.type.shape)
        if node.op.kind == "view":
            source = inputs[0]
            assert isinstance(source, Node)
            view = apply_view(node, views[source])
            if view is None:
                copy = Node(CATALOGUE["clone"], (source,), (), source.type, f"{node.name}_copy", node.origin)
                nodes.append(copy)
                views[copy] = contiguous_view(Buffer(copy.type.dtype, copy.type.numel, "arena"), copy.type.shape)
                node = Node(node.op, (copy,), node.attrs, node.type, node.name, node.origin)
                view = apply_view(node, views[copy])
        assert view is not None
        views[node] = view
        new[old] = node
        nodes.append(node)
    return graph.map_roots(nodes, lambda o: new.get(o, o) if isinstance(o, Node) else o)


def _input_view(node: Node, buffer: Buffer) -> View:
    return View(buffer, node.type.shape, node.type.strides or row_major_strides(node.type.shape))


class _Lowering:
    """Places values and emits steps in order."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.plan: Plan
        self.called: set[Node] = set()
        self.users: dict[Node, list[Node]] = {}
        self.roots: set[Node] = set()
        self.result = Lowered(graph)
        self.views: dict[Node, View] = {}

    def run(self, owners: list[Operand]) -> Lowered:
        for node in self.graph.inputs:
            buffer = Buffer(node.type.dtype, node.type.numel, "input")
            self.result.inputs.append(buffer)
            self.views[node] = _input_view(node, buffer)
        if suits(self.graph):
            self._tiny()
        else:
            self._fused()
        self._outputs(owners)
        return self.result

    def _tiny(self) -> None:
        """All operations in one kernel, which stores the results, and what results are views of."""
        results: dict[Node, None] = {}
        for node in results_of(self.graph):
            while isinstance(node, Node) and node.op.kind == "view":
                node = node.inputs[0]
            if isinstance(node, Node) and node not in self.views:
                results[node] = None
        for node in results:
            self.views[node] = contiguous_view(self._buffer(node, "arena"), node.type.shape)
        for node in self.graph.nodes:
            if node.op.kind == "view":
                self._place(node)
        if results:
            self.result.steps.append(KernelStep(emit_tiny(self.graph, self.views, list(results))))

    def _fused(self) -> None:
        """Kernels over loops, and calls between them."""
        self.plan = fuse(self.graph)
        self.users = users_of(self.graph)
        self.roots = set(self.graph.roots())
        self.called = {step for step in self.plan.steps if isinstance(step, Node)}
        for node in self.graph.nodes:
            self._place(node)
        for step in self.plan.steps:
            if isinstance(step, Group):
                self._kernel(step, self.plan.stored, self.plan.inlined)
            else:
                self._call(step)

    def _place(self, node: Node) -> None:
        """Decide where a value lies; fused values that nobody else reads lie nowhere."""
        if node.op.kind == "view":
            source = node.inputs[0]
            assert isinstance(source, Node)
            if source in self.views:
                view = apply_view(node, self.views[source])
                assert view is not None
                self.views[node] = view
        elif node.op.kind == "source":
            array = np.ascontiguousarray(node.op.eager(*node.attrs), node.type.dtype.numpy)
            buffer = self._buffer(node, "constant")
            buffer.constant = array
            self.views[node] = contiguous_view(buffer, node.type.shape)
        elif node.op.name == "slice_scatter" and self._overwrites(node):
            source = node.inputs[0]
            assert isinstance(source, Node)
            self.views[node] = self.views[source]
        elif node in self.plan.stored or node in self.called:
            self.views[node] = contiguous_view(self._buffer(node, "arena"), node.type.shape)

    def _overwrites(self, node: Node) -> bool:
        """Whether a slice write can be done in its operand's own memory, which nothing else reads."""
        source = node.inputs[0]
        return isinstance(source, Node) and self.users[source] == [node] and source not in self.roots \
            and source.op.kind not in ("view", "source") and source in self.views \
            and self.views[source].buffer.kind == "arena" and source.type.shape == node.type.shape \
            and node.type.dtype.category != COMPLEX

    def _buffer(self, node: Node, kind: str) -> Buffer:
        buffer = Buffer(node.type.dtype, node.type.numel, kind)
        self.result.buffers.append(buffer)
        return buffer

    def _kernel(self, group: Group, stored: set[Node], inlined: set[Node]) -> None:
        status = contiguous_view(self.result.status, ())
        self.result.steps.append(KernelStep(emit(group, self.views, stored, inlined, status)))

    # ---- calls

    def _call(self, node: Node) -> None:
        if node.op.name == "matmul" and self._product(node):
            return
        if node.type.dtype.category != COMPLEX and self._assemble(node):
            return
        buffer = self.views[node].buffer
        buffer.kind = "host"
        operands = tuple(self.views[i] if isinstance(i, Node) else i for i in node.inputs)
        self.result.steps.append(HostStep(node, operands, buffer))

    def _assemble(self, node: Node) -> bool:
        """Copy parts to their places in the result, where the operation is made of such copies."""
        if node.op.name not in ASSEMBLED or (node.op.name == "embed_sum" and _overlaps(node)):
            return False
        whole = self.views[node]
        for value, index in _parts(node):
            target = whole if index is None else sliced(whole, index, sliced_shape(whole.shape, index))
            if not (isinstance(value, Node) and self.views.get(value) is target):  # else it lies there already
                self._copy(value, target, node)
        return True

    def _copy(self, value: Operand, target: View, reader: Node) -> None:
        """One kernel that writes a value, broadcast, to a view."""
        dtype = target.buffer.dtype
        if not isinstance(value, Node):
            literal = Node(CATALOGUE["full"], (), ((), value, dtype), TensorType(dtype, ()), f"{reader.name}_value")
            self._place(literal)
            value = literal
        shape = target.shape
        copy = Node(CATALOGUE["clone"], (value,), (), TensorType(dtype, shape), f"{reader.name}_part", reader.origin)
        self.views[copy] = target
        space = () if all(extent == 1 for extent in shape) else shape
        self._kernel(Group(0, space, [copy]), {copy}, set())

    def _product(self, node: Node) -> bool:
        """A matrix product through BLAS, where the element type and the rank allow it."""
        x, y = node.inputs
        assert isinstance(x, Node) and isinstance(y, Node)
        out = self.views[node]
        short = node.type.dtype.short
        if short not in ("f32", "f64") or len(out.shape) > 3 or 0 in (*x.type.shape, *y.type.shape):
            return False
        left, right = self._matrix(x), self._matrix(y)
        m, n = out.shape[-2:]
        arguments = {
            "dtype": short, "m": m, "n": n, "k": x.type.shape[-1], "lda": left[1], "ldb": right[1], "ldc": max(n, 1),
            "transpose_a": left[2], "transpose_b": right[2],
        }
        batch = 1
        if len(out.shape) == 3:
            batch = out.shape[0]
            arguments["batch_strides"] = (_batch(left[0]), _batch(right[0]), out.strides[0])
        self.result.steps.append(ProductStep((left[0], right[0], out), arguments, batch))
        return True

    def _matrix(self, node: Node) -> tuple[View, int, bool]:
        """An operand as BLAS reads it: its view, leading dimension, and whether it is transposed; a copy if need be."""
        view = self.views[node]
        rows, columns = view.shape[-2:]
        step, inner = view.strides[-2:]
        if view.offset == 0:
            if (inner == 1 or columns == 1) and (step >= columns or rows == 1):
                return view, max(step if rows > 1 else columns, 1), False
            if (step == 1 or rows == 1) and (inner >= rows or columns == 1):
                return view, max(inner if columns > 1 else rows, 1), True
        copy = Node(CATALOGUE["clone"], (node,), (), node.type, f"{node.name}_copy", node.origin)
        self.views[copy] = contiguous_view(self._buffer(copy, "arena"), copy.type.shape)
        group = Group(0, copy.type.shape, [copy])
        self._kernel(group, {copy}, set())
        return self.views[copy], max(columns, 1), False

    # ---- results

    def _outputs(self, owners: list[Operand]) -> None:
        """Where each result lies. What would share memory in a way that eager execution doesn't is copied out."""
        given: dict[Buffer, Operand] = {}
        inputs = {buffer: index for index, buffer in enumerate(self.result.inputs)}
        names = {node.name: index for index, node in enumerate(self.graph.inputs)}
        results = results_of(self.graph)
        visible = len(self.graph.outputs)
        for position, operand in enumerate(results):
            if not isinstance(operand, Node):
                self.result.outputs.append((operand, False))
                continue
            view = self.views[operand]
            if view.buffer.kind == "arena":
                view.buffer.kind = "output"
            copied = False
            if position < visible:
                owner = owners[position]
                if view.buffer in inputs:  # only what eager execution returns as a view of that very input stays one
                    copied = not isinstance(owner, Node) or names.get(owner.name) != inputs[view.buffer]
                else:
                    copied = view.buffer.kind == "constant" or given.setdefault(view.buffer, owner) is not owner
            self.result.outputs.append((view, copied))


ASSEMBLED = frozenset({"cat", "embed_sum", "slice_scatter"})


def _parts(node: Node) -> Iterator[tuple[Operand, tuple[Any, ...] | None]]:
    """Values and the indices at which they are written, one after the other; None stands for the whole."""
    if node.op.name == "slice_scatter":
        yield node.inputs[0], None
        yield node.inputs[1], node.attr("index")
    elif node.op.name == "embed_sum":
        if not _covers(node):
            yield 0, None
        yield from zip(node.inputs, node.attr("indices"), strict=True)
    elif node.op.name == "cat":
        axis, start = node.attr("axis"), 0
        for part in node.parents():
            extent = part.type.shape[axis]
            yield part, (*(slice(0, e, 1) for e in node.type.shape[:axis]), slice(start, start + extent, 1))
            start += extent


def _overlaps(node: Node) -> bool:
    """Whether parts of an `embed_sum` may meet in an element, so that they have to be added."""
    first = [index[0] if index else None for index in node.attr("indices")]
    return any(type(position) is not int for position in first) or len(set(first)) < len(first)


def _covers(node: Node) -> bool:
    """Whether the parts of an `embed_sum` leave no element of the result unwritten."""
    rest = 1
    for extent in node.type.shape[1:]:
        rest *= extent
    return len(node.inputs) == node.type.shape[0] and all(p.type.numel == rest for p in node.parents())


def _batch(view: View) -> int:
    return 0 if len(view.shape) < 3 or view.shape[0] == 1 else view.strides[0]
