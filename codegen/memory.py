"""The memory plan: a place in one workspace for every intermediate value; those not alive together share theirs."""

from __future__ import annotations

from collections.abc import Sequence

from .views import Buffer

__all__ = ["ALIGNMENT", "plan_memory"]

ALIGNMENT = 64


def plan_memory(lifetimes: Sequence[tuple[Buffer, int, int]]) -> tuple[dict[Buffer, int], int]:
    """Byte offsets in the workspace and its size, from (buffer, first step, last step).

    A place is free again after the last step that reads it, and is given first to a value of the same size: one walk
    over the steps.
    """
    starts: dict[int, list[Buffer]] = {}
    ends: dict[int, list[Buffer]] = {}
    for buffer, first, last in lifetimes:
        starts.setdefault(first, []).append(buffer)
        ends.setdefault(last, []).append(buffer)
    offsets: dict[Buffer, int] = {}
    free: dict[int, list[int]] = {}
    size = 0
    for step in sorted({*starts, *ends}):
        for buffer in starts.get(step, ()):
            need = -(-max(buffer.nbytes, 1) // ALIGNMENT) * ALIGNMENT
            places = free.get(need)
            if places:
                offsets[buffer] = places.pop()
            else:
                offsets[buffer] = size
                size += need
        for buffer in ends.get(step, ()):
            need = -(-max(buffer.nbytes, 1) // ALIGNMENT) * ALIGNMENT
            free.setdefault(need, []).append(offsets[buffer])
    return offsets, size
