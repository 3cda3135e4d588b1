"""Python's cyclic garbage collector, held back while large graphs are made.

A collection walks every container that is alive. A graph of 1e5 operations has a million of them, and none is garbage:
with CPython's defaults that walk is two fifths of the time of tracing and compiling. Passes over graphs make no cycles,
so there are no collections in them (`paused`); while a user's function is traced they are `rarely` done. What was made
meanwhile counts as old afterwards, without having been walked. The building of kernels makes much garbage, which has to
be collected, but nothing that was there before is walked for it (`set_aside`).
"""

from __future__ import annotations

import gc
import threading
from contextlib import ContextDecorator
from typing import Any

__all__ = ["lock", "only_this_thread", "paused", "rarely", "set_aside"]

RARE = (200_000, 20, 100)  # new containers between collections of the young, and how often of the older ones
lock = threading.Lock()


class _Inside:
    """How often each thread is inside."""

    def __init__(self) -> None:
        self.inside: dict[int, int] = {}

    def __enter__(self) -> None:
        with lock:
            thread = threading.get_ident()
            self.inside[thread] = self.inside.get(thread, 0) + 1
            self.update()

    def __exit__(self, *error: Any) -> None:
        with lock:
            thread = threading.get_ident()
            self.inside[thread] -= 1
            if not self.inside[thread]:
                del self.inside[thread]
            self.update()

    def update(self) -> None:
        """Do what is to be done at the first entry and the last exit."""
        raise NotImplementedError


class _Held(_Inside, ContextDecorator):
    """A context manager and decorator for all threads: the strongest one that any thread is in holds."""

    before: tuple[int, ...] = ()  # the thresholds outside
    present: tuple[int, ...] = ()  # those set here

    def __init__(self, first: int) -> None:
        super().__init__()
        self.thresholds = (first, *RARE[1:])

    def update(self) -> None:
        _update()


paused, rarely = _Held(0), _Held(RARE[0])


def _update() -> None:
    """Set the thresholds that are to hold now, unless the user has set others meanwhile."""
    wanted = paused.thresholds if paused.inside else rarely.thresholds if rarely.inside else None
    found = gc.get_threshold()
    if not _Held.present:
        if wanted is not None and 0 < found[0] < RARE[0]:  # 0: the user wants no collections
            _Held.before = found
            gc.set_threshold(*wanted)
            _Held.present = wanted
    elif found != _Held.present:  # the user's from now on
        _Held.present = _Held.present if wanted is not None else ()
    elif wanted is not None:
        gc.set_threshold(*wanted)
        _Held.present = wanted
    else:
        gc.set_threshold(*_Held.before)
        _Held.present = ()
        if not gc.get_freeze_count():
            gc.freeze()  # moves everything out of the young generation,
            gc.unfreeze()  # into the oldest one


class _SetAside(_Inside):
    """A context manager in which collections look only at what is made inside, unless a user has frozen something."""

    frozen = False

    def update(self) -> None:
        if self.inside and not self.frozen and not gc.get_freeze_count():
            gc.freeze()
            self.frozen = True
        elif not self.inside and self.frozen:
            gc.unfreeze()
            self.frozen = False


set_aside = _SetAside()


def only_this_thread() -> None:
    """Forget the other threads, in a child that was forked: they are none of its own, and will never leave."""
    for held in (paused, rarely, set_aside):
        held.inside = {thread: count for thread, count in held.inside.items() if thread == threading.get_ident()}
        held.update()
