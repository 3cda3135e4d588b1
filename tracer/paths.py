"""Paths to what a function can see: how each value was reached, and a generated check that all are as they were."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from .tensor import Tensor

__all__ = ["ABSENT", "Path", "finder", "followed", "guarded"]

PLAIN = (bool, int, float, complex, str, bytes)
ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "<absent>"})()


class Path:
    """One step to a value. It is compared in the way that `check` says:

    same        it is the object `expected`
    value       a number, string or the like, equal to it
    number      an int or a float, as it was: its present value is an input
    array       a tensor or array of the type that `expected` had; with its `values`, where these are kept
    alias       the very object that the path `first` leads to
    contents    a list, tuple or dict of its type and length; what it holds has paths of its own
    entries     the same with the very entries `kept`
    members     a set or deque with the very entries `kept`, or equal ones
    appended    a list of which only `append` is used
    absent      there is no such attribute
    once        nothing is: it was read in a way that no later call can repeat
    """

    __slots__ = ("access", "check", "container", "expected", "first", "kept", "key", "name", "type", "values")

    def __init__(self, name: str, access: str, container: Any, key: Any) -> None:
        self.name = name
        self.access = access  # "cell", "item", "attribute", "root", or "argument" (a container in an argument)
        self.container = container
        self.key = key
        self.check = "same"
        self.expected: Any = ABSENT
        self.first: Path | None = None
        self.kept: list[Any] = []
        self.values: Any = None  # bytes of an array that Python reads by itself; of a large one, the array
        self.type: Any = None  # what `described` says of a tensor or array, the length of a container

    @classmethod
    def root(cls, name: str, value: Any) -> Path:
        """A path of no steps: to an argument or to `self`."""
        path = cls(name, "root", value, None)
        path.expected = value
        return path

    @property
    def place(self) -> tuple[Any, ...]:
        """What two paths have in common that start at one object and take the same steps."""
        container = self.container
        return self.access, container.place if isinstance(container, Path) else id(container), self.key

    @property
    def label(self) -> str:
        """The name as the code has it."""
        return self.key if isinstance(self.key, str) else self.name

    def home(self) -> Any:
        """The container as it is now."""
        return self.container.follow() if isinstance(self.container, Path) else self.container

    def follow(self) -> Any:
        """What the path leads to now; `ABSENT` where it ends before."""
        try:
            return self.read(self.home())
        except (ValueError, KeyError, IndexError, AttributeError, TypeError):
            return ABSENT

    def read(self, home: Any) -> Any:
        """The last step, from a container. Raises where there is no such step."""
        if self.access == "root":
            return home
        if self.access == "cell":
            return home.cell_contents
        return getattr(home, self.key) if self.access == "attribute" else home[self.key]

    def assign(self, value: Any) -> None:
        """Have the path lead to `value`."""
        self.write(self.home(), value)

    def write(self, home: Any, value: Any) -> None:
        """Have the last step lead from a container to `value`."""
        if self.access == "cell":
            home.cell_contents = value
        elif value is ABSENT:
            home.pop(self.key, None) if self.access == "item" else delattr(home, self.key)
        elif self.access == "attribute":
            setattr(home, self.key, value)
        else:
            home[self.key] = value

    @property
    def anchor(self) -> tuple[Path, list[Any]]:
        """The step that has to lead elsewhere for this one to, before the tuples on the way, and the keys behind it."""
        step = self
        keys: list[Any] = []
        while isinstance(step.container, Path) and isinstance(step.container.expected, tuple):
            keys.insert(0, step.key)
            step = step.container
        return step, keys

    def __repr__(self) -> str:
        return f"<path to {self.name}>"


def described(value: Any) -> Any:
    """What of a tensor or array has to stay for a trace to hold."""
    if isinstance(value, Tensor):
        data = value._data
        return (data.dtype, data.shape, None if data.flags.c_contiguous else data.strides, value._requires_grad,
                tuple(value._hooks or ()))
    return value.dtype, value.shape, None if value.flags.c_contiguous else value.strides


def equal(found: Any, expected: Any) -> bool:
    """Whether numbers, strings and the like are the same; NaN is NaN."""
    return type(found) is type(expected) and bool(found == expected or (found != found and expected != expected))


def matches(found: Any, kept: list[Any]) -> bool:
    """Whether a large container has the very entries that it had."""
    if len(found) != len(kept):
        return False
    if isinstance(found, dict):
        return all(k == key and v is value for (k, v), (key, value) in zip(found.items(), kept, strict=True))
    return all(a is b for a, b in zip(found, kept, strict=True))


def holds_members(found: Any, kept: list[Any]) -> bool:
    """Whether a set or deque holds what it did."""
    if len(found) != len(kept):
        return False
    if not isinstance(found, deque):
        return all(value in found for value in kept)
    return all(a is b or (isinstance(a, PLAIN) and equal(a, b)) for a, b in zip(found, kept, strict=True))


def finder(paths: Sequence[Path]) -> Callable[[], dict[Path, Any] | None]:
    """A generated function that follows all paths: the tensors and arrays they lead to, or None where one is off."""
    scope: dict[str, Any] = {}
    lines, number = followed(paths, scope, "None")
    inputs = {path: i for path, i in number.items() if path.check in ("array", "number")}
    scope.update({f"p{i}": path for path, i in inputs.items()})
    lines.append(f"return {{{', '.join(f'p{i}: v{i}' for i in inputs.values())}}}")
    exec("def find():\n" + "\n".join(f"    {line}" for line in guarded(lines, "None")), scope)
    found: Callable[[], dict[Path, Any] | None] = scope["find"]
    return found


def guarded(lines: Sequence[str], missed: str) -> list[str]:
    """The lines, and one that returns `missed` where a path ends before its time."""
    return ["try:", *(f"    {line}" for line in lines),
            f"except (ValueError, KeyError, IndexError, AttributeError, TypeError): return {missed}"]


def followed(
    paths: Sequence[Path], scope: dict[str, Any], missed: str, array: Callable[[Path, str], str] | None = None,
) -> tuple[list[str], dict[Path, int]]:
    """Lines that follow all paths and return `missed` where one is off, and the paths' numbers: what path i leads to is
    `v{i}` then. `array` may give another test of a tensor or array by its name than that of its type."""
    scope.update(equal=equal, described=described, matches=matches, holds_members=holds_members)
    lines: list[str] = []
    number = {path: i for i, path in enumerate(paths) if path.check != "appended"}
    for path, i in number.items():
        home = f"c{i}"
        if isinstance(path.container, Path) and path.container in number:
            home = f"v{number[path.container]}"
        else:
            scope[home] = path.home()
        scope[f"k{i}"], scope[f"e{i}"] = path.key, path.expected
        if path.check == "once":
            lines.append(f"return {missed}")
        elif path.check == "absent":
            test = f"k{i} in {home}" if path.access == "item" else f"hasattr({home}, k{i})"
            lines.append(f"if {test}: return {missed}")
        else:
            step = {"cell": f"{home}.cell_contents", "attribute": f"getattr({home}, k{i})", "root": home}
            lines.append(f"v{i} = {step.get(path.access, f'{home}[k{i}]')}")
            other = array(path, f"v{i}") if path.check == "array" and array is not None else None
            lines.append(f"if {other or _test(path, i, number, scope)}: return {missed}")
    return lines, number


def _test(path: Path, i: int, number: dict[Path, int], scope: dict[str, Any]) -> str:
    """Whether what a path leads to is off."""
    value = f"v{i}"
    if path.check == "same":
        return f"{value} is not e{i}"
    if path.check == "value":
        return f"{value} is not e{i} and not equal({value}, e{i})"
    if path.check == "alias":
        assert path.first is not None
        return f"{value} is not " + (f"v{number[path.first]}" if path.first in number else f"e{i}")
    scope[f"t{i}"] = type(path.expected)
    test = f"{value}.__class__ is not t{i}"
    if path.check == "array":
        scope[f"d{i}"] = path.type
        test += f" or described({value}) != d{i}"
        if path.values is not None:
            scope[f"b{i}"] = path.values
            test += f" or {value}.tobytes() != b{i}" if type(path.values) is bytes else f" or {value} is not b{i}"
    elif path.check == "number":
        test += f" or {value} != {value}"  # NaN is a value
    elif path.check == "contents":
        test += f" or len({value}) != {path.type}"
    else:
        scope[f"m{i}"] = path.kept
        test += f" or not {'matches' if path.check == 'entries' else 'holds_members'}({value}, m{i})"
    return test
