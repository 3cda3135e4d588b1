"""A program as data: rows of an instruction table, walked by one native function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .player import ROW_WORDS, player

Words = NDArray[np.int64]


class Tape:
    """Instructions, a pointer table and an integer table, ready to run.

    ``rows`` is int64 of shape (n, 6): kernel address, first pointer slot, first integer slot, lo, hi, grain. A kernel
    with p pointers and q integers reads ``pointers[slot:slot + p]`` and ``ints[slot:slot + q]``; rows may share slots.
    The grain is the least number of iterations worth a share of their own: a row of two grains or more is shared among
    threads, cut at multiples of the grain from lo on. With grain 0 a row runs whole. The rows are copied; ``ints`` is
    kept as ``tape.ints`` and may be written between runs. ``keep`` is any object to hold as long as the tape lives:
    give it the kernels, whose code is unloaded when they go. ``wake`` says whether to wake sleeping threads for rows
    that can be shared, or start them; those awake take part in any case.

    A tape may run in several threads at once if each passes a pointer table of its own (``new_pointers``).
    """

    __slots__ = ("_enter", "_header", "_play", "ints", "keep", "pointers", "rows")

    def __init__(
        self, rows: Words, pointer_slots: int, ints: Words, keep: object = None, *, wake: bool = True
    ) -> None:
        rows = np.array(rows, dtype=np.int64, order="C", copy=True)
        if rows.ndim != 2 or rows.shape[1] != ROW_WORDS:
            raise ValueError(f"Tape: rows must have the shape (n, {ROW_WORDS}), not {rows.shape}")
        if len(rows) and not (rows[:, 0] != 0).all():
            raise ValueError("Tape: a row has no kernel (its address is 0)")
        self.rows, self.keep = rows, keep
        self.ints = np.ascontiguousarray(ints, dtype=np.int64)
        if len(rows) and rows[:, 5].min() < 0:
            raise ValueError("Tape: a grain is negative")
        _check_slots(rows, pointer_slots, self.ints.size)
        self.pointers = np.zeros(pointer_slots, dtype=np.int64)
        self._header = np.array([rows.ctypes.data, len(rows), self.ints.ctypes.data, wake], dtype=np.int64)
        functions = player()
        self._play, self._enter = functions.play, functions.enter

    def new_pointers(self) -> Words:
        """A copy of the pointer table, for another thread."""
        return self.pointers.copy()

    def run(self, pointers: Words | None = None) -> None:
        """Run all rows with the addresses that stand in ``pointers`` (``self.pointers`` by default)."""
        self._play(self._header, self.pointers if pointers is None else pointers)

    def call(self, slots: Words, arrays: tuple[NDArray[Any], ...], pointers: Words | None = None) -> None:
        """Write the addresses of ``arrays`` into the table at ``slots``, then run: one native entry.

        ``slots`` must be contiguous int64 and within the table, which is not checked here (``bind`` does).
        """
        self._enter(self._header, self.pointers if pointers is None else pointers, slots, arrays)

    def bind(self, slots: ArrayLike, pointers: Words | None = None) -> Callable[[tuple[NDArray[Any], ...]], None]:
        """``call`` with everything but the arrays fixed and checked: the fastest way in."""
        table = self.pointers if pointers is None else pointers
        where = np.array(slots, dtype=np.int64)
        if table.dtype != np.int64 or not table.flags.c_contiguous or table.size < self.pointers.size:
            raise ValueError(f"bind: the pointer table must be {self.pointers.size} contiguous int64 words")
        if where.ndim != 1 or (len(where) and (where.min() < 0 or where.max() >= table.size)):
            raise ValueError(f"bind: slots must be one row of numbers in 0..{table.size - 1}")
        bound = partial(self._enter, self._header, table, where)
        bound.__dict__["tape"] = self  # keeps the rows, and what `keep` holds
        return bound


def _check_slots(rows: Words, pointer_slots: int, ints: int) -> None:
    for column, size, what in ((1, pointer_slots, "pointer"), (2, ints, "integer")):
        used = rows[:, column]
        if len(used) and (used.min() < 0 or used.max() > size):
            raise ValueError(f"Tape: a row names a {what} slot outside 0..{size}")


def fill(pointers: Words, slots: Words, arrays: tuple[NDArray[Any], ...]) -> None:
    """Write the data address of ``arrays[i]`` into ``pointers[slots[i]]``.

    ``pointers`` and ``slots`` are contiguous int64 arrays, ``arrays`` a tuple of plain ndarrays (no subclass); anything
    else in ``arrays`` is a ``TypeError``. The arrays must stay alive while the addresses are used.
    """
    player().fill(pointers, slots, arrays)
