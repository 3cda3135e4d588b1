"""What a function can see besides its arguments, and whether it is still the same.

A function's code names its free variables, globals and attributes. Following these names from the function finds the
tensors, numbers, helper functions and containers on which its behaviour may depend. Each is remembered by the path that
led to it. Before a trace is used again, every path must still lead to the same object, to an equal number, to a tensor
or array of the same type (its present values are inputs of the trace), or to a list, tuple or dict of such values.
"""

from __future__ import annotations

import dis
import enum
import inspect
import itertools
import os
import sys
import types
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from retape.ir import DType

from .paths import ABSENT, Path, described, finder
from .state import _is_internal
from .tensor import Tensor

__all__ = ["Environment"]

SCALARS = (bool, int, float, complex, str, bytes, type(None), DType, enum.Enum, np.generic, np.dtype)
ENTRIES = 64  # of larger containers, the entries are compared as objects


class Environment:
    """The paths from one function (and from argument objects). `find()` is the check before each use of a trace."""

    def __init__(self, function: Callable[..., Any], objects: Sequence[tuple[str, Any]] = ()) -> None:
        self.paths: list[Path] = []
        self.contents: list[tuple[Path, Any]] = []  # lists and dicts, and what they held at first
        self._objects: dict[int, Path] = {}
        self._seen: set[tuple[int, Any]] = set()
        self._functions: dict[int, types.CodeType] = {}
        self.functions: list[types.FunctionType] = []
        self._names: set[str] = set()
        self._find: Callable[[], dict[Path, Any] | None] | None = None
        self._function(function)
        for name, value in objects:  # arguments that are neither arrays nor numbers
            self._object(value, name, frozenset(self._names), Path.root(name, value))
        self._forget_appended()

    def find(self) -> dict[Path, Any] | None:
        """The tensors and arrays that the paths lead to now, or None where the function could behave differently."""
        if self._find is None:
            self._find = finder(self.paths)
        return self._find()

    def distinct(self) -> bool:
        """Whether tensors and arrays that had a path each still are different objects."""
        found = [id(path.follow()) for path in self.paths if path.check == "array"]
        return len(set(found)) == len(found)

    def refreshed(self) -> Environment:
        """Itself for another trace: the tensors and containers that the paths lead to now are those of the function."""
        self._objects.clear()
        for path in self.paths:
            if path.check != "value":
                path.expected = path.follow()
                if path.check in ("array", "contents", "entries"):
                    self._objects.setdefault(id(path.expected), path)
                if path.check == "entries":
                    for entry in path.expected.values() if isinstance(path.expected, dict) else path.expected:
                        if isinstance(entry, (Tensor, np.ndarray)):
                            self._objects.setdefault(id(entry), Path.root(path.name, entry))
        self.contents = [(path, path.follow().copy()) for path, _ in self.contents]
        for path, _ in self.contents:
            path.expected = path.follow()
        return self

    def holds(self) -> bool:
        return self.find() is not None

    def path_of(self, value: Any) -> Path | None:
        """The path that leads to a tensor or array, if the function can reach it by its names."""
        path = self._objects.get(id(value))
        return path if path is not None and path.expected is value else None

    # ---- following names

    def _function(self, function: Any) -> None:
        if isinstance(function, partial):
            self._function(function.func)
            for position in range(len(function.args)):
                self._value(f"argument{position}", "item", function.args, position, frozenset())
            for key in function.keywords:
                self._value(key, "item", function.keywords, key, frozenset())
            return
        if isinstance(function, types.MethodType):
            names = _names(inspect.unwrap(function.__func__).__code__)
            self._object(function.__self__, "self", names, Path.root("self", function.__self__))
            function = function.__func__
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            self._function(wrapped)
        if not isinstance(function, types.FunctionType) or id(function) in self._functions \
                or is_library(function.__code__.co_filename):
            return
        self._functions[id(function)] = function.__code__
        self.functions.append(function)
        names = _names(function.__code__)
        self._names |= names
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._value(name, "cell", cell, None, names)
        for name in names:
            if name in function.__globals__:
                self._value(name, "item", function.__globals__, name, names)
        for position, default in enumerate(function.__defaults__ or ()):
            if not isinstance(default, SCALARS):
                self._value(f"default{position}", "item", function.__defaults__, position, names)

    def _value(self, name: str, access: str, container: Any, key: Any, names: frozenset[str]) -> None:
        """Remember the path to one value, and go on from it. `container` may be a path itself."""
        place = (id(container.expected if isinstance(container, Path) else container), key)
        if place in self._seen:
            return
        self._seen.add(place)
        path = Path(name, access, container, key)
        value = path.expected = path.follow()
        if isinstance(value, types.ModuleType):
            if not is_library(getattr(value, "__file__", None) or ""):
                for attribute in names & value.__dict__.keys():
                    self._value(f"{name}_{attribute}", "item", value.__dict__, attribute, names)
            return
        self.paths.append(path)
        if value is ABSENT:
            path.check = "absent"
        elif isinstance(value, SCALARS):
            path.check = "value"
        elif (known := self._objects.get(id(value))) is not None:
            path.check, path.first = "alias", known
        elif isinstance(value, (Tensor, np.ndarray)):
            path.check, path.type = "array", described(value)
            self._objects[id(value)] = path
        else:
            self._object(value, name, names, path)

    def _object(self, value: Any, name: str, names: frozenset[str], path: Path) -> None:
        if isinstance(value, (types.FunctionType, types.MethodType, partial)) or hasattr(value, "__wrapped__"):
            self._function(value)
        elif isinstance(value, (list, tuple, dict)):
            self._objects[id(value)] = path
            self._container(value, name, names, path)
        elif not isinstance(value, (type, types.BuiltinFunctionType)) \
                and not _is_internal(getattr(sys.modules.get(type(value).__module__), "__file__", None) or ""):
            self._instance(value, name, names)

    def _instance(self, value: Any, name: str, names: frozenset[str]) -> None:
        """The fields of an object that the code names, also in the methods it may call."""
        known: set[str] = set()
        wanted = set(names) | {"__call__", "__getitem__", "__len__", "__iter__"}
        slots: set[str] = set()
        while wanted - known:
            key = (wanted - known).pop()
            known.add(key)
            method = inspect.getattr_static(type(value), key, None)
            if isinstance(method, property):
                method = method.fget
            elif isinstance(method, (staticmethod, classmethod)):
                method = method.__func__
            elif isinstance(method, types.MemberDescriptorType):
                slots.add(key)
            if isinstance(method, types.FunctionType) and not is_library(inspect.unwrap(method).__code__.co_filename):
                wanted |= _names(inspect.unwrap(method).__code__)
                self._function(method)
        fields = getattr(value, "__dict__", {})
        for key in sorted(fields.keys() & known):
            self._value(f"{name}_{key}", "item", fields, key, frozenset(known))
        for key in sorted(slots):
            self._value(f"{name}_{key}", "attribute", value, key, frozenset(known))
        for key in sorted(known - fields.keys()):  # what an object's own field could hide, or the code sets first
            owner = next((cls for cls in type(value).__mro__ if key in cls.__dict__), None)
            if hasattr(value, "__dict__") and (self._stores(key) if owner is None else key not in slots):
                self._value(f"{name}_{key}", "item", fields, key, frozenset(known))
            if owner is not None and not is_library(getattr(sys.modules.get(owner.__module__), "__file__", None) or ""):
                held = owner.__dict__[key]
                if isinstance(held, (property, staticmethod, classmethod, types.MemberDescriptorType)):
                    self._value(key, "item", owner.__dict__, key, frozenset(known))
                else:
                    self._value(key, "attribute", owner, key, frozenset(known))

    def _stores(self, key: str) -> bool:
        return any(key in _stored(code) for code in self._functions.values())

    def _container(self, value: Any, name: str, names: frozenset[str], path: Path) -> None:
        path.check, path.type = "contents", len(value)
        if not isinstance(value, tuple):
            self.contents.append((path, value.copy()))
        if len(value) > ENTRIES:
            path.check = "entries"
            path.kept = list(value.items() if isinstance(value, dict) else value)
            for entry in value.values() if isinstance(value, dict) else value:
                if isinstance(entry, (Tensor, np.ndarray)):
                    self._objects.setdefault(id(entry), Path.root(name, entry))
            return
        for key in (list(value) if isinstance(value, dict) else range(len(value))):
            self._value(f"{name}_{key}" if str(key).isidentifier() or isinstance(key, int) else name, "item", path, key,
                        names)

    def _forget_appended(self) -> None:
        """Leave lists alone to which the code does nothing but append: it can't depend on what they hold."""
        codes = list(self._functions.values())
        for path, _ in self.contents:
            if type(path.expected) is list and isinstance(path.key, str | None) and _only_appended(codes, path.label):
                path.check = "appended"
                self.paths = [p for p in self.paths if p.container is not path]


@cache
def _stored(code: types.CodeType) -> frozenset[str]:
    """The attributes that a code object (and those inside it) sets."""
    found = {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_ATTR"}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _stored(constant)
    return frozenset(found)


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


def _only_appended(codes: list[types.CodeType], name: str) -> bool:
    """Whether every mention of a name in these codes is `name.append`."""
    stack, methods = list(codes), set()
    while stack:
        code = stack.pop()
        methods |= _uses(code).get(name, set())
        if any(i.argval == name and i.opname.startswith("STORE") for i in dis.get_instructions(code)):
            return False
        stack += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return methods == {"append"}


def _names(code: types.CodeType) -> frozenset[str]:
    """The global and attribute names in a code object and the functions defined inside it."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return frozenset(names)


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
