"""What is made once, whatever threads ask for it, and never left half made by a fork: programs and kernels.

`functools.cached_property` holds a lock for each class up to Python 3.11 and none after; a child that is forked while
another thread holds such a lock, or one of numba's or of the import system, waits for it for ever.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from . import collection

__all__ = ["building", "once", "tracing"]

T = TypeVar("T")

building = threading.RLock()
"""Held while a program or a kernel is made: by one thread at a time, and not across a fork, which waits for it."""


tracing = threading.RLock()
"""Held while a trace is taken: names may lead to formulas of numbers meanwhile, which only its thread may see."""


def _before_fork() -> None:
    tracing.acquire()
    building.acquire()
    collection.lock.acquire()  # in this order: the one is taken while the other is held


def _after_fork() -> None:
    collection.lock.release()
    building.release()
    tracing.release()


def _in_child() -> None:
    collection.only_this_thread()
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


class once(Generic[T]):
    """A property that is computed at its first use, under `building`, and kept in the object's `__dict__`."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> once[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self
        kept = instance.__dict__
        with building:
            if self.name not in kept:
                kept[self.name] = self.function(instance)
        return kept[self.name]
