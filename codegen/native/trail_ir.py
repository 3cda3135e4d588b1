"""The LLVM text that walks the rows of trace trees, and of its built-in; ``guide`` fills in the numbers.

Rows have eight words. One that calls a kernel has: kernel, address of its operands, their number, address of its
integers, hi, grain, whether to wake threads, where its cells are. An operand is a base, by its number, and a number of
bytes to add to it. The first time in a walk that a row is come to, the addresses of its operands are put into its
cells, behind the walk's number; rows with the same cells have the same operands.

The two other kinds have small numbers in place of a kernel:

* 0, base, bytes to add, size, table, then the row, value and generation of one entry: look at 1, 2, 4 or 8 bytes and go
  on at the row of the entry with this value, or of the one that the table has, or stop with -1 where there is none, the
  row's address in place of the first row's. A table is open addressing with linear probing: the number of its places
  less one, then the entries. A walk takes the entries of generations up to the one in which it began.
* 1, number: stop with this number.

Both stop with -2 instead where a kernel has reported an index out of bounds.
"""

from .player_ir import method
from .words import words

ROW_WORDS = 8
BRANCH, STOP = 0, 1
UNKNOWN, REFUSED = -1, -2
NOTHING, ARENA, STATUS = 0, 1, 2  # the first bases: none (for addresses), the workspace, where kernels report errors
FACTOR = 0x9E3779B97F4A7C15  # 2 ** 64 over the golden ratio (Knuth's multiplicative hashing); its upper half is used

# Arguments: the header (address of the first row, generation, address of the cells, number of walks) and the bases.
DESCEND = """
declare ptr @"{prefix}_move"(ptr, ptr, i64)

define void @"{prefix}_copy"(ptr %pointers, ptr %ints, i64 %lo, i64 %hi) nounwind {{
  %to = load ptr, ptr %pointers
  %from.field = getelementptr ptr, ptr %pointers, i64 1
  %from = load ptr, ptr %from.field
  %to.lo = getelementptr i8, ptr %to, i64 %lo
  %from.lo = getelementptr i8, ptr %from, i64 %lo
  %bytes = sub i64 %hi, %lo
  %moved = call ptr @"{prefix}_move"(ptr %to.lo, ptr %from.lo, i64 %bytes)
  ret void
}}

define void @"{prefix}_publish"(ptr %place, i64 %value) nounwind {{
  store atomic i64 %value, ptr %place release, align 8
  ret void
}}

define i64 @"{prefix}_descend"(ptr %header, ptr %bases) nounwind {{
entry:
""" + words("header", "ptr first", "i64 generation", "ptr cells", "i64 walks") + """
  %walk = add i64 %walks, 1
  store i64 %walk, ptr %header.3
  %status.field = getelementptr ptr, ptr %bases, i64 {status}
  %status = load ptr, ptr %status.field
  br label %step
step:
  %row = phi ptr [ %first, %entry ], [ %next, %behind ], [ %chosen, %follow ]
  %row.1 = getelementptr i64, ptr %row, i64 1
  %row.2 = getelementptr i64, ptr %row, i64 2
  %row.3 = getelementptr i64, ptr %row, i64 3
  %row.4 = getelementptr i64, ptr %row, i64 4
  %code = load i64, ptr %row
  %control = icmp ult i64 %code, 2
  br i1 %control, label %check, label %kernel.row

kernel.row:
  %row.7 = getelementptr i64, ptr %row, i64 7
  %cell.bytes = load i64, ptr %row.7
  %mark = getelementptr i8, ptr %cells, i64 %cell.bytes
  %room = getelementptr ptr, ptr %mark, i64 1
  %marked = load i64, ptr %mark
  %ready = icmp eq i64 %marked, %walk
  br i1 %ready, label %call, label %gather
gather:
  store i64 %walk, ptr %mark
  %operands = load ptr, ptr %row.1
  %count = load i64, ptr %row.2
  br label %operand
operand:
  %i = phi i64 [ 0, %gather ], [ %i.next, %fetch ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %fetch, label %call
fetch:
  %pair = shl i64 %i, 1
  %base.field = getelementptr i64, ptr %operands, i64 %pair
  %base = load i64, ptr %base.field
  %add.field = getelementptr i64, ptr %base.field, i64 1
  %add = load i64, ptr %add.field
  %start.field = getelementptr ptr, ptr %bases, i64 %base
  %start = load ptr, ptr %start.field
  %address = getelementptr i8, ptr %start, i64 %add
  %cell = getelementptr ptr, ptr %room, i64 %i
  store ptr %address, ptr %cell
  %i.next = add i64 %i, 1
  br label %operand
call:
  %kernel = inttoptr i64 %code to ptr
  %integers = load ptr, ptr %row.3
  %hi = load i64, ptr %row.4
  %row.5 = getelementptr i64, ptr %row, i64 5
  %grain = load i64, ptr %row.5
  %grains = shl i64 %grain, 1
  %divisible = icmp sgt i64 %grain, 0
  %long = icmp sge i64 %hi, %grains
  %shared = and i1 %divisible, %long
  br i1 %shared, label %region, label %whole
whole:
  call void %kernel(ptr %room, ptr %integers, i64 0, i64 %hi)
  br label %behind
region:
  %row.6 = getelementptr i64, ptr %row, i64 6
  %worth = load i64, ptr %row.6
  %wake = icmp ne i64 %worth, 0
  call void @region(ptr %kernel, ptr %room, ptr %integers, i64 0, i64 %hi, i64 %grain, i1 %wake)
  br label %behind
behind:
  %next = getelementptr i64, ptr %row, i64 {row_words}
  br label %step

check:
  %reported = load i64, ptr %status
  %sound = icmp eq i64 %reported, 0
  br i1 %sound, label %which, label %refused
which:
  %stops = icmp eq i64 %code, {stop}
  br i1 %stops, label %stop, label %look
stop:
  %number = load i64, ptr %row.1
  ret i64 %number
refused:
  ret i64 {refused}

look:
  %look.base = load i64, ptr %row.1
  %look.add = load i64, ptr %row.2
  %size = load i64, ptr %row.3
  %look.field = getelementptr ptr, ptr %bases, i64 %look.base
  %look.start = load ptr, ptr %look.field
  %seen = getelementptr i8, ptr %look.start, i64 %look.add
  switch i64 %size, label %look.8 [ i64 1, label %look.1  i64 2, label %look.2  i64 4, label %look.4 ]
look.1:
  %byte = load i8, ptr %seen
  %from.1 = zext i8 %byte to i64
  br label %search
look.2:
  %half = load i16, ptr %seen, align 1
  %from.2 = zext i16 %half to i64
  br label %search
look.4:
  %word = load i32, ptr %seen, align 1
  %from.4 = zext i32 %word to i64
  br label %search
look.8:
  %from.8 = load i64, ptr %seen, align 1
  br label %search
search:
  %value = phi i64 [ %from.1, %look.1 ], [ %from.2, %look.2 ], [ %from.4, %look.4 ], [ %from.8, %look.8 ]
  %near.field = getelementptr i64, ptr %row, i64 5
  %near = load atomic ptr, ptr %near.field acquire, align 8
  %near.value.field = getelementptr i64, ptr %row, i64 6
  %near.value = load i64, ptr %near.value.field
  %near.same = icmp eq i64 %near.value, %value
  %near.age.field = getelementptr i64, ptr %row, i64 7
  %near.age = load i64, ptr %near.age.field
  %near.there = icmp sle i64 %near.age, %generation
  %near.there.same = and i1 %near.same, %near.there
  %near.known = icmp ne ptr %near, null
  %at.hand = and i1 %near.there.same, %near.known
  br i1 %at.hand, label %follow, label %far
far:
  %table = load atomic ptr, ptr %row.4 acquire, align 8
  %mask = load i64, ptr %table
  %places = getelementptr i64, ptr %table, i64 1
  %product = mul i64 %value, {factor}
  %hash = lshr i64 %product, 32
  br label %probe
probe:
  %at = phi i64 [ %hash, %far ], [ %at.next, %on ]
  %place = and i64 %at, %mask
  %words = mul i64 %place, 3
  %entry.field = getelementptr i64, ptr %places, i64 %words
  %target = load atomic ptr, ptr %entry.field acquire, align 8
  %empty = icmp eq ptr %target, null
  br i1 %empty, label %unknown, label %compare
compare:
  %value.field = getelementptr i64, ptr %entry.field, i64 1
  %known = load i64, ptr %value.field
  %same = icmp eq i64 %known, %value
  %age.field = getelementptr i64, ptr %entry.field, i64 2
  %age = load i64, ptr %age.field
  %there = icmp sle i64 %age, %generation
  %found = and i1 %same, %there
  br i1 %found, label %follow, label %on
on:
  %at.next = add i64 %at, 1
  br label %probe
follow:
  %chosen = phi ptr [ %near, %search ], [ %target, %compare ]
  br label %step
unknown:
  store ptr %row, ptr %header
  ret i64 {unknown}
}}
"""

# A built-in of the METH_FASTCALL kind, which uses those of ``player_ir``.
BUILTIN = """
declare ptr @"{prefix}_integer"(i64)

define internal i64 @descending(ptr %header, ptr %bases) {{
  %words = call ptr @data(ptr %header)
  %pointers = call ptr @data(ptr %bases)
  %state = call ptr @"{prefix}_save"()
  %number = call i64 @"{prefix}_descend"(ptr %words, ptr %pointers)
  call void @"{prefix}_restore"(ptr %state)
  ret i64 %number
}}

""" + method("follow", ("header", "bases", "slots", "arrays"), """
  %filled = call i1 @gather(ptr %bases, ptr %slots, ptr %arrays)
  br i1 %filled, label %good, label %bad
good:
  %number = call i64 @descending(ptr %header, ptr %bases)
  %result = call ptr @"{prefix}_integer"(i64 %number)
  ret ptr %result
""")
