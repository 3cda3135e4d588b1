"""Moves reshapes out of the way of fusion: below pointwise operations and reductions, or above pointwise operations.

A reshape between two operations that could share a loop makes the first write its result to memory for the second. So
an operation on values that were reshaped alike comes before the reshape. A sum over dims that were merged is a sum over
what they were merged from. And a reshape that splits dims is taken from an operation's operands in place of its result,
where nothing else reads the result in its own shape.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from ..builder import GraphBuilder
from ..graph import Graph, Node, Operand, users_of
from ..ops import CATALOGUE
from ..shapes import Shape
from .eliminate import eliminate_dead

__all__ = ["hoist_reshapes"]

Block = tuple[list[int], list[int]]  # source dims and target dims that hold the same elements


def hoist_reshapes(graph: Graph) -> Graph:
    """The graph with operations in the shapes that let them share loops. What nothing changes stays the same node."""
    if "reshape" not in graph.op_names:
        return graph
    graph = _sink(graph)
    shapes = _wanted(graph)
    lowered = {node: axes for node in graph.nodes if (axes := _source_axes(node, shapes)) is not None}
    if not shapes and not lowered:
        return graph
    builder = GraphBuilder()
    builder.reserve(chain(graph.inputs, graph.nodes))
    new: dict[Node, Node] = {}

    def read(operand: Operand, shape: Shape) -> Operand:
        """A new operand in a shape."""
        if not isinstance(operand, Node):
            return operand
        found = new.get(operand, operand)
        return found if found.type.shape == shape else reshaped(found, shape)

    def reshaped(node: Node, shape: Shape) -> Node:
        result = builder.emit(CATALOGUE["reshape"], (node,), (shape,), builder.unique(f"{node.name}_reshaped"),
                              node.origin)
        assert isinstance(result, Node)
        return result

    for node in graph.nodes:
        if node in shapes:
            blocks = _blocks(node.type.shape, shapes[node])
            assert blocks is not None
            inputs = tuple(read(i, _mapped(i.type.shape, node.type.shape, shapes[node], blocks) or ())
                           if isinstance(i, Node) else i for i in node.inputs)
            made = builder.emit(node.op, inputs, node.attrs, node.name, node.origin)
        elif node in lowered:
            source = next(next(node.parents()).parents())
            operand = read(source, source.type.shape)
            made = builder.emit(node.op, (operand,), (lowered[node], False), node.name, node.origin)
            if isinstance(made, Node) and made.type.shape != node.type.shape:
                made = reshaped(made, node.type.shape)
        elif node.op.name == "reshape" and node.inputs[0] in shapes:
            made = read(node.inputs[0], node.type.shape)
        else:
            inputs = tuple(read(i, i.type.shape) if isinstance(i, Node) else i for i in node.inputs)
            made = builder.known(node, node.inputs) if inputs == node.inputs else \
                builder.emit(node.op, inputs, node.attrs, node.name, node.origin)
        assert isinstance(made, Node)
        if made is not node:
            new[node] = made
    return eliminate_dead(graph.map_roots(builder.nodes, lambda o: new.get(o, o)))


def _sink(graph: Graph) -> Graph:
    """Pointwise operations on values that were reshaped alike, before the reshape."""
    builder = GraphBuilder()
    builder.reserve(chain(graph.inputs, graph.nodes))
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        inputs = tuple(new.get(i, i) if isinstance(i, Node) else i for i in node.inputs)
        sources = _before_reshape(node, inputs)
        if sources is not None:
            result = builder.emit(node.op, sources, node.attrs, node.name, node.origin)
            made = builder.emit(CATALOGUE["reshape"], (result,), (node.type.shape,),
                                builder.unique(f"{node.name}_reshaped"), node.origin)
        else:
            made = builder.known(node, node.inputs) if inputs == node.inputs else \
                builder.emit(node.op, inputs, node.attrs, node.name, node.origin)
        assert isinstance(made, Node)
        if made is not node:
            new[node] = made
    return eliminate_dead(graph.map_roots(builder.nodes, lambda o: new.get(o, o))) if new else graph


def _before_reshape(node: Node, inputs: tuple[Operand, ...]) -> tuple[Operand, ...] | None:
    """The operands before they were reshaped, where all were in the same way and one of them comes from a loop."""
    if node.op.kind != "pointwise":
        return None
    sources = [i.inputs[0] if isinstance(i, Node) and i.op.name == "reshape" else i for i in inputs]
    nodes = [s for s in sources if isinstance(s, Node)]
    if not any(s.op.kind == "pointwise" for s in nodes) or len({s.type.shape for s in nodes}) > 1 \
            or any(i.type.shape != node.type.shape or i.op.name != "reshape" for i in inputs if isinstance(i, Node)):
        return None
    return tuple(sources)


def _wanted(graph: Graph) -> dict[Node, Shape]:
    """The pointwise operations to be computed in another shape, which is the one in which all their readers want them.

    Connected ones are changed together or not at all: else one of them would have to lie in memory for the next.
    """
    users = users_of(graph)
    roots = set(graph.roots())
    found: dict[Node, Shape] = {}
    for node in reversed(graph.nodes):
        if node.op.kind != "pointwise" or node in roots or node.type.numel < 2:
            continue
        shape = _agreed(node, users[node], found, users)
        if shape is not None and shape != node.type.shape:
            blocks = _blocks(node.type.shape, shape)
            if blocks is not None and all(_mapped(p.type.shape, node.type.shape, shape, blocks) is not None
                                          for p in node.parents()):
                found[node] = shape
    return _whole(graph, found)


def _agreed(node: Node, readers: Iterable[Node], found: dict[Node, Shape], users: dict[Node, list[Node]]) \
        -> Shape | None:
    """The one shape in which all readers want a value; None where some want its own."""
    shapes: set[Shape | None] = set()
    for reader in readers:
        if reader.op.name == "reshape":
            useful = any(user.op.kind in ("pointwise", "reduction") for user in users[reader])
            shapes.add(reader.type.shape if useful else None)
        elif reader in found:
            blocks = _blocks(reader.type.shape, found[reader])
            assert blocks is not None
            shapes.add(_mapped(node.type.shape, reader.type.shape, found[reader], blocks))
        else:
            return None
    return shapes.pop() if len(shapes) == 1 else None


def _whole(graph: Graph, found: dict[Node, Shape]) -> dict[Node, Shape]:
    """Those of `found` whose pointwise operands, and theirs, are changed as well."""
    leader = {node: node for node in found}

    def find(node: Node) -> Node:
        while leader[node] is not node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    broken: list[Node] = []
    for node in graph.nodes:
        if node in found:
            for parent in node.parents():
                if parent in found:
                    leader[find(parent)] = find(node)
                elif parent.op.kind == "pointwise" and parent.type.numel > 1:
                    broken.append(node)
    lost = {find(node) for node in broken}
    return {node: shape for node, shape in found.items() if find(node) not in lost}


def _source_axes(node: Node, shapes: dict[Node, Shape]) -> tuple[int, ...] | None:
    """The dims of a reshape's pointwise source over which a reduction of the reshape runs, if they are whole ones."""
    if node.op.kind != "reduction" or node.op.attribute_names != ("axis", "keepdims"):
        return None
    view = node.inputs[0]
    if not isinstance(view, Node) or view.op.name != "reshape":
        return None
    source = view.inputs[0]
    if not isinstance(source, Node) or source.op.kind != "pointwise" or source in shapes:
        return None
    blocks = _blocks(source.type.shape, view.type.shape)
    axes = set(node.attr("axis"))
    if blocks is None or not all(axes.issuperset(after) or axes.isdisjoint(after) for _, after in blocks):
        return None
    return tuple(d for before, after in blocks if after and axes.issuperset(after) for d in before)


def _blocks(source: Shape, target: Shape) -> list[Block] | None:
    """The smallest runs of dims that a reshape maps to each other; None where there are no elements."""
    if 0 in source:
        return None
    blocks: list[Block] = []
    i = j = 0
    while i < len(source) or j < len(target):
        before, after = [], []
        left = right = 1
        if i < len(source):
            before, left, i = [i], source[i], i + 1
        if not before or (left > 1 and j < len(target)):
            after, right, j = [j], target[j], j + 1
        while left != right:
            if left < right:
                before.append(i)
                left, i = left * source[i], i + 1
            else:
                after.append(j)
                right, j = right * target[j], j + 1
        blocks.append((before, after))
    return blocks


def _mapped(shape: Shape, source: Shape, target: Shape, blocks: list[Block]) -> Shape | None:
    """What a reshape from `source` to `target` makes of a shape that is broadcast to `source`; None if nothing does."""
    full = (*(1,) * (len(source) - len(shape)), *shape)
    result = [1] * len(target)
    for before, after in blocks:
        own, whole = [full[d] for d in before], [source[d] for d in before]
        if own == whole:
            for d in after:
                result[d] = target[d]
        elif any(extent != 1 for extent in own):
            return None
    return tuple(result)
