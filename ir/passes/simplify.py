"""Algebra that changes no result, folding of constants, and common subexpressions in one walk.

A rule looks at one operation on simplified operands and gives a simpler operand, or None. Rules keep signs of zero,
NaN and infinities: `x + 0.0` stays (it turns -0.0 into 0.0), `x * 0.0` stays.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from ..builder import GraphBuilder
from ..graph import Graph, Node, Operand
from ..ops import CATALOGUE, Op
from ..types import BOOL
from .eliminate import eliminate_dead

__all__ = ["MARKERS", "simplify"]

MARKERS = frozenset({"clone", "detach", "opaque", "overwrite"})  # what only differentiation looks at

SPREAD = frozenset({CATALOGUE["full"], CATALOGUE["expand"]})
Rewrite = Callable[[GraphBuilder, Node, tuple[Any, ...]], Any]


def simplify(graph: Graph, erase: frozenset[str] = frozenset()) -> Graph:
    """An equal graph with fewer or cheaper operations, without duplicates and dead code.

    Operations named in `erase` are replaced by their operand: with `MARKERS` values stay and derivatives go. What
    nothing changes stays the very same node.
    """
    builder = GraphBuilder()
    builder.reserve(chain(graph.inputs, graph.nodes))
    rules = RULES if not erase else RULES | {CATALOGUE[name]: _erase for name in erase}
    new: dict[Any, Operand] = {}
    retyped: set[Any] = set()  # what is replaced by a value of another type
    spread: set[Any] = set()  # results that pointwise operations needn't read as they are
    unchanged, replaced, whole, rule_of = new.keys().isdisjoint, new.get, spread.isdisjoint, rules.get
    for node in graph.nodes:
        op, operands = node.op, node.inputs
        if not unchanged(operands):
            operands = tuple([replaced(i, i) for i in operands])
        rule, simpler = rule_of(op), None
        if rule is not None or not whole(operands):
            builder.origin = node.origin
            if op.kind == "pointwise" and rule not in (_cast, _erase) and not whole(operands):
                simpler = _pointwise(builder, node, operands)
            if simpler is None and rule is not None:
                simpler = rule(builder, node, operands)
        if simpler is None:
            simpler = builder.known(node, operands) if not retyped or retyped.isdisjoint(node.inputs) else builder.emit(
                op, operands, node.attrs, node.name, node.origin)
        if simpler is not node:
            new[node] = simpler
            if simpler.__class__ is not Node or simpler.type is not node.type:
                retyped.add(node)
        if simpler.__class__ is Node and simpler.op in SPREAD:
            spread.add(simpler)
    return eliminate_dead(graph.map_roots(builder.nodes, lambda operand: new.get(operand, operand)))


def _erase(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    return operands[0]


def _like(node: Node, operand: Any) -> bool:
    """Whether an operand can stand for the node's result: same shape and element type."""
    return isinstance(operand, Node) and operand.type.shape == node.type.shape \
        and operand.type.dtype is node.type.dtype and operand.type.weak == node.type.weak


def _pointwise(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    """Constants become literals, expanded operands are read unexpanded, and expansion moves behind the operation.

    Some operand is a constant or expanded.
    """
    lean = tuple([_lean(i) if i.__class__ is Node and i.op in SPREAD else i for i in operands])
    if not any(operand.__class__ is Node for operand in lean):
        number = b.emit(node.op, lean, node.attrs)
        return b.full(shape=node.type.shape, value=number, dtype=node.type.dtype)
    type = b.infer(node.op, lean, node.attrs)
    if type.dtype is not node.type.dtype:
        return None
    rule = RULES.get(node.op)
    value: Any = rule and rule(b, Node(node.op, lean, node.attrs, type, node.name, node.origin), lean)
    if value is None:
        value = b.emit(node.op, lean, node.attrs, node.name, node.origin, type)
    if not isinstance(value, Node) or value.type.shape == node.type.shape:
        return value
    return b.expand(value, shape=node.type.shape)


def _lean(operand: Any) -> Any:
    while isinstance(operand, Node):
        if operand.op.name == "full":
            kind = (bool, int, float, complex)[operand.type.dtype.category]
            return kind(operand.attr("value"))
        if operand.op.name != "expand":
            return operand
        operand = operand.inputs[0]
    return operand


def _mul(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    value, other = operands
    if value.__class__ is Node:
        if other.__class__ is Node:
            return None
        value, other = other, value
    if value == 1 and _like(node, other):
        return other
    return b.neg(other) if value == -1 and _like(node, other) else None


def _sub(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    x, y = operands
    return x if y.__class__ is not Node and y == 0 and _like(node, x) else None


def _div(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    x, y = operands
    return x if y.__class__ is not Node and y == 1 and _like(node, x) else None


def _neg(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    x = operands[0]
    return x.inputs[0] if isinstance(x, Node) and x.op.name == "neg" and isinstance(x.inputs[0], Node) else None


def _pow(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    x, y = operands
    if isinstance(y, Node) or not isinstance(x, Node) or isinstance(y, complex):
        return None
    if y == 1:
        return x
    if y == 2:
        return b.mul(x, x)
    if y == 3:
        return b.mul(b.mul(x, x), x)
    if y == 4:
        return b.mul(b.mul(x, x), b.mul(x, x))
    if node.type.dtype.is_floating_point:
        if y == 0.5:
            return b.sqrt(x)
        if y == -1:
            return b.div(1.0, x)
    return None


def _where(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    condition, x, y = operands
    if not isinstance(condition, Node):
        chosen = x if condition else y
        return chosen if _like(node, chosen) else None
    return None


def _cast(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    x = operands[0]
    if not isinstance(x, Node):
        return b.full(shape=(), value=x, dtype=node.type.dtype)
    if _like(node, x):
        return x
    if x.op.name == "full":
        return b.full(shape=x.type.shape, value=x.attr("value"), dtype=node.type.dtype) \
            if node.type.dtype.is_differentiable else None
    if x.op.name == "expand":
        return b.expand(b.cast(x.inputs[0], dtype=node.type.dtype), shape=node.type.shape)
    return None


def _view(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    x = operands[0]
    if isinstance(x, Node) and x.op.name == "full":
        return b.full(shape=node.type.shape, value=x.attr("value"), dtype=node.type.dtype)
    return None


def _reshape(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    x = operands[0]
    if _like(node, x):
        return x
    if x.op.name == "reshape":
        return x.inputs[0] if _like(node, x.inputs[0]) else b.reshape(x.inputs[0], shape=node.type.shape)
    return _view(b, node, operands)


def _expand(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    x = operands[0]
    if _like(node, x):
        return x
    if x.op.name == "expand":
        return b.expand(x.inputs[0], shape=node.type.shape)
    return _view(b, node, operands)


def _permute(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    x, axes = operands[0], node.attr("axes")
    if axes == tuple(range(len(axes))):
        return x
    if x.op.name == "permute":
        inner = x.attr("axes")
        both = tuple(inner[a] for a in axes)
        return x.inputs[0] if both == tuple(range(len(both))) else b.permute(x.inputs[0], axes=both)
    return _view(b, node, operands)


def _reduced(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    return operands[0] if not node.attrs[0] and _like(node, operands[0]) else None


def _sum(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    """Bools are counted as integers, which kernels can add."""
    x = operands[0]
    if isinstance(x, Node) and x.type.dtype.category == BOOL:
        return b.emit(node.op, (b.cast(x, dtype=node.type.dtype),), node.attrs, node.name, node.origin)
    return _reduced(b, node, operands)


def _embed(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    """What fills the whole array in its order is a reshape: the derivative of `x[:, None]`."""
    x = operands[0]
    backwards = any(isinstance(part, slice) and part.step is not None and part.step < 0 for part in node.attr("index"))
    if not isinstance(x, Node) or backwards or x.type.numel != node.type.numel:
        return None
    return b.reshape(x, shape=node.type.shape)


def _slice_scatter(b: GraphBuilder, node: Node, operands: tuple[Any, ...]) -> Any:
    """`x[i] += y` writes to the slice, and then writes the slice to its own place."""
    x, value = operands
    same = isinstance(value, Node) and value.op.name == "slice" and value.inputs[0] is x and value.attrs == node.attrs
    return x if same and _like(node, x) else None


RULES: dict[Op, Rewrite] = {CATALOGUE[name]: rule for name, rule in {
    "mul": _mul, "sub": _sub, "div": _div, "neg": _neg, "pow": _pow, "where": _where, "cast": _cast,
    "reshape": _reshape, "expand": _expand, "permute": _permute, "slice": _view, "flip": _view,
    "slice_scatter": _slice_scatter,
    "sum": _sum, "prod": _sum, "amax": _reduced, "amin": _reduced, "embed": _embed,
}.items()}
