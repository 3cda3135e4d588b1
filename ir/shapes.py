"""Arithmetic on shapes and axes, with the located errors for those that don't fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import zip_longest

from .errors import AxisError, BroadcastMismatch, DtypeError, ShapeError
from .extents import is_symbolic
from .types import DType, Literal, TensorType, promote

Shape = tuple[int, ...]


def same_shape(a: Shape, b: Shape) -> bool:
    """Whether shapes are equal; those of other lengths aren't compared (extents with formulas would take note)."""
    return len(a) == len(b) and a == b


def broadcast_shapes(name: str, shapes: Sequence[Shape]) -> Shape:
    """The common shape. Raises `BroadcastMismatch`, naming the dimension and a remedy that works."""
    first = shapes[0]
    if all(same_shape(shape, first) for shape in shapes):
        return first
    result: list[int] = []
    for position, extents in enumerate(zip_longest(*(reversed(s) for s in shapes), fillvalue=1)):
        wide = [extent for extent in extents if extent != 1]
        if any(extent != wide[0] for extent in wide[1:]):
            raise _mismatch(name, shapes, position)
        result.append(wide[0] if wide else 1)
    return tuple(reversed(result))


def _mismatch(name: str, shapes: Sequence[Shape], position: int) -> BroadcastMismatch:
    a, b = next((s, t) for s in shapes for t in shapes
                if len(s) > position and len(t) > position and s[-1 - position] != t[-1 - position]
                and 1 not in (s[-1 - position], t[-1 - position]))
    dim = max(len(a), len(b)) - 1 - position
    short, long, letter = (a, b, "a") if len(a) < len(b) else (b, a, "b")
    remedy = "make the extents equal, or one of them 1"
    if len(short) < len(long):
        padded = (*short, *(1,) * (len(long) - len(short)))
        if all(p in (1, e) or e == 1 for p, e in zip(padded, long, strict=True)):
            remedy = f"{letter}[{', '.join([':'] * len(short) + ['None'] * (len(long) - len(short)))}]"
    elif len(a) == 2 and (a[1] == b[0] or 1 in (a[1], b[0])) and (a[0] == b[1] or 1 in (a[0], b[1])):
        remedy = "b.T"
    return BroadcastMismatch(
        f"`{name}` can't broadcast `a` {a} with `b` {b}",
        ("why", f"dim {dim} is {a[-1 - position]} against {b[-1 - position]}"), fix=remedy)


def broadcast_types(
    name: str, operands: Iterable[TensorType | Literal], mixed: bool = False
) -> tuple[DType, Shape, bool]:
    """Element type, shape and weakness of an elementwise result.

    Tensor operands must have one element type, unless `mixed`. Raises `BroadcastMismatch` and `DtypeError`.
    """
    types = [operand for operand in operands if isinstance(operand, TensorType)]
    if not types:
        return promote(tuple(operands)), (), True
    dtype = types[0].dtype
    for other in types[1:]:
        if other.dtype is not dtype and not mixed:
            raise DtypeError(f"`{name}` got {dtype.name} and {other.dtype.name}",
                             ("why", "operands of one operation have one element type in the IR"),
                             fix="insert `op.cast`")
    return dtype, broadcast_shapes(name, [t.shape for t in types]), all(t.weak for t in types)


def canonical_axis(axis: int, ndim: int, shape: Shape | None = None) -> int:
    """`axis` counted from the front. Raises `AxisError`."""
    rank = max(ndim, 1)
    if not hasattr(axis, "__index__"):
        raise AxisError(f"a dim that is a {type(axis).__name__}", ("why", "dims are counted by integers"),
                        fix=f"use a dim from {-rank} to {rank - 1}")
    if not -rank <= axis < rank:
        of = f"shape {shape}" if shape is not None else f"rank {ndim}"
        raise AxisError(f"dim {axis} is out of range for {of}",
                        ("why", f"a tensor of rank {ndim} has dims {-rank}..{rank - 1}"),
                        fix=f"use a dim from {-rank} to {rank - 1}")
    return axis % rank


def canonical_axes(axis: int | Sequence[int] | None, shape: Shape) -> tuple[int, ...]:
    """Sorted axes counted from the front; None stands for all. Raises `AxisError`, also where one is named twice."""
    ndim = len(shape)
    if axis is None:
        return tuple(range(ndim))
    if isinstance(axis, int):
        return (canonical_axis(axis, ndim, shape),) if ndim else ()
    axes = tuple(sorted(canonical_axis(a, ndim, shape) for a in axis))
    if len(set(axes)) != len(axes):
        raise AxisError(f"dims {tuple(axis)} name one dim twice", ("why", f"the shape is {shape}"),
                        fix="name each dim once")
    return axes if axes or ndim else ()


def reduced_shape(shape: Shape, axes: Sequence[int], keepdims: bool = False) -> Shape:
    """The shape that is left when `axes` are reduced."""
    if keepdims:
        return tuple(1 if i in axes else extent for i, extent in enumerate(shape))
    return tuple(extent for i, extent in enumerate(shape) if i not in axes)


def canonical_shape(shape: Sequence[int], numel: int) -> Shape:
    """A target of reshape with its -1 filled in. Raises `ShapeError`."""
    known = 1
    for extent in shape:
        if extent != -1:
            known *= extent
    filled = tuple(numel // known if extent == -1 and known else extent for extent in shape)
    total = 1
    for extent in filled:
        total *= extent
    if total != numel or list(shape).count(-1) > 1:
        raise ShapeError(f"{numel} elements can't take the shape {tuple(shape)}",
                         ("why", f"it holds {abs(total)}" if -1 not in shape else "the given extents don't divide it"),
                         fix="choose extents whose product is the number of elements; one may be -1")
    return filled


def slice_bounds(entry: slice, extent: int) -> tuple[int, int, int]:
    """`entry.indices(extent)`, also for extents with formulas."""
    if not is_symbolic(entry) and type(extent) is int:
        return entry.indices(extent)
    step = 1 if entry.step is None else entry.step
    low, high = (0, extent) if step > 0 else (-1, extent - 1)

    def bounded(bound: int) -> int:
        if bound < 0:
            bound = bound + extent
            return low if bound < low else bound
        return high if bound > high else bound

    first, last = (low, high) if step > 0 else (high, low)
    return (first if entry.start is None else bounded(entry.start),
            last if entry.stop is None else bounded(entry.stop), step)


def slice_length(entry: slice, extent: int) -> int:
    """How many elements of `extent` a slice takes."""
    start, stop, step = slice_bounds(entry, extent)
    if step < 0:
        start, stop, step = stop, start, -step
    return 0 if stop <= start else (stop - start + (step - 1)) // step


@lru_cache(maxsize=4096)
def row_major_strides(shape: Shape) -> tuple[int, ...]:
    """Element strides of a contiguous array."""
    strides: list[int] = []
    step = 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def summed_axes(shape: Shape, target: Shape) -> tuple[tuple[int, ...], bool]:
    """The axes over which `shape` is summed to undo a broadcast from `target`, and whether a reshape follows."""
    lead = len(shape) - len(target)
    axes = (*range(lead), *(i + lead for i, e in enumerate(target) if e == 1 and shape[i + lead] != 1))
    return axes, len(axes) > lead
