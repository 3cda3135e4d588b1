"""Everything that a call can see and change, kept so that it can be put back and compared.

The arguments, what the function reaches by its names and what these hold: tensors with their memory, history and
`.grad`, arrays, containers, fields of objects, variables, and the generators of random numbers.
"""

from __future__ import annotations

import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from retape.tracer.engine import topological
from retape.tracer.environment import Environment
from retape.tracer.names import is_fixed
from retape.tracer.paths import Path
from retape.tracer.randomness import Generator, default_generator, foreign_state
from retape.tracer.tensor import Tensor

__all__ = ["Snapshot", "frozen"]

LISTS, DICTS, SETS = (list, deque, bytearray), (dict, OrderedDict, defaultdict), (set,)


class Snapshot:
    """A picture of the present. `restore()` puts all back; `contents()` tells what is there now, by name."""

    def __init__(self, roots: list[tuple[str, Any]], environment: Environment) -> None:
        self._roots, self._environment = roots, environment
        self._paths = [(path, path.follow()) for path in environment.paths
                       if path.access != "root" and not isinstance(path.container, Path)]  # entries go by their owner
        self._seen: dict[int, Any] = {}
        self._items: list[tuple[str, Any, Callable[[], None]]] = []
        for name, value in roots:
            self._visit(name, value)
        for path, value in self._paths:
            self._visit(path.name, value)
        self._visit("the default generator", default_generator)
        self._foreign = _foreign()

        self._variables = [(item, item._grad_fn) for _, item, _ in self._items
                           if isinstance(item, Tensor) and item._requires_grad]

    @property
    def variables(self) -> list[Tensor]:
        """The tensors that required grad, but for those that have got another history since."""
        return [tensor for tensor, history in self._variables if tensor._grad_fn is history]

    def again(self) -> Snapshot:
        """A picture of what the same names lead to now."""
        return Snapshot(self._roots, self._environment)

    def restore(self) -> None:
        for path, value in self._paths:
            if path.follow() is not value:
                path.assign(value)
        for _, _, put_back in self._items:
            put_back()
        self._foreign()

    def contents(self) -> list[tuple[str, Any]]:
        """What everything in the picture holds now, as `frozen` gives it. Entries and fields go by their owner."""
        found = [(f"variable `{path.name}`", frozen(path.follow())) for path, _ in self._paths]
        for name, item, _ in self._items:
            found += [(f"`{name}`{part}", state) for part, state in _state(item)]
        return [*found, ("Python's and NumPy's own generators", repr(foreign_state()))]

    # ---- looking around

    def _visit(self, name: str, value: Any) -> None:
        stack = [(name, value)]
        while stack:
            label, item = stack.pop()
            if id(item) in self._seen:
                continue
            put_back = _put_back(item)
            if put_back is not None:
                self._seen[id(item)] = item
                self._items.append((label, item, put_back))
                stack += list(_parts(label, item))[::-1]
            elif isinstance(item, tuple):
                stack += [(f"{label}[{i}]", part) for i, part in enumerate(item)][::-1]


def _parts(name: str, item: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(item, Tensor):
        yield f"{name}.grad", item._grad
        if item._base is not None:
            yield f"the base of {name}", item._base[0]
    elif isinstance(item, LISTS) and not isinstance(item, bytearray):
        yield from ((f"{name}[{i}]", part) for i, part in enumerate(item))
    elif isinstance(item, DICTS):
        yield from ((f"{name}[{key!r}]", part) for key, part in item.items())
    elif _has_fields(item):
        yield from ((f"{name}.{key}", part) for key, part in vars(item).items())


def _has_fields(item: Any) -> bool:
    """Whether an object is one of the user's, with fields in a `__dict__`."""
    if isinstance(item, SimpleNamespace):
        return True
    if not hasattr(item, "__dict__") or isinstance(item, type) or callable(getattr(item, "__code__", None)):
        return False
    return not is_fixed(type(item))


def _put_back(item: Any) -> Callable[[], None] | None:
    """A function that gives an object back what it holds now; None for what can't be changed or isn't known."""
    if isinstance(item, Tensor):
        return _tensor(item)
    if isinstance(item, np.ndarray):
        return _array(item)
    if isinstance(item, Generator):
        numpy, position = item.state, item.state.bit_generator.state

        def put_back() -> None:
            numpy.bit_generator.state = position
            item.state = numpy

        return put_back
    if isinstance(item, np.random.Generator):
        where = item.bit_generator.state
        return lambda: setattr(item.bit_generator, "state", where)
    if isinstance(item, LISTS):
        entries = list(item)
        return lambda: _refill(item, item.extend, entries)
    if isinstance(item, (*DICTS, *SETS)):
        known = item.copy()
        return lambda: _refill(item, item.update, known)
    if _has_fields(item):
        fields = vars(item).copy()
        return lambda: _refill(vars(item), vars(item).update, fields)
    return None


def _refill(container: Any, fill: Callable[[Any], None], entries: Any) -> None:
    container.clear()
    fill(entries)


def _array(array: np.ndarray[Any, Any]) -> Callable[[], None]:
    data = array.copy()

    def put_back() -> None:
        if array.flags.writeable:
            np.copyto(array, data)

    return put_back


def _tensor(tensor: Tensor) -> Callable[[], None]:
    """Memory, version, `.grad`, flags and hooks of a tensor, and what its history keeps for backward."""
    memory = _array(tensor._data)
    slots = [(name, getattr(tensor, name)) for name in ("_data", "_grad", "_grad_fn", "_requires_grad", "_base",
                                                        "_hooks", "_version")]
    version, hooks = list(tensor._version), list(tensor._hooks or ())
    nodes = topological([tensor._grad_fn])[0] if tensor._grad_fn is not None else []
    names = ("saved", "freed", "pullback", "hooks", "retained")
    history = [(node, name, getattr(node, name)) for node in nodes for name in names if hasattr(node, name)]

    def put_back() -> None:
        for name, value in slots:
            setattr(tensor, name, value)
        tensor._version[:] = version
        if tensor._hooks is not None:
            tensor._hooks[:] = hooks
        for node, name, value in history:
            if getattr(node, name) is not value:
                setattr(node, name, value)
        memory()

    return put_back


def _foreign() -> Callable[[], None]:
    python, numpy = random.getstate(), np.random.get_state()

    def put_back() -> None:
        random.setstate(python)
        np.random.set_state(numpy)

    return put_back


# ---- for comparison


def _state(item: Any) -> list[tuple[str, Any]]:
    """What an object holds now, in parts."""
    if isinstance(item, Tensor):
        return [("", frozen(item)), ("'s version", item._version[0]), (".grad", frozen(item._grad))]
    generator = item.state if isinstance(item, Generator) else item
    if isinstance(generator, np.random.Generator):
        return [("", repr(generator.bit_generator.state))]
    return [("", frozen(vars(item) if _has_fields(item) else item))]


def frozen(value: Any, around: tuple[int, ...] = ()) -> Any:
    """A value that no later change reaches: copies of arrays in lists and dicts; of other objects their types."""
    if isinstance(value, Tensor):
        return Frozen(value._data.copy(), value._requires_grad)
    if isinstance(value, np.ndarray):
        return Frozen(value.copy(), False)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, bytearray)):
        return value
    if id(value) in around:
        return type(value)
    around = (*around, id(value))
    if isinstance(value, (list, tuple, deque)):
        return [frozen(part, around) for part in value]
    if isinstance(value, dict):
        return {key: frozen(part, around) for key, part in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if _has_fields(value):
        return frozen(vars(value), around)
    return type(value)


class Frozen:
    """The elements of a tensor or array, and whether it requires grad."""

    __slots__ = ("array", "requires_grad")

    def __init__(self, array: np.ndarray[Any, Any], requires_grad: bool) -> None:
        self.array = array
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return str(self.array)
