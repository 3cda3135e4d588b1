"""What a function can see besides its arguments, and whether it is still the same.

A function's code names its free variables, globals and attributes. Following these names from the function finds the
tensors, numbers, helper functions and containers on which its behaviour may depend. Each is remembered by the path that
led to it; before a trace is used again, every path must still lead to the same object, or to an equal number.
"""

from __future__ import annotations

import enum
import inspect
import os
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from retape.ir import DType

from .state import _is_internal
from .tensor import Tensor

__all__ = ["Environment", "Path"]

SCALARS = (bool, int, float, complex, str, bytes, type(None), DType, enum.Enum, np.generic, np.dtype)
ENTRIES = 256
_MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Path:
    """One step to a value: `container[key]` (or a closure cell), what it led to, and how that is compared."""

    name: str
    container: Any
    key: Any
    expected: Any
    by_value: bool

    def holds(self) -> bool:
        found = _follow(self.container, self.key)
        if self.by_value:
            return type(found) is type(self.expected) and (found == self.expected or found != found)
        return found is self.expected


def _follow(container: Any, key: Any) -> Any:
    if isinstance(container, types.CellType):
        try:
            return container.cell_contents
        except ValueError:
            return _MISSING
    if key is len:
        return len(container)
    try:
        return container[key]
    except (KeyError, IndexError):
        return _MISSING


class Environment:
    """The paths from one function (and from argument objects). `holds()` is the check before each use of a trace."""

    def __init__(self, function: Callable[..., Any], objects: Sequence[tuple[str, Any]] = ()) -> None:
        self.paths: list[Path] = []
        self._objects: dict[int, Path] = {}
        self._seen: set[tuple[int, Any]] = set()
        self._functions: set[int] = set()
        self._names: set[str] = set()
        self._function(function)
        for name, value in objects:  # arguments that are neither arrays nor numbers
            self._object(value, name, frozenset(self._names))

    def holds(self) -> bool:
        """Whether every path still leads to the same object or an equal number."""
        return all(path.holds() for path in self.paths)

    def path_of(self, value: Any) -> Path | None:
        """The path that leads to a tensor or array, if the function can reach it by its names."""
        path = self._objects.get(id(value))
        return path if path is not None and path.expected is value else None

    def _function(self, function: Any) -> None:
        if isinstance(function, partial):
            self._function(function.func)
            for position in range(len(function.args)):
                self._value(f"argument{position}", function.args, position, frozenset())
            for key in function.keywords:
                self._value(key, function.keywords, key, frozenset())
            return
        if isinstance(function, types.MethodType):
            self._object(function.__self__, "self", _names(function.__func__.__code__))
            function = function.__func__
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            self._function(wrapped)
        if not isinstance(function, types.FunctionType) or id(function) in self._functions \
                or _is_library(function.__code__.co_filename):
            return
        self._functions.add(id(function))
        names = _names(function.__code__)
        self._names |= names
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._value(name, cell, None, names)
        for name in names:
            if name in function.__globals__:
                self._value(name, function.__globals__, name, names)
        for position, default in enumerate(function.__defaults__ or ()):
            if not isinstance(default, SCALARS):
                self._value(f"default{position}", function.__defaults__, position, names)

    def _value(self, name: str, container: Any, key: Any, names: frozenset[str]) -> None:
        """Remember the path to one value, and go on from it."""
        if (id(container), key) in self._seen:
            return
        self._seen.add((id(container), key))
        value = _follow(container, key)
        if isinstance(value, types.ModuleType):
            if not _is_library(getattr(value, "__file__", None) or ""):
                for attribute in names & value.__dict__.keys():
                    self._value(f"{name}_{attribute}", value.__dict__, attribute, names)
            return
        by_value = isinstance(value, SCALARS)
        path = Path(name, container, key, value, by_value)
        self.paths.append(path)
        if isinstance(value, (Tensor, np.ndarray)):
            self._objects.setdefault(id(value), path)
        elif not by_value:
            self._object(value, name, names)

    def _object(self, value: Any, name: str, names: frozenset[str]) -> None:
        if isinstance(value, (types.FunctionType, types.MethodType, partial)) or hasattr(value, "__wrapped__"):
            self._function(value)
        elif isinstance(value, (list, tuple, dict)):
            self._container(value, name, names)
        elif not isinstance(value, (type, types.BuiltinFunctionType)) and not _is_library(
            getattr(sys.modules.get(type(value).__module__), "__file__", None) or ""
        ):
            self._instance(value, name, names)

    def _instance(self, value: Any, name: str, names: frozenset[str]) -> None:
        """The fields of an object that the code names, also in the methods it may call."""
        known: set[str] = set()
        wanted = set(names) | {"__call__", "__getitem__", "__len__", "__iter__"}
        while wanted - known:
            key = (wanted - known).pop()
            known.add(key)
            method = inspect.getattr_static(type(value), key, None)
            if isinstance(method, property):
                method = method.fget
            elif isinstance(method, (staticmethod, classmethod)):
                method = method.__func__
            if isinstance(method, types.FunctionType):
                wanted |= _names(inspect.unwrap(method).__code__)
                self._function(method)
        fields = getattr(value, "__dict__", {})
        for key in fields.keys() & known:
            self._value(f"{name}_{key}", fields, key, frozenset(known))

    def _container(self, value: Any, name: str, names: frozenset[str]) -> None:
        if not isinstance(value, tuple):
            self.paths.append(Path(name, value, len, len(value), True))
        if len(value) > ENTRIES:
            return
        for key in (list(value) if isinstance(value, dict) else range(len(value))):
            self._value(f"{name}_{key}" if str(key).isidentifier() or isinstance(key, int) else name, value, key, names)


@cache
def _library_folders() -> tuple[str, ...]:
    import sysconfig

    paths = sysconfig.get_paths()
    return tuple({os.path.abspath(paths[key]) + os.sep for key in ("stdlib", "platstdlib", "purelib", "platlib")
                  if paths.get(key)})


def _is_library(filename: str) -> bool:
    """Whether code of a file is taken as fixed: retape's own, the standard library, installed packages."""
    return not filename or filename.startswith("<frozen") or _is_internal(filename) \
        or os.path.abspath(filename).startswith(_library_folders())


def _names(code: types.CodeType) -> frozenset[str]:
    """The global and attribute names in a code object and the functions defined inside it."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return frozenset(names)
