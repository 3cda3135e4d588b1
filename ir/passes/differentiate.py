"""Reverse-mode differentiation of a graph.

The one walk that applies the ops' rules to IR: from the last node to the first, each rule's result is summed back to
its operand's shape and accumulated. Rules emit ops that have rules, so the result can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..builder import GraphBuilder, sum_to
from ..errors import NoDerivative
from ..graph import Graph, Node, input_node
from ..ops import NotDifferentiable
from ..types import COMPLEX, TensorType

__all__ = ["Joint", "differentiate"]


@dataclass(frozen=True, slots=True)
class Joint:
    """A graph and its derivative over the same nodes.

    `cotangents` are the new inputs, one for each floating-point output; `gradients` stand for `wrt` in order, and
    `connected` says which of them depend on the cotangents at all (the others are zeros).
    """

    graph: Graph
    cotangents: tuple[Node, ...]
    nodes: tuple[Node, ...]
    wrt: tuple[Node, ...]
    gradients: tuple[Node, ...]
    connected: tuple[bool, ...]
    names: dict[Node, str]


def differentiate(graph: Graph, wrt: Sequence[Node] | None = None) -> Joint:
    """The vector-Jacobian product of `graph` with respect to inputs (by default all that are differentiable).

    Raises `NoDerivative` where an active path leads through an op that has no rule for a value it needs.
    """
    targets = tuple(differentiable_inputs(graph) if wrt is None else wrt)
    builder = GraphBuilder(prefix="t")
    builder.reserve(*graph.inputs)
    for node in graph.nodes:
        builder.adopt(node)
    outputs = [o for o in graph.outputs if isinstance(o, Node) and o.type.dtype.is_differentiable]
    seeds = tuple(input_node(builder.unique(f"d_{o.name}"), TensorType(o.type.dtype, o.type.shape)) for o in outputs)
    count = len(builder.nodes)
    cotangents: dict[Node, Node] = {}
    for output, seed in zip(outputs, seeds, strict=True):
        _accumulate(builder, cotangents, output, seed)
    active = active_nodes(graph, targets)
    for node in reversed(graph.nodes):
        if node in cotangents and node in active:
            builder.origin = f"vjp {node.name}"
            _propagate(builder, node, cotangents, active)
    gradients = []
    for target in targets:
        builder.origin = "no path"
        found = cotangents.get(target)
        gradients.append(found or builder.full(shape=target.type.shape, value=0.0, dtype=target.type.dtype))
    names = {ct: f"d_{primal.name}" for primal, ct in cotangents.items()}
    return Joint(graph, seeds, tuple(builder.nodes[count:]), targets, tuple(gradients),
                 tuple(target in cotangents for target in targets), names)


def differentiable_inputs(graph: Graph) -> list[Node]:
    return [node for node in graph.inputs if node.type.dtype.is_differentiable and not node.type.weak]


def active_nodes(graph: Graph, targets: Sequence[Node]) -> set[Node]:
    """The nodes whose value depends on `targets` through differentiable values."""
    active: set[Any] = set(targets)
    for node in graph.nodes:
        if not active.isdisjoint(node.inputs) and node.type.dtype.is_differentiable and node.op.name != "detach":
            active.add(node)
    return active


def _propagate(b: GraphBuilder, node: Node, cotangents: dict[Node, Node], active: set[Node]) -> None:
    ct = cotangents[node]
    for index, operand in enumerate(node.inputs):
        if not isinstance(operand, Node) or operand not in active:
            continue
        if isinstance(node.op.vjp, NotDifferentiable):
            if node.op.kind == "pointwise":  # a step function: zero almost everywhere
                continue
            raise NoDerivative(f"`{node.op.name}` has no derivative", ("where", str(node.origin)),
                               ("why", node.op.vjp.reason), fix="`.detach()` its input")
        part = _derive(b, ct, node, index)
        if part is not None:
            if part.type.shape != operand.type.shape:
                part = sum_to(b, part, part.type.shape, operand.type.shape)
            _accumulate(b, cotangents, operand, part)


def _derive(b: GraphBuilder, ct: Node, node: Node, index: int) -> Node | None:
    """Apply the rule of one operand; an error it raises names the user's line."""
    rule = node.op.rule(index)
    run = rule.conjugated if node.type.dtype.category == COMPLEX else rule
    try:
        part: Node | None = run(b, ct, node, (*node.inputs, node), index)
    except NoDerivative as error:
        error.facts = (("where", node.note), *error.facts)
        raise
    return part


def _accumulate(b: GraphBuilder, cotangents: dict[Node, Node], node: Node, part: Node) -> None:
    known = cotangents.get(node)
    cotangents[node] = part if known is None else b.add(known, part)
