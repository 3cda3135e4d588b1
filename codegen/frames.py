"""The memory of one walk at a time through a trace tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .memory import ALIGNMENT
from .native.trail import ARENA, STATUS

__all__ = ["Edition", "Frame"]


@dataclass(frozen=True, slots=True, eq=False)
class Edition:
    """A tree at one time: where it begins, how many inputs are given, the bases of these and of the results that are
    allocated before a walk, what makes those, bytes of workspace, the numbers of bases and of cells."""

    generation: int = 0
    root: int = 0
    given: int = 0
    slots: Any = None
    makers: list[Callable[[], Any]] = field(default_factory=list)
    size: int = 0
    bases: int = 0
    cells: int = 0


class Frame:
    """Header and bases as native code reads them, a workspace, and arrays by the bases that they were put at."""

    __slots__ = ("bases", "cells", "edition", "header", "held", "memory", "room", "status")

    def __init__(self) -> None:
        self.edition: Edition | None = None
        self.header = np.zeros(4, np.int64)
        self.bases = np.zeros(0, np.int64)
        self.cells = np.zeros(0, np.int64)
        self.status = np.zeros(1, np.int64)
        self.room = 0
        self.memory: Any = None
        self.held: dict[int, Any] = {}

    def fit(self, edition: Edition) -> None:
        """Make ready for a tree that has grown: memory doubles, so that growing costs little."""
        self.edition = edition
        if edition.bases > len(self.bases):
            self.bases = np.zeros(max(edition.bases, 2 * len(self.bases)), np.int64)
        if edition.size > self.room:
            self.room = max(edition.size, min(2 * self.room, self.room + (1 << 20)))
            raw = np.empty(self.room + ALIGNMENT, np.uint8)
            shift = -raw.ctypes.data % ALIGNMENT
            self.memory = raw[shift : shift + self.room]
        self.bases[ARENA] = self.memory.ctypes.data if self.room else 0
        self.bases[STATUS] = self.status.ctypes.data
        if edition.cells > len(self.cells):
            self.cells = np.zeros(max(edition.cells, 2 * len(self.cells)), np.int64)
        self.header[:3] = edition.root, edition.generation, self.cells.ctypes.data

    def put(self, base: int, array: Any) -> None:
        """Let a base be an array's memory."""
        self.bases[base] = array.ctypes.data
        self.held[base] = array
