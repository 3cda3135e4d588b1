"""Places of largest elements as two reductions: the largest element, and the least index at which that stands.

Both are kernels, fused with what computes the elements. NumPy, which goes through memory once and compares whole
vectors, finds the places in long rows that lie in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from retape.ir import CATALOGUE, Graph, TensorType
from retape.ir.graph import Node, Operand, reads_of, rewired
from retape.ir.types import BOOL, COMPLEX, FLOAT, b1, i64

from .rows import AGAIN

__all__ = ["find_extremes"]

# From this length on, and from so many elements on, NumPy goes through rows that lie in memory. [one core, f64, NumPy
# against kernels: 10 000 rows of 32 in 0.27 and 0.17 ms, 5000 of 64 in 0.16 and 0.17, 1000 of 1000 in 0.32 and 0.54;
# 2 rows of 100 in 3.7 and 1.0 us, 100 of 128 in 5.9 and 7.0]
LONG, MANY = 64, 8192
FLAT = 4096  # elements of several dims up to which all their indices are written down


def find_extremes(graph: Graph) -> Graph:
    """The graph with `argmax` as reductions, where kernels find places sooner."""
    if "argmax" not in graph.op_names:
        return graph
    new: dict[Any, Operand] = {}
    nodes: list[Node] = []
    for old in graph.nodes:
        node = rewired(old, new)
        if old.op.name == "argmax" and _suits(old, graph):
            node = _reduced(node, nodes)
        else:
            nodes.append(node)
        if node is not old:
            new[old] = node
    return graph.map_roots(nodes, lambda o: new.get(o, o))


def _suits(node: Node, graph: Graph) -> bool:
    x = node.inputs[0]
    if not isinstance(x, Node) or x.type.dtype.category in (BOOL, COMPLEX) or not x.type.numel:
        return False
    shape, (axes, _) = x.type.shape, node.attrs
    if len(axes) > 1 and x.type.numel > FLAT:
        return False
    trailing = prod(shape[axes[-1] + 1 :]) == 1 if axes else True
    if x.op.kind != "pointwise" and trailing and x.type.numel >= MANY and _length(shape, axes) >= LONG:
        return False
    return _is_steady(x, graph)


def _length(shape: Sequence[int], axes: Sequence[int]) -> int:
    return prod([shape[axis] for axis in axes])


def _is_steady(x: Node, graph: Graph) -> bool:
    """Whether elements that kernels compute twice are the same number twice.

    A product may be rounded once with the sum that reads it, where nothing else does; a product that is read elsewhere
    may be in memory for one kernel and in a register for another.
    """
    while x.op.name == "neg":  # rounds nothing, and comparisons read it
        (x,) = x.parents()
    stack, products, seen = [x], set[Node](), {x}
    while stack:
        node = stack.pop()
        if node.op.kind == "pointwise":
            if node.op.name not in AGAIN and node is not x and node.type.dtype.category == FLOAT:
                products.add(node)
            fresh = [parent for parent in node.parents() if parent not in seen]
            seen.update(fresh)
            stack += fresh
    return not products or max(reads_of(graph, products).values()) == 1


def _reduced(node: Node, nodes: list[Node]) -> Node:
    """The reductions for one node, appended to `nodes`."""
    x, (axes, keepdims) = node.inputs[0], node.attrs
    assert isinstance(x, Node)
    shape = x.type.shape
    truth, count = TensorType(b1, shape), _length(shape, axes)

    def add(name: str, suffix: str, inputs: tuple[Operand, ...], attrs: tuple[Any, ...], type: TensorType) -> Node:
        nodes.append(Node(CATALOGUE[name], inputs, attrs, type, f"{node.name}{suffix}", node.origin))
        return nodes[-1]

    kept = tuple(1 if d in axes else extent for d, extent in enumerate(shape))
    spread = tuple(extent if d in axes else 1 for d, extent in enumerate(shape))
    most = add("amax", "_most", (x,), (axes, True), TensorType(x.type.dtype, kept))
    hit = add("eq", "_hit", (x, most), (), truth)
    if x.type.dtype.category == FLOAT:  # where NaN is, it is the largest
        nan = add("ne", "_nan", (x, x), (), truth)
        hit = add("maximum", "_found", (hit, nan), (), truth)
    index = add("arange", "_range", (), (0, count, 1, i64), TensorType(i64, (count,)))
    index = add("reshape", "_index", (index,), (spread,), TensorType(i64, spread))
    place = add("where", "_place", (hit, index, count), (), TensorType(i64, shape))
    return add("amin", "", (place,), (axes, keepdims), node.type)
