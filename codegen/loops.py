"""The loop nest of a kernel: its dimensions merged where every access allows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retape.ir.shapes import Shape

__all__ = ["Nest", "build_nest"]


@dataclass(frozen=True, slots=True)
class Nest:
    """Extents of the loops from outside in, and each access's strides over them, in elements.

    The first `rows` loops run over rows, the others over the elements of a row; 0 where the kernel has no rows.
    """

    extents: Shape
    strides: tuple[Shape, ...]
    rows: int = 0


def build_nest(space: Shape, accesses: Sequence[Shape], rows: int = 0) -> Nest:
    """Drop extents of 1 and merge neighbours that every access walks through in one step.

    A reduction's result has stride 0 along reduced dims, so kept and reduced dims are never merged; nor are the first
    `rows` dims with those behind them.
    """
    merged_extents: list[int] = []
    merged: list[list[int]] = []
    merged_rows, last = 0, 0
    for d, extent in enumerate(space):
        if extent == 1:
            continue
        column = [access[d] for access in accesses]
        if merged and not last < rows <= d \
                and all(outer == inner * extent for outer, inner in zip(merged[-1], column, strict=True)):
            merged_extents[-1] *= extent
            merged[-1] = column
        else:
            merged_extents.append(extent)
            merged.append(column)
        last = d
        if d < rows:
            merged_rows = len(merged)
    if not merged:  # a single element
        merged_extents, merged = [1], [[0] * len(accesses)]
    strides = tuple(tuple(column[i] for column in merged) for i in range(len(accesses)))
    return Nest(tuple(merged_extents), strides, merged_rows)
