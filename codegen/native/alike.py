"""Whether the arrays of a call are like those of an earlier one: their types, and that none shares written memory.

A signature has the types of some arrays as words: their number and whether any is written; then for each array its
dtype object, the flags that are looked at, how these are, its number of dims, where its extents begin among the words,
whether strides follow them, where its memory begins and ends (in bytes from the address of its first element), and
whether it is written; then the extents and strides.

Beside a signature goes one word for each array, the addresses at which the arrays were last found apart. As long as
each array is where it was, they still are.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .player_ir import method
from .words import words

__all__ = ["FLAGS", "signature"]

Words = NDArray[np.int64]
CONTIGUOUS, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400  # NumPy's flags of arrays
FLAGS = CONTIGUOUS | ALIGNED | WRITEABLE
HEAD, WORDS = 2, 9
NOWHERE = -(1 << 62)  # where the memory of an array without elements ends: before that of any other begins

# A built-in of the METH_FASTCALL kind, which uses those of ``player_ir``.
FITS = """
declare ptr @"{prefix}_truth"(i64)

define internal i1 @alike(ptr %types, ptr %items, i64 %count) alwaysinline {{
entry:
  br label %test
test:
  %i = phi i64 [ 0, %entry ], [ %i.next, %good ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %item, label %right
item:
  %item.field = getelementptr ptr, ptr %items, i64 %i
  %array = load ptr, ptr %item.field
  %skip = mul i64 %i, {type_words}
  %skipped = add i64 %skip, {head_words}
  %row = getelementptr i64, ptr %types, i64 %skipped
  %class.field = getelementptr i8, ptr %array, i64 {type}
  %class = load ptr, ptr %class.field
  %exact = icmp eq ptr %class, @"{prefix}_ndarray"
  br i1 %exact, label %plain, label %wrong
plain:
""" + words("row", "ptr dtype", "i64 mask", "i64 flags", "i64 dims", "i64 first", "i64 strided") + """
  %own.dtype.field = getelementptr i8, ptr %array, i64 {dtype}
  %own.dtype = load ptr, ptr %own.dtype.field
  %own.flags.field = getelementptr i8, ptr %array, i64 {flags}
  %own.flags.word = load i32, ptr %own.flags.field
  %own.flags.all = sext i32 %own.flags.word to i64
  %own.flags = and i64 %own.flags.all, %mask
  %own.dims.field = getelementptr i8, ptr %array, i64 {dims}
  %own.dims.word = load i32, ptr %own.dims.field
  %own.dims = sext i32 %own.dims.word to i64
  %same.dtype = icmp eq ptr %own.dtype, %dtype
  %same.flags = icmp eq i64 %own.flags, %flags
  %same.dims = icmp eq i64 %own.dims, %dims
  %same.kind = and i1 %same.dtype, %same.flags
  %same = and i1 %same.kind, %same.dims
  br i1 %same, label %extents, label %wrong
extents:
  %wanted = getelementptr i64, ptr %types, i64 %first
  %shape.field = getelementptr i8, ptr %array, i64 {shape}
  %shape = load ptr, ptr %shape.field
  %strides.field = getelementptr i8, ptr %array, i64 {strides}
  %strides = load ptr, ptr %strides.field
  %steps = mul i64 %strided, %dims
  br label %extent
extent:
  %d = phi i64 [ 0, %extents ], [ %d.next, %same.extent ]
  %extents.left = icmp slt i64 %d, %dims
  br i1 %extents.left, label %compare.extent, label %stride
compare.extent:
  %wanted.extent.field = getelementptr i64, ptr %wanted, i64 %d
  %wanted.extent = load i64, ptr %wanted.extent.field
  %own.extent.field = getelementptr i64, ptr %shape, i64 %d
  %own.extent = load i64, ptr %own.extent.field
  %equal.extent = icmp eq i64 %own.extent, %wanted.extent
  br i1 %equal.extent, label %same.extent, label %wrong
same.extent:
  %d.next = add i64 %d, 1
  br label %extent
stride:
  %s = phi i64 [ 0, %extent ], [ %s.next, %same.stride ]
  %steps.left = icmp slt i64 %s, %steps
  br i1 %steps.left, label %compare.stride, label %good
compare.stride:
  %place = add i64 %dims, %s
  %wanted.stride.field = getelementptr i64, ptr %wanted, i64 %place
  %wanted.stride = load i64, ptr %wanted.stride.field
  %own.stride.field = getelementptr i64, ptr %strides, i64 %s
  %own.stride = load i64, ptr %own.stride.field
  %equal.stride = icmp eq i64 %own.stride, %wanted.stride
  br i1 %equal.stride, label %same.stride, label %wrong
same.stride:
  %s.next = add i64 %s, 1
  br label %stride
good:
  %i.next = add i64 %i, 1
  br label %test
right:
  ret i1 true
wrong:
  ret i1 false
}}

define internal ptr @item.data(ptr %items, i64 %i) alwaysinline {{
  %field = getelementptr ptr, ptr %items, i64 %i
  %array = load ptr, ptr %field
  %address = call ptr @data(ptr %array)
  ret ptr %address
}}

define internal {{ i64, i64, i64 }} @span(ptr %types, ptr %items, i64 %i) alwaysinline {{
  %address = call ptr @item.data(ptr %items, i64 %i)
  %from = ptrtoint ptr %address to i64
  %skip = mul i64 %i, {type_words}
  %skipped = add i64 %skip, {head_words}
  %row = getelementptr i64, ptr %types, i64 %skipped
""" + words("row", "i64 begin", "i64 end", "i64 written", first=6) + """
  %low = add i64 %from, %begin
  %high = add i64 %from, %end
  %with.low = insertvalue {{ i64, i64, i64 }} undef, i64 %low, 0
  %with.high = insertvalue {{ i64, i64, i64 }} %with.low, i64 %high, 1
  %all = insertvalue {{ i64, i64, i64 }} %with.high, i64 %written, 2
  ret {{ i64, i64, i64 }} %all
}}

define internal i1 @apart(ptr %types, ptr %seen, ptr %items, i64 %count) {{
entry:
  br label %one
one:
  %i = phi i64 [ 0, %entry ], [ %i.next, %next ]
  %changed = phi i1 [ false, %entry ], [ %changed.now, %next ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %look, label %end
look:
  %address = call ptr @item.data(ptr %items, i64 %i)
  %seen.field = getelementptr ptr, ptr %seen, i64 %i
  %before = load ptr, ptr %seen.field
  %same = icmp eq ptr %address, %before
  br i1 %same, label %next, label %moved
moved:
  %span = call {{ i64, i64, i64 }} @span(ptr %types, ptr %items, i64 %i)
  %low = extractvalue {{ i64, i64, i64 }} %span, 0
  %high = extractvalue {{ i64, i64, i64 }} %span, 1
  %written = extractvalue {{ i64, i64, i64 }} %span, 2
  br label %other
other:
  %j = phi i64 [ 0, %moved ], [ %j.next, %distinct ]
  %others = icmp slt i64 %j, %count
  br i1 %others, label %compare, label %next
compare:
  %far = call {{ i64, i64, i64 }} @span(ptr %types, ptr %items, i64 %j)
  %far.low = extractvalue {{ i64, i64, i64 }} %far, 0
  %far.high = extractvalue {{ i64, i64, i64 }} %far, 1
  %far.written = extractvalue {{ i64, i64, i64 }} %far, 2
  %either = or i64 %written, %far.written
  %matters = icmp ne i64 %either, 0
  %another = icmp ne i64 %i, %j
  %before.end = icmp slt i64 %low, %far.high
  %behind.begin = icmp slt i64 %far.low, %high
  %meets = and i1 %before.end, %behind.begin
  %relevant = and i1 %matters, %another
  %shared = and i1 %meets, %relevant
  br i1 %shared, label %overlap, label %distinct
distinct:
  %j.next = add i64 %j, 1
  br label %other
next:
  %changed.now = phi i1 [ %changed, %look ], [ true, %other ]
  %i.next = add i64 %i, 1
  br label %one
end:
  br i1 %changed, label %note, label %right
note:
  %k = phi i64 [ 0, %end ], [ %k.next, %noting ]
  %left = icmp slt i64 %k, %count
  br i1 %left, label %noting, label %right
noting:
  %now = call ptr @item.data(ptr %items, i64 %k)
  %now.field = getelementptr ptr, ptr %seen, i64 %k
  store ptr %now, ptr %now.field
  %k.next = add i64 %k, 1
  br label %note
right:
  ret i1 true
overlap:
  ret i1 false
}}

""" + method("fits", ("signature", "known", "arrays"), """
  %types = call ptr @data(ptr %signature)
  %seen = call ptr @data(ptr %known)
""" + words("types", "i64 count", "i64 writes") + """
  %size.field = getelementptr i8, ptr %arrays, i64 {size}
  %size = load i64, ptr %size.field
  %items = getelementptr i8, ptr %arrays, i64 {items}
  %enough = icmp eq i64 %count, %size
  br i1 %enough, label %test, label %bad
test:
  %alike = call i1 @alike(ptr %types, ptr %items, i64 %count)
  br i1 %alike, label %typed, label %no
typed:
  %any = icmp ne i64 %writes, 0
  br i1 %any, label %written, label %yes
written:
  %apart = call i1 @apart(ptr %types, ptr %seen, ptr %items, i64 %count)
  br i1 %apart, label %yes, label %no
yes:
  %true = call ptr @"{prefix}_truth"(i64 1)
  ret ptr %true
no:
  %false = call ptr @"{prefix}_truth"(i64 0)
  ret ptr %false
""")


def signature(kinds: Sequence[Sequence[Any]], written: Sequence[bool], operands: Sequence[bool]) -> Words:
    """The words for arrays of some kinds (dtype, shape, and strides where they aren't row-major; these are compared
    as objects, which have to be kept). Those that are `written` have to be writeable, and share no memory with another
    one of the `operands`."""
    rows: list[int] = []
    extents: list[int] = []
    begin = HEAD + WORDS * len(kinds)
    for (dtype, shape, strides, *_), writes, operand in zip(kinds, written, operands, strict=True):
        mask = CONTIGUOUS | ALIGNED | (WRITEABLE if writes else 0)
        reach = _reach(dtype.itemsize, shape, strides) if operand else (0, NOWHERE)
        rows += [id(dtype), mask, mask & ~(CONTIGUOUS if strides else 0), len(shape), begin + len(extents),
                 strides is not None, *reach, writes]
        extents += [*shape, *(strides or ())]
    return np.array([len(kinds), any(written), *rows, *extents], np.int64)


def _reach(size: int, shape: Sequence[int], strides: Sequence[int] | None) -> tuple[int, int]:
    """Where the memory of an array of elements of some bytes begins and ends, from its first element."""
    count = prod(shape)
    if not count or strides is None:
        return 0, count * size or NOWHERE
    ends = [(extent - 1) * stride for extent, stride in zip(shape, strides, strict=True)]
    return sum(min(end, 0) for end in ends), sum(max(end, 0) for end in ends) + size


_lock = threading.Lock()


def documented_fits(words: Words, seen: Words, arrays: tuple[NDArray[Any], ...]) -> bool:
    """``fits`` in Python."""
    if len(arrays) != words[0]:
        raise TypeError("a signature is of another number of arrays")
    rows = words[HEAD : HEAD + WORDS * len(arrays)].reshape(-1, WORDS)
    for array, (dtype, mask, flags, dims, first, strided, *_) in zip(arrays, rows.tolist(), strict=True):
        extents = [*array.shape, *(array.strides if strided else ())]
        if type(array) is not np.ndarray or id(array.dtype) != dtype or array.flags.num & mask != flags \
                or array.ndim != dims or words[first : first + len(extents)].tolist() != extents:
            return False
    if not words[1]:
        return True
    found = np.array([array.ctypes.data for array in arrays], np.int64)
    with _lock:
        if (found != seen).any():
            low, high, written = found + rows[:, 6], found + rows[:, 7], rows[:, 8] != 0
            meets = (low[:, None] < high) & (low < high[:, None]) & (written[:, None] | written)
            np.fill_diagonal(meets, False)
            if meets.any():
                return False
            seen[:] = found
        return True
