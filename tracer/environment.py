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
from collections.abc import Callable, Container, Iterable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from retape.ir import DType

from .paths import ABSENT, Path, described, equal, finder
from .state import _is_internal
from .tensor import Tensor

__all__ = ["Environment"]

SCALARS = (bool, int, float, complex, str, bytes, type(None), DType, enum.Enum, np.generic, np.dtype)
COMPUTED = frozenset({"getattr", "hasattr", "setattr", "vars", "attrgetter", "__dict__"})  # reach attributes by strings
NUMBERS = (int, float)
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
        self._names: set[str] = {"__call__", "__getitem__", "__len__", "__iter__"}  # in all code that may run
        self._holders: dict[int, _Holder] = {}
        self._find: Callable[[], dict[Path, Any] | None] | None = None
        self._function(function)
        for name, value in objects:  # arguments that are neither arrays nor numbers
            self._object(value, name, Path.root(name, value))
        self._follow_names()
        self._forget_appended()

    def find(self) -> dict[Path, Any] | None:
        """The tensors and arrays that the paths lead to now, or None where the function could behave differently."""
        if self._find is None:
            self._find = finder(self.paths)
        return self._find()

    def changed(self) -> None:
        """Have the check made anew, since a path is to be compared in another way."""
        self._find = None

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

    def vary(self, earlier: Iterable[Environment], fixed: Container[Any]) -> None:
        """Let numbers be inputs that were others in earlier surroundings, but for those at places in `fixed`."""
        known: dict[Any, list[Path]] = {}
        for path in (path for other in earlier for path in other.paths if type(path.expected) in NUMBERS):
            known.setdefault(path.place, []).append(path)
        for path in self.paths:
            value = path.expected
            if path.check == "value" and type(value) in NUMBERS and value == value and path.place not in fixed \
                    and any(p.check == "number" or not equal(p.expected, value) for p in known.get(path.place, ())):
                try:
                    anchor, _ = path.anchor
                    anchor.assign(anchor.expected)  # a formula is to stand there while a trace is taken
                except (AttributeError, TypeError):
                    continue
                path.check = "number"

    @property
    def numbers(self) -> list[Path]:
        """The paths to numbers that are inputs."""
        return [path for path in self.paths if path.check == "number"]

    def holds(self) -> bool:
        return self.find() is not None

    def path_of(self, value: Any) -> Path | None:
        """The path that leads to a tensor or array, if the function can reach it by its names."""
        path = self._objects.get(id(value))
        return path if path is not None and path.expected is value else None

    def reached(self) -> list[Any]:
        """The tensors and arrays to which paths lead."""
        return [path.expected for path in self._objects.values() if isinstance(path.expected, (Tensor, np.ndarray))]

    # ---- following names

    def _function(self, function: Any) -> None:
        if isinstance(function, partial):
            self._function(function.func)
            for position in range(len(function.args)):
                self._value(f"argument{position}", "item", function.args, position)
            for key in function.keywords:
                self._value(key, "item", function.keywords, key)
            return
        if isinstance(function, types.MethodType):
            self._object(function.__self__, "self", Path.root("self", function.__self__))
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
            self._value(name, "cell", cell, None)
        for name in names:
            if name in function.__globals__:
                self._value(name, "item", function.__globals__, name)
        for position, default in enumerate(function.__defaults__ or ()):
            if not isinstance(default, SCALARS):
                self._value(f"default{position}", "item", function.__defaults__, position)

    def _value(self, name: str, access: str, container: Any, key: Any) -> None:
        """Remember the path to one value, and go on from it. `container` may be a path itself."""
        place = (id(container.expected if isinstance(container, Path) else container), key)
        if place in self._seen:
            return
        self._seen.add(place)
        path = Path(name, access, container, key)
        value = path.expected = path.follow()
        if isinstance(value, types.ModuleType):
            if not is_library(getattr(value, "__file__", None) or ""):
                self._holders.setdefault(id(value), _Holder(name, value))
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
            self._object(value, name, path)

    def _object(self, value: Any, name: str, path: Path) -> None:
        if isinstance(value, (types.FunctionType, types.MethodType, partial)) or hasattr(value, "__wrapped__"):
            self._function(value)
        elif isinstance(value, (list, tuple, dict)):
            self._objects[id(value)] = path
            self._container(value, name, path)
        elif not isinstance(value, (type, types.BuiltinFunctionType)) \
                and not _is_internal(getattr(sys.modules.get(type(value).__module__), "__file__", None) or ""):
            self._holders.setdefault(id(value), _Holder(name, value))

    def _follow_names(self) -> None:
        """Follow the attributes that are named in any of the code, of all modules and objects, until nothing is new.

        A function may be given what another has reached, so it isn't known which of them an attribute is read of.
        """
        waiting = True
        while waiting:
            waiting = False
            for holder in list(self._holders.values()):
                wanted = self._names - holder.known
                waiting = waiting or bool(wanted)
                holder.known |= wanted
                self._attributes(holder, wanted)
        stored: frozenset[str] = frozenset().union(*map(_stored, self._functions.values()))
        for holder in self._holders.values():  # what the code may set first
            if not isinstance(holder.value, types.ModuleType) and hasattr(holder.value, "__dict__"):
                for key in sorted(stored - holder.value.__dict__.keys() - _class_attributes(type(holder.value)).keys()):
                    self._value(f"{holder.name}_{key}", "item", holder.value.__dict__, key)

    def _attributes(self, holder: _Holder, wanted: set[str]) -> None:
        """The attributes of an object or module that the code names, and the methods that it may call."""
        name, value = holder.name, holder.value
        fields = getattr(value, "__dict__", {})
        begun = tuple(key[:-1] for key in wanted if key.endswith("*"))
        for key in sorted(key for key in fields if key in wanted or (begun and key.startswith(begun))):
            self._value(f"{name}_{key}", "item", fields, key)
        if isinstance(value, types.ModuleType):
            return
        owners = _class_attributes(type(value))
        for key in sorted(wanted & owners.keys()):
            owner, held = owners[key], owners[key].__dict__[key]
            method = held.fget if isinstance(held, property) else getattr(held, "__func__", held)
            if isinstance(method, types.FunctionType) and not is_library(inspect.unwrap(method).__code__.co_filename):
                self._function(method)
            if isinstance(held, types.MemberDescriptorType):
                self._value(f"{name}_{key}", "attribute", value, key)
            elif hasattr(value, "__dict__") and key not in fields:  # an object's own field could hide it
                self._value(f"{name}_{key}", "item", fields, key)
            if not is_library(getattr(sys.modules.get(owner.__module__), "__file__", None) or ""):
                by_class = not isinstance(held, (property, staticmethod, classmethod, types.MemberDescriptorType,
                                                 types.GetSetDescriptorType))
                self._value(key, "attribute" if by_class else "item", owner if by_class else owner.__dict__, key)

    def _container(self, value: Any, name: str, path: Path) -> None:
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
            self._value(f"{name}_{key}" if str(key).isidentifier() or isinstance(key, int) else name, "item", path, key)

    def _forget_appended(self) -> None:
        """Leave lists alone to which the code does nothing but append: it can't depend on what they hold."""
        codes = list(self._functions.values())
        for path, _ in self.contents:
            if type(path.expected) is list and isinstance(path.key, str | None) and _only_appended(codes, path.label):
                path.check = "appended"
                self.paths = [p for p in self.paths if p.container is not path]


class _Holder:
    """An object or module whose attributes the code names, and the names that were looked up."""

    __slots__ = ("known", "name", "value")

    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value = name, value
        self.known: set[str] = set()


def _class_attributes(kind: type) -> dict[str, type]:
    """The class that holds each attribute of a class."""
    return {key: owner for owner in reversed(kind.__mro__[:-1]) for key in owner.__dict__}


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


@cache
def _names(code: types.CodeType) -> frozenset[str]:
    """The global and attribute names in a code object and the functions defined inside it.

    Where attributes are reached by `getattr` and the like, its strings count, too, each as the beginning of names.
    """
    names = set(code.co_names)
    if not COMPUTED.isdisjoint(names):
        names |= {f"{text}*" for text in _strings(code)} | _strings(code)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
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
def _library_folders() -> tuple[str, ...]:
    import sysconfig

    paths = sysconfig.get_paths()
    return tuple({os.path.abspath(paths[key]) + os.sep for key in ("stdlib", "platstdlib", "purelib", "platlib")
                  if paths.get(key)})


def is_library(filename: str) -> bool:
    """Whether code of a file is taken as fixed: retape's own, the standard library, installed packages."""
    return not filename or filename.startswith("<frozen") or _is_internal(filename) \
        or os.path.abspath(filename).startswith(_library_folders())
