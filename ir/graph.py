"""The IR on a page: spans, nodes, guards and graphs.

    graph ::= kind, name, inputs, nodes, outputs, saved, guards, effects
    node  ::= op(inputs, attributes) : type          one result, in SSA order
    input ::= an earlier node | a Python literal (weakly typed)
    guard ::= node, the value Python saw in it
    effect ::= input, the value that its memory holds after the run

Everything is immutable; nodes are compared by identity, graphs by `same_graph`.
"""

from __future__ import annotations

import linecache
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from types import CodeType
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from .types import Array, Literal, TensorType

if TYPE_CHECKING:
    from .ops import Op

__all__ = ["Effect", "Graph", "Guard", "Node", "Operand", "Origin", "Span", "input_node", "note_of",
           "reads_of", "rewired", "span_of", "users_of"]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of source text; columns are 1-based and inclusive, as printed."""

    file: str
    line: int
    column: int
    end_column: int
    text: str = ""

    @classmethod
    def of(cls, code: Any, lasti: int) -> Span:
        """Decode the instruction at `lasti` of a code object (the columns are CPython's own, exact)."""
        position = next(islice(code.co_positions(), lasti // 2, None), (None, None, None, None))
        line, end_line, column, end_column = position
        line = line or code.co_firstlineno
        source = linecache.getline(code.co_filename, line).rstrip("\n")
        if column is None or end_column is None:
            return cls(code.co_filename, line, 1, max(len(source), 1), source.strip())
        # columns count bytes of UTF-8; the part of a longer expression on its first line is shown
        encoded = source.encode()
        stop = end_column if end_line == line else len(encoded)
        text = encoded[column:stop].decode(errors="replace")
        first = len(encoded[:column].decode(errors="replace")) + 1
        return cls(code.co_filename, line, first, max(first + len(text) - 1, first), text)

    @property
    def place(self) -> str:
        return f"{self.file.replace(chr(92), '/').rsplit('/', 1)[-1]}:{self.line}:{self.column}"

    def __str__(self) -> str:
        tail = f" | {self.text}" if self.text else ""
        return f"{self.place}-{self.end_column}{tail}"


Origin = Union[Span, str, "tuple[CodeType, int]", None]


def span_of(origin: Origin) -> Span | None:
    """The span that an origin is or stands for."""
    if isinstance(origin, tuple):
        return Span.of(*origin)
    return origin if isinstance(origin, Span) else None


def note_of(origin: Origin) -> str:
    """What is said of an origin behind `#@`."""
    return origin if isinstance(origin, str) else str(span_of(origin) or "")


class _Open:
    """A node while it is made: the same slots, which can be written."""

    __slots__ = ("attrs", "inputs", "name", "op", "origin", "type")

    op: Op
    inputs: tuple[Operand, ...]
    attrs: tuple[Any, ...]
    type: TensorType
    name: str
    origin: Origin


def make_node(
    op: Op, inputs: tuple[Operand, ...], attrs: tuple[Any, ...], type: TensorType, name: str, origin: Origin = None,
) -> Node:
    """A new node. (Writing through a frozen class's own setters takes three times as long.)"""
    node: Any = _Open()
    node.op = op
    node.inputs = inputs
    node.attrs = attrs
    node.type = type
    node.name = name
    node.origin = origin
    node.__class__ = Node
    made: Node = node
    return made


def name_node(node: Node, name: str) -> None:
    """Give a node another name, which only its maker may do, before any graph holds it."""
    object.__setattr__(node, "name", name)


class Node(_Open):
    """One operation and its result; immutable, and equal to itself alone.

    `origin` tells where it came from: the user's span (or the code and instruction it is decoded from, when it is
    looked at), or a note such as `vjp mul2`.
    """

    __slots__ = ()

    def __new__(
        cls, op: Op, inputs: tuple[Operand, ...], attrs: tuple[Any, ...], type: TensorType, name: str,
        origin: Origin = None,
    ) -> Node:
        return make_node(op, inputs, attrs, type, name, origin)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a node is immutable: {name!r} can't be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a node is immutable: {name!r} can't be deleted")

    @property
    def span(self) -> Span | None:
        """The user's line, where the node has one."""
        return span_of(self.origin)

    @property
    def note(self) -> str:
        """What stands behind `#@`."""
        return note_of(self.origin)

    def attr(self, name: str) -> Any:
        """The attribute `name`. Raises `ValueError` where the op has none of that name."""
        return self.attrs[self.op.attribute_names.index(name)]

    def types(self) -> tuple[Any, ...]:
        """The operands' types; literals stand for themselves."""
        return tuple([i.type if i.__class__ is Node else i for i in self.inputs])

    def parents(self) -> Iterator[Node]:
        """The inputs that are nodes."""
        for operand in self.inputs:
            if isinstance(operand, Node):
                yield operand

    def __repr__(self) -> str:
        return f"<{self.name}: {self.type} = {self.op.name}>"


Operand = Union[Node, Literal]


@dataclass(frozen=True, slots=True)
class Guard:
    """A value that Python looked at while the graph was traced: valid only where `node` again gives `value`."""

    node: Node
    value: Any
    origin: Origin = None

    @property
    def note(self) -> str:
        return note_of(self.origin)

    def holds(self, found: Any) -> bool:
        """Whether a run-time value is the one that was seen; NaN is equal to NaN, 0.0 is not -0.0."""
        value = np.asarray(self.value.array if isinstance(self.value, Array) else self.value)
        if value.dtype.kind != "f":
            return np.array_equal(found, value, equal_nan=value.dtype.kind == "c")
        return np.array_equal(found, value, equal_nan=True) and np.array_equal(np.signbit(found), np.signbit(value))


@dataclass(frozen=True, slots=True)
class Effect:
    """A write in place: when all has been computed, the memory of the input `target` takes over `value`."""

    target: Node
    value: Operand
    origin: Origin = None

    @property
    def note(self) -> str:
        return note_of(self.origin)


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Nodes in SSA order between inputs and outputs.

    `kind` is "trace" (a recorded function), "forward" (returns outputs and saved values) or "backward". `op_names` are
    those of its operations, so that what concerns none of them needn't look at each; found when first asked for.
    """

    name: str
    inputs: tuple[Node, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Operand, ...]
    kind: str = "trace"
    of: str = ""
    saved: tuple[Node, ...] = ()
    guards: tuple[Guard, ...] = ()
    effects: tuple[Effect, ...] = ()
    op_names: frozenset[str] = field(init=False, repr=False)

    if not TYPE_CHECKING:
        def __getattr__(self, name):
            if name != "op_names":
                raise AttributeError(f"a graph has no {name!r}")
            found = frozenset([op.name for op in {node.op for node in self.nodes}])
            object.__setattr__(self, name, found)
            return found

    def __str__(self) -> str:
        from .text import print_graph

        return print_graph(self)

    __repr__ = __str__

    def __len__(self) -> int:
        return len(self.nodes)

    def __call__(self, *arrays: Any) -> Any:
        """Run node by node with NumPy, the IR's reference semantics."""
        from .interpreter import evaluate

        return evaluate(self, *arrays)

    def roots(self) -> Iterator[Node]:
        """The nodes whose values leave the graph: outputs, saved values, guards and effects."""
        for operand in self.outputs:
            if isinstance(operand, Node):
                yield operand
        yield from self.saved
        for guard in self.guards:
            yield guard.node
        for effect in self.effects:
            if isinstance(effect.value, Node):
                yield effect.value

    def find(self, name: str) -> Node:
        """The node or input called `name`. Raises `KeyError`."""
        for node in (*self.inputs, *self.nodes):
            if node.name == name:
                return node
        raise KeyError(name)

    def map_roots(self, nodes: Sequence[Node], new: Callable[[Any], Any]) -> Graph:
        """The same interface over other nodes, `new` giving each old root's replacement."""
        guards = []
        for guard in self.guards:
            node = new(guard.node)
            if isinstance(node, Node):
                guards.append(replace(guard, node=node))
        return replace(
            self, nodes=tuple(nodes), outputs=tuple(new(o) for o in self.outputs),
            saved=tuple(new(s) for s in self.saved), guards=tuple(guards),
            effects=tuple(replace(e, value=new(e.value)) for e in self.effects),
        )

    def save(self, path: str) -> None:
        """Write the text form as UTF-8."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"# retape-ir 1\nfrom retape.ir import *\n\n{self}\n")


def input_node(name: str, type: TensorType, origin: Origin = None) -> Node:
    """A graph's parameter."""
    from .ops import INPUT

    return Node(INPUT, (), (), type, name, origin)


def users_of(graph: Graph, wanted: Container[Node] | None = None) -> dict[Any, list[Node]]:
    """For each node and input, or each one `wanted`, the nodes that read it, in order, as often as they read it."""
    users: dict[Any, list[Node]] = {
        node: [] for node in (*graph.inputs, *graph.nodes) if wanted is None or node in wanted}
    known = users.keys()
    for node in graph.nodes:
        if not known.isdisjoint(node.inputs):
            for operand in node.inputs:
                if operand in users:
                    users[operand].append(node)
    return users


def reads_of(graph: Graph, wanted: Container[Any]) -> Counter[Any]:
    """How often each value that is `wanted` is read, where it leaves the graph, too."""
    reads = Counter(filter(wanted.__contains__, chain.from_iterable([node.inputs for node in graph.nodes])))
    reads.update(filter(wanted.__contains__, graph.roots()))
    return reads


def rewired(node: Node, new: Mapping[Any, Any]) -> Node:
    """The node with what `new` has for its operands; itself where that has nothing."""
    if new.keys().isdisjoint(node.inputs):
        return node
    return Node(node.op, tuple([new.get(i, i) for i in node.inputs]), node.attrs, node.type, node.name, node.origin)
