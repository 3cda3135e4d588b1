"""Matrix products through BLAS.

BLAS reads a matrix whose rows or columns are contiguous, wherever it begins and however far its rows are apart, and
writes such a matrix. So transposes, slices and parts of larger arrays need no copies. Dims of a batch that lie in
memory as one are one; where all of a batch is multiplied by one matrix, it is one product.
"""

from __future__ import annotations

from itertools import product as every
from math import prod
from typing import Any, NamedTuple

from retape.ir.graph import Node
from retape.ir.shapes import Shape

from .division import divided_product
from .loops import build_nest
from .lowered import ProductStep
from .steps import Draft
from .views import View, transposed

__all__ = ["adds", "is_product", "multiply", "takes"]

CALLS = 64  # products with a batch that can't be walked with one stride: at most this many rows of the tape


class _Matrix(NamedTuple):
    """An operand as BLAS reads it: its view, the distance between its rows, and whether it is stored transposed."""

    view: View
    stride: int
    transposed: bool


def is_product(node: Node) -> bool:
    """Whether BLAS can carry the operation out."""
    return node.op.name in ("matmul", "matmul_add") and node.type.dtype.short in ("f32", "f64") \
        and not any(0 in parent.type.shape for parent in node.parents())


def adds(node: Node) -> bool:
    """Whether BLAS adds a product to an array, the operation's first operand."""
    return node.op.name == "matmul_add" and is_product(node) and isinstance(node.inputs[0], Node)


def takes(view: View) -> bool:
    """Whether BLAS can write its result to a view."""
    return _matrix(view) is not None


def multiply(draft: Draft, node: Node) -> None:
    """Append a matrix product through BLAS. What it is added to lies in the place of the result already."""
    x, y = node.inputs[-2:]
    assert isinstance(x, Node) and isinstance(y, Node)
    out = _matrix(draft.views[node])
    assert out is not None
    left, right = _operand(draft, x), _operand(draft, y)
    if out.transposed:  # C.T = B.T @ A.T
        left, right, out = _turned(right), _turned(left), _turned(out)
    lead = node.type.shape[:-2]
    outer = _outer(lead, left, right, out)
    if prod(outer[0][:-1]) > CALLS:
        left, right = _copied(draft, left, lead, node), _copied(draft, right, lead, node)
        outer = _outer(lead, left, right, out)
    scales: dict[str, float] = {}
    if node.op.name == "matmul_add":
        scales = {"alpha": node.attr("scale"), "beta": float(isinstance(node.inputs[0], Node))}
    _append(draft, left, right, out, *outer, scales, node)


def _append(
    draft: Draft, left: _Matrix, right: _Matrix, out: _Matrix, extents: Shape, strides: list[Shape],
    scales: dict[str, float], node: Node,
) -> None:
    """Append the products of a batch: the innermost dim is walked by one row of the tape, each other by many."""
    m, n = out.view.shape[-2:]
    k = left.view.shape[-1]
    whole = (extents[-1], *(s[-1] for s in strides))
    if whole[2] == 0 and not left.transposed and whole[0] > 1 \
            and whole[1] == m * left.stride and whole[3] == m * out.stride:
        m, whole = m * whole[0], (1, 0, 0, 0)  # the batch's rows are rows of one matrix
    arguments: dict[str, Any] = {
        "dtype": out.view.buffer.dtype.short, "m": m, "n": n, "k": k, "lda": left.stride, "ldb": right.stride,
        "ldc": out.stride, "transpose_a": left.transposed, "transpose_b": right.transposed,
        "batch_strides": whole[1:], **scales,
    }
    views = (left.view, right.view, out.view)
    for index in every(*map(range, extents[:-1])):
        offsets = tuple(view.offset + sum(i * s for i, s in zip(index, steps, strict=False))
                        for view, steps in zip(views, strides, strict=True))
        divided_product(draft, ProductStep(views, {**arguments, "offsets": offsets}, whole[0]), node)


def _outer(lead: Shape, *matrices: _Matrix) -> tuple[Shape, list[Shape]]:
    """The loops over a batch, as few as possible, and each matrix's strides over them."""
    if not lead:
        return (1,), [(0,)] * 3
    nest = build_nest(lead, [_leading(matrix.view, len(lead)) for matrix in matrices])
    return nest.extents, list(nest.strides)


def _leading(view: View, rank: int) -> Shape:
    """Strides over the batch; 0 where the matrix repeats."""
    own = tuple(0 if extent == 1 else step for extent, step in zip(view.shape[:-2], view.strides, strict=False))
    return (0,) * (rank - len(own)) + own


def _matrix(view: View) -> _Matrix | None:
    rows, columns = view.shape[-2:]
    step, inner = view.strides[-2:]
    if (inner == 1 or columns == 1) and (step >= columns or rows == 1):
        return _Matrix(view, max(step if rows > 1 else columns, 1), False)
    if (step == 1 or rows == 1) and (inner >= rows or columns == 1):
        return _Matrix(view, max(inner if columns > 1 else rows, 1), True)
    return None


def _turned(matrix: _Matrix) -> _Matrix:
    return _Matrix(transposed(matrix.view), matrix.stride, not matrix.transposed)


def _operand(draft: Draft, node: Node) -> _Matrix:
    """An operand in a form that BLAS reads; a copy if need be."""
    view = draft.views[node]
    return _matrix(view) or _copied(draft, _Matrix(view, 0, False), view.shape[:-2], node)


def _copied(draft: Draft, matrix: _Matrix, lead: Shape, reader: Node) -> _Matrix:
    """The matrices of a batch, one after the other."""
    copy = _matrix(draft.duplicate(matrix.view, (*lead, *matrix.view.shape[-2:]), reader))
    assert copy is not None
    return copy
