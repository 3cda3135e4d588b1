"""The threads that share the rows of tapes: how many, started when a region first needs them, gone at exit.

Workers are Python threads that sit in native code without the GIL (``pool_ir.serve``): they spin for some microseconds
after each region, then sleep on a lock. There is one pool a process, and one region at a time has it; a caller that
finds it taken runs its row alone, so no call ever waits for another's. A child process starts with no workers and gets
its own at its first region.
"""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import threading
import time
from functools import cache
from typing import Any

import numpy as np

from retape.codegen.threads import get_num_threads

from . import pool_ir

# How long a waiting thread looks before it sleeps, in seconds: enough for the gaps between the rows of a tape and
# between calls in a loop, and no burden on a machine that others use.
SPIN = 20e-6
MOST_WORKERS = 255


class Pool:
    """The words that native code reads, and the workers.

    ``words`` lie on a line of 64 bytes and never move: the player is linked to them.
    """

    def __init__(self) -> None:
        size = pool_ir.FIRST_WORKER + pool_ir.LINE * MOST_WORKERS
        room = np.zeros(size + pool_ir.LINE, np.int64)
        shift = -room.ctypes.data % 64 // 8
        self.words = room[shift : shift + size]
        self.threads: list[threading.Thread] = []
        self._locks: list[int] = []
        self._serve: Any = None
        self._spin: Any = None
        self._ended = False
        api = ctypes.pythonapi
        self._allocate = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyThread_allocate_lock", api))
        self._acquire = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(("PyThread_acquire_lock", api))
        self._release = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("PyThread_release_lock", api))
        self._starter = ctypes.CFUNCTYPE(None)(self._start)
        self._set("start", ctypes.cast(self._starter, ctypes.c_void_p).value or 0)
        self._set("done", self._lock())

    # ---- counts

    def get(self, name: str) -> int:
        return int(self.words[pool_ir.WORDS[name]])

    def _set(self, name: str, value: int) -> None:
        self.words[pool_ir.WORDS[name]] = value

    def _line(self, number: int) -> int:
        return pool_ir.FIRST_WORKER + pool_ir.LINE * number

    def use(self, threads: int) -> None:
        """Let regions run on so many threads, the caller's among them."""
        self._set("wanted", 0 if self._ended else min(threads - 1, MOST_WORKERS))

    def shares(self) -> list[int]:
        """How many shares each worker has done."""
        return [int(self.words[self._line(i) + pool_ir.SHARES]) for i in range(len(self.threads))]

    # ---- life

    def given(self, prefix: str) -> dict[str, int]:
        """Where the things lie that ``pool_ir.text`` leaves open."""
        locks = {name: getattr(ctypes.pythonapi, f"PyThread_{name}_lock") for name in ("acquire", "release")}
        return {f"{prefix}_pool": int(self.words.ctypes.data),
                **{f"{prefix}_{name}": ctypes.cast(f, ctypes.c_void_p).value or 0 for name, f in locks.items()}}

    def take(self, serve: int, spin: int) -> None:
        """Take the addresses of the native functions that workers run, and that measures how long they wait."""
        self._serve, self._spin = (ctypes.CFUNCTYPE(None, ctypes.c_int64)(address) for address in (serve, spin))

    def _turns(self) -> int:
        """How often a thread can look in the time `SPIN`. What a turn takes differs a hundredfold among processors."""
        best, turns = math.inf, 100
        for _ in range(5):
            start = time.perf_counter()
            self._spin(turns)
            best = min(best, time.perf_counter() - start)
        return max(1, int(SPIN / best * turns))

    def _lock(self) -> int:
        """A taken lock: who acquires it sleeps until another releases it."""
        lock = self._allocate()
        if not lock:
            raise MemoryError("no lock for a thread of retape's pool")
        self._acquire(lock, 1)
        return int(lock)

    def _start(self) -> None:
        """Start the workers that are missing. The player calls this, holding the pool, at a region.

        Where the system gives no more threads, regions make do with those there are.
        """
        if not self.get("spin"):
            self._set("spin", self._turns())
        try:
            for number in range(len(self.threads), self.get("wanted")):
                lock, line = self._lock(), self._line(number)
                self.words[line + pool_ir.ASLEEP], self.words[line + pool_ir.LOCK] = 0, lock
                self._locks.append(lock)
                thread = threading.Thread(target=self._serve, args=(number,), name=f"retape-{number + 1}", daemon=True)
                thread.start()
                self.threads.append(thread)
                self._set("workers", len(self.threads))
        except (RuntimeError, MemoryError):
            self._set("wanted", len(self.threads))

    def stop(self) -> None:
        """End the workers, and have later regions run alone: their code must not go while they are in it."""
        self._ended = True
        self.use(1)
        self._set("quit", 1)
        for lock in self._locks:
            self._release(lock)
        for thread in self.threads:
            thread.join()
        self._set("workers", 0)

    def forget(self) -> None:
        """In a child process: no workers, no region, new locks."""
        self.threads, self._locks = [], []
        for name in ("workers", "busy", "epoch", "inside"):
            self._set(name, 0)
        self.words[pool_ir.FIRST_WORKER :] = 0
        self._set("done", self._lock())


@cache
def pool() -> Pool:
    """The pool of this process."""
    made = Pool()
    made.use(get_num_threads())
    atexit.register(made.stop)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=made.forget)
    return made
