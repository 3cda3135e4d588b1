"""The recorded graph: one node an operation, hanging from its result and pointing to what it was made from."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Union

import numpy as np

from retape.ir import Op, TensorType
from retape.ir.types import dtype_of, row_major, type_of

from .state import Site, site, state
from .tensor import Tensor

Edge = Union["GradNode", "Tensor", None]

_sequence = itertools.count()
_classes: dict[str, type[GradNode]] = {}


def next_sequence() -> int:
    """A number below those of all nodes that are made from now on."""
    return next(_sequence)


Saved = tuple[np.ndarray[Any, Any], list[Any], int, Any]
"""A value kept for backward: the array, the counter that tells in-place changes, its count then, and `_traced`."""


class GradNode:
    """How one result came about. `edges` lead to the operands' nodes, or to leaves that accumulate `.grad`.

    Shown as `<AddBackward0 at 0x...>`; the class bears the operation's name, as in torch.
    """

    __slots__ = ("__weakref__", "attrs", "dtype", "edges", "freed", "hooks", "label", "literals", "op", "operand_types",
                 "retained", "saved", "sequence", "shape", "site")

    op: Op
    attrs: tuple[Any, ...]
    edges: tuple[Edge, ...]
    dtype: np.dtype[Any]  # the result's, and its shape
    shape: tuple[int, ...]
    literals: list[Any] | None  # by position the operands that are Python numbers, where there are any; None for others
    saved: dict[int, Saved] | None  # by position, -1 standing for the result
    operand_types: list[Any] | None  # where the operation's rules name them
    sequence: int
    site: Site
    freed: Site | None  # where the saved values were dropped
    label: str | None  # the result's name in a trace
    hooks: list[Callable[[Any], Any]] | None
    retained: Tensor | None  # whose `.grad` is to be filled

    @staticmethod
    def record(op: Op, operands: tuple[Any, ...], attrs: tuple[Any, ...], out: Tensor, place: Site) -> GradNode:
        """A node for `out = op(operands)` that keeps just what the rules of the operands in question name."""
        node: GradNode = (_classes.get(op.name) or node_class(op.name))()
        node.sequence = next(_sequence)
        node.op = op
        node.attrs = attrs
        node.site = place
        data = out._data
        node.dtype = data.dtype
        node.shape = data.shape
        node.freed = node.hooks = node.retained = None
        traced = out._traced
        node.label = None if traced is None else traced[1].name
        rules = op.rules
        edges: list[Edge] = []
        types: list[Any] | None = [] if op.typed else None
        saved: dict[int, Saved] | None = None
        literals: list[Any] | None = None
        for operand in operands:
            if not isinstance(operand, Tensor):
                if literals is None:
                    literals = [None] * (len(operands) + 1)
                literals[len(edges)] = operand
                if types is not None:
                    types.append(operand)
                edges.append(None)
                continue
            if types is not None:
                types.append(type_of(operand._data))
            if not operand._requires_grad:
                edges.append(None)
                continue
            saves = rules[0 if op.variadic else len(edges)].saves
            if saves:
                for need in saves:
                    kept = out if need == -1 else operands[need]
                    if isinstance(kept, Tensor):
                        if saved is None:
                            saved = {}
                        version = kept._version
                        saved[need] = (kept._data, version, version[0], kept._traced)
            edges.append(operand._grad_fn or operand)
        node.edges = tuple(edges)
        node.saved = saved
        node.literals = literals
        node.operand_types = types
        return node

    def types(self) -> list[Any]:
        """The operands' types; literals stand for themselves."""
        assert self.operand_types is not None
        return self.operand_types

    @property
    def type(self) -> TensorType:
        if state.tracer is None:
            return row_major(self.dtype, self.shape)
        return TensorType(dtype_of(self.dtype), self.shape)  # extents with formulas mustn't be hashed

    def free(self, place: Site) -> None:
        """Drop what was kept for backward."""
        if self.saved is not None:
            self.saved, self.freed = None, place

    def name(self) -> str:
        return type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """As torch shows them: pairs of a node (a leaf stands for its accumulation) and 0."""
        return tuple((edge, 0) for edge in self.edges if edge is not None)

    def __repr__(self) -> str:
        return f"<{self.name()} at {id(self):#x}>"


def node_class(name: str) -> type[GradNode]:
    """The class under which an operation's nodes are shown."""
    known = _classes.get(name)
    if known is None:
        title = "".join(part.capitalize() for part in name.split("_")) + "Backward0"
        known = _classes[name] = type(title, (GradNode,), {"__slots__": ()})
    return known


# ---- calls that bring their own derivative: custom Functions and compiled programs


class Parts(dict[int, Any]):
    """The cotangents of a call's outputs by position, as far as they are known."""

    def joined(self, other: Parts, b: Any) -> Parts:
        both = Parts(self)
        for position, value in other.items():
            both[position] = b.add(both[position], value) if position in both else value
        return both


def _no_rule(*_: Any) -> Any:
    raise TypeError("a call has no type rule")


CALL = Op("call", (), "call", _no_rule, _no_rule, (), "A call that brings its own derivative.")


class _OfCall(GradNode):
    """What nodes of calls share."""

    __slots__ = ()

    def __init__(self, edges: tuple[Edge, ...]) -> None:
        self.sequence = next(_sequence)
        self.op = CALL
        self.site = site()
        self.edges = edges
        self.freed = self.saved = self.hooks = self.label = self.retained = None


class CallNode(_OfCall):
    """A call of several outputs; `pullback(cotangents, on_tensors)` gives the parts for its edges."""

    __slots__ = ("count", "pullback")

    def __init__(self, edges: tuple[Edge, ...], count: int, pullback: Callable[[list[Any], bool], Any]) -> None:
        super().__init__(edges)
        self.count = count
        self.pullback: Callable[[list[Any], bool], Any] | None = pullback

    def free(self, place: Site) -> None:
        self.pullback, self.freed = None, place

    def derive_all(self, ct: Parts, on_tensors: bool) -> Any:
        assert self.pullback is not None
        return self.pullback([ct.get(i) for i in range(self.count)], on_tensors)


class OutputNode(_OfCall):
    """One output of a call."""

    __slots__ = ("call", "position")

    def __init__(self, call: CallNode, position: int, out: Tensor) -> None:
        super().__init__((call,))
        self.call = call
        self.dtype, self.shape = out._data.dtype, out._data.shape
        self.position = position

    def derive_all(self, ct: Any, on_tensors: bool) -> tuple[Parts]:
        return (Parts({self.position: ct}),)


def attach_outputs(
    name: str, outputs: list[Tensor], operands: list[Tensor], pullback: Callable[[list[Any], bool], Any],
    skip: frozenset[int] = frozenset(),
) -> None:
    """Make `outputs` results of a call on `operands` with the given derivative, except those in `skip`."""
    edges = tuple((t._grad_fn or t) if t._requires_grad else None for t in operands)
    call = CallNode(edges, len(outputs), pullback)
    title = f"{name}Backward"
    cls: Any = _classes.get(title) or _classes.setdefault(title, type(title, (OutputNode,), {"__slots__": ()}))
    for position, out in enumerate(outputs):
        if position not in skip and out._data.dtype.kind in "fc":
            out._grad_fn, out._requires_grad = cls(call, position, out), True
