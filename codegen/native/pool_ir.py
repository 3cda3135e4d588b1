"""The LLVM text of parallel regions; ``player`` puts it in front of the tape player's.

A caller **opens** a region by making the epoch odd, and closes it by making it even again. In between every thread
takes shares of the range, one atomic addition each, until none is left. A worker counts itself into ``inside`` before
it looks at the epoch, and the caller looks at ``inside`` after it has closed the region: so either the worker sees a
closed region and touches nothing, or the caller waits for it. Nobody waits for a worker that has not come in.

Sleeping workers are woken only where the whole tape has work for them, since that takes the caller longer
than a small row; those awake join in any case.

Who waits long sleeps: workers between regions each on a lock of their own, the caller on the lock ``done``. These are
CPython's own locks, which any thread may release, on every platform, without the GIL. ``asleep`` says that a release is
awaited: whoever sets it back from 1 to 0 owes that release, or, if it is the worker itself, needs none.
"""

from __future__ import annotations

import platform

# The pool's words: each line of 64 bytes is written by one side at a time.
WORDS = {
    "wanted": 0,  # workers that regions may use: the number of threads less one
    "workers": 1,  # workers there are
    "quit": 2,
    "start": 3,  # the address of a function that starts the missing workers
    "done": 4,  # the lock of a caller that waits
    "spin": 5,  # how often a waiting thread looks before it sleeps
    "busy": 8,  # whether a region runs
    "regions": 9,  # how many there have been
    "epoch": 16,
    "inside": 24,  # workers that look at the region
    "next": 32,  # where the next share begins
    "kernel": 40,
    "pointers": 41,
    "integers": 42,
    "hi": 43,
    "share": 44,  # iterations in a share
}
# From here on each worker has a line: asleep, its lock, the shares it has done.
FIRST_WORKER = 48
LINE = 8
ASLEEP, LOCK, SHARES = 0, 1, 2

# A caller that finds workers inside adds this to their number, and the last to leave wakes it.
_WAITING = 1 << 32

_OPEN = """
@"{prefix}_pool" = external global i8
declare i32 @"{prefix}_acquire"(ptr, i32)
declare void @"{prefix}_release"(ptr)
"""

_TAKE = """
define internal i64 @take(i64 %hi, i64 %share) {{
entry:
  %kernel = load ptr, ptr {kernel}
  %pointers = load ptr, ptr {pointers}
  %integers = load ptr, ptr {integers}
  br label %next
next:
  %taken = phi i64 [ 0, %entry ], [ %more, %work ]
  %lo = atomicrmw add ptr {next}, i64 %share seq_cst
  %left = icmp slt i64 %lo, %hi
  br i1 %left, label %work, label %none
work:
  %end = add i64 %lo, %share
  %whole = icmp slt i64 %end, %hi
  %last = select i1 %whole, i64 %end, i64 %hi
  call void %kernel(ptr %pointers, ptr %integers, i64 %lo, i64 %last)
  %more = add i64 %taken, 1
  br label %next
none:
  ret i64 %taken
}}
"""

_REGION = """
define internal void @region(ptr %kernel, ptr %pointers, ptr %integers, i64 %lo, i64 %hi, i64 %grain, i1 %wake) {{
entry:
  %wanted = load atomic i64, ptr {wanted} monotonic, align 8
  %single = icmp sle i64 %wanted, 0
  br i1 %single, label %alone, label %claim
claim:
  %claimed = cmpxchg ptr {busy}, i64 0, i64 1 seq_cst seq_cst
  %free = extractvalue {{ i64, i1 }} %claimed, 1
  br i1 %free, label %mine, label %alone
mine:
  %before = load i64, ptr {workers}
  %few = icmp slt i64 %before, %wanted
  %short = and i1 %few, %wake
  br i1 %short, label %start, label %ready
start:
  %starter = load ptr, ptr {start}
  call void %starter()
  br label %ready
ready:
  %workers = load i64, ptr {workers}
  %fewer = icmp slt i64 %workers, %wanted
  %helpers = select i1 %fewer, i64 %workers, i64 %wanted
  %nobody = icmp sle i64 %helpers, 0
  br i1 %nobody, label %give.back, label %open
give.back:
  store atomic i64 0, ptr {busy} release, align 8
  br label %alone
alone:
  call void %kernel(ptr %pointers, ptr %integers, i64 %lo, i64 %hi)
  ret void
open:
  %range = sub i64 %hi, %lo
  %range.up = add i64 %range, %grain
  %range.less = sub i64 %range.up, 1
  %grains = sdiv i64 %range.less, %grain
  %threads = add i64 %helpers, 1
  %parts = mul i64 %threads, {shares_a_thread}
  %grains.up = add i64 %grains, %parts
  %grains.less = sub i64 %grains.up, 1
  %grains.each = sdiv i64 %grains.less, %parts
  %share = mul i64 %grains.each, %grain
  %share.up = add i64 %range.less, %share
  %share.less = sub i64 %share.up, %grain
  %shares = sdiv i64 %share.less, %share
  %others = sub i64 %shares, 1
  %plenty = icmp sgt i64 %others, %helpers
  %useful = select i1 %plenty, i64 %helpers, i64 %others
  %called = select i1 %wake, i64 %useful, i64 0
  store ptr %kernel, ptr {kernel}
  store ptr %pointers, ptr {pointers}
  store ptr %integers, ptr {integers}
  store i64 %hi, ptr {hi}
  store i64 %share, ptr {share}
  store atomic i64 %lo, ptr {next} monotonic, align 8
  %count = load i64, ptr {regions}
  %count.1 = add i64 %count, 1
  store i64 %count.1, ptr {regions}
  %opened = atomicrmw add ptr {epoch}, i64 1 seq_cst
  br label %call
call:
  %i = phi i64 [ 0, %open ], [ %i.next, %woken ]
  %all = icmp sge i64 %i, %called
  br i1 %all, label %work, label %look
look:
  %place = mul i64 %i, {line}
  %line = getelementptr i64, ptr {first_worker}, i64 %place
  %state = load atomic i64, ptr %line monotonic, align 8
  %sleeps = icmp eq i64 %state, 1
  br i1 %sleeps, label %rouse, label %woken
rouse:
  %roused = cmpxchg ptr %line, i64 1, i64 0 seq_cst seq_cst
  %owed = extractvalue {{ i64, i1 }} %roused, 1
  br i1 %owed, label %release, label %woken
release:
  %lock.field = getelementptr i64, ptr %line, i64 1
  %lock = load ptr, ptr %lock.field
  call void @"{prefix}_release"(ptr %lock)
  br label %woken
woken:
  %i.next = add i64 %i, 1
  br label %call
work:
  %taken = call i64 @take(i64 %hi, i64 %share)
  %closed = atomicrmw add ptr {epoch}, i64 1 seq_cst
  %spin = load i64, ptr {spin}
  br label %wait
wait:
  %turns = phi i64 [ 0, %work ], [ %turns.1, %again ], [ %turns, %sleep ]
  %inside = load atomic i64, ptr {inside} seq_cst, align 8
  %empty = icmp eq i64 %inside, 0
  br i1 %empty, label %leave, label %held
held:
  %patient = icmp slt i64 %turns, %spin
  br i1 %patient, label %again, label %sleep
again:
  {pause}
  %turns.1 = add i64 %turns, 1
  br label %wait
sleep:
  %waiting = add i64 %inside, {waiting}
  %announced = cmpxchg ptr {inside}, i64 %inside, i64 %waiting seq_cst seq_cst
  %heard = extractvalue {{ i64, i1 }} %announced, 1
  br i1 %heard, label %block, label %wait
block:
  %done = load ptr, ptr {done}
  %got = call i32 @"{prefix}_acquire"(ptr %done, i32 1)
  br label %leave
leave:
  store atomic i64 0, ptr {busy} release, align 8
  ret void
}}
"""

_SERVE = """
define void @"{prefix}_serve"(i64 %number) {{
entry:
  %place = mul i64 %number, {line}
  %asleep = getelementptr i64, ptr {first_worker}, i64 %place
  %spin = load i64, ptr {spin}
  %lock.field = getelementptr i64, ptr %asleep, i64 1
  %shares = getelementptr i64, ptr %asleep, i64 2
  br label %rest
rest:
  %seen = phi i64 [ 0, %entry ], [ %seen, %rise ], [ %seen, %blocked ], [ %now, %out ], [ %epoch, %seek ]
  br label %look
look:
  %turns = phi i64 [ 0, %rest ], [ %turns.1, %again ]
  %epoch = load atomic i64, ptr {epoch} seq_cst, align 8
  %odd = and i64 %epoch, 1
  %open = icmp ne i64 %odd, 0
  %other = icmp ne i64 %epoch, %seen
  %fresh = and i1 %open, %other
  br i1 %fresh, label %seek, label %idle
idle:
  %quit = load atomic i64, ptr {quit} seq_cst, align 8
  %ends = icmp ne i64 %quit, 0
  br i1 %ends, label %end, label %tire
tire:
  %awake = icmp slt i64 %turns, %spin
  br i1 %awake, label %again, label %sleep
again:
  {pause}
  %turns.1 = add i64 %turns, 1
  br label %look
sleep:
  %lain = atomicrmw xchg ptr %asleep, i64 1 seq_cst
  %epoch.2 = load atomic i64, ptr {epoch} seq_cst, align 8
  %odd.2 = and i64 %epoch.2, 1
  %open.2 = icmp ne i64 %odd.2, 0
  %other.2 = icmp ne i64 %epoch.2, %seen
  %missed = and i1 %open.2, %other.2
  %quit.2 = load atomic i64, ptr {quit} seq_cst, align 8
  %ends.2 = icmp ne i64 %quit.2, 0
  %stay = or i1 %missed, %ends.2
  br i1 %stay, label %rise, label %blocked
rise:
  %risen = cmpxchg ptr %asleep, i64 1, i64 0 seq_cst seq_cst
  %alone = extractvalue {{ i64, i1 }} %risen, 1
  br i1 %alone, label %rest, label %blocked
blocked:
  %lock = load ptr, ptr %lock.field
  %got = call i32 @"{prefix}_acquire"(ptr %lock, i32 1)
  br label %rest
seek:
  %wanted = load atomic i64, ptr {wanted} monotonic, align 8
  %needed = icmp slt i64 %number, %wanted
  br i1 %needed, label %in, label %rest
in:
  %entered = atomicrmw add ptr {inside}, i64 1 seq_cst
  %now = load atomic i64, ptr {epoch} seq_cst, align 8
  %odd.now = and i64 %now, 1
  %open.now = icmp ne i64 %odd.now, 0
  br i1 %open.now, label %work, label %go
work:
  %hi = load i64, ptr {hi}
  %share = load i64, ptr {share}
  %taken = call i64 @take(i64 %hi, i64 %share)
  %sum = load i64, ptr %shares
  %sum.1 = add i64 %sum, %taken
  store i64 %sum.1, ptr %shares
  br label %go
go:
  %left = atomicrmw sub ptr {inside}, i64 1 seq_cst
  %last = icmp eq i64 %left, {waiting_one}
  br i1 %last, label %tell, label %out
tell:
  %told = cmpxchg ptr {inside}, i64 {waiting}, i64 0 seq_cst seq_cst
  %mine = extractvalue {{ i64, i1 }} %told, 1
  br i1 %mine, label %release, label %out
release:
  %done = load ptr, ptr {done}
  call void @"{prefix}_release"(ptr %done)
  br label %out
out:
  br label %rest
end:
  ret void
}}
"""

_SPIN = """
define void @"{prefix}_spin"(i64 %number) {{
entry:
  br label %look
look:
  %turns = phi i64 [ 0, %entry ], [ %turns.1, %look ]
  %epoch = load atomic i64, ptr {epoch} seq_cst, align 8
  {pause}
  %turns.1 = add i64 %turns, 1
  %more = icmp slt i64 %turns.1, %number
  br i1 %more, label %look, label %end
end:
  ret void
}}
"""


# The more shares, the less a late thread matters; each costs one atomic addition and one call, some 50 ns.
SHARES_A_THREAD = 4


def text(prefix: str, workers: bool = True) -> str:
    """The functions ``region`` and, for ``workers``, ``serve`` and ``spin``.

    They leave three names open: the words (``{prefix}_pool``), and CPython's lock functions (``{prefix}_acquire`` and
    ``{prefix}_release``).
    """
    declaration, pause = _pause(platform.machine().lower())
    body = (_OPEN + _TAKE + _REGION + (_SERVE + _SPIN if workers else "")).format(
        prefix=prefix,
        first_worker=_word(prefix, FIRST_WORKER),
        line=LINE,
        waiting=_WAITING,
        waiting_one=_WAITING + 1,
        shares_a_thread=SHARES_A_THREAD,
        pause=pause,
        **{name: _word(prefix, word) for name, word in WORDS.items()},
    )
    return declaration + body


def _word(prefix: str, number: int) -> str:
    return f'getelementptr (i64, ptr @"{prefix}_pool", i64 {number})'


def _pause(machine: str) -> tuple[str, str]:
    """What a spinning thread tells the processor: a declaration and a call; nothing where it is not known."""
    if machine in ("x86_64", "amd64", "i386", "i686"):
        return "declare void @llvm.x86.sse2.pause()\n", "call void @llvm.x86.sse2.pause()"
    if machine in ("aarch64", "arm64"):
        return "declare void @llvm.aarch64.hint(i32)\n", "call void @llvm.aarch64.hint(i32 1)"
    return "", ""
