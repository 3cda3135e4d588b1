"""How a kernel's outermost loop is divided among threads.

A loop whose iterations write to places of their own is cut anywhere, at multiples of its **grain**. Where iterations
add up to the same places (a sum over everything, or over the leading dim, a scatter), the loop is cut into a number of
**chunks** that depends on nothing but the shapes, each with a partial result of its own; another kernel combines the
partial results in order. So results never depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, prod
from typing import TYPE_CHECKING, Any, Protocol

from retape.ir import CATALOGUE, TensorType
from retape.ir.graph import Node

from .fuse import Group
from .loops import Nest
from .lowered import WHOLE, Chunks, Division, KernelStep, ProductStep
from .views import View

if TYPE_CHECKING:
    from .steps import Draft

__all__ = ["divide", "divided", "divided_product"]

# Estimated time of a kernel, in nanoseconds [measured on arrays in the second cache, 256-bit vectors]: for an addition
# of eight bytes, for a byte that is read or written, for an element that is read or written at an index. Elements far
# apart take a line of the cache each. [columns of 6561 numbers, 88 bytes apart: 3 to 5 ns a number for one to read and
# one to write]
ADDITION, BYTE, INDEXED = 0.06, 0.012, 1.0
CACHE_LINE = 64
# The least work that is worth a share or a chunk of its own. [a region costs some 1 us where the threads are awake, a
# chunk a few hundredths, but for the kernel that combines its results]
GRAIN, CHUNK = 4000.0, 10000.0
MOST_CHUNKS = 32
COMBINING = 0.05  # how much of a kernel's time combining its partial results may take
PRODUCT_CHUNK = 20000.0
PANELS = 128, 256  # rows or columns from which on a product is better cut into panels of its result
LINE = 1024  # elements: loops are cut where blocks of a sum and whole vectors end anyway
SUMS = {"radd": "sum", "rmul": "prod", "rmax": "amax", "rmin": "amin"}


class _Access(Protocol):
    view: View
    strides: tuple[int, ...]


def divide(nest: Nest, nodes: Sequence[Node], results: Sequence[Node], accesses: Mapping[Any, _Access],
           order: Mapping[Any, int]) -> Division:
    """Find the division of a kernel that computes `nodes` and stores `results`, from where its accesses lie; `order`
    gives the number of each one's pointer."""
    moving = [node for node in results if accesses[node].strides[0]]
    shared = [node for node in results if not accesses[node].strides[0]]
    if nest.extents[0] < 2 or any(_in_memory(node, accesses[node].strides) for node in moving):
        return WHOLE  # what begins with a value everywhere must have it before the first share
    extent, work = nest.extents[0], _work(nest, nodes, accesses)
    step = LINE if len(nest.extents) == 1 else 64 if len(nest.extents) == 2 and nest.extents[-1] <= 32 else 1
    if not shared:
        return Division(grain=_rounded(GRAIN / work, step), work=work)
    if not all(_adds_up(node, accesses[node].view) for node in shared):
        return WHOLE
    combined = sum(node.type.numel * node.type.dtype.itemsize for node in shared) * 2 * BYTE
    count = min(MOST_CHUNKS, int(extent * work / CHUNK), int(COMBINING * extent * work / combined))
    if count < 2:
        return WHOLE
    chunk = _rounded(extent / count, step)
    partial = tuple((order[node], node) for node in shared)
    return Division(chunk=chunk, work=work, partial=partial) if chunk < extent else WHOLE


def _rounded(iterations: float, step: int) -> int:
    return max(1, ceil(iterations / step)) * step


def _in_memory(node: Node, strides: tuple[int, ...]) -> bool:
    """Whether a result is filled first and accumulates in memory: all but reductions over just the innermost dims."""
    if node.op.kind != "reduction":
        return node.op.kind in ("embed", "scatter")
    kept = len(strides)
    while kept and strides[kept - 1] == 0:
        kept -= 1
    return kept == len(strides) or 0 in strides[:kept]


def _adds_up(node: Node, view: View) -> bool:
    """Whether partial results of a node can be combined to the whole."""
    return node.op.kind in ("reduction", "scatter") and node.type.dtype.short in ("f32", "f64", "i64") \
        and view.offset == 0 and view.is_row_major and prod(view.shape) == node.type.numel > 0


def _work(nest: Nest, nodes: Sequence[Node], accesses: Mapping[Any, _Access]) -> float:
    """Nanoseconds that one iteration of the outermost loop takes, about."""
    inner = prod(nest.extents[1:])
    element = 0.0
    for node in nodes:
        element += INDEXED if node.op.kind in ("gather", "scatter") else \
            node.op.cost * ADDITION * node.type.dtype.itemsize / 8
    for access in accesses.values():
        element += BYTE * min(abs(access.strides[-1]) * access.view.buffer.dtype.itemsize, CACHE_LINE)
    return max(inner * element, 0.01)


def divided(draft: Draft, step: KernelStep) -> None:
    """Append a kernel step to a draft: as it is, or in chunks with the combination of their partial results."""
    emitted = step.emitted
    division = emitted.division
    if not division.chunk:
        draft.result.steps.append(step)
        return
    count = -(-emitted.extent // division.chunk)
    views, strides = list(emitted.views), [0] * len(emitted.views)
    combined: dict[int, list[Node]] = {}
    for position, node in division.partial:
        numel, dtype, whole = node.type.numel, node.type.dtype, views[position]
        partial = Node(CATALOGUE["clone"], (), (), TensorType(dtype, (count, numel)), f"{node.name}_parts", node.origin)
        views[position] = draft.place_new(partial)
        strides[position] = numel * dtype.itemsize
        name = SUMS[node.op.kernel] if node.op.kind == "reduction" else "sum"
        total = Node(CATALOGUE[name], (partial,), ((0,), False), TensorType(dtype, (numel,)), node.name, node.origin)
        draft.views[total] = View(whole.buffer, (numel,), (1,), whole.offset)
        combined.setdefault(numel, []).append(total)
    chunks = Chunks(division.chunk, count, tuple(strides))
    draft.result.steps.append(replace(step, emitted=replace(emitted, views=tuple(views)),
                                      chunks=chunks))
    for numel, nodes in combined.items():
        draft.kernel(Group(0, (count, numel), nodes), set(nodes), set())


def divided_product(draft: Draft, step: ProductStep, node: Node) -> None:
    """Append a product to a draft. Where a small result is made of long sums, they are cut into chunks like others."""
    given = step.arguments
    m, n, k = (given[name] for name in "mnk")
    whole = step.operands[2]
    long = _sums_are_long(m, n, given["transpose_a"], given["transpose_b"])
    count = min(MOST_CHUNKS, int(step.work / PRODUCT_CHUNK),
                int(COMBINING * step.work / (m * n * whole.buffer.dtype.itemsize * 2 * BYTE)))
    if step.batch > 1 or len(whole.shape) > 2 or given.get("beta") or count < 2 or not long:
        draft.result.steps.append(step)
        return
    size = _rounded(k / count, 16)
    count = -(-k // size)
    dtype = whole.buffer.dtype
    partial = Node(CATALOGUE["clone"], (), (), TensorType(dtype, (count, m, n)), f"{node.name}_parts", node.origin)
    total = Node(CATALOGUE["sum"], (partial,), ((0,), False), TensorType(dtype, (m, n)), node.name, node.origin)
    draft.views[total] = whole
    strides = (given["lda"] if given["transpose_a"] else 1) * size, (1 if given["transpose_b"] else given["ldb"]) * size
    operands = (*step.operands[:2], draft.place_new(partial))
    arguments = {**given, "k": size, "ldc": n, "batch_strides": (*strides, m * n), "whole": (None, None, k),
                 "offsets": (*given["offsets"][:2], 0)}
    draft.result.steps.append(replace(step, operands=operands, arguments=arguments, batch=count))
    draft.kernel(Group(0, (count, m, n), [total]), {total}, set())


def _sums_are_long(m: int, n: int, transpose_a: bool, transpose_b: bool) -> bool:
    """Whether panels of the result would be too thin, or read parts of rows."""
    if min(m, n) > 1:
        return m < PANELS[0] if m >= n else n < PANELS[1]
    return transpose_a if m > 1 else not transpose_b
