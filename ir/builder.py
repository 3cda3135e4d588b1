"""Builders: the one interface against which derivative rules are written.

`b.mul(x, y)` makes an operation: `NumpyBuilder` computes it, `GraphBuilder` appends it to a graph (the tracer adds a
third, which records it on tensors). Attributes are given by keyword, all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from .graph import Node, Operand, Origin
from .ops import CATALOGUE, Op
from .shapes import summed_axes
from .types import Literal, TensorType

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
    if isinstance(value, (float, complex, slice)):
        return type(value), repr(value)
    if isinstance(value, tuple):
        return tuple(value_key(v) for v in value)
    return type(value), value


class GraphBuilder(Builder):
    """Appends nodes, giving the existing one where the same operation was made before (`consing`)."""

    def __init__(self, consing: bool = True, prefix: str = "") -> None:
        self.nodes: list[Node] = []
        self.prefix = prefix
        self.origin: Origin = None
        self._known: dict[Hashable, Node] | None = {} if consing else None
        self._names: set[str] = set()

    def call(self, op: Op) -> Callable[..., Any]:
        def emit(*operands: Any, **attributes: Any) -> Any:
            inputs, attrs = op.bind(operands, attributes)
            return self.emit(op, inputs, attrs)

        return emit

    def reserve(self, *nodes: Node) -> None:
        """Keep the names of these (the graph's inputs) from being given again."""
        self._names.update(node.name for node in nodes)

    def emit(
        self, op: Op, inputs: tuple[Operand, ...], attrs: tuple[Any, ...] = (), name: str | None = None,
        origin: Origin = None, type: TensorType | None = None,
    ) -> Operand:
        """Append an operation; on literals alone a pointwise one is computed. Raises the op's located errors."""
        if op.kind == "pointwise" and not any(isinstance(i, Node) for i in inputs):
            with np.errstate(all="ignore"):
                number: Literal = np.asarray(op.eager(*inputs, *attrs)).item()
                return number
        key: Hashable = None
        if self._known is not None:
            key = (op.name, tuple(id(i) if isinstance(i, Node) else value_key(i) for i in inputs), value_key(attrs))
            found = self._known.get(key)
            if found is not None:
                return found
        if type is None:
            type = op.infer(*(i.type if isinstance(i, Node) else i for i in inputs), *attrs)
        node = Node(op, inputs, attrs, type, self.name_for(op, name), self.origin if origin is None else origin)
        self.nodes.append(node)
        if self._known is not None:
            self._known[key] = node
        return node

    def name_for(self, op: Op, wanted: str | None) -> str:
        """A free name: `wanted`, or the op's (or the builder's) with the node's number."""
        return self.unique(wanted or f"{self.prefix or op.name}{len(self.nodes)}")

    def unique(self, wanted: str) -> str:
        """`wanted`, or that name with a number behind it where it is taken; it counts as taken from now on."""
        name, count = wanted, 1
        while name in self._names:
            count += 1
            name = f"{wanted}_{count}"
        self._names.add(name)
        return name

    def adopt(self, node: Node) -> Node:
        """Take a node over as it is; later equal operations give this one."""
        self.nodes.append(node)
        self._names.add(node.name)
        if self._known is not None:
            key = (node.op.name, tuple(id(i) if isinstance(i, Node) else value_key(i) for i in node.inputs),
                   value_key(node.attrs))
            self._known.setdefault(key, node)
        return node


def sum_to(b: Any, value: Any, shape: tuple[int, ...], target: tuple[int, ...]) -> Any:
    """Undo a broadcast: sum `value` of `shape` to `target`."""
    if shape == target:
        return value
    axes, reshaped = summed_axes(shape, target)
    same = len(shape) == len(target)
    value = b.sum(value, axis=axes, keepdims=same)
    return b.reshape(value, shape=target) if reshaped and not same else value
