"""Memory of large results, used again once nobody refers to them.

A fresh array of some megabytes costs more than many a kernel that fills it: the system has to find its pages and zero
them. So a program keeps hold of the memory of its last results, and hands it out again when no array refers to it.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from retape.ir.shapes import Shape

__all__ = ["LARGEST", "LEAST", "fresh_arrays"]

LEAST = 256 * 1024  # bytes; smaller arrays come from the allocator's own reserve [2 us for 577 kB, 3400 us for 11 MB]
LARGEST = 256 * 1024 * 1024  # bytes; what is larger is given back at once
HELD = 2  # results of one output: the last, which the caller may still hold, and the one before
ALIGNMENT = 64


def fresh_arrays(shape: Shape, dtype: Any) -> Callable[[], Any]:
    """A function that makes uninitialised arrays of a shape and dtype."""
    return _allocation(shape, dtype) or _Reserve(shape, dtype).array


@lru_cache(maxsize=1024)
def _allocation(shape: Shape, dtype: Any) -> Callable[[], Any] | None:
    """A function that allocates arrays; None where their memory is worth to be kept."""
    kept = LEAST <= prod(shape) * np.dtype(dtype).itemsize <= LARGEST and _COUNTS_TELL
    return None if kept else partial(np.empty, shape, dtype)


class _Reserve:
    """The memory of an output's last arrays."""

    def __init__(self, shape: Shape, dtype: Any) -> None:
        self.shape = shape
        self.dtype = dtype
        self.size = prod(shape) * np.dtype(dtype).itemsize
        self._held: deque[Any] = deque()

    def array(self) -> Any:
        """An array over memory that nothing else refers to.

        Memory is taken out of the deque while it is looked at, so that two threads never take the same.
        """
        for _ in range(len(self._held)):
            try:
                memory = self._held.popleft()
            except IndexError:  # another thread has taken it
                continue
            if memory.references() == _ALONE:
                break
            self._held.append(memory)
        else:
            memory = _Memory(self.size)
        result = np.ndarray(self.shape, self.dtype, memory.raw, memory.start)
        while len(self._held) >= HELD:
            self._held.popleft()
        self._held.append(memory)
        return result


class _Memory:
    """Bytes, and where in them an aligned array begins. Every array over them refers to `raw`."""

    __slots__ = ("raw", "start")

    def __init__(self, size: int) -> None:
        self.raw = np.empty(size + ALIGNMENT, np.uint8)
        self.start = -self.raw.ctypes.data % ALIGNMENT

    def references(self) -> int:
        return sys.getrefcount(self.raw)


_ALONE = _Memory(8).references()
_COUNTS_TELL = getattr(sys, "_is_gil_enabled", lambda: True)() and sys.implementation.name == "cpython"
