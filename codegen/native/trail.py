"""Forks of trails: the tables by which a looked-at value chooses the row where a walk goes on (see ``trail_ir``).

Walks run without the GIL while a trace tree grows. So nothing that a walk may read is ever changed, but for one word
at a time, which is stored when all that it leads to is there.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from .guide import guide
from .trail_ir import ARENA, BRANCH, FACTOR, NOTHING, ROW_WORDS, STATUS, STOP, UNKNOWN

__all__ = ["ARENA", "BRANCH", "NOTHING", "STATUS", "STOP", "UNKNOWN", "Fork", "Rows", "branch", "copy_row",
           "row_address"]

Rows = NDArray[np.uint64]
WORD = (1 << 64) - 1
TABLE, NEAR = 4, 5  # the words of a branch where the address of its table is, and where its own entry begins
_EMPTY: Rows = np.zeros(4, np.uint64)


def row_address(rows: Rows, number: int) -> int:
    return int(rows.ctypes.data) + number * ROW_WORDS * 8


def copy_row(operands: int, size: int, cells: int) -> list[int]:
    """A row that copies bytes between two operands: to, from."""
    return [guide().copy, operands, 2, 0, size, 0, 0, cells]


def _pieces(size: int) -> list[tuple[int, int]]:
    """Offsets and sizes of the words in which a value of `size` bytes is looked at."""
    found, offset = [], 0
    for width in (8, 4, 2, 1):
        while size - offset >= width:
            found.append((offset, width))
            offset += width
    return found


def branch(base: int, offset: int, size: int, piece: int = 0) -> list[int]:
    """The row that looks at a piece of a value, and knows none."""
    more, width = _pieces(size)[piece]
    return [BRANCH, base, offset + more, width, int(_EMPTY.ctypes.data), 0, 0, 0]


class Fork:
    """What a branch knows (at first, what the fork `like` did). `rows[number]` is the branch, `where` the base, offset
    and size of the whole value.

    A value of more than one word has further forks behind the words before the last.
    """

    __slots__ = ("_behind", "_known", "_near", "_number", "_piece", "_rows", "_tables", "_where")

    def __init__(self, rows: Rows, number: int, where: tuple[int, int, int], piece: int = 0,
                 like: Fork | None = None) -> None:
        self._rows, self._number = rows, number
        self._where, self._piece = where, piece
        self._known: dict[int, list[tuple[int, int]]] = {}
        self._behind: dict[int, Fork] = {}
        self._tables: list[Rows] = [_EMPTY]  # the last is the present one; walks may be in the others
        self._near: int | None = None  # the value that the branch has itself
        if like is not None and like._known:
            self._known, self._behind = {word: found[:] for word, found in like._known.items()}, like._behind
            self._make()

    def lead(self, value: bytes, target: int, generation: int) -> None:
        """Have walks that begin in a generation, or later, go on at `target` where they see `value`."""
        pieces = _pieces(self._where[2])
        offset, width = pieces[self._piece]
        word = int.from_bytes(value[offset : offset + width], sys.byteorder)
        if self._piece + 1 < len(pieces):
            behind = self._behind.get(word)
            if behind is not None:
                behind.lead(value, target, generation)
                return
            rows = np.array([branch(*self._where, self._piece + 1)], np.uint64)
            behind = self._behind[word] = Fork(rows, 0, self._where, self._piece + 1)
            behind.lead(value, target, generation)
            target = row_address(rows, 0)
        self._insert(word, target, generation)

    def _insert(self, word: int, target: int, generation: int) -> None:
        new = word not in self._known
        self._known.setdefault(word, []).insert(0, (target, generation))
        table = self._tables[-1]
        if len(self._known) == 1 and new:
            self._near = word
            self._rows[self._number, NEAR + 1 :] = word, generation
            guide().publish(self._word(NEAR), target)
        elif not new or 2 * len(self._known) > len(table) // 3:
            self._make()
        else:
            place = self._place(table, word)
            table[place + 1], table[place + 2] = word, generation
            guide().publish(int(table.ctypes.data) + 8 * place, target)

    def _make(self) -> None:
        """A new table; walks that are in the old one find there what they may find."""
        entries = [(word, *entry) for word, found in self._known.items() for entry in found]  # the newest first
        size = 2
        while size < 2 * len(entries):
            size *= 2
        table = np.zeros(2 + 3 * size, np.uint64)
        table[0] = size - 1
        for word, target, generation in entries:
            place = self._place(table, word)
            table[place : place + 3] = target, word, generation
        self._tables.append(table)
        guide().publish(self._word(TABLE), int(table.ctypes.data))
        if self._near is not None and len(self._known[self._near]) > 1:
            self._near = None
            guide().publish(self._word(NEAR), 0)  # the table knows a newer one

    def _word(self, number: int) -> int:
        return row_address(self._rows, self._number) + 8 * number

    def _place(self, table: Rows, word: int) -> int:
        """The first free place for a word."""
        mask = int(table[0])
        at = (word * FACTOR & WORD) >> 32
        while table[1 + 3 * (at & mask)]:
            at += 1
        return 1 + 3 * (at & mask)
