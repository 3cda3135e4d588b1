"""Turns outer products into multiplications, and batches of tiny products into multiplications and a sum.

These become kernels, and share them with what is done with their results. A call of BLAS takes about 20 ns however
small its matrices are; a kernel over all of a batch has no such cost, and no packing, which is most of the work of a
small matrix by a vector.
"""

from __future__ import annotations

from itertools import chain
from math import prod
from typing import Any

from ..builder import GraphBuilder
from ..graph import Graph, Node, rewired
from ..ops import CATALOGUE
from ..ops.products import transposed
from .eliminate import eliminate_dead

__all__ = ["unfold_products"]

# Multiplications in one product up to which a kernel is faster, for matrices and for a matrix by a vector [measured, a
# thousand products of doubles: 4 x 4 by 4 x 4 11 against 23 us, 6 x 6 30 against 28; 10 x 10 by 10 x 1 24 against 54].
MATRICES, VECTORS = 64, 128
LONGEST = 12  # multiplications that are added up for one element
FEWEST = 8  # products in a batch


def unfold_products(graph: Graph) -> Graph:
    """The graph with batches of tiny products written out."""
    if "matmul" not in graph.op_names:
        return graph
    found = {node for node in graph.nodes if node.op.name == "matmul" and _is_tiny(node)}
    if not found:
        return graph
    b = GraphBuilder()
    b.reserve(chain(graph.inputs, graph.nodes))
    new: dict[Any, Any] = {}
    for node in graph.nodes:
        if node in found:
            b.origin = node.origin
            new[node] = _written_out(b, node, *[new.get(i, i) for i in node.parents()])
            continue
        made = rewired(node, new)
        if made is not node:
            new[node] = made
        b.nodes.append(made)
    return eliminate_dead(graph.map_roots(b.nodes, lambda o: new.get(o, o)))


def _is_tiny(node: Node) -> bool:
    *lead, m, n = node.type.shape
    k = next(node.parents()).type.shape[-1]
    if k == 1:
        return True
    return node.type.dtype.short in ("f32", "f64") and prod(lead) >= FEWEST and k <= LONGEST \
        and 0 < m * n * k <= (VECTORS if 1 in (m, n) else MATRICES)


def _written_out(b: GraphBuilder, node: Node, x: Node, y: Node) -> Any:
    (*left, m, k), (*right, _, n) = x.type.shape, y.type.shape
    if k == 1:
        return b.emit(CATALOGUE["mul"], (x, y), (), node.name)
    rows = b.reshape(x, shape=(*left, m, 1, k))
    columns = b.reshape(transposed(b, y, y.type.ndim), shape=(*right, 1, n, k))
    terms = b.mul(rows, columns)
    return b.emit(CATALOGUE["sum"], (terms,), ((terms.type.ndim - 1,), False), node.name)
