"""The draft into which lowering writes the steps of a program."""

from __future__ import annotations

import numpy as np

from retape.ir import CATALOGUE, Graph, TensorType
from retape.ir.graph import Node
from retape.ir.shapes import Shape, row_major_strides
from retape.ir.types import Literal

from .division import divided
from .fuse import Group
from .lowered import KernelStep, Lowered
from .reuse import Emitter
from .tiles import tiled
from .views import Buffer, View, contiguous_view

__all__ = ["Draft", "input_view"]


def input_view(node: Node, buffer: Buffer) -> View:
    """How an input lies in the caller's memory."""
    return View(buffer, node.type.shape, node.type.strides or row_major_strides(node.type.shape))


class Draft:
    """A program that is being lowered: where each value lies (`views`), and the steps so far. If `in_place`, what
    effects write may lie in the inputs that they are for."""

    def __init__(self, graph: Graph, strict: bool = False, in_place: bool = False) -> None:
        self.graph = graph
        self.strict = strict
        self.in_place = in_place
        self.result = Lowered(graph, strict)
        self.views: dict[Node, View] = {}
        self.emitter = Emitter(contiguous_view(self.result.status, ()), strict)
        for node in graph.inputs:
            buffer = Buffer(node.type.dtype, node.type.numel, "input")
            self.result.inputs.append(buffer)
            self.views[node] = input_view(node, buffer)

    def buffer(self, node: Node, kind: str) -> Buffer:
        """New memory for a value."""
        buffer = Buffer(node.type.dtype, node.type.numel, kind)
        self.result.buffers.append(buffer)
        return buffer

    def place_new(self, node: Node) -> View:
        """A value in a new part of the workspace."""
        view = self.views[node] = contiguous_view(self.buffer(node, "arena"), node.type.shape)
        return view

    def place_source(self, node: Node) -> None:
        """A value that is known: made once."""
        buffer = self.buffer(node, "constant")
        buffer.constant = np.ascontiguousarray(node.op.eager(*node.attrs), node.type.dtype.numpy)
        self.views[node] = contiguous_view(buffer, node.type.shape)

    def kernel(self, group: Group, stored: set[Node], inlined: set[Node]) -> None:
        """Append the kernel of a group."""
        tiles = tiled(self, group, stored, inlined)
        views = {**self.views, **tiles} if tiles else self.views
        divided(self, KernelStep(self.emitter.emit(group, views, stored, inlined)))

    def copy(self, value: View | Literal, target: View, reader: Node) -> None:
        """Append a kernel that writes a view, or a number, broadcast, to a view."""
        dtype, shape = target.buffer.dtype, target.shape
        if isinstance(value, View):
            kind = TensorType(dtype, value.shape)
            source = Node(CATALOGUE["clone"], (), (), kind, f"{reader.name}_source", reader.origin)
            self.views[source] = value
        else:
            source = Node(CATALOGUE["full"], (), ((), value, dtype), TensorType(dtype, ()), f"{reader.name}_value")
            self.place_source(source)
        copy = Node(CATALOGUE["clone"], (source,), (), TensorType(dtype, shape), f"{reader.name}_part", reader.origin)
        self.views[copy] = target
        space = () if all(extent == 1 for extent in shape) else shape
        self.kernel(Group(0, space, [copy]), {copy}, set())

    def duplicate(self, view: View, shape: Shape, reader: Node) -> View:
        """Append a kernel that copies a view, broadcast to `shape`, to new memory; returns where."""
        copy = Node(CATALOGUE["clone"], (), (), TensorType(view.buffer.dtype, shape), reader.name, reader.origin)
        target = self.place_new(copy)
        self.copy(view, target, reader)
        return target
