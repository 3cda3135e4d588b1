"""The memory plan: a place in one workspace for every intermediate value; those not alive together share theirs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter

from .views import Buffer

__all__ = ["ALIGNMENT", "Free", "plan_memory", "rounded"]

ALIGNMENT = 64
FEW = 400  # values up to which a plan may take time that grows with the square of their number: 10 ms at most


class Free:
    """The free stretches of the workspace below its end: the smallest that is large enough is found by bisection.

    `taken` are the stretches that aren't free at first, as (offset, offset behind).
    """

    def __init__(self, taken: Iterable[tuple[int, int]] = ()) -> None:
        self.size = 0
        self._sorted: list[tuple[int, int]] = []  # (bytes, offset)
        self._starts: dict[int, int] = {}  # offset: bytes
        self._ends: dict[int, int] = {}  # offset behind: bytes
        for start, end in sorted(taken):
            if start > self.size:
                self._add(self.size, start - self.size)
            self.size = max(self.size, end)

    def _add(self, offset: int, count: int) -> None:
        insort(self._sorted, (count, offset))
        self._starts[offset] = self._ends[offset + count] = count

    def _remove(self, offset: int, count: int) -> None:
        del self._sorted[bisect_left(self._sorted, (count, offset))]
        del self._starts[offset], self._ends[offset + count]

    def take(self, need: int) -> int:
        """The offset of `need` bytes: part of the smallest stretch that holds them, or new ones at the end."""
        place = bisect_left(self._sorted, (need, 0))
        if place < len(self._sorted):
            count, offset = self._sorted.pop(place)
            del self._starts[offset], self._ends[offset + count]
            if count > need:
                self._add(offset + need, count - need)
            return offset
        last = self._ends.get(self.size, 0)  # the workspace grows behind what is free at its end
        offset = self.size - last
        if last:
            self._remove(offset, last)
        self.size = offset + need
        return offset

    def give(self, offset: int, count: int) -> None:
        """Bytes are free again; with what is free beside them they are one stretch."""
        before, behind = self._ends.get(offset, 0), self._starts.get(offset + count, 0)
        if before:
            self._remove(offset - before, before)
        if behind:
            self._remove(offset + count, behind)
        self._add(offset - before, before + count + behind)


Lifetimes = Sequence[tuple[Buffer, int, int]]


def plan_memory(lifetimes: Lifetimes) -> tuple[dict[Buffer, int], int]:
    """Byte offsets in the workspace and its size, from (buffer, first step, last step).

    Values are placed in the order of the steps, which takes time in proportion to their number, and most often no more
    room than what is alive at once. Where it takes more, a few are placed from the largest to the smallest, too.
    """
    offsets, size, alive = _by_time(lifetimes)
    if size > alive and len(lifetimes) <= FEW:
        others, smaller = _by_size(lifetimes)
        if smaller < size:
            return others, smaller
    return offsets, size


def _by_size(lifetimes: Lifetimes) -> tuple[dict[Buffer, int], int]:
    """Each value goes into the smallest gap between those, placed already, that are alive with it: alive when it
    begins, or begun while it is alive."""
    offsets: dict[Buffer, int] = {}
    firsts = sorted({first for _, first, _ in lifetimes})
    number = {first: place for place, first in enumerate(firsts)}
    # what is alive, and what begins, where values begin: (offset, offset behind)
    alive: list[list[tuple[int, int]]] = [[] for _ in firsts]
    begun: list[list[tuple[int, int]]] = [[] for _ in firsts]
    size = 0
    for buffer, first, last in sorted(lifetimes, key=lambda entry: -entry[0].nbytes):
        need, low, high = _bytes(buffer), number[first], bisect_right(firsts, last)
        gaps, end = [], 0
        for start, stop in sorted([*alive[low], *chain.from_iterable(begun[low + 1 : high])]):
            if start - end >= need:
                gaps.append((start - end, end))
            if stop > end:
                end = stop
        offset = offsets[buffer] = min(gaps)[1] if gaps else end
        placed = offset, offset + need
        for known in alive[low:high]:
            known.append(placed)
        begun[low].append(placed)
        size = max(size, offset + need)
    return offsets, size


def _by_time(lifetimes: Lifetimes) -> tuple[dict[Buffer, int], int, int]:
    """One walk over the steps: a place is free again after the last step that reads it. Also the most bytes that are
    alive at once."""
    starts: dict[int, list[tuple[int, Buffer]]] = {}
    ends: dict[int, list[tuple[int, Buffer]]] = {}
    for buffer, first, last in lifetimes:
        need = _bytes(buffer)
        starts.setdefault(first, []).append((need, buffer))
        ends.setdefault(last, []).append((need, buffer))
    offsets: dict[Buffer, int] = {}
    free, alive, most = Free(), 0, 0
    for step in sorted({*starts, *ends}):
        for need, buffer in sorted(starts.get(step, ()), key=itemgetter(0), reverse=True):
            offsets[buffer] = free.take(need)
            alive += need
        most = max(most, alive)
        for need, buffer in ends.get(step, ()):
            free.give(offsets[buffer], need)
            alive -= need
    return offsets, free.size, most


def _bytes(buffer: Buffer) -> int:
    return rounded(buffer.nbytes)


def rounded(count: int) -> int:
    """The bytes that a value of `count` bytes takes: whole lines, and at least one."""
    return -(-max(count, 1) // ALIGNMENT) * ALIGNMENT
