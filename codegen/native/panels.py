"""A kernel that carries out a product panel by panel, and after each panel another kernel that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from . import blas_ir, engine
from .words import words

_SYMBOL = "retape_panels"
# Words: the product's kernel, the reader's kernel, how many panels there are and how many a lane has, the reader's
# iterations in a panel and in all, the bytes of a lane's scratch, the number of the reader's pointers, for each of them
# the bytes by which it moves from panel to panel; then the product's integers, then the reader's. A pointer that moves
# backwards reads the product: that many bytes before the lane's scratch it would begin.
# Pointers: the product's operands, the scratch, then the reader's.
_TEXT = """
define void @"{symbol}"(ptr %ptrs, ptr %ints, i64 %lo, i64 %hi) nounwind {
entry:
""" + words(
    "ints", "ptr product", "ptr reader", "i64 panels", "i64 each", "i64 size", "i64 extent", "i64 room", "i64 count"
) + """
  %steps = getelementptr i64, ptr %ints, i64 8
  %product.ints = getelementptr i64, ptr %steps, i64 %count
  %reader.ints = getelementptr i64, ptr %product.ints, i64 {words}
""" + words("ptrs", "ptr left", "ptr right", "ptr scratch") + """
  %ptrs.3 = getelementptr ptr, ptr %ptrs, i64 3
  %operands = alloca ptr, i64 3
  %operands.1 = getelementptr ptr, ptr %operands, i64 1
  %operands.2 = getelementptr ptr, ptr %operands, i64 2
  store ptr %left, ptr %operands
  store ptr %right, ptr %operands.1
  %moved = alloca ptr, i64 %count
  br label %lane
lane:
  %l = phi i64 [ %lo, %entry ], [ %l.next, %next ]
  %more = icmp slt i64 %l, %hi
  br i1 %more, label %begin, label %done
begin:
  %distance = mul i64 %l, %room
  %own = getelementptr i8, ptr %scratch, i64 %distance
  store ptr %own, ptr %operands.2
  %first = mul i64 %l, %each
  %first.next = add i64 %first, %each
  %short = icmp slt i64 %first.next, %panels
  %last = select i1 %short, i64 %first.next, i64 %panels
  br label %panel
panel:
  %i = phi i64 [ %first, %begin ], [ %i.next, %run ]
  %inside = icmp slt i64 %i, %last
  br i1 %inside, label %move, label %next
move:
  %p = phi i64 [ 0, %panel ], [ %p.next, %moving ]
  %missing = icmp slt i64 %p, %count
  br i1 %missing, label %moving, label %run
moving:
  %from = getelementptr ptr, ptr %ptrs.3, i64 %p
  %given = load ptr, ptr %from
  %step.field = getelementptr i64, ptr %steps, i64 %p
  %step = load i64, ptr %step.field
  %reads = icmp slt i64 %step, 0
  %way = mul i64 %step, %i
  %base = select i1 %reads, ptr %own, ptr %given
  %place = getelementptr i8, ptr %base, i64 %way
  %to = getelementptr ptr, ptr %moved, i64 %p
  store ptr %place, ptr %to
  %p.next = add i64 %p, 1
  br label %move
run:
  %i.next = add i64 %i, 1
  call void %product(ptr %operands, ptr %product.ints, i64 %i, i64 %i.next)
  %start = mul i64 %i, %size
  %stop = add i64 %start, %size
  %whole = icmp slt i64 %stop, %extent
  %end = select i1 %whole, i64 %stop, i64 %extent
  call void %reader(ptr %moved, ptr %reader.ints, i64 %start, i64 %end)
  br label %panel
next:
  %l.next = add i64 %l, 1
  br label %lane
done:
  ret void
}
"""


class Reader(NamedTuple):
    """The kernel that reads a product: its address and integers, its iterations in a panel and in all, the bytes by
    which its pointers move from panel to panel; None for those at which it reads the product."""

    address: int
    ints: Sequence[int]
    size: int
    extent: int
    strides: Sequence[int | None]


@cache
def _loaded() -> engine.Loaded:
    text = _TEXT.replace("{symbol}", _SYMBOL).replace("{words}", str(blas_ir.WORDS))
    return engine.compile_quickly(text, _SYMBOL)


def panelled(
    product: tuple[int, list[int]], reader: Reader, panels: int, each: int, size: int
) -> tuple[int, list[int]]:
    """The address and the integers of a kernel whose iteration l carries out ``each`` of the ``panels``.

    ``product`` are a kernel and its integers whose iteration i writes panel i to where its third pointer shows. The
    panels of a lane lie one after the other in the same ``size`` bytes of scratch. Pointers are the product's operands,
    the scratch, and the reader's; those at which it reads the product may be anything.
    """
    address, ints = product
    steps = [-size if stride is None else stride for stride in reader.strides]
    words = [address, reader.address, panels, each, reader.size, reader.extent, size, len(steps), *steps, *ints,
             *reader.ints]
    return _loaded().addresses[_SYMBOL], words
