"""Buffers and strided views of them: where a value's elements lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from retape.ir import DType
from retape.ir.graph import Node
from retape.ir.shapes import Shape, row_major_strides

__all__ = [
    "Buffer", "View", "apply_view", "contiguous_view", "joined", "reshaped_strides", "sliced", "transposed",
    "undo_view",
]


@dataclass(eq=False, slots=True)
class Buffer:
    """A stretch of memory of one element type.

    `kind`: "input" (the caller's array), "output" (a fresh array each call), "arena" (an offset into the program's
    workspace), "constant" (made once), "host" (made by a host step), "status" (where kernels report errors).
    """

    dtype: DType
    numel: int
    kind: str
    constant: Any = None

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize


class View(NamedTuple):
    """Elements of a buffer: `offset` and `strides` count elements."""

    buffer: Buffer
    shape: Shape
    strides: Shape
    offset: int = 0

    @property
    def is_row_major(self) -> bool:
        steps = row_major_strides(self.shape)
        return self.strides == steps or all(
            e == 1 or s == r for e, s, r in zip(self.shape, self.strides, steps, strict=True))

    def aligned(self, space: Shape) -> Shape:
        """Strides over a larger broadcast space; 0 where the view repeats."""
        lead = len(space) - len(self.shape)
        if lead < 0:  # extents of 1 in front of a scalar space
            return (0,) * len(space)
        own = self.strides
        if 1 in self.shape:
            own = tuple([0 if e == 1 else s for e, s in zip(self.shape, own, strict=True)])
        return (0,) * lead + own if lead else own


def contiguous_view(buffer: Buffer, shape: Shape) -> View:
    return View(buffer, shape, row_major_strides(shape))


def transposed(view: View) -> View:
    """The last two dims exchanged."""
    (*lead, rows, columns), (*steps, step, inner) = view.shape, view.strides
    return View(view.buffer, (*lead, columns, rows), (*steps, inner, step), view.offset)


def reshaped_strides(shape: Shape, strides: Shape, target: Shape) -> Shape | None:
    """The strides under which the same memory has another shape, or None where a copy is needed."""
    if 0 in shape:
        return row_major_strides(target)
    # runs of dims that lie in memory as one
    old = [(e, s) for e, s in zip(shape, strides, strict=True) if e != 1]
    result: list[int] = []
    position = 0
    for extent in target:
        if extent == 1:
            result.append(0)
            continue
        if position >= len(old):
            return None
        have, stride = old[position]
        while have < extent or have % extent:
            position += 1
            if position >= len(old):
                return None
            following, inner = old[position]
            if stride != inner * following:
                return None
            have, stride = have * following, inner
        rest = have // extent
        result.append(stride * rest)
        if rest == 1:
            position += 1
        else:
            old[position] = (rest, stride)
    return tuple(result) if position == len(old) and prod(target) == prod(shape) else None


def apply_view(node: Node, source: View) -> View | None:
    """What a view operation makes of `source`; None where it needs a copy."""
    name = node.op.name
    buffer, shape, strides, offset = source.buffer, source.shape, source.strides, source.offset
    target = node.type.shape
    if name == "reshape":
        steps = reshaped_strides(shape, strides, target)
        return None if steps is None else View(buffer, target, steps, offset)
    if name == "permute":
        return View(buffer, target, tuple(strides[a] for a in node.attr("axes")), offset)
    if name == "expand":
        return View(buffer, target, source.aligned(target), offset)
    if name == "unfold":
        axis, _, step = node.attrs
        steps = (*strides[:axis], strides[axis] * step, *strides[axis + 1 :], strides[axis])
        return View(buffer, target, steps, offset)
    if name == "flip":
        axes = node.attr("axis")
        moved = offset + sum((shape[a] - 1) * strides[a] for a in axes if shape[a])
        return View(buffer, target, tuple(-s if i in axes else s for i, s in enumerate(strides)), moved)
    return sliced(source, node.attr("index"), target)


def sliced(source: View, index: tuple[Any, ...], shape: Shape) -> View:
    """The part of a view that a basic index selects; `shape` is the shape it leaves."""
    steps: list[int] = []
    offset, dim = source.offset, 0
    for entry in index:
        if entry is None:
            steps.append(0)
            continue
        stride = source.strides[dim]
        if isinstance(entry, slice):
            if source.shape[dim]:
                offset += (entry.start or 0) * stride
            steps.append(stride * (entry.step or 1))
        else:
            offset += entry * stride
        dim += 1
    return View(source.buffer, shape, (*steps, *source.strides[dim:]), offset)


def undo_view(node: Node, result: View) -> View | None:
    """Where the operand of a view operation must lie for the result to lie at `result`; None where there is no such
    place, or the view shows only a part of its operand."""
    shape = next(node.parents()).type.shape
    if node.op.name == "reshape":
        steps = reshaped_strides(result.shape, result.strides, shape)
        return None if steps is None else View(result.buffer, shape, steps, result.offset)
    if node.op.name == "permute":
        axes = node.attr("axes")
        return View(result.buffer, shape, tuple(result.strides[axes.index(d)] for d in range(len(axes))), result.offset)
    return None


def joined(parts: Sequence[View], axis: int) -> View | None:
    """The view that shows views of one buffer one behind the other along a dim, where they lie in memory like that."""
    first = parts[0]
    step = first.strides[axis]
    if first.shape[axis] == 1 and len(parts) > 1:
        step = parts[1].offset - first.offset
    strides = (*first.strides[:axis], step, *first.strides[axis + 1 :])
    offset, count = first.offset, 0
    for part in parts:
        same = all(e == 1 or s == t for e, s, t in zip(part.shape, part.strides, strides, strict=True))
        if part.buffer is not first.buffer or not same or part.offset != offset:
            return None
        offset += step * part.shape[axis]
        count += part.shape[axis]
    return View(first.buffer, (*first.shape[:axis], count, *first.shape[axis + 1 :]), strides, first.offset)
