"""From a graph to steps: kernels, matrix products and host calls over buffers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retape.ir import CATALOGUE, Graph
from retape.ir.graph import Node, Operand
from retape.ir.passes import (
    MARKERS,
    collect_embeds,
    collect_products,
    group_embeds,
    hoist_reshapes,
    localise_parts,
    read_margins,
    simplify,
    unfold_products,
)
from retape.ir.types import COMPLEX

from .assembly import begin, finish
from .extremes import find_extremes
from .fuse import Group, fuse
from .literals import share_numbers
from .lowered import HostStep, KernelStep, Lowered, PanelStep, ProductStep, Step
from .moved import compute_pieces
from .panels import join_panels
from .pieces import read_in_pieces
from .placement import place, place_views
from .products import is_product, multiply
from .routines import is_routine, run_routine
from .steps import Draft, input_view
from .sums import order_sums
from .tiny import emit_tiny, suits
from .views import Buffer, View, apply_view, contiguous_view

__all__ = ["HostStep", "KernelStep", "Lowered", "PanelStep", "ProductStep", "Step", "lower"]


def lower(graph: Graph, strict: bool = False, stored: int = 0, varied: bool = False, in_place: bool = False) -> Lowered:
    """Simplify, fuse and place a graph's operations. The graph may be of any kind: saved values, guards and what
    effects write are further outputs, in that order; the caller carries the writes out, but for those that are done
    `in_place`.

    With `strict`, nothing is done that could change a bit of a sum or a product: no contraction, no other order. The
    first `stored` outputs each lie whole and in row-major order in some buffer. A graph that is `varied`, one of many
    with other extents, gets no code that holds for its own alone.
    """
    given, owners = graph, _owners(graph)
    graph = find_extremes(simplify(given, MARKERS))
    if not strict:
        graph = hoist_reshapes(localise_parts(collect_embeds(group_embeds(graph))))
    tiny = not varied and suits(graph, strict)
    if not strict and not tiny:
        graph = order_sums(unfold_products(collect_products(read_margins(graph))))
    if not tiny:
        graph = compute_pieces(read_in_pieces(graph))
    lowered = _Lowering(_with_copies(graph), strict, in_place).run(owners, tiny, given.outputs[:stored])
    share_numbers(lowered)
    join_panels(lowered)
    lowered.graph = given  # nothing asks for the graph that was placed, and it is as large
    return lowered


def results_of(graph: Graph) -> list[Operand]:
    """Everything that a program returns: outputs, saved values, guarded values, what effects write."""
    return [*graph.outputs, *graph.saved, *(guard.node for guard in graph.guards), *(e.value for e in graph.effects)]


def _owners(graph: Graph) -> list[Operand]:
    """For each output the value whose memory it shares in eager execution: itself, or what it is a view of."""
    owner: dict[Any, Node] = {}
    for output in graph.outputs:
        node, shown = output, []
        while isinstance(node, Node) and node not in owner and _is_view(node):
            shown.append(node)
            node = node.inputs[0]
        if isinstance(node, Node):
            owner.update(dict.fromkeys(shown, owner.get(node, node)))
    return [owner.get(o, o) for o in graph.outputs]


def _is_view(node: Node) -> bool:
    """Whether eager execution gives the memory of a node's operand."""
    return (node.op.kind == "view" or node.op.name in ("detach", "opaque")) and isinstance(node.inputs[0], Node)


def _with_copies(graph: Graph) -> Graph:
    """The graph with a `clone` wherever a reshape can't be a view."""
    if "reshape" not in graph.op_names:
        return graph
    views: dict[Any, View] = {}  # of inputs and of views; other values are row-major
    for node in graph.inputs:
        views[node] = input_view(node, Buffer(node.type.dtype, node.type.numel, "input"))
    copies: dict[Node, Node] = {}
    for node in graph.nodes:
        if node.op.kind == "view":
            source = node.inputs[0]
            assert isinstance(source, Node)
            view = apply_view(node, views.get(source) or _row_major(source))
            if view is None:
                copy = Node(CATALOGUE["clone"], (source,), (), source.type, f"{node.name}_copy", node.origin)
                copies[node] = copy
                view = apply_view(node, _row_major(copy))
            assert view is not None
            views[node] = view
    return _inserted(graph, copies) if copies else graph


def _row_major(node: Node) -> View:
    return contiguous_view(Buffer(node.type.dtype, node.type.numel, "arena"), node.type.shape)


def _inserted(graph: Graph, copies: dict[Node, Node]) -> Graph:
    """The graph in which the views in `copies` are taken of copies of their operand."""
    new: dict[Any, Node] = {}
    nodes: list[Node] = []
    for old in graph.nodes:
        node, copy = old, copies.get(old)
        inputs = tuple([new.get(i, i) for i in old.inputs])
        if copy is not None:
            copy = Node(copy.op, inputs, copy.attrs, copy.type, copy.name, copy.origin)
            nodes.append(copy)
            inputs = (copy,)
        if inputs != old.inputs:
            node = new[old] = Node(old.op, inputs, old.attrs, old.type, old.name, old.origin)
        nodes.append(node)
    return graph.map_roots(nodes, lambda o: new.get(o, o))


class _Lowering(Draft):
    """Places values and emits steps in order."""

    def run(self, owners: list[Operand], tiny: bool, stored: Sequence[Operand]) -> Lowered:
        self.taken: dict[Node, View] = {}
        if tiny:
            self._tiny()
        else:
            self._fused()
        self._stored(stored)
        self._outputs(owners, len(stored))
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
            self.place_new(node)
        place_views(self)
        if results:
            self.result.steps.append(KernelStep(emit_tiny(self.graph, self.views, list(results))))

    def _fused(self) -> None:
        """Kernels over loops, and calls between them."""
        plan = fuse(self.graph, self.strict)
        placement = place(self, plan)
        self.taken = placement.taken
        for step in placement.steps:
            if step in placement.final and self.result.final is None:
                self.result.final = len(self.result.steps)
            for assembly in placement.due.get(step, ()):
                begin(self, assembly)
            if isinstance(step, Group):
                self.kernel(step, plan.stored, plan.inlined)
            elif is_product(step) and not self.strict:
                multiply(self, step)
            elif step in placement.assemblies:
                finish(self, placement.assemblies[step])
            elif is_routine(step, self.strict):
                run_routine(self, step)
            else:
                self._host(step)

    def _host(self, node: Node) -> None:
        """A step outside native code: the operation's eager form."""
        buffer = self.views[node].buffer
        buffer.kind = "host"
        operands = tuple(self.views[i] if isinstance(i, Node) else i for i in node.inputs)
        self.result.steps.append(HostStep(node, operands, buffer))

    def _stored(self, wanted: Sequence[Operand]) -> None:
        """The outputs that have to lie in memory whole; `wanted` are they before the graph was simplified."""
        for node, operand in zip(wanted, self.graph.outputs, strict=False):
            assert isinstance(node, Node)
            view = self.views[operand] if isinstance(operand, Node) else None
            if view is None or view.offset or not view.is_row_major or view.buffer.numel != node.type.numel:
                view = self._gathered(node, operand if view is None else view)
            elif view.buffer.kind == "arena":
                view.buffer.kind = "output"
            self.result.outputs.append((view, False))

    def _gathered(self, node: Node, value: View | Any) -> View:
        """A copy of a value in memory of its own."""
        if isinstance(value, View) and node.type.dtype.category == COMPLEX:
            view = contiguous_view(self.buffer(node, "host"), node.type.shape)
            copy = Node(CATALOGUE["clone"], (node,), (), node.type, f"{node.name}_copy", node.origin)
            self.result.steps.append(HostStep(copy, (value,), view.buffer))
            return view
        view = contiguous_view(self.buffer(node, "output"), node.type.shape)
        self.copy(value, view, node)
        return view

    def _outputs(self, owners: list[Operand], first: int) -> None:
        """Where each result lies. What would share memory in a way that eager execution doesn't is copied out."""
        given: dict[Buffer, Operand] = {}
        inputs = {buffer: index for index, buffer in enumerate(self.result.inputs)}
        names = {node.name: index for index, node in enumerate(self.graph.inputs)}
        results = results_of(self.graph)
        visible = len(self.graph.outputs)
        written = [names[effect.target.name] for effect in self.graph.effects]
        taken = {view.buffer for view in self.taken.values()}
        first_write = len(results) - len(written)
        for position, operand in enumerate(results[first:], first):
            if not isinstance(operand, Node):
                self.result.outputs.append((operand, False))
                continue
            view = self.views[operand]
            if view.buffer.kind == "arena":
                view.buffer.kind = "output"
            # what the caller's memory holds is copied before an effect writes there
            copied = view.buffer in inputs and view.buffer not in taken and (
                position >= first_write or inputs[view.buffer] in written)
            if view.buffer in taken and position < first_write:
                view = self._gathered(operand, view)
            elif position < visible and not copied:
                owner = owners[position]
                if view.buffer in inputs:  # only what eager execution returns as a view of that very input stays one
                    copied = not isinstance(owner, Node) or names.get(owner.name) != inputs[view.buffer]
                else:
                    copied = view.buffer.kind == "constant" or given.setdefault(view.buffer, owner) is not owner
            done = position >= first_write and view.buffer is self.result.inputs[written[position - first_write]] \
                and view.buffer in taken
            self.result.outputs.append((None if done else view, copied))
