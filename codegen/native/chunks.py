"""A kernel that runs another kernel's loop in chunks, each with partial results of its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from . import engine
from .words import words

_SYMBOL = "retape_chunks"
# Words: the kernel, its extent, the iterations of a chunk, the number of pointers, for each pointer the bytes by which
# it moves from chunk to chunk, then the kernel's own integers.
_TEXT = f"""
define void @"{_SYMBOL}"(ptr %ptrs, ptr %ints, i64 %lo, i64 %hi) nounwind {{
entry:
{words("ints", "ptr kernel", "i64 extent", "i64 size", "i64 count")}
  %strides = getelementptr i64, ptr %ints, i64 4
  %own = getelementptr i64, ptr %strides, i64 %count
  %moved = alloca ptr, i64 %count
  br label %chunk
chunk:
  %i = phi i64 [ %lo, %entry ], [ %i.next, %run ]
  %more = icmp slt i64 %i, %hi
  br i1 %more, label %move, label %done
move:
  %p = phi i64 [ 0, %chunk ], [ %p.next, %moving ]
  %left = icmp slt i64 %p, %count
  br i1 %left, label %moving, label %run
moving:
  %from = getelementptr ptr, ptr %ptrs, i64 %p
  %base = load ptr, ptr %from
  %stride.field = getelementptr i64, ptr %strides, i64 %p
  %stride = load i64, ptr %stride.field
  %distance = mul i64 %stride, %i
  %place = getelementptr i8, ptr %base, i64 %distance
  %to = getelementptr ptr, ptr %moved, i64 %p
  store ptr %place, ptr %to
  %p.next = add i64 %p, 1
  br label %move
run:
  %first = mul i64 %i, %size
  %end = add i64 %first, %size
  %short = icmp slt i64 %end, %extent
  %last = select i1 %short, i64 %end, i64 %extent
  call void %kernel(ptr %moved, ptr %own, i64 %first, i64 %last)
  %i.next = add i64 %i, 1
  br label %chunk
done:
  ret void
}}
"""


@cache
def _loaded() -> engine.Loaded:
    return engine.compile_quickly(_TEXT, _SYMBOL)


def chunked(
    kernel: int, extent: int, size: int, strides: Sequence[int], ints: Sequence[int]
) -> tuple[int, list[int]]:
    """The address and the integers of a kernel whose iteration i runs ``size`` iterations of ``kernel`` from i * size.

    ``kernel`` has the range ``extent``, a pointer for each of ``strides`` and the integers ``ints``. Before chunk i its
    pointers are moved by i * stride bytes.
    """
    return _loaded().addresses[_SYMBOL], [kernel, extent, size, len(strides), *strides, *ints]
