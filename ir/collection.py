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

__all__ = ["paused", "rarely", "set_aside"]

RARE = (200_000, 20, 100)  # new containers between collections of the young, and how often of the older ones
_lock = threading.Lock()


class _Held(ContextDecorator):
    """A context manager and decorator for all threads: the strongest one that any thread is in holds."""

    before: tuple[int, ...] = ()  # the thresholds outside
    present: tuple[int, ...] = ()  # those set here

    def __init__(self, first: int) -> None:
        self.thresholds = (first, *RARE[1:])
        self.inside = 0

    def __enter__(self) -> None:
        with _lock:
            self.inside += 1
            _update()

    def __exit__(self, *error: Any) -> None:
        with _lock:
            self.inside -= 1
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


class _SetAside:
    """A context manager in which collections look only at what is made inside, unless a user has frozen something."""

    def __init__(self) -> None:
        self.inside = 0
        self.frozen = False

    def __enter__(self) -> None:
        with _lock:
            self.inside += 1
            if self.inside == 1 and not gc.get_freeze_count():
                gc.freeze()
                self.frozen = True

    def __exit__(self, *error: Any) -> None:
        with _lock:
            self.inside -= 1
            if not self.inside and self.frozen:
                gc.unfreeze()
                self.frozen = False


set_aside = _SetAside()
