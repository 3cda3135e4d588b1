"""Python's cyclic garbage collector, held back while large graphs are made.

A collection walks every container that is alive. A graph of 1e5 operations has a million of them, and none is garbage:
with CPython's defaults that walk is two fifths of the time of tracing and compiling.
"""

from __future__ import annotations

import gc
import threading
from typing import Any

__all__ = ["Rarely", "rarely"]

THRESHOLDS = (200_000, 20, 100)  # new containers between collections of the young, and how often of the older ones


class Rarely:
    """While any thread is inside, collections are rare; garbage is still found. What was set before comes back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: tuple[int, ...] = ()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = gc.get_threshold()
                if 0 < self._before[0] < THRESHOLDS[0]:  # 0: the user wants no collections
                    gc.set_threshold(*THRESHOLDS)

    def __exit__(self, *error: Any) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and gc.get_threshold() == THRESHOLDS:  # else the user has set something meanwhile
                gc.set_threshold(*self._before)


rarely = Rarely()
