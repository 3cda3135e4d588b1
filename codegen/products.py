"""Matrix products through BLAS."""

from __future__ import annotations

from typing import Any

from retape.ir import CATALOGUE
from retape.ir.graph import Node

from .fuse import Group
from .steps import Draft, ProductStep
from .views import View

__all__ = ["multiply"]


def multiply(draft: Draft, node: Node) -> bool:
    """Append a matrix product through BLAS, where the element type and the rank allow it."""
    x, y = node.inputs
    assert isinstance(x, Node) and isinstance(y, Node)
    out = draft.views[node]
    short = node.type.dtype.short
    if short not in ("f32", "f64") or len(out.shape) > 3 or 0 in (*x.type.shape, *y.type.shape):
        return False
    left, right = _matrix(draft, x), _matrix(draft, y)
    m, n = out.shape[-2:]
    arguments: dict[str, Any] = {
        "dtype": short, "m": m, "n": n, "k": x.type.shape[-1], "lda": left[1], "ldb": right[1], "ldc": max(n, 1),
        "transpose_a": left[2], "transpose_b": right[2],
    }
    batch = 1
    if len(out.shape) == 3:
        batch = out.shape[0]
        arguments["batch_strides"] = (_batch(left[0]), _batch(right[0]), out.strides[0])
    draft.result.steps.append(ProductStep((left[0], right[0], out), arguments, batch))
    return True


def _matrix(draft: Draft, node: Node) -> tuple[View, int, bool]:
    """An operand as BLAS reads it: its view, leading dimension, and whether it is transposed; a copy if need be."""
    view = draft.views[node]
    rows, columns = view.shape[-2:]
    step, inner = view.strides[-2:]
    if view.offset == 0:
        if (inner == 1 or columns == 1) and (step >= columns or rows == 1):
            return view, max(step if rows > 1 else columns, 1), False
        if (step == 1 or rows == 1) and (inner >= rows or columns == 1):
            return view, max(inner if columns > 1 else rows, 1), True
    copy = Node(CATALOGUE["clone"], (node,), (), node.type, f"{node.name}_copy", node.origin)
    placed = draft.place_new(copy)
    draft.kernel(Group(0, copy.type.shape, [copy]), {copy}, set())
    return placed, max(columns, 1), False


def _batch(view: View) -> int:
    return 0 if len(view.shape) < 3 or view.shape[0] == 1 else view.strides[0]
