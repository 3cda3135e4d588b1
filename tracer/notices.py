"""What a function's code does that compiled calls can't repeat, or don't see anew, with the lines: for `explain`.

Calls are found in the code of the function and of those that it reaches; changes of sets and deques by looking at these
before and after the traced call.
"""

from __future__ import annotations

import builtins
import dis
import os
import time
import warnings
from collections import deque
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from .environment import MEMBERS, Environment
from .names import codes_in
from .paths import Path

__all__ = ["Watch", "notices"]

ONCE, FIXED = "runs during tracing only", "gives in every call what it gave during tracing"
ONLY, AGAIN = "is made during tracing only", "can't be repeated, so that each call is traced"
RETURN = "return what is to be kept, or keep it in a list, a dict or an attribute"
KNOWN: list[tuple[Any, str, str]] = [
    (print, ONCE, "use `rt.debug.print`"), (open, ONCE, "read and write files outside the function"),
    (input, FIXED, "pass it as an argument"),
    (warnings.warn, ONCE, "warn outside the function"), (os.getenv, FIXED, "pass it as an argument"),
    (os.environ, FIXED, "pass it as an argument"),
    *((f, FIXED, "pass it as an argument") for f in (
        time.time, time.time_ns, time.perf_counter, time.perf_counter_ns, time.monotonic, time.process_time)),
]
LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")
IDLE = ("CACHE", "NOP", "PRECALL", "PUSH_NULL", "EXTENDED_ARG", "COPY_FREE_VARS", "RESUME")
WATCHED = (set, deque, bytearray)


class Watch:
    """The sets, deques and byte arrays that a function reaches by name, as they are now."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._held = [(path, path.expected, path.expected.copy()) for path in environment.paths
                      if isinstance(path.expected, WATCHED)]

    def changed(self) -> tuple[str, ...]:
        """A line for each that is another now."""
        return tuple(f"a change of the {type(now).__name__} `{path.label}`{_place_of(self.environment, path)} "
                     f"{AGAIN if isinstance(now, MEMBERS) else ONLY}: {RETURN}"
                     for path, now, old in self._held if _differ(now, old))


def _differ(now: Any, old: Any) -> bool:
    if isinstance(now, deque):
        return len(now) != len(old) or any(a is not b for a, b in zip(now, old, strict=True))
    return bool(now != old)


def _place_of(environment: Environment, path: Path) -> str:
    """Where the code first calls a method of what a path leads to."""
    for function in environment.functions:
        for code in codes_in(function.__code__):
            for names, line in _chains(code):
                if len(names) > 1 and names[-2] == path.label and not hasattr(object, names[-1]):
                    return f" at {_place(code, line)}"
    return ""


def notices(environment: Environment) -> list[str]:
    """What stands in the code of the functions that an environment has followed."""
    found: dict[str, tuple[str, int]] = {}  # with where it stands
    for function in environment.functions:
        for code in codes_in(function.__code__):
            for names, line in _chains(code):
                for length in range(1, len(names) + 1):
                    value = _meant(function, names[:length])
                    for known, what, fix in KNOWN:
                        if value is known:
                            found[f"`{'.'.join(names[:length])}` at {_place(code, line)} {what}: {fix}"] = (
                                code.co_filename, line)
    for path in environment.paths:
        if path.check == "once" and not isinstance(path.expected, (*WATCHED, np.ndarray)):
            kind = type(path.expected).__name__
            found[f"the {kind} `{path.label}` goes on, so that each call is traced: pass what it gives"] = "", 0
    return sorted(found, key=lambda text: (*found[text], text))


def _place(code: CodeType, line: int) -> str:
    return f"{os.path.basename(code.co_filename)}:{line}"


def _chains(code: CodeType) -> Iterator[tuple[tuple[str, ...], int]]:
    """The names that the code reads, with the attributes behind them (`time.time`), and their lines."""
    names: list[str] = []
    line = code.co_firstlineno
    for instruction in dis.get_instructions(code):
        if instruction.opname in IDLE:
            continue
        if names and instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            names.append(instruction.argval)
            continue
        if names:
            yield tuple(names), line
            names = []
        if instruction.opname.startswith((*LOADS, "LOAD_FAST")):
            names = [instruction.argval if instruction.opname.startswith(LOADS) else ""]  # a local is nobody's name
            line = (instruction.positions and instruction.positions.lineno) or line
    if names:
        yield tuple(names), line


def _meant(function: FunctionType, names: tuple[str, ...]) -> Any:
    """What a chain of names leads to from a function's globals and enclosing variables; None where that isn't known.
    Attributes are followed through modules only."""
    first, *others = names
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    if first in cells:
        try:
            value = cells[first].cell_contents
        except ValueError:  # not bound yet
            return None
    else:
        value = function.__globals__.get(first, getattr(builtins, first, None))
    for name in others:
        if type(value) is not type(os):
            return None
        value = getattr(value, name, None)
    return value
