"""How many threads compiled code may use."""

from __future__ import annotations

import os

from retape.ir.errors import ThreadCount

__all__ = ["get_num_threads", "set_num_threads"]

VARIABLE = "RETAPE_NUM_THREADS"
_chosen: int | None = None


def get_num_threads() -> int:
    """The number of threads that one call of a compiled function may use, the caller's own among them.

    Unless `set_num_threads` has said otherwise it is what the environment variable `RETAPE_NUM_THREADS` says, else the
    number of cores that the process may run on. Raises `ThreadCount` where the variable is no positive integer.
    """
    if _chosen is not None:
        return _chosen
    given = os.environ.get(VARIABLE, "").strip()
    if given:
        if not given.isdecimal() or int(given) < 1:
            raise ThreadCount(f"the environment variable {VARIABLE} expects a positive integer, but is {given!r}",
                              fix=f"set {VARIABLE} to 1 or more, or leave it out to use all cores")
        return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_num_threads(threads: int) -> None:
    """Let one call of a compiled function use up to so many threads; 1 leaves every call on its caller's thread.

    Results don't depend on it. Holds for the whole process, from the next call on. Raises `ThreadCount`.
    """
    global _chosen
    if isinstance(threads, bool) or not hasattr(type(threads), "__index__"):
        raise ThreadCount(f"set_num_threads expects an int, but got {type(threads).__name__}",
                          fix="pass the number of threads, for instance `rt.set_num_threads(2)`")
    if threads < 1:
        raise ThreadCount("set_num_threads expects a positive integer", ("given", str(threads)),
                          fix="pass 1 to keep every call on one thread, or more")
    from .native.pool import pool

    _chosen = int(threads)
    pool().use(_chosen)
