"""BLAS and threads: products cut into panels for the pool, and OpenBLAS held to one thread meanwhile.

OpenBLAS has a pool of its own. Beside another it is many times slower than either, and how it cuts a product depends on
what it finds. So a tape with products that OpenBLAS would share begins with a row that sets OpenBLAS to one thread and
ends with one that sets back what was there. Tapes that run at the same time are counted: the first sets, the last sets
back. NumPy's wheels carry a library of their own, which this does not touch. Where SciPy's BLAS is another than
OpenBLAS (MKL, Accelerate), its threads are left alone, and products run whole.
"""

from __future__ import annotations

import ctypes
import glob
import os
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from . import blas, engine

_PANEL = 20000.0  # the least work of a panel, in nanoseconds
# The least rows and columns of a panel: each panel rearranges the other operand for itself, which costs as much as some
# 10 to 30 rows. [measured: 256 x 784 by 784 x 128 in two panels takes 3 percent longer in f64, 8 in f32]
_ROWS, _COLUMNS, _STEP = 64, 128, 16
_STRIDED = 256  # the same where a matrix by a vector reads parts of rows
# From here on OpenBLAS would use its threads.
_SHARED_PRODUCT, _SHARED_VECTOR = 2**18, 9216
_NAMES = [f"{prefix}openblas_{{}}_num_threads{suffix}" for prefix in ("scipy_", "") for suffix in ("", "64_")]

_TEXT = """
@"retape_hold_state" = external global i64
declare i32 @"retape_hold_acquire"(ptr, i32)
declare void @"retape_hold_release"(ptr)
declare i32 @"retape_hold_get"()
declare void @"retape_hold_set"(i32)

define void @"retape_hold"(ptr %ptrs, ptr %ints, i64 %lo, i64 %hi) nounwind {
entry:
  %lock.field = getelementptr i64, ptr @"retape_hold_state", i64 2
  %lock = load ptr, ptr %lock.field
  %got = call i32 @"retape_hold_acquire"(ptr %lock, i32 1)
  %count = load i64, ptr @"retape_hold_state"
  %first = icmp eq i64 %count, 0
  br i1 %first, label %look, label %done
look:
  %threads = call i32 @"retape_hold_get"()
  %saved.field = getelementptr i64, ptr @"retape_hold_state", i64 1
  %threads.wide = sext i32 %threads to i64
  store i64 %threads.wide, ptr %saved.field
  %many = icmp sgt i32 %threads, 1
  br i1 %many, label %set, label %done
set:
  call void @"retape_hold_set"(i32 1)
  br label %done
done:
  %more = add i64 %count, 1
  store i64 %more, ptr @"retape_hold_state"
  call void @"retape_hold_release"(ptr %lock)
  ret void
}

define void @"retape_free"(ptr %ptrs, ptr %ints, i64 %lo, i64 %hi) nounwind {
entry:
  %lock.field = getelementptr i64, ptr @"retape_hold_state", i64 2
  %lock = load ptr, ptr %lock.field
  %got = call i32 @"retape_hold_acquire"(ptr %lock, i32 1)
  %count = load i64, ptr @"retape_hold_state"
  %less = sub i64 %count, 1
  store i64 %less, ptr @"retape_hold_state"
  %saved.field = getelementptr i64, ptr @"retape_hold_state", i64 1
  %saved = load i64, ptr %saved.field
  %last = icmp eq i64 %less, 0
  %many = icmp sgt i64 %saved, 1
  %back = and i1 %last, %many
  br i1 %back, label %set, label %done
set:
  %threads = trunc i64 %saved to i32
  call void @"retape_hold_set"(i32 %threads)
  br label %done
done:
  call void @"retape_hold_release"(ptr %lock)
  ret void
}
"""


class Product(NamedTuple):
    """A product as a row of a tape: kernel and integers, the range of its panels or its batch, and the grain."""

    address: int
    ints: list[int]
    extent: int
    grain: int
    work: float  # nanoseconds that threads can share
    shared: bool  # whether OpenBLAS would share it


class Hold:
    """OpenBLAS's number of threads. ``state`` is how many tapes hold it, what was set before, and a lock."""

    def __init__(self, getter: Any, setter: Any) -> None:
        self.get, self.set = getter, setter
        self.get.restype, self.get.argtypes = ctypes.c_int, ()
        self.set.restype, self.set.argtypes = None, (ctypes.c_int,)
        self.state = np.zeros(3, np.int64)
        self._new_lock()
        api = ctypes.pythonapi
        given = {"get": self.get, "set": self.set, "acquire": api.PyThread_acquire_lock,
                 "release": api.PyThread_release_lock}
        addresses = {f"retape_hold_{name}": ctypes.cast(f, ctypes.c_void_p).value or 0 for name, f in given.items()}
        self._loaded = engine.compile_quickly(
            _TEXT, "retape_hold", "retape_free", given={**addresses, "retape_hold_state": int(self.state.ctypes.data)})
        self.first, self.last = (self._loaded.addresses[f"retape_{name}"] for name in ("hold", "free"))
        if hasattr(os, "register_at_fork"):
            # the lock is taken meanwhile, so that a child never finds the number and the state apart
            os.register_at_fork(
                before=lambda: self._locked("acquire", 1), after_in_parent=lambda: self._locked("release"),
                after_in_child=self._forget)

    def _new_lock(self) -> None:
        allocate = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyThread_allocate_lock", ctypes.pythonapi))
        self.state[2] = allocate() or 0
        if not self.state[2]:
            raise MemoryError("no lock for OpenBLAS's number of threads")

    def _locked(self, verb: str, *arguments: int) -> None:
        getattr(ctypes.pythonapi, f"PyThread_{verb}_lock")(ctypes.c_void_p(int(self.state[2])), *arguments)

    def _forget(self) -> None:
        """In a child process: the tapes that held OpenBLAS were other threads', which are not here."""
        self._new_lock()
        if self.state[0]:
            self.state[0] = 0
            self.set(int(self.state[1]))


@cache
def hold() -> Hold | None:
    """The hold on SciPy's OpenBLAS; None where its BLAS is another, or too old to say."""
    module = blas._cython_blas().__file__
    here = os.path.dirname(os.path.dirname(module))
    # a library finds what those that it is linked to export, but on Windows
    for path in (module, *glob.glob(os.path.join(f"{here}.libs", "*openblas*"))):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for name in _NAMES:
            if hasattr(library, name.format("set")) and hasattr(library, name.format("get")):
                return Hold(library[name.format("get")], library[name.format("set")])
    return None


def divided(threads: int, work: float, batch: int, arguments: dict[str, Any]) -> Product:
    """A product of a batch, with the ``arguments`` of ``blas.product``, cut for so many threads; one of the
    batch takes ``work`` nanoseconds.

    A batch is shared as it is; a single product is cut into panels of rows or columns, as many as there are threads at
    most. The cut is part of the program, and so are its roundings: they don't depend on who runs the panels.
    """
    m, n, k = (arguments[name] for name in "mnk")
    total = batch * work
    shared = m * n * k >= (_SHARED_VECTOR if min(m, n) == 1 else _SHARED_PRODUCT)
    grain = 0
    if hold() is None:
        shared = False
    elif batch > 1:
        grain = max(1, int(_PANEL / max(work, 1.0)))
    else:
        batch, grain, arguments = _panels(min(threads, int(work / _PANEL)), arguments)
    return Product(*blas.product(**arguments), batch, grain, total if grain else 0.0, shared)


def in_panels(rows: int, arguments: dict[str, Any]) -> Product:
    """A single product whose iteration i writes panel i, of so many rows, to where C begins."""
    m, transpose_a = arguments["m"], arguments.get("transpose_a", False)
    strides = rows * (1 if transpose_a else arguments["lda"]), 0, 0
    given = {**arguments, "m": rows, "whole": (m, None, None), "batch_strides": strides}
    alone = hold() is not None and rows * arguments["n"] * arguments["k"] >= _SHARED_PRODUCT
    return Product(*blas.product(**given), -(-m // rows), int(hold() is not None), 0.0, alone)


def _panels(most: int, arguments: dict[str, Any]) -> tuple[int, int, dict[str, Any]]:
    """A product cut along its longer side into up to so many panels: their number, the grain, and what each is."""
    m, n, transpose_a, transpose_b = (arguments.get(name, False) for name in ("m", "n", "transpose_a", "transpose_b"))
    by_rows = m >= n
    extent = max(m, n)
    if min(m, n) == 1:
        least = _STRIDED if (transpose_a if by_rows else not transpose_b) else _ROWS
    else:
        least = _ROWS if by_rows else _COLUMNS
    count = min(most, extent // least)
    if count < 2:
        return 1, 0, arguments
    size = -(-extent // (count * _STEP)) * _STEP
    if by_rows:
        strides = size * (1 if transpose_a else arguments["lda"]), 0, size * arguments["ldc"]
        cut = {"m": size, "whole": (m, None, None)}
    else:
        strides = 0, size * (arguments["ldb"] if transpose_b else 1), size
        cut = {"n": size, "whole": (None, n, None)}
    return -(-extent // size), 1, {**arguments, **cut, "batch_strides": strides}
