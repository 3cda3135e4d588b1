"""Operations with a kernel of their own: runs along a dim, order, searches, and the linear algebra of small matrices.

Each has one text, over extents and strides that are integers, so a kernel is built once for all shapes. A routine goes
over a batch, or over values, in its outermost loop. What can't be done (a matrix that is singular, or not positive
definite) is reported through the program's status word, as an index out of bounds is; the interpreter then raises the
error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod

from retape.ir.graph import Node
from retape.ir.shapes import Shape
from retape.ir.types import COMPLEX, f32, f64, i64

from .division import GRAIN
from .lowered import WHOLE, Division, Emitted, KernelStep
from .routine_texts import CHOLESKY, CUMSUM, CUMSUM_ROWS, LOGDET, ORDER, PLACES, SEARCH, SOLVE, SUBSTITUTE
from .steps import Draft
from .views import View, reshaped_strides

__all__ = ["is_routine", "may_refuse", "run_routine"]

# Matrices up to this extent are factored by a kernel. LAPACK works in blocks, and is faster beyond. [one core, f64, a
# call with one right side: solve 8, 32, 64, 96 in 1.5, 5.2, 43, 226 us, by NumPy alone in 3.3, 8.9, 62, 194]
MATRIX = 64
# Up to this share of a row its first elements are held in a heap; else NumPy sorts the whole row, but for what takes
# less than the way there. [one core, f64, 1000 rows of 1000: the first 5, 32, 100, 300 in 1.5, 11, 35, 89 ms, sorted in
# 89; rising rows, of which the largest are wanted, 10, 27, 38, 58, sorted in 10. A call that sorts 16, 64, 128, 256
# numbers takes 1.1, 1.8, 3.0, 5.9 us, through the host 3.8, 4.2, 4.8, 6.3]
FIRST, FEW = 8, 128
ELEMENT, PROBE = 1.3, 4.0  # nanoseconds: of a running sum, of a step of a search

# Which of two numbers comes before the other; NaN is the largest.
_BEFORE, _SMALL, _LARGE = (re.compile(r"BEFORE\((\w+), (\w+)\)"), r"(\1 < \2 or (\1 == \1 and \2 != \2))",
                           r"(\2 < \1 or (\2 == \2 and \1 != \1))")

Routine = Callable[[Draft, Node], None]


def is_routine(node: Node, strict: bool) -> bool:
    """Whether a node has a kernel of its own; if `strict`, one that gives the bits of eager execution."""
    known = _ROUTINES.get(node.op.name)
    return known is not None and known[0](node, strict)


def may_refuse(node: Node) -> bool:
    """Whether the kernel of a node may end a call."""
    return node.op.name in _MATRICES


def run_routine(draft: Draft, node: Node) -> None:
    """Append the kernel of a node that has its own."""
    _ROUTINES[node.op.name][1](draft, node)


def _append(draft: Draft, node: Node, source: str, operands: list[tuple[str, View]], ints: list[int], extent: int,
            division: Division = WHOLE) -> None:
    """Append a kernel step; the operands are in the order of the text's pointers, those of the node first."""
    names, views = zip(*operands, strict=True)
    for position in range(len(node.inputs)):  # what an operand's address begins with
        begin = f"k{len(ints) + position}"
        source = source.replace(f"p{position}[", f"p{position}[{begin} + ").replace(", lo, hi)", f", {begin}, lo, hi)")
    ints = [*ints, *(view.offset for view in views[: len(node.inputs)])]
    pointers = tuple(view.buffer.dtype.short for view in views)
    draft.result.steps.append(KernelStep(Emitted(
        source, {"done": (node.name, node.origin)}, names, pointers, views, tuple(ints), extent, division)))


def _operand(node: Node) -> Node:
    operand = node.inputs[0]
    assert isinstance(operand, Node)
    return operand


def _view(draft: Draft, node: Node, position: int) -> View:
    """Where an operand lies."""
    operand = node.inputs[position]
    assert isinstance(operand, Node)
    return draft.views[operand]


def _merged(shape: Shape, strides: Shape) -> int | None:
    """The stride of dims as one; None where they can't be."""
    steps = reshaped_strides(shape, strides, (prod(shape),))
    return None if steps is None else steps[0]


def _split(draft: Draft, node: Node, view: View, axis: int, end: int) -> tuple[View, int, int]:
    """A view with the strides of the dims before `axis` and from `end` on, each as one: a copy where need be."""
    outer, inner = (_merged(view.shape[:axis], view.strides[:axis]), _merged(view.shape[end:], view.strides[end:]))
    if outer is None or inner is None:
        view = draft.duplicate(view, view.shape, node)
        return _split(draft, node, view, axis, end)
    return view, outer, inner


# ---- places, running sums, searches


def _places(draft: Draft, node: Node) -> None:
    mask = _view(draft, node, 0)
    if not mask.is_row_major:
        mask = draft.duplicate(mask, mask.shape, node)
    _append(draft, node, PLACES, [("mask", mask), (node.name, draft.views[node])], [node.type.numel], prod(mask.shape))


def _cumsum(draft: Draft, node: Node) -> None:
    axis, shape = node.attr("axis"), node.type.shape
    view, outer, inner = _split(draft, node, _view(draft, node, 0), axis, axis + 1)
    count, lead, rest = shape[axis], prod(shape[:axis]), prod(shape[axis + 1 :])
    ints = [count, outer, view.strides[axis]]
    row = count * rest * ELEMENT
    division = Division(grain=max(1, round(GRAIN / row)), work=row)
    operands = [("x", view), (node.name, draft.views[node])]
    if rest == 1:
        _append(draft, node, CUMSUM.replace("TYPE", node.type.dtype.short), operands, ints, lead, division)
    else:
        _append(draft, node, CUMSUM_ROWS.replace("TYPE", node.type.dtype.short), operands, [*ints, rest, inner], lead,
                division)


def _argsort(draft: Draft, node: Node) -> None:
    axis, count, shape = node.attr("axis"), node.type.shape[node.attr("axis")], _operand(node).type.shape
    view, outer, inner = _split(draft, node, _view(draft, node, 0), axis, axis + 1)
    rest = prod(shape[axis + 1 :])
    work = rest * (shape[axis] * ELEMENT + count * PROBE * count.bit_length())
    text = _BEFORE.sub(_LARGE if node.attr("descending") else _SMALL, ORDER)
    _append(draft, node, text, [("x", view), (node.name, draft.views[node])],
            [shape[axis], outer, view.strides[axis], rest, inner, count], prod(shape[:axis]),
            Division(grain=max(1, round(GRAIN / work)), work=work))


def _searchsorted(draft: Draft, node: Node) -> None:
    row, values = _view(draft, node, 0), _view(draft, node, 1)
    if not values.is_row_major:
        values = draft.duplicate(values, values.shape, node)
    work = PROBE * max(row.shape[0].bit_length(), 1)
    text = SEARCH.replace("BEFORE", "not BEYOND" if node.attr("right") else "BELOW")
    _append(draft, node, text.replace("BEYOND", "((v < x) | ((v == v) & (x != x)))")
            .replace("BELOW", "((x < v) | ((x == x) & (v != v)))"),
            [("row", row), ("values", values), (node.name, draft.views[node])], [row.shape[0], row.strides[0]],
            node.type.numel, Division(grain=max(1, round(GRAIN / work)), work=work))


# ---- matrices


def _matrix(draft: Draft, node: Node, view: View, lead: Shape) -> tuple[View, list[int]]:
    """A view of matrices over a batch, and its strides: of the batch, of rows, of columns."""
    rank = len(lead)
    whole = View(view.buffer, (*lead, *view.shape[-2:]), view.aligned((*lead, *view.shape[-2:])), view.offset)
    view, batch, _ = _split(draft, node, whole, rank, rank + 2)
    return view, [batch, *view.strides[-2:]]


def _scratch(draft: Draft, node: Node) -> tuple[str, View]:
    """Room for one matrix."""
    extent = _operand(node).type.shape[-1]
    buffer = draft.buffer(node, "arena")
    buffer.numel = extent * extent
    return "factors", View(buffer, (extent, extent), (extent, 1))


def _solve(draft: Draft, node: Node) -> None:
    *lead, n, m = node.type.shape
    matrix, steps = _matrix(draft, node, _view(draft, node, 0), tuple(lead))
    right, more = _matrix(draft, node, _view(draft, node, 1), tuple(lead))
    operands = [("a", matrix), ("c", right), (node.name, draft.views[node])]
    ints, status = [n, m, *steps, *more], ("status", draft.emitter.status)
    structure = node.attr("structure")
    if structure == "general":
        _append(draft, node, SOLVE, [*operands, _scratch(draft, node), status], ints, prod(lead))
    else:
        first, way = (0, 1) if structure == "lower" else (n - 1, -1)
        work = n * n * m + 10.0
        _append(draft, node, SUBSTITUTE, [*operands, status], [*ints, first, way], prod(lead),
                Division(grain=max(1, round(GRAIN / work)), work=work))


def _factored(source: str) -> Routine:
    def run(draft: Draft, node: Node) -> None:
        matrix, steps = _matrix(draft, node, _view(draft, node, 0), _lead(node))
        operands = [("a", matrix), (node.name, draft.views[node]), _scratch(draft, node)]
        if "p3" in source:
            operands.append(("status", draft.emitter.status))
        _append(draft, node, source.replace("TYPE", node.type.dtype.short), operands, [matrix.shape[-1], *steps],
                prod(_lead(node)))

    return run


def _lead(node: Node) -> Shape:
    return _operand(node).type.shape[:-2]


# ---- which nodes


def _runs_along(node: Node, strict: bool) -> bool:
    return node.type.dtype.category != COMPLEX and node.type.numel > 0 and node.type.ndim > 0


def _orders(node: Node, strict: bool) -> bool:
    x = _operand(node).type
    if not node.type.ndim or not node.type.numel or x.dtype not in (f32, f64, i64):
        return False
    axis = node.attr("axis")
    return bool(FIRST * node.type.shape[axis] <= x.shape[axis] or x.numel <= FEW)


def _searches(node: Node, strict: bool) -> bool:
    row, values = node.inputs
    return isinstance(row, Node) and isinstance(values, Node) and row.type.ndim == 1 \
        and row.type.dtype is values.type.dtype and row.type.dtype in (f32, f64, i64) and node.type.numel > 0


def _small_matrices(node: Node, strict: bool) -> bool:
    return not strict and 0 < _operand(node).type.shape[-1] <= MATRIX and node.type.numel > 0 \
        and node.type.dtype in (f32, f64) and all(isinstance(i, Node) for i in node.inputs)


_MATRICES: dict[str, Routine] = {"cholesky": _factored(CHOLESKY), "slogdet": _factored(LOGDET), "solve": _solve}
_ROUTINES: dict[str, tuple[Callable[[Node, bool], bool], Routine]] = {
    "places": (lambda node, strict: True, _places),
    "argsort": (_orders, _argsort),
    "cumsum": (_runs_along, _cumsum),
    "searchsorted": (_searches, _searchsorted),
    **{name: (_small_matrices, run) for name, run in _MATRICES.items()},
}
