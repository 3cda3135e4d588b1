"""Formulas of the extents in a trace that is to hold for other extents, too.

The shapes that Python sees in such a trace hold `Extent`s for the input extents that vary. What is computed from them
ends up in the attributes and literals of operations; it is kept here beside the nodes, which hold the plain numbers.
Shapes of results follow from the operations' own type rules, run on formulas: what these compare becomes a guard.
"""

from __future__ import annotations

import builtins
import math
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from types import BuiltinFunctionType
from typing import Any

import numpy as np

from retape.ir import DType, Node, TensorType
from retape.ir.extents import Extent, Extents, is_symbolic, plain
from retape.ir.graph import Origin
from retape.ir.polynomials import ELEMENTARY
from retape.ir.quantities import TRACKED
from retape.ir.recipes import Recipe, condition, recipe
from retape.ir.types import weak_type

from .environment import Environment
from .gradnode import GradNode
from .numbers import NumberTensor
from .paths import Path
from .state import _is_internal, site, state
from .tensor import Tensor, wrap

__all__ = ["ExtentOf", "Formulas", "formulas_of", "seen_lengths", "standing_in"]

LEAST = 2  # extents of 0 and 1 are traces of their own: they are broadcast, and laid out, otherwise


@dataclass(frozen=True, slots=True)
class ExtentOf:
    """Where a symbol comes from: an extent of an argument leaf."""

    position: int
    dim: int


class Formulas:
    """The extents and numbers of one trace, and the nodes whose types or attributes hold them."""

    def __init__(self) -> None:
        self.extents = Extents(self._here, _from_inside)
        self.rows: dict[Node, tuple[tuple[Any, ...], tuple[Any, ...]]] = {}  # operands and attributes with formulas
        self.types: dict[Node, TensorType] = {}  # types with formulas
        self._place: Origin = None
        self._done = 0
        self._shapes: dict[int, tuple[Any, ...]] = {}
        self.looks: list[int] = []  # for each symbol that values decide, the guard that gives its value
        self.sources: dict[int, Any] = {}  # what gives the values of the other symbols, by atom
        self.numbers = 0  # how many symbols are numbers
        self.given: dict[int, Any] = {}  # the argument leaves that are such numbers
        self._tensors: dict[Any, NumberTensor] = {}
        self._numbers: dict[int, Any] = {}  # what each of these stands for

    def declare(self, position: int, label: str, shape: Any, varying: Sequence[bool]) -> None:
        """Symbols for the extents of an argument leaf that vary, or for an int."""
        if any(varying) and not isinstance(shape, tuple):
            self.given[position] = self.number(label, shape, position)
        elif any(varying):
            self._shapes[position] = tuple(
                self._symbol(f"{label}.shape[{dim}]", extent, LEAST, ExtentOf(position, dim)) if varies else extent
                for dim, (extent, varies) in enumerate(zip(shape, varying, strict=True)))

    def number(self, name: str, value: Any, source: Any) -> Any:
        """A symbol for an int or a float that comes from `source`."""
        self.numbers += 1
        return self._symbol(name, value, None, source)

    def _symbol(self, name: str, value: Any, low: int | None, source: Any) -> Any:
        self.sources[len(self.extents.atoms)] = source
        return self.extents.symbol(name, value, low)

    def values(self, extents: Iterable[int], looks: Iterable[int] = ()) -> list[int | None]:
        """The symbols' values for other extents and ints of the arguments, None for numbers found by name; those that
        values decide may be missing."""
        given, looked = iter(extents), iter(looks)
        return [next(looked, None) if (source := self.sources.get(atom)) is None
                else next(given) if isinstance(source, (ExtentOf, int)) else None for atom in self.extents.symbols]

    def found(self, number: int, name: str, extent: int) -> Any:
        """A symbol for an extent that a value decides: the one that guard `number` looks at."""
        if extent < LEAST:
            return extent
        self.looks.append(number)
        self.extents.looked.add(len(self.extents.atoms))
        return self.extents.symbol(name, extent, LEAST)

    # ---- numbers

    def kept(self, value: Any) -> Any:
        """A number as it leaves the trace: the function that gives it in later calls. Where an extent that only values
        decide takes part, the number itself is a guard."""
        if type(value) not in TRACKED or value._home is not self.extents:
            return plain(value)
        return self.extents.exactly(value) if self.extents.late(value._form) \
            else recipe(self.extents, value._form, self.sources)

    def operand(self, tracer: Any, value: Any) -> Any:
        """A number among the operands of an operation: an input of the trace, which yields to the types that it meets.
        Itself, where values decide it."""
        key = type(value), value._form
        found = self._tensors.get(key)
        if found is None:
            if self.extents.late(value._form):
                return self.extents.exactly(value)
            kind, dtype = (int, np.int64) if type(value) is Extent else (float, np.float64)
            source = recipe(self.extents, value._form, self.sources, kind is int)
            found = self._tensors[key] = NumberTensor.of(wrap(np.asarray(value._value, dtype)))
            name = self.extents.atoms[value._form[0][0][0]][1] if self._named(value._form) else "number"
            self._numbers[id(found)] = value
            tracer.bind(found, tracer.add_input(name, weak_type(kind), source), source)
        return found

    def fitting(self, tensor: NumberTensor, dtype: DType) -> Any:
        """An int among integers of fewer bits: as it is where it is one of them, which is a guard; else the number."""
        number = self._numbers.get(id(tensor))
        if number is None:
            return tensor
        bounds = np.iinfo(dtype.numpy)
        return tensor if int(bounds.min) <= number <= int(bounds.max) else self.extents.exactly(number)

    def element(self, tracer: Any, value: Any) -> Any:
        """The node of a number among the operands of an operation on recorded numbers."""
        if type(value) in TRACKED and self.extents.varies(value):
            value = self.operand(tracer, value)
        return tracer.node_of(value) if isinstance(value, NumberTensor) else value

    def _named(self, form: Any) -> bool:
        """Whether a formula is a symbol."""
        return len(form) == 1 and form[0][1] == 1 and len(form[0][0]) == 1 \
            and self.extents.atoms[form[0][0][0]][0] == "symbol"

    def pinned(self, value: Any) -> Any:
        """Attributes in which no number found by name varies: each that does is a guard."""
        if type(value) in TRACKED:
            named = any(isinstance(self.sources.get(atom), Path) for atom in self.extents.symbols_in(value._form))
            return self.extents.exactly(value) if named else value
        if type(value) in (tuple, list):
            return type(value)(map(self.pinned, value))
        return slice(*map(self.pinned, (value.start, value.stop, value.step))) if type(value) is slice else value

    def shaping(self) -> frozenset[int]:
        """The symbols, by atom, that types, attributes and literals hold."""
        forms = [form for row in self.rows.values() for form in _forms(row)]
        forms += [form for known in self.types.values() for form in _forms(known.shape)]
        return self.extents.symbols_in(*forms)

    def kind(self) -> tuple[Any, ...]:
        """What traces in one tree have in common: the numbers that are inputs, and the values of those they hold."""
        numbers, shaping = self.extents.numbers, self.shaping()
        return (frozenset(self.sources[atom] for atom in numbers),
                frozenset((self.sources[atom], value) for atom, value in numbers.items() if atom in shaping))

    def free(self) -> frozenset[int]:
        """The ints among the argument leaves that are inputs, whatever their values."""
        numbers, shaping = self.kind()
        return frozenset(s for s in numbers if isinstance(s, int)) - {s for s, _ in shaping}

    def conditions(self) -> Recipe | None:
        """What of the numbers has to hold whenever the trace is used."""
        extents = self.extents
        relations = [r for r in extents.relations.values() if not extents.late(r.left, r.right)
                     and not extents.numbers.keys().isdisjoint(extents.symbols_in(r.left, r.right))]
        return condition(extents, relations, self.sources) if relations else None

    # ---- shapes

    def enter(self, node: Node, position: int) -> None:
        """An input stands for an argument leaf."""
        if position in self._shapes:
            self.give(node, self._shapes[position])

    def give(self, node: Node, shape: tuple[Any, ...]) -> None:
        """The shape of an input, with formulas."""
        if is_symbolic(shape):
            self.types[node] = TensorType(node.type.dtype, shape, None, node.type.weak)

    def note(self, node: Any, operands: Sequence[Any], attrs: tuple[Any, ...]) -> None:
        """Keep the formulas of an operation that has been recorded."""
        if isinstance(node, Node):
            literals = tuple(None if isinstance(o, (Node, Tensor)) else o for o in operands)
            if is_symbolic(attrs) or is_symbolic(literals):
                inputs = tuple(i if isinstance(i, Node) else v for i, v in zip(node.inputs, literals, strict=True))
                self.rows[node] = inputs, attrs

    def shape_of(self, tensor: Tensor) -> tuple[Any, ...]:
        """A tensor's shape, as Python is to see it."""
        traced: Any = tensor._traced
        if traced is None or traced[0] is not state.tracer or not isinstance(traced[1], Node):
            shape: tuple[Any, ...] = tensor._data.shape
        else:
            shape = self.type_of(traced[1], traced[0]).shape
        return shape

    def type_of(self, node: Node, tracer: Any) -> TensorType:
        """A node's type, with formulas where it has some."""
        nodes = tracer.builder.nodes
        while self._done < len(nodes):
            self._follow(nodes[self._done])
            self._done += 1
        return self.types.get(node, node.type)

    def _follow(self, node: Node) -> None:
        inputs, attrs = self.rows.get(node, (node.inputs, node.attrs))
        types = self.types
        if node not in self.rows and not any(i in types for i in node.parents()):
            return
        self._place = node.origin
        try:
            found = node.op.infer(*(types.get(i, i.type) if isinstance(i, Node) else i for i in inputs), *attrs)
        finally:
            self._place = None
        if plain(found.shape) != node.type.shape:
            raise AssertionError(f"{node.name}: {plain(found.shape)} by its formula, {node.type.shape} by its value")
        self.give(node, found.shape)

    def describe(self, node: GradNode, operands: Sequence[Any], out: Tensor) -> None:
        """Give derivative rules shapes and types with formulas."""
        node.shape = self.shape_of(out)
        if node.operand_types is not None:
            node.operand_types = [
                TensorType(known.dtype, self.shape_of(operand)) if isinstance(operand, Tensor) else operand
                for operand, known in zip(operands, node.operand_types, strict=True)]

    def close(self, tracer: Any) -> None:
        """All is recorded: from now on nothing is written down."""
        if tracer.builder.nodes:
            self.type_of(tracer.builder.nodes[-1], tracer)
        self.stop()

    def stop(self) -> None:
        """Let extents that have escaped be numbers."""
        self.extents.open = False
        self.extents.origin = _nowhere

    def _here(self) -> Origin:
        """The line of the operation whose type is found; in rules, that of the call of backward."""
        return site() if self._place is None or isinstance(self._place, str) else self._place


def formulas_of(leaves: Sequence[tuple[str, Any]], varying: dict[int, tuple[bool, ...]] | None,
                environment: Environment) -> Formulas | None:
    """Symbols for the extents that vary, in the order of the leaves, and for numbers found by name. None where there is
    nothing to have formulas for."""
    if varying is None and not environment.numbers:
        return None
    formulas = Formulas()
    for position, flags in (varying or {}).items():
        label, leaf = leaves[position]
        formulas.declare(position, label, leaf if type(leaf) is int else leaf.shape, flags)
    return formulas


def _forms(value: Any) -> Iterator[Any]:
    """The formulas in nested tuples and slices."""
    if type(value) in TRACKED:
        yield value._form
    elif type(value) in (tuple, list):
        for part in value:
            yield from _forms(part)
    elif type(value) is slice:
        yield from _forms((value.start, value.stop, value.step))


@contextmanager
def standing_in(formulas: Formulas | None, environment: Environment) -> Iterator[None]:
    """Have the names that lead to numbers lead to their formulas, while the function is called."""
    standing: dict[Path, Any] = {}
    if formulas is not None:
        for path in environment.numbers:
            number = formulas.number(path.name, path.expected, path)
            anchor, keys = path.anchor
            standing[anchor] = _placed(standing.get(anchor, anchor.expected), keys, number)
        for path in environment.paths:  # `from math import sqrt`
            if path.check == "same" and isinstance(path.expected, BuiltinFunctionType) \
                    and isinstance(path.home(), dict):
                name = str(getattr(path.expected, "__name__", ""))
                if _functions.get(name) is path.expected:
                    standing[path] = _seen_functions[name]
    places = [(path, path.home(), value) for path, value in standing.items()]
    environment.rebound.clear()
    try:
        for path, home, value in places:
            path.write(home, value)
        yield
    finally:
        for path, home, value in places:
            with suppress(ValueError, KeyError, IndexError, AttributeError):  # it was taken away
                if path.read(home) is value:
                    path.write(home, path.expected)
                else:
                    environment.rebound.append(path)


def _placed(value: Any, keys: Sequence[Any], number: Any) -> Any:
    """`number`, or nested tuples with it where the keys lead."""
    if not keys:
        return number
    entries = list(value)
    entries[keys[0]] = _placed(entries[keys[0]], keys[1:], number)
    return value._make(entries) if hasattr(value, "_make") else tuple(entries)


def _nowhere() -> Origin:
    return None


def _from_inside() -> bool:
    """Whether it is retape's own code that asks for the text of an extent."""
    frame: Any = sys._getframe(1)
    while frame.f_code.co_filename in _EXTENTS:
        frame = frame.f_back
    return _is_internal(frame.f_code.co_filename)


_EXTENTS = (Extents.__init__.__code__.co_filename, plain.__code__.co_filename)

# ---- `len`

_length = builtins.len
_functions = {name: getattr(math, name) for name in ELEMENTARY}
_lock = threading.Lock()
_inside = 0


def _seen_length(obj: Any, /) -> Any:
    """`len`, which gives the formula of a tensor's first extent where such a trace is taken in this thread."""
    if isinstance(obj, Tensor) and obj._data.ndim and state.tracer is not None and state.tracer.formulas is not None:
        return obj.shape[0]
    return _length(obj)


def _seen(name: str) -> Any:
    """A function of `math` that gives the formula of a number where such a trace is taken in this thread."""
    function = _functions[name]

    @wraps(function)
    def seen(x: Any, /, *others: Any) -> Any:
        if not others and type(x) in TRACKED and state.tracer is not None and state.tracer.formulas is not None:
            return x.function(f"math_{name}")
        return function(x, *others)

    return seen


_seen_functions = {name: _seen(name) for name in ELEMENTARY}


@contextmanager
def seen_lengths() -> Iterator[None]:
    """Have `len(x)` and `math.sqrt(n)` keep their formulas while a trace is taken: Python itself turns what `__len__`
    gives into an int, and `math` what it is given into a float.

    For everything but tensors and formulas in such a trace, and in all other threads, they are what they were.
    """
    global _inside
    with _lock:
        _inside += 1
        builtins.len = _seen_length
        vars(math).update(_seen_functions)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                builtins.len = _length
                vars(math).update(_functions)
