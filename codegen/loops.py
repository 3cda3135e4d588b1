"""The loop nest of a kernel: its dimensions merged where every access allows it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from retape.ir.shapes import Shape

__all__ = ["Choice", "Nest", "build_nest", "parts"]

EDGE = 8  # iterations: where a loop is cut into more than two parts as short as that, these share one text


@dataclass(frozen=True, slots=True)
class Choice:
    """A line that differs between the parts of loops: the levels that are cut, and a text for each of their parts."""

    levels: tuple[int, ...]
    texts: dict[tuple[int, ...], str]


@dataclass(frozen=True, slots=True)
class Nest:
    """Extents of the loops from outside in, and each access's strides over them, in elements.

    The first `rows` loops run over rows, the others over the elements of a row; 0 where the kernel has no rows. `cuts`
    are the places at which each loop is cut into parts. `places` gives for each dim of the space the loop in which it
    went up, and how many iterations of it one step along the dim is.
    """

    extents: Shape
    strides: tuple[Shape, ...]
    rows: int = 0
    cuts: tuple[tuple[int, ...], ...] = ()
    places: tuple[tuple[int, int], ...] = ()


def build_nest(
    space: Shape, accesses: Sequence[Shape], rows: int = 0, cuts: Sequence[Collection[int]] = ()
) -> Nest:
    """Drop extents of 1 and merge neighbours that every access walks through in one step.

    A reduction's result has stride 0 along reduced dims, so kept and reduced dims are never merged; nor are the first
    `rows` dims with those behind them, nor a dim that is cut with the one before.
    """
    extents: list[int] = []
    columns: list[list[int]] = []
    loops: list[list[int]] = []  # the dims of each loop
    merged_rows, last = 0, 0
    for d, extent in enumerate(space):
        if extent == 1:
            continue
        column = [access[d] for access in accesses]
        if columns and not last < rows <= d and not (cuts and cuts[d]) \
                and all(outer == inner * extent for outer, inner in zip(columns[-1], column, strict=True)):
            extents[-1] *= extent
            columns[-1] = column
            loops[-1].append(d)
        else:
            extents.append(extent)
            columns.append(column)
            loops.append([d])
        last = d
        if d < rows:
            merged_rows = len(columns)
    if not columns:  # a single element
        extents, columns, loops = [1], [[0] * len(accesses)], [[]]
    strides = tuple(tuple(column[i] for column in columns) for i in range(len(accesses)))
    places, parts = [(0, 1)] * len(space), []
    for level, dims in enumerate(loops):
        scale = 1
        for d in reversed(dims):
            places[d] = level, scale
            scale *= space[d]
        first = places[dims[0]][1] if dims else 1
        parts.append(tuple(sorted(cut * first for cut in cuts[dims[0]])) if cuts and dims else ())
    return Nest(tuple(extents), strides, merged_rows, tuple(parts), tuple(places))


def parts(cuts: Sequence[int], extent: int, innermost: bool) -> list[tuple[int, int, bool]]:
    """The parts of a loop that is cut, as they are written: the first, the one behind the last, and whether they have a
    text of their own. Short parts of the innermost loop may share one."""
    lengths = [end - start for start, end in pairwise([0, *cuts, extent])]
    short = [innermost and length <= EDGE for length in lengths]
    if sum(short) <= 2:
        return [(part, part + 1, True) for part in range(len(lengths))]
    found: list[tuple[int, int, bool]] = []
    for part, shared in enumerate(short):
        if shared and found and not found[-1][2]:
            found[-1] = found[-1][0], part + 1, False
        else:
            found.append((part, part + 1, not shared))
    return found
