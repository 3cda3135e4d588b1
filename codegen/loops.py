"""The loop nest of a kernel: its dimensions merged where every access allows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retape.ir.shapes import Shape

__all__ = ["Nest", "build_nest"]


@dataclass(frozen=True, slots=True)
class Nest:
    """Extents of the loops from outside in, and each access's strides over them, in elements."""

    extents: Shape
    strides: tuple[Shape, ...]


def build_nest(space: Shape, accesses: Sequence[Shape]) -> Nest:
    """Drop extents of 1 and merge neighbours that every access walks through in one step.

    A reduction's result has stride 0 along reduced dims, so kept and reduced dims are never merged.
    """
    dims = [d for d, extent in enumerate(space) if extent != 1]
    extents = [space[d] for d in dims]
    columns = [[access[d] for access in accesses] for d in dims]
    merged_extents: list[int] = []
    merged: list[list[int]] = []
    for extent, column in zip(extents, columns, strict=True):
        if merged and all(outer == inner * extent for outer, inner in zip(merged[-1], column, strict=True)):
            merged_extents[-1] *= extent
            merged[-1] = column
        else:
            merged_extents.append(extent)
            merged.append(column)
    if not merged:  # a single element
        merged_extents, merged = [1], [[0] * len(accesses)]
    return Nest(tuple(merged_extents), tuple(tuple(column[i] for column in merged) for i in range(len(accesses))))
