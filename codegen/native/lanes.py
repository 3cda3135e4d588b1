"""A kernel that runs other kernels, each over its whole range: iteration i runs every so manyth of them from i on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from . import engine
from .words import words

LANES = 8  # iterations at most: the shares of two threads
_SYMBOL = "retape_lanes"
_WORDS = 4
# Words: the number of lanes and that of kernels; for each its address, its first pointer, where its integers begin (in
# words from here) and its extent; then the integers.
_TEXT = f"""
define void @"{_SYMBOL}"(ptr %ptrs, ptr %ints, i64 %lo, i64 %hi) nounwind {{
entry:
{words("ints", "i64 lanes", "i64 count")}
  %table = getelementptr i64, ptr %ints, i64 2
  br label %lane
lane:
  %i = phi i64 [ %lo, %entry ], [ %i.next, %behind ]
  %more = icmp slt i64 %i, %hi
  br i1 %more, label %row, label %done
row:
  %number = phi i64 [ %i, %lane ], [ %number.next, %run ]
  %left = icmp slt i64 %number, %count
  br i1 %left, label %run, label %behind
run:
  %place = mul i64 %number, {_WORDS}
  %word = getelementptr i64, ptr %table, i64 %place
{words("word", "ptr kernel", "i64 slot", "i64 first", "i64 extent")}
  %pointers = getelementptr ptr, ptr %ptrs, i64 %slot
  %integers = getelementptr i64, ptr %ints, i64 %first
  call void %kernel(ptr %pointers, ptr %integers, i64 0, i64 %extent)
  %number.next = add i64 %number, %lanes
  br label %row
behind:
  %i.next = add i64 %i, 1
  br label %lane
done:
  ret void
}}
"""


@cache
def _loaded() -> engine.Loaded:
    return engine.compile_quickly(_TEXT, _SYMBOL)


def in_lanes(kernels: Sequence[tuple[int, int, Sequence[int], int]]) -> tuple[int, list[int], int]:
    """The address, the integers and the extent of a kernel that runs those given, each by its address, the number of
    its pointers, its integers and its extent. Their pointers follow one another."""
    lanes, slot = min(LANES, len(kernels)), 0
    table = [lanes, len(kernels)]
    ints: list[int] = []
    begin = len(table) + _WORDS * len(kernels)
    for address, pointers, own, extent in kernels:
        table += [address, slot, begin + len(ints), extent]
        slot += pointers
        ints += own
    return _loaded().addresses[_SYMBOL], table + ints, lanes
