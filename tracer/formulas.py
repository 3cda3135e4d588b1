"""Formulas of the extents in a trace that is to hold for other extents, too.

The shapes that Python sees in such a trace hold `Extent`s for the input extents that vary. What is computed from them
ends up in the attributes and literals of operations; it is kept here beside the nodes, which hold the plain numbers.
Shapes of results follow from the operations' own type rules, run on formulas: what these compare becomes a guard.
"""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from retape.ir import Node, TensorType
from retape.ir.extents import Extents, is_symbolic, plain
from retape.ir.graph import Origin

from .gradnode import GradNode
from .state import _is_internal, site, state
from .tensor import Tensor

__all__ = ["Formulas", "seen_lengths"]

LEAST = 2  # extents of 0 and 1 are traces of their own: they are broadcast, and laid out, otherwise


class Formulas:
    """The extents of one trace, and the nodes whose types or attributes hold them."""

    def __init__(self) -> None:
        self.extents = Extents(self._here, _from_inside)
        self.rows: dict[Node, tuple[tuple[Any, ...], tuple[Any, ...]]] = {}  # operands and attributes with formulas
        self.types: dict[Node, TensorType] = {}  # types with formulas
        self._place: Origin = None
        self._done = 0
        self._shapes: dict[int, tuple[Any, ...]] = {}
        self.looks: list[int] = []  # for each symbol that isn't an argument's extent, the guard that gives its value

    def declare(self, position: int, label: str, shape: Sequence[int], varying: Sequence[bool]) -> None:
        """Symbols for the extents of an argument leaf that vary."""
        if any(varying):
            self._shapes[position] = tuple(
                self.extents.symbol(f"{label}.shape[{dim}]", extent, LEAST) if varies else extent
                for dim, (extent, varies) in enumerate(zip(shape, varying, strict=True)))

    def found(self, number: int, name: str, extent: int) -> Any:
        """A symbol for an extent that a value decides: the one that guard `number` looks at."""
        if extent < LEAST:
            return extent
        self.looks.append(number)
        return self.extents.symbol(name, extent, LEAST)

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
_lock = threading.Lock()
_inside = 0


def _seen_length(obj: Any, /) -> Any:
    """`len`, which gives the formula of a tensor's first extent where such a trace is taken in this thread."""
    if isinstance(obj, Tensor) and obj._data.ndim and state.tracer is not None and state.tracer.formulas is not None:
        return obj.shape[0]
    return _length(obj)


@contextmanager
def seen_lengths() -> Iterator[None]:
    """Have `len(x)` keep its formula while a trace is taken: Python itself turns what `__len__` gives into an int.

    For everything but tensors in such a trace, and in all other threads, `len` is what it was.
    """
    global _inside
    with _lock:
        _inside += 1
        builtins.len = _seen_length
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                builtins.len = _length
