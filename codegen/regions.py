"""Parts of an array that basic indices select: whether they meet, and what they leave over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from math import gcd, prod
from typing import Any

from retape.ir.shapes import Shape

__all__ = ["are_disjoint", "bounds", "cuts", "region", "uncovered"]

Region = tuple[range, ...]  # the positions that are selected in each dim, ascending
PAIRS = 64  # of so many regions, each is compared with each other


def region(shape: Shape, index: tuple[Any, ...]) -> Region:
    """The positions that a basic index selects."""
    result: list[range] = []
    for entry in index:
        if entry is None:
            continue
        extent = shape[len(result)]
        if isinstance(entry, slice):
            positions = range(*entry.indices(extent))
            result.append(positions if positions.step > 0 else positions[::-1])
        else:
            result.append(range(entry % extent, entry % extent + 1))
    return (*result, *map(range, shape[len(result) :]))


def _meet(a: range, b: range) -> bool:
    """Whether two ascending ranges may share a number."""
    if not a or not b or a[-1] < b[0] or b[-1] < a[0]:
        return False
    return (a[0] - b[0]) % gcd(a.step, b.step) == 0


def are_disjoint(regions: Sequence[Region]) -> bool:
    """Whether no two regions share an element; False also where that would take long to find out."""
    if len(regions) < 2:
        return True
    for positions in zip(*regions, strict=True):
        ends = sorted((p[0], p[-1]) if p else (0, -1) for p in positions)
        if all(a[1] < b[0] for a, b in pairwise(ends)):
            return True
    return len(regions) <= PAIRS and all(
        any(not _meet(p, q) for p, q in zip(a, b, strict=True)) for a, b in combinations(regions, 2))


def uncovered(shape: Shape, regions: Sequence[Region]) -> Iterator[tuple[slice, ...]]:
    """Indices of what disjoint regions leave over, where they fill a box; else of everything."""
    box = [range(min(p[0] for p in ps), max(p[-1] for p in ps) + 1) if all(ps) else range(0)
           for ps in zip(*regions, strict=True)]
    if not regions or not all(box) or sum(prod(map(len, r)) for r in regions) != prod(map(len, box)):
        yield tuple(slice(0, extent, 1) for extent in shape)
        return
    before: tuple[slice, ...] = ()
    for inner, extent in zip(box, shape, strict=True):
        rest = tuple(slice(0, e, 1) for e in shape[len(before) + 1 :])
        if inner.start:
            yield (*before, slice(0, inner.start, 1), *rest)
        if inner.stop < extent:
            yield (*before, slice(inner.stop, extent, 1), *rest)
        before = (*before, slice(inner.start, inner.stop, 1))


def bounds(entry: slice | int) -> tuple[int, int]:
    """The first place that an entry of an index selects, and the one behind the last; slices have step 1."""
    return (entry.start or 0, entry.stop) if isinstance(entry, slice) else (entry, entry + 1)


def cuts(shape: Shape, indices: Sequence[Sequence[Any]]) -> list[set[int]]:
    """For each dim the places inside it where one of the boxes begins or ends that indices select."""
    return [{bound for index in indices for bound in bounds(index[d]) if 0 < bound < extent}
            for d, extent in enumerate(shape)]
