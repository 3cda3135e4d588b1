"""What a function can see besides its arguments, and whether it is still the same.

A function's code names its free variables, globals and attributes. Following these names from the function finds the
tensors, numbers, helper functions and containers on which its behaviour may depend. Each is remembered by the path that
led to it. Before a trace is used again, every path must still lead to the same object, to an equal number, to a tensor
or array of the same type (its present values are inputs of the trace), or to a list, tuple or dict of such values.
"""

from __future__ import annotations

import enum
import inspect
import sys
import types
from collections import deque
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from retape.ir import DType

from .names import is_fixed, is_library, named, only_appended, perhaps_absent, stored
from .paths import ABSENT, Path, described, equal, finder
from .state import _is_internal
from .tensor import Tensor

__all__ = ["Environment"]

SCALARS = (bool, int, float, complex, str, bytes, type(None), DType, enum.Enum, np.generic, np.dtype)
NUMBERS = (int, float)
MEMBERS = (set, frozenset, deque)
ENTRIES = 64  # of larger containers, the entries are compared as objects


class Environment:
    """The paths from one function (and from argument objects). `find()` is the check before each use of a trace."""

    def __init__(self, function: Callable[..., Any], objects: Sequence[tuple[str, Any]] = ()) -> None:
        self.paths: list[Path] = []
        self.contents: list[tuple[Path, Any]] = []  # lists and dicts, and what they held at first
        self.rebound: list[Path] = []  # to numbers that are inputs, and have been assigned in the call that is traced
        self._objects: dict[int, Path] = {}
        self._seen: set[tuple[int, Any]] = set()
        self._functions: set[int] = set()
        self.functions: list[types.FunctionType] = []
        self._names: set[str] = set()  # in all code that may run
        self._holders: dict[int, _Holder] = {}
        self._spaces: dict[type, Any] = {}  # one view of each class's attributes
        self._find: Callable[[], dict[Path, Any] | None] | None = None
        self.edition = 0  # how often what is checked has changed
        self._function(function)
        for name, value in objects:  # arguments that are neither arrays nor numbers
            self._root(name, value)
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
        self.edition += 1

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

    def _root(self, name: str, value: Any) -> None:
        """Begin at an object that is always the same one; what containers hold is to be checked nevertheless."""
        path = Path.root(name, value)
        self.paths.append(path)
        self._object(value, name, path)
        if path.check == "same":
            self.paths.remove(path)

    def _function(self, function: Any) -> None:
        if isinstance(function, partial):
            self._function(function.func)
            for position in range(len(function.args)):
                self._value(f"argument{position}", "item", function.args, position)
            for key in function.keywords:
                self._value(key, "item", function.keywords, key)
            return
        if isinstance(function, types.MethodType):
            self._root("self", function.__self__)
            function = function.__func__
        elif isinstance(called := type(function).__call__, types.FunctionType) \
                and not _is_internal(called.__code__.co_filename):
            self._holders.setdefault(id(function), _Holder("self", function))
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            self._function(wrapped)
        if not isinstance(function, types.FunctionType) or id(function) in self._functions \
                or is_library(function.__code__.co_filename):
            return
        self._functions.add(id(function))
        self.functions.append(function)
        names = named(function.__code__)
        self._names |= names
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._value(name, "cell", cell, None)
        for name in names:
            if name in function.__globals__:
                self._value(name, "item", function.__globals__, name)
        for position, default in enumerate(function.__defaults__ or ()):
            if not isinstance(default, SCALARS):
                self._value(f"default{position}", "item", function.__defaults__, position)
        for key in function.__kwdefaults__ or ():
            self._value(key, "item", function.__kwdefaults__, key)

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
        elif isinstance(value, MEMBERS):
            path.check, path.kept = "members", list(value)
        elif not (is_fixed(value) if isinstance(value, type) else isinstance(value, types.BuiltinFunctionType)
                  or _is_internal(getattr(sys.modules.get(type(value).__module__), "__file__", None) or "")):
            self._holders.setdefault(id(value), _Holder(name, value))

    def _follow_names(self) -> None:
        """Follow the attributes that are named in any of the code, of all modules and objects, until nothing is new.

        A function may be given what another has reached, so it isn't known which of them an attribute is read of.
        """
        waiting = True
        while waiting:
            waiting = False
            for holder in list(self._holders.values()):
                wanted = {*self._names, *holder.special} - holder.known
                waiting = waiting or bool(wanted)
                holder.known |= wanted
                self._attributes(holder, wanted)
        codes = [function.__code__ for function in self.functions]
        missing = frozenset().union(*map(stored, codes), *map(perhaps_absent, codes))
        for holder in self._holders.values():  # what the code may set first, or ask for
            if holder.fields is not None:
                for key in sorted(missing - holder.fields.keys() - holder.owners.keys()):
                    self._value(f"{holder.name}_{key}", "item", holder.fields, key)

    def _attributes(self, holder: _Holder, wanted: set[str]) -> None:
        """The attributes of an object, class or module that the code names, and the methods that it may call."""
        name, fields = holder.name, holder.fields
        begun = tuple(key[:-1] for key in wanted if key.endswith("*"))
        if fields is not None:
            for key in sorted(key for key in fields if key in wanted or (begun and key.startswith(begun))):
                self._value(f"{name}_{key}", "item", fields, key)
        for key in sorted(key for key in holder.owners if key in wanted or (begun and key.startswith(begun))):
            for owner in holder.owners[key]:  # `super()` reaches those behind the first
                self._class_attribute(holder, owner, key)

    def _class_attribute(self, holder: _Holder, owner: type, key: str) -> None:
        held = owner.__dict__[key]
        self._method(held.fget if isinstance(held, property) else getattr(held, "__func__", held))
        if isinstance(held, types.MemberDescriptorType) and not isinstance(holder.value, type):
            self._value(f"{holder.name}_{key}", "attribute", holder.value, key)
        elif holder.fields is not None and key not in holder.fields:  # an object's own field could hide it
            self._value(f"{holder.name}_{key}", "item", holder.fields, key)
        if not is_fixed(owner):
            if hasattr(type(held), "__get__") and not isinstance(held, types.FunctionType):
                self._value(key, "item", self._spaces.setdefault(owner, owner.__dict__), key)
            else:
                self._value(key, "attribute", owner, key)

    def _method(self, method: Any) -> None:
        if isinstance(method, types.FunctionType) and not is_library(inspect.unwrap(method).__code__.co_filename):
            self._function(method)

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
        codes = [function.__code__ for function in self.functions]
        for path, _ in self.contents:
            if type(path.expected) is list and isinstance(path.key, str | None) and only_appended(codes, path.label):
                path.check = "appended"
                self.paths = [p for p in self.paths if p.container is not path]


class _Holder:
    """An object, class or module whose attributes the code names."""

    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value = name, value
        self.known: set[str] = set()  # names that were looked up
        kind = value if isinstance(value, type) else None if isinstance(value, types.ModuleType) else type(value)
        self.fields: Any = None if isinstance(value, type) else getattr(value, "__dict__", None)
        self.owners: dict[str, list[type]] = {}  # the classes that hold each attribute
        for owner in [] if kind is None else kind.__mro__[:-1]:
            for key in owner.__dict__:
                self.owners.setdefault(key, []).append(owner)
        # methods that syntax calls, and what makes an instance
        self.special = {key for key, owners in self.owners.items() if key.startswith("__") and any(
            isinstance(owner.__dict__[key], types.FunctionType) and not is_fixed(owner) for owner in owners)}
