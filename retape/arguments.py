"""The arguments of calls as text: lines that take their leaves out and leave where they are others than at first."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retape.tracer.tensor import Tensor
from retape.tracer.tree import LEAF

from .call import Call

__all__ = ["Arguments", "Default", "Unwritten", "Writer", "form", "made", "positional"]


class Unwritten(Exception):
    """There is no short text for this."""


@dataclass(frozen=True, slots=True, eq=False)
class Default:
    """An argument that isn't given."""

    value: Any


def positional(signature: inspect.Signature) -> list[str]:
    """The names of the parameters that take arguments by position, one each."""
    return [p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def form(
    make: Callable[[tuple[Any, ...], dict[str, Any]], Call], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, list[str | Default]]:
    """What calls of other forms have, and the expressions of the arguments, or defaults, of one of this form, in the
    order in which `make` makes a call of them."""
    marks = {object(): f"args[{i}]" for i in range(len(args))}
    named = {name: object() for name in kwargs}
    given = make(tuple(marks), named).given
    marks.update((mark, f"kwargs[{name!r}]") for name, mark in named.items())
    head = f"len(args) != {len(args)} or " + (f"tuple(kwargs) != {tuple(kwargs)!r}" if kwargs else "kwargs")
    return head, [marks[value] if type(value) is object and value in marks else Default(value) for value in given]


class Writer:
    """The lines of a generated function and the objects that they name; `arrays` are what is tried together."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.scope: dict[str, Any] = {"Tensor": Tensor}
        self.arrays: list[tuple[str, Any]] = []  # names and kinds
        self.data: dict[str, str] = {}  # the name of each array's or tensor's elements
        self._constants: dict[int, str] = {}
        self._count = 0

    def name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"

    def constant(self, value: Any) -> str:
        """The name of an object."""
        found = self._constants.get(id(value))
        if found is None:
            found = self._constants[id(value)] = self.name("the")
            self.scope[found] = value
        return found

    def leave_if(self, test: str) -> None:
        self.lines.append(f"if {test}: return MISS")

    def array(self, name: str, tensor: bool, kind: Any) -> str:
        """Note the elements of a tensor or array of some kind, to be tried with others; gives the test whether all
        else of a tensor is off. Raises `Unwritten` for tensors with hooks."""
        data = self.data[name] = f"{name}_data" if tensor else name
        self.arrays.append((data, kind))
        if not tensor:
            return "False"
        _, _, _, requires_grad, *hooks = kind
        if any(hooks):
            raise Unwritten
        own = f" or {name}._hooks" if hooks else ""
        return f"{name}.__class__ is not Tensor or {name}._requires_grad is not {requires_grad}{own}"

    def take(self, name: str) -> list[str]:
        """The line that gives a tensor's elements a name."""
        return [] if self.data[name] == name else [f"{self.data[name]} = {name}._data"]


class Arguments:
    """Lines that take apart and try arguments, of which `shown` are the expressions. `leaves` are the names of the
    leaves, `containers` those of the lists, dicts and dataclasses that may be changed, as `changeable` orders them."""

    def __init__(self, writer: Writer, call: Call, shown: Sequence[str | Default], free: frozenset[int]) -> None:
        self.writer = writer
        self.given: list[str] = []  # the arguments themselves
        self.leaves: list[str] = []
        self.containers: list[str] = []
        self._values, self._kinds = call.leaves, call.kinds
        self._free = free
        self._arrays: dict[int, str] = {}  # tensors and arrays by what they are: one given twice stays one
        for (structure, _), expression in zip(call.structures, shown, strict=True):
            shown_as = writer.constant(expression.value) if isinstance(expression, Default) else expression
            self.given.append(shown_as)
            self._part(structure, shown_as)
        arrays = list(self._arrays.values())
        if len(arrays) > 3:
            writer.leave_if(f"len({{{', '.join(f'id({name})' for name in arrays)}}}) != {len(arrays)}")
        elif len(arrays) > 1:
            pairs = [f"{a} is {b}" for i, a in enumerate(arrays) for b in arrays[:i]]
            writer.leave_if(" or ".join(pairs))

    def _part(self, structure: Any, expression: str) -> None:
        if structure == LEAF:
            self._leaf(expression)
            return
        kind, parts = structure
        writer = self.writer
        name = writer.name("part")
        writer.lines.append(f"{name} = {expression}")
        kind_name = writer.constant(kind)
        names = [writer.name("part") for _ in parts]
        unpacked = f"[{', '.join(names)}]"
        writer.leave_if(f"{name}.__class__ is not {kind_name}" + (
            "" if hasattr(kind, "__dataclass_fields__") else f" or len({name}) != {len(parts)}"))
        if kind is list or kind is dict:
            self.containers.append(name)
        if kind is dict:
            writer.leave_if(f"tuple({name}) != {writer.constant(tuple(key for key, _ in parts))}")
            writer.lines.append(f"{unpacked} = {name}.values()")
            parts = [part for _, part in parts]
        elif hasattr(kind, "__dataclass_fields__"):
            if not hasattr(kind, "__dict__") or any("__slots__" in vars(base) for base in kind.__mro__[:-1]):
                raise Unwritten
            self.containers.append(f"{name}.__dict__")
            writer.leave_if(f"{name}.__dict__.keys() != {writer.constant({key for key, _ in parts})}")
            writer.lines += [f"{own} = {name}.{key}" for own, (key, _) in zip(names, parts, strict=True)]
            parts = [part for _, part in parts]
        elif parts:
            writer.lines.append(f"{unpacked} = {name}")
        for own, part in zip(names, parts, strict=True):
            self._part(part, own)

    def _leaf(self, expression: str) -> None:
        writer, number = self.writer, len(self.leaves)
        leaf = self._values[number]
        name = f"leaf{number}"
        self.leaves.append(name)
        writer.lines.append(f"{name} = {expression}")
        if number in self._free:
            writer.leave_if(f"{name}.__class__ is not int")
        elif isinstance(leaf, (Tensor, np.ndarray)):
            if type(leaf) not in (Tensor, np.ndarray):
                raise Unwritten
            known = self._arrays.setdefault(id(leaf), name)
            if known != name:
                writer.leave_if(f"{name} is not {known}")
                writer.data[name] = writer.data[known]
                return
            test = writer.array(name, type(leaf) is Tensor, self._kinds[number])
            if type(leaf) is Tensor:
                writer.leave_if(test)
            writer.lines += writer.take(name)
        elif isinstance(leaf, float):
            writer.leave_if(f"{name}.__class__ is not float")
        elif leaf is None or leaf is True or leaf is False:
            writer.leave_if(f"{name} is not {leaf}")
        elif isinstance(leaf, (int, str, bytes, complex)):
            writer.leave_if(f"{name}.__class__ is not {writer.constant(type(leaf))} or {name} != "
                            f"{writer.constant(leaf)}")
        elif isinstance(leaf, (list, tuple, dict)):
            raise Unwritten  # of a class of its own
        else:
            writer.leave_if(f"{name} is not {writer.constant(leaf)}")


def made(structure: Any, leaves: Any, writer: Writer) -> str:
    """The expression of nested containers. `leaves` are those of their leaves."""
    if structure == LEAF:
        return str(next(leaves))
    kind, parts = structure
    if kind is dict:
        return "{" + ", ".join(f"{_key(key, writer)}: {made(part, leaves, writer)}" for key, part in parts) + "}"
    if hasattr(kind, "__dataclass_fields__"):
        writer.scope["record"] = _record
        names = writer.constant(tuple(name for name, _ in parts))
        inner = ", ".join(made(part, leaves, writer) for _, part in parts)
        return f"record({writer.constant(kind)}, {names}, [{inner}])"
    inner = ", ".join(made(part, leaves, writer) for part in parts)
    if kind is list:
        return f"[{inner}]"
    if kind is tuple:
        return f"({inner}{',' if len(parts) == 1 else ''})"
    return f"{writer.constant(kind)}({inner})"


def _key(key: Any, writer: Writer) -> str:
    return repr(key) if type(key) in (str, int) else writer.constant(key)


def _record(kind: Any, names: Sequence[str], values: Sequence[Any]) -> Any:
    """A dataclass, without its `__init__`."""
    result = object.__new__(kind)
    for name, value in zip(names, values, strict=True):
        object.__setattr__(result, name, value)
    return result
