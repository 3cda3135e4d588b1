"""What code names: globals, attributes, strings that stand for these; and which code is taken as fixed."""

from __future__ import annotations

import dis
import itertools
import os
import sys
import types
from collections.abc import Iterator
from functools import cache
from typing import Any

from .state import _is_internal

__all__ = ["codes_in", "is_fixed", "is_library", "named", "only_appended", "perhaps_absent", "stored"]

COMPUTED = frozenset({"getattr", "hasattr", "setattr", "vars", "attrgetter", "__dict__"})  # reach attributes by strings


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and those of the functions defined inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_in(constant)


@cache
def stored(code: types.CodeType) -> frozenset[str]:
    """The attributes that a code object (and those inside it) sets."""
    return frozenset(i.argval for inner in codes_in(code) for i in dis.get_instructions(inner)
                     if i.opname == "STORE_ATTR")


@cache
def _uses(code: types.CodeType) -> dict[str, set[Any]]:
    """For each name that is read, what comes behind it: the method that is called at once, or None."""
    found: dict[str, set[Any]] = {}
    idle = ("CACHE", "NOP", "PRECALL", "EXTENDED_ARG")
    instructions = [i for i in dis.get_instructions(code) if i.opname not in idle]
    for here, behind in itertools.pairwise(instructions):
        if here.opname.startswith(("LOAD_GLOBAL", "LOAD_DEREF", "LOAD_ATTR", "LOAD_METHOD", "LOAD_NAME")):
            called = behind.argval if behind.opname in ("LOAD_METHOD", "LOAD_ATTR") else None
            found.setdefault(here.argval, set()).add(called)
    return found


def only_appended(codes: list[types.CodeType], name: str) -> bool:
    """Whether every mention of a name in these codes is `name.append`; what makes a new object may set its own."""
    methods: set[Any] = set()
    again = any("__init__" in code.co_names for code in codes if code.co_name != "__init__")
    for code in (inner for outer in codes for inner in codes_in(outer)):
        methods |= _uses(code).get(name, set())
        for before, here in itertools.pairwise(dis.get_instructions(code)):
            if here.argval == name and here.opname.startswith("STORE"):
                own = here.opname == "STORE_ATTR" and before.opname.startswith("LOAD_FAST") \
                    and code.co_varnames[:1] == (before.argval,)
                if again or code.co_name != "__init__" or not own:
                    return False
    return methods == {"append"}


@cache
def named(code: types.CodeType) -> frozenset[str]:
    """The global and attribute names in a code object and the functions defined inside it.

    Where attributes are reached by `getattr` and the like, its strings count, too, each as the beginning of names.
    """
    names: set[str] = set()
    for inner in codes_in(code):
        names.update(inner.co_names)
        if not COMPUTED.isdisjoint(inner.co_names):
            names |= {f"{text}*" for text in _strings(inner)} | _strings(inner)
    return frozenset(names)


def _strings(code: types.CodeType) -> set[str]:
    """The constants of a code object that could be names or what names begin with."""
    found = set()
    for constant in code.co_consts:
        for text in constant if isinstance(constant, tuple) else (constant,):
            if isinstance(text, str) and text.isidentifier():
                found.add(text)
    return found


@cache
def perhaps_absent(code: types.CodeType) -> frozenset[str]:
    """The attributes that a code object (and those inside it) may look for in vain, and go on."""
    found: set[str] = set()
    for inner in codes_in(code):
        names = set(inner.co_names)
        if names & {"getattr", "hasattr"}:
            found |= _strings(inner)
        if names & {"AttributeError", "Exception", "suppress"}:
            found |= names
    return frozenset(found)


@cache
def _library_folders() -> tuple[str, ...]:
    import sysconfig

    paths = sysconfig.get_paths()
    return tuple({os.path.abspath(paths[key]) + os.sep for key in ("stdlib", "platstdlib", "purelib", "platlib")
                  if paths.get(key)})


def is_library(filename: str) -> bool:
    """Whether code of a file is taken as fixed: retape's own, the standard library, installed packages."""
    return not filename or filename.startswith("<frozen") or _is_internal(filename) \
        or os.path.abspath(filename).startswith(_library_folders())


def is_fixed(kind: type) -> bool:
    """Whether a class is taken as fixed: one of retape's own, of the standard library, of an installed package."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if file is None:  # built in, but for what an interactive session and `exec` define
        return module is not None and kind.__module__ != "__main__"
    return is_library(file)
