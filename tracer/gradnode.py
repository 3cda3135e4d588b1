"""The recorded graph: one node an operation, hanging from its result and pointing to what it was made from."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from retape.ir import Op, TensorType
from retape.ir.types import COMPLEX, type_of

from .state import Site, site

if TYPE_CHECKING:
    from .tensor import Tensor

Edge = Union["GradNode", "Tensor", None]

_sequence = itertools.count()
_ndarray = np.ndarray
_new: Any = object.__new__
_classes: dict[str, type[GradNode]] = {}


def next_sequence() -> int:
    """A number below those of all nodes that are made from now on."""
    return next(_sequence)


class Saved:
    """A value kept for backward: the array, the counter that tells in-place changes, and its place in a trace."""

    __slots__ = ("array", "counter", "traced", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.array = tensor._data
        self.counter = tensor._version
        self.version = tensor._version[0]
        self.traced = tensor._traced

    @property
    def modified(self) -> bool:
        return bool(self.counter[0] != self.version)


class _Rare:
    """What few nodes have is kept in a dict of their own, so that the others needn't be given it."""

    __slots__ = ("__dict__",)

    label: str | None = None  # the result's name in a trace
    hooks: list[Callable[[Any], Any]] | None = None
    retained: Any = None


class GradNode(_Rare):
    """How one result came about. `edges` lead to the operands' nodes, or to leaves that accumulate `.grad`.

    Shown as `<AddBackward0 at 0x...>`; the class bears the operation's name, as in torch.
    """

    op: Op
    attrs: tuple[Any, ...]
    literals: dict[int, Any] | None  # operands that are Python numbers
    metas: list[Any]  # the type of each operand, None for literals, and last of the result

    __slots__ = ("__weakref__", "attrs", "edges", "freed", "literals", "metas", "op", "saved", "sequence", "site")

    def __init__(self, place: Site | None = None) -> None:
        self.sequence = next(_sequence)
        self.site: Site = place or site()
        self.freed: Site | None = None
        self.saved: dict[int, Saved] | None = None
        self.edges: tuple[Edge, ...] = ()

    @staticmethod
    def record(
        op: Op, operands: tuple[Any, ...], arrays: list[Any], attrs: tuple[Any, ...], out: Tensor, place: Site,
    ) -> GradNode:
        """A node for `out = op(operands)` that keeps just what the rules of the operands in question name."""
        node: GradNode = _new(_classes.get(op.name) or node_class(op.name))
        node.sequence = next(_sequence)
        node.site = place
        node.freed = None
        node.op = op
        node.attrs = attrs
        edges: list[Edge] = []
        saved: dict[int, Saved] = {}
        literals: dict[int, Any] | None = None
        metas: list[Any] = []
        rules = op.rules
        for operand, array in zip(operands, arrays, strict=False):
            if array.__class__ is not _ndarray and not hasattr(array, "dtype"):
                if literals is None:
                    literals = {}
                literals[len(edges)] = operand
                metas.append(None)
                edges.append(None)
                continue
            metas.append(type_of(array))
            if not operand._requires_grad:
                edges.append(None)
                continue
            saves = rules[0 if op.variadic else len(edges)].saves
            if saves:
                for need in saves:
                    if need == -1:
                        saved[-1] = Saved(out)
                    elif need not in saved and hasattr(arrays[need], "dtype"):
                        saved[need] = Saved(operands[need])
            edges.append(operand._grad_fn or operand)
        metas.append(type_of(out._data))
        if out._traced is not None:
            node.label = out._traced[1].name
        node.edges = tuple(edges)
        node.saved = saved or None
        node.literals = literals
        node.metas = metas
        return node

    def types(self) -> tuple[Any, ...]:
        """The operands' types; literals stand for themselves."""
        literals = self.literals or {}
        return tuple(meta or literals[i] for i, meta in enumerate(self.metas[:-1]))

    def type(self) -> TensorType:
        result: TensorType = self.metas[-1]
        return result

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

    def derive(self, b: Any, ct: Any, values: Any, out: Any, index: int) -> Any:
        """The cotangent of operand `index`."""
        rule = self.op.rules[0 if self.op.variadic else index]
        run = rule.conjugated if self.metas[-1].dtype.category == COMPLEX else rule.call or rule
        return run(b, ct, values, out, self.attrs, self.types, self.type, index)


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


class CallNode(GradNode):
    """A call of several outputs; `pullback(cotangents, on_tensors)` gives the parts for its edges."""

    __slots__ = ("count", "pullback")

    def __init__(self, edges: tuple[Edge, ...], count: int, pullback: Callable[[list[Any], bool], Any]) -> None:
        super().__init__()
        self.op = CALL
        self.edges = edges
        self.count = count
        self.pullback: Callable[[list[Any], bool], Any] | None = pullback

    def free(self, place: Site) -> None:
        self.pullback, self.freed = None, place

    def derive_all(self, ct: Parts, on_tensors: bool) -> Any:
        assert self.pullback is not None
        return self.pullback([ct.get(i) for i in range(self.count)], on_tensors)


class OutputNode(GradNode):
    """One output of a call."""

    __slots__ = ("position",)

    def __init__(self, call: CallNode, position: int) -> None:
        super().__init__()
        self.op = CALL
        self.edges = (call,)
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
    cls = _classes.get(name) or _classes.setdefault(name, type(f"{name}Backward", (OutputNode,), {"__slots__": ()}))
    for position, out in enumerate(outputs):
        if position not in skip and out._data.dtype.kind in "fc":
            out._grad_fn, out._requires_grad = cls(call, position), True  # type: ignore[call-arg, arg-type]
