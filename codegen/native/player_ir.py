"""The LLVM text of the tape player and of the three built-ins around it; ``player`` fills in the numbers."""

from collections.abc import Sequence

from .words import words


def method(name: str, objects: Sequence[str], body: str) -> str:
    """A built-in of the METH_FASTCALL kind that takes some objects; `body` may go to `bad`, which is a TypeError."""
    return f"""
define ptr @"{{prefix}}_{name}"(ptr %self, ptr %args, i64 %given) {{{{
  %right = icmp eq i64 %given, {len(objects)}
  br i1 %right, label %go, label %bad
go:
{words("args", *(f"ptr {one}" for one in objects))}
{body.strip(chr(10))}
bad:
  %null = call ptr @wrong()
  ret ptr %null
}}}}
"""



# Arguments: the header (address of the rows, their number, address of the integers, whether to wake threads) and the
# pointer table.
# A row is: kernel, first pointer slot, first integer slot, lo, hi, grain. A range of two grains or more is shared.
WALK = """
define void @"{prefix}_walk"(ptr %header, ptr %table) nounwind {{
entry:
""" + words("header", "ptr rows", "i64 count", "ptr ints", "i64 worth") + """
  %wake = icmp ne i64 %worth, 0
  %words = mul i64 %count, {row_words}
  %end = getelementptr i64, ptr %rows, i64 %words
  %empty = icmp sle i64 %count, 0
  br i1 %empty, label %done, label %loop
loop:
  %row = phi ptr [ %rows, %entry ], [ %next, %behind ]
""" + words("row", "ptr kernel", "i64 slot", "i64 int", "i64 lo", "i64 hi", "i64 grain") + """
  %pointers = getelementptr ptr, ptr %table, i64 %slot
  %integers = getelementptr i64, ptr %ints, i64 %int
  %range = sub i64 %hi, %lo
  %grains = shl i64 %grain, 1
  %divisible = icmp sgt i64 %grain, 0
  %long = icmp sge i64 %range, %grains
  %shared = and i1 %divisible, %long
  br i1 %shared, label %region, label %whole
whole:
  call void %kernel(ptr %pointers, ptr %integers, i64 %lo, i64 %hi)
  br label %behind
region:
  call void @region(ptr %kernel, ptr %pointers, ptr %integers, i64 %lo, i64 %hi, i64 %grain, i1 %wake)
  br label %behind
behind:
  %next = getelementptr i64, ptr %row, i64 {row_words}
  %finished = icmp eq ptr %next, %end
  br i1 %finished, label %done, label %loop
done:
  ret void
}}
"""

# What Python built-ins of the METH_FASTCALL kind need. Offsets are those of this Python; what else lies in it is named
# here and linked when the code is loaded, so that the object code holds no address.
HELPERS = """
@"{prefix}_none" = external global i8
@"{prefix}_ndarray" = external global i8
@"{prefix}_type_error" = external global ptr
declare void @"{prefix}_incref"(ptr)
declare void @"{prefix}_set_string"(ptr, ptr)
declare ptr @"{prefix}_save"()
declare void @"{prefix}_restore"(ptr)
@"{prefix}_message" = private constant [{message_size} x i8] c"{message}\\00"

define internal ptr @data(ptr %array) alwaysinline {{
  %field = getelementptr i8, ptr %array, i64 {data}
  %address = load ptr, ptr %field
  ret ptr %address
}}

define internal ptr @none() alwaysinline {{
  call void @"{prefix}_incref"(ptr @"{prefix}_none")
  ret ptr @"{prefix}_none"
}}

define internal ptr @wrong() cold {{
  %type_error = load ptr, ptr @"{prefix}_type_error"
  call void @"{prefix}_set_string"(ptr %type_error, ptr @"{prefix}_message")
  ret ptr null
}}

define internal i1 @gather(ptr %table, ptr %slots, ptr %arrays) alwaysinline {{
entry:
  %size.field = getelementptr i8, ptr %arrays, i64 {size}
  %size = load i64, ptr %size.field
  %shape.field = getelementptr i8, ptr %slots, i64 {shape}
  %shape = load ptr, ptr %shape.field
  %length = load i64, ptr %shape
  %items = getelementptr i8, ptr %arrays, i64 {items}
  %target = call ptr @data(ptr %table)
  %where = call ptr @data(ptr %slots)
  %fits = icmp eq i64 %length, %size
  br i1 %fits, label %test, label %bad
test:
  %i = phi i64 [ 0, %entry ], [ %i.next, %store ]
  %finished = icmp eq i64 %i, %size
  br i1 %finished, label %good, label %item
item:
  %item.field = getelementptr ptr, ptr %items, i64 %i
  %array = load ptr, ptr %item.field
  %type.field = getelementptr i8, ptr %array, i64 {type}
  %type = load ptr, ptr %type.field
  %exact = icmp eq ptr %type, @"{prefix}_ndarray"
  br i1 %exact, label %store, label %bad
store:
  %address = call ptr @data(ptr %array)
  %slot.field = getelementptr i64, ptr %where, i64 %i
  %slot = load i64, ptr %slot.field
  %cell = getelementptr ptr, ptr %target, i64 %slot
  store ptr %address, ptr %cell
  %i.next = add i64 %i, 1
  br label %test
good:
  ret i1 true
bad:
  ret i1 false
}}
"""

BUILTINS = """
define internal void @released(ptr %header, ptr %table) {{
  %words = call ptr @data(ptr %header)
  %pointers = call ptr @data(ptr %table)
  %state = call ptr @"{prefix}_save"()
  call void @"{prefix}_walk"(ptr %words, ptr %pointers)
  call void @"{prefix}_restore"(ptr %state)
  ret void
}}

""" + method("play", ("header", "table"), """
  call void @released(ptr %header, ptr %table)
  %none = call ptr @none()
  ret ptr %none
""") + method("fill", ("table", "slots", "arrays"), """
  %filled = call i1 @gather(ptr %table, ptr %slots, ptr %arrays)
  br i1 %filled, label %good, label %bad
good:
  %none = call ptr @none()
  ret ptr %none
""") + method("enter", ("header", "table", "slots", "arrays"), """
  %filled = call i1 @gather(ptr %table, ptr %slots, ptr %arrays)
  br i1 %filled, label %good, label %bad
good:
  call void @released(ptr %header, ptr %table)
  %none = call ptr @none()
  ret ptr %none
""")
