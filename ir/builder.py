"""Builders: the one interface against which derivative rules are written.

`b.mul(x, y)` makes an operation: `NumpyBuilder` computes it, `GraphBuilder` appends it to a graph (the tracer adds a
third, which records it on tensors). Attributes are given by keyword, all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any
from weakref import ref

import numpy as np

from .graph import Node, Operand, Origin, make_node, name_node
from .ops import CATALOGUE, Op
from .shapes import same_shape, summed_axes
from .types import Literal, TensorType, shared_type

__all__ = ["NUMPY", "Builder", "GraphBuilder", "NumpyBuilder", "sum_to", "value_key"]


class Builder:
    """Turns `b.<op>(...)` into `call(op)(...)`, looked up once a name."""

    def call(self, op: Op) -> Callable[..., Any]:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Callable[..., Any]:
        op = CATALOGUE.get(name)
        if op is None:
            raise AttributeError(f"the catalogue has no op {name!r}")
        bound = self.call(op)
        self.__dict__[name] = bound
        return bound


class NumpyBuilder(Builder):
    """Operations on arrays, computed at once."""

    def call(self, op: Op) -> Callable[..., Any]:
        if not op.variadic:
            return op.eager

        def run(*operands: Any, **attributes: Any) -> Any:
            inputs, attrs = op.bind(operands, attributes)
            return op.eager(*inputs, *attrs)

        return run


NUMPY = NumpyBuilder()


def value_key(value: Any) -> Hashable:
    """A key under which literals and attributes are the same value: 1, 1.0, True, 0.0 and -0.0 all differ."""
    kind = value.__class__
    if kind is int:
        return kind, value
    if kind is tuple:
        return tuple([(int, v) if v.__class__ is int else (slice, v.start, v.stop, v.step) if v.__class__ is slice
                      else value_key(v) for v in value])  # no call for what most attributes are
    if kind is slice:
        return kind, value.start, value.stop, value.step  # of integers
    if kind is float and value == value and value:  # neither NaN nor a zero
        return kind, value
    if isinstance(value, (float, complex)):
        return kind, repr(value)
    return kind, value


class GraphBuilder(Builder):
    """Appends nodes, giving the existing one where the same operation was made before (`consing`).

    Result types are found once for each operation on operands of the same types with the same attributes, by this
    builder or the one that it is `like`.
    """

    def __init__(self, consing: bool = True, prefix: str = "", like: GraphBuilder | None = None) -> None:
        self.nodes: list[Node] = []
        self.prefix = prefix
        self.origin: Origin = None
        self.consing = consing
        self._known: dict[int, Node] = {}  # by a hash of op, attributes and operands, a third of the memory of these
        self._names: set[str] = set()
        self._reserved: list[Iterable[Node]] = []  # nodes whose names aren't among these yet
        self._told = 0  # of the nodes made here: how many have theirs among them
        self._types: dict[Hashable, tuple[TensorType, list[Any]]] = {} if like is None else like._types
        self._shared: dict[TensorType, TensorType] = {} if like is None else like._shared
        self._equal: dict[Hashable, tuple[Any, ...]] = {}  # attributes by their key
        self._attrs: dict[int, tuple[Any, Hashable]] = {}  # by id: attributes, kept alive, and their key

    def call(self, op: Op) -> Callable[..., Any]:
        count = -1 if op.variadic or op.attributes else len(op.operands)
        here = ref(self)  # a cycle would keep the graph until the next collection

        def emit(*operands: Any, **attributes: Any) -> Any:
            builder = here()
            assert builder is not None
            if len(operands) == count and not attributes:
                return builder.emit(op, operands)
            inputs, attrs = op.bind(operands, attributes)
            return builder.emit(op, inputs, attrs)

        return emit

    def reserve(self, nodes: Iterable[Node]) -> None:
        """Keep the names of these (a graph's inputs, or all of it) from being given to others."""
        self._reserved.append(nodes)

    def _taken(self) -> set[str]:
        """The names that are taken, looked up when the first name is to be found."""
        while self._reserved:
            self._names.update([node.name for node in self._reserved.pop()])
        return self._names

    def _given(self) -> set[str]:
        """The names that are taken, and those that were given here by numbers."""
        names, nodes = self._taken(), self.nodes
        if self._told < len(nodes) and not self.prefix:
            names.update([node.name for node in nodes[self._told :]])
            self._told = len(nodes)
        return names

    def emit(
        self, op: Op, inputs: tuple[Operand, ...], attrs: tuple[Any, ...] = (), name: str | None = None,
        origin: Origin = None, type: TensorType | None = None,
    ) -> Operand:
        """Append an operation; on literals alone a pointwise one is computed. Raises the op's located errors.

        A `name` that is given is one that has been reserved; else there is the op's (or the builder's) with a number.
        """
        if inputs and inputs[0].__class__ is not Node and op.kind == "pointwise" and not any(map(_is_node, inputs)):
            with np.errstate(all="ignore"):
                number: Literal = np.asarray(op.eager(*inputs, *attrs)).item()
                return number
        values = self.value_key(attrs) if attrs else ()
        if not self.consing:
            return self.append(op, inputs, attrs, type or self._infer(op, inputs, attrs, values), origin, name)
        mark = hash((op, values, inputs))
        found = self._known.get(mark)
        if found is not None and _is_same(found, op, values, inputs):
            return found
        node = self.append(op, inputs, attrs, type or self._infer(op, inputs, attrs, values), origin, name)
        if found is None:
            self._known[mark] = node
        return node

    def append(
        self, op: Op, inputs: tuple[Operand, ...], attrs: tuple[Any, ...], type: TensorType, origin: Origin = None,
        name: str | None = None,
    ) -> Node:
        """Append an operation as it is."""
        nodes = self.nodes
        if name is None:
            name = f"{self.prefix or op.name}{len(nodes)}"
            names = self._taken() if self._reserved else self._names
            if name in names:
                name = self.unique(name)
            elif op.name[-1].isdigit() and not self.prefix:  # `log2` and 1 is `log` and 21; else numbers tell apart
                names.add(name)
        node = make_node(op, inputs, attrs, type, name, self.origin if origin is None else origin)
        nodes.append(node)
        return node

    def infer(self, op: Op, inputs: tuple[Operand, ...], attrs: tuple[Any, ...]) -> TensorType:
        """The result type; equal types are one object. Raises the op's located errors."""
        return self._infer(op, inputs, attrs, value_key(attrs))

    def _infer(self, op: Op, operands: Iterable[Any], attrs: tuple[Any, ...], values: Hashable) -> TensorType:
        types = [i.type if i.__class__ is Node else i for i in operands]
        key = (op, values, *[id(t) if t.__class__ is TensorType else value_key(t) for t in types])
        found = self._types.get(key)
        if found is None:
            shared = [self._shared.setdefault(t, t) if t.__class__ is TensorType else t for t in types]
            if any(s is not t for s, t in zip(shared, types, strict=True)):  # others, perhaps equal to known ones
                result = self._infer(op, shared, attrs, values)
            else:
                result = op.infer(*types, *attrs)
                result = self._shared.setdefault(result, shared_type(result))
            found = self._types[key] = result, types  # keeps alive what the key identifies
        return found[0]

    def value_key(self, attrs: tuple[Any, ...]) -> Hashable:
        """The key of attributes, made once where operations share them."""
        found = self._attrs.get(id(attrs))
        if found is None:
            found = self._attrs[id(attrs)] = attrs, value_key(attrs)
        return found[1]

    def shared(self, attrs: tuple[Any, ...]) -> tuple[Any, ...]:
        """One tuple for all equal attributes."""
        return self._equal.setdefault(value_key(attrs), attrs) if attrs else attrs

    def unique(self, wanted: str) -> str:
        """`wanted`, or that name with a number behind it where it is taken; it counts as taken from now on."""
        name, count = wanted, 1
        names = self._given()
        while name in names:
            count += 1
            name = f"{wanted}_{count}"
        names.add(name)
        return name

    def rename(self, wanted: Iterable[tuple[Node, str]]) -> None:
        """Give nodes that were made here other names, where these are free. No graph holds the nodes yet."""
        names = self._given()
        for node, name in wanted:
            if name not in names:
                names.add(name)
                name_node(node, name)

    def note(self, nodes: Iterable[Node]) -> None:
        """Let operations that are made from now on be these, where they are equal."""
        for node in nodes:
            self._known.setdefault(hash((node.op, self.value_key(node.attrs), node.inputs)), node)

    def known(self, node: Node, operands: tuple[Operand, ...]) -> Node:
        """An equal operation that was made before; else the node, taken over with its name. On other `operands` than
        its own, of the same types, it is a new one."""
        op, attrs = node.op, node.attrs
        values = self.value_key(attrs) if attrs else ()
        mark = hash((op, values, operands))
        found = self._known.get(mark)
        if found is not None and _is_same(found, op, values, operands):
            return found
        if operands is not node.inputs:
            node = make_node(op, operands, attrs, node.type, node.name, node.origin)
        if found is None:
            self._known[mark] = node
        self.nodes.append(node)
        return node


def _is_node(operand: Operand) -> bool:
    return operand.__class__ is Node


def _is_same(node: Node, op: Op, values: Hashable, operands: tuple[Operand, ...]) -> bool:
    """Whether a node is an operation with attributes of the key `values` on `operands`."""
    return node.op is op and len(node.inputs) == len(operands) and value_key(node.attrs) == values and all(
        a is b or (a.__class__ is b.__class__ is not Node and value_key(a) == value_key(b))
        for a, b in zip(node.inputs, operands, strict=True))


def sum_to(b: Any, value: Any, shape: tuple[int, ...], target: tuple[int, ...]) -> Any:
    """Undo a broadcast: sum `value` of `shape` to `target`."""
    if same_shape(shape, target):
        return value
    axes, reshaped = summed_axes(shape, target)
    same = len(shape) == len(target)
    value = b.sum(value, axis=axes, keepdims=same)
    return b.reshape(value, shape=target) if reshaped and not same else value
