"""One trace for all extents: a graph in which the extents that two calls differed in are symbols.

Where a second signature differs from the first by extents only, both traces are laid over each other. What differs in
attributes and literals must be one monomial of the extents, or an extent plus a constant, and no other; partial slices
of a changing dim, looks at values or at shapes, and draws are left to traces of their own. The template, filled with
the first call's extents, has to give the first trace's graph. Further extents then need no trace: types are inferred
again, and a graph that doesn't fit its ops' rules is none.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from math import prod
from typing import Any

import numpy as np

from retape.ir import Graph, Node, TensorType, input_node, same_graph
from retape.ir.builder import value_key
from retape.ir.errors import RetapeError

from .group import Group
from .specialization import Specialization

__all__ = ["Template", "Templates"]

SHAPES = {"expand": "shape", "full": "shape", "reshape": "shape", "take_add": "shape", "scatter_add": "shape",
          "embed": "shape"}  # the attributes that hold extents
PLAIN = frozenset({"matmul", "cat", "embed", "slice_scatter", "full", "take", "take_add", "overwrite", "constant",
                   "arange"})  # besides pointwise operations, reductions and views
DEGREE = 3
KEPT = 8  # earlier traces that a new one is compared with


def _extents(part: Any) -> tuple[int, ...] | None:
    """The shape in the key of a row-major tensor or array."""
    if isinstance(part, tuple) and part and isinstance(part[0], np.dtype) and part[2] is None:
        shape: tuple[int, ...] = part[1]
        return shape
    return None


def pattern_of(key: Sequence[Any]) -> Hashable:
    """What two calls have in common that differ by extents only."""
    return tuple(part if (shape := _extents(part)) is None else (part[0], len(shape), *part[3:]) for part in key)


def extents_of(key: Sequence[Any]) -> tuple[int, ...]:
    return tuple(extent for part in key for extent in _extents(part) or ())


@dataclass(frozen=True, slots=True)
class _Fit:
    """`factor` times the product of the symbols `powers`, plus `shift`."""

    factor: int
    powers: tuple[int, ...]
    shift: int
    kind: type

    def at(self, values: Sequence[int]) -> Any:
        """The number for these extents. Raises `_Mismatch` where it isn't positive: a form may end there."""
        found = self.factor * prod(values[i] for i in self.powers) + self.shift
        if found <= 0:
            raise _Mismatch("not positive")
        return self.kind(found)


class _Mismatch(Exception):
    """Two traces differ by more than extents."""


class Template:
    """Two traces of calls that differ in extents, as one for all. Raises `ValueError` where they can't be one."""

    def __init__(
        self, first: Specialization, second: Specialization, before: Sequence[int], after: Sequence[int],
    ) -> None:
        if not first.like(second):
            raise ValueError("the calls do different things besides their operations")
        self.second = second
        self.before, self.after = tuple(before), tuple(after)
        pairs = list(dict.fromkeys((a, b) for a, b in zip(before, after, strict=True) if a != b))
        self.symbols = [[i for i, pair in enumerate(zip(before, after, strict=True)) if pair == p] for p in pairs]
        self.old, self.new = [a for a, _ in pairs], [b for _, b in pairs]
        self.rows: list[tuple[Node, tuple[Any, ...], tuple[Any, ...]]] = []
        try:
            self._lay_over(first.graph, second.graph)
        except _Mismatch as error:
            raise ValueError(str(error)) from None
        again = self.graph_at(self.before)
        if again is None or not same_graph(again, first.graph):
            raise ValueError("the first trace is another")

    # ---- making

    def _lay_over(self, first: Graph, second: Graph) -> None:
        if len(first.nodes) != len(second.nodes) or len(first.inputs) != len(second.inputs) or first.guards \
                or second.guards or min(*self.old, *self.new) < 2:
            raise _Mismatch("the graphs differ")
        alike = {e for a, b in zip(first.inputs, second.inputs, strict=True)
                 for e, other in zip(a.type.shape, b.type.shape, strict=True) if e == other}
        if alike & {*self.old, *self.new}:
            raise _Mismatch("a fixed extent is like a changing one")
        number = {node: i for i, node in enumerate((*first.inputs, *first.nodes))}
        other = {node: i for i, node in enumerate((*second.inputs, *second.nodes))}
        for a, b in zip(first.nodes, second.nodes, strict=True):
            if a.op is not b.op or len(a.inputs) != len(b.inputs) or (
                    b.op.kind not in ("pointwise", "reduction", "view") and b.op.name not in PLAIN):
                raise _Mismatch(f"{a.name} and {b.name} are different operations")
            inputs = []
            for x, y in zip(a.inputs, b.inputs, strict=True):
                if isinstance(x, Node) and isinstance(y, Node) and number[x] == other[y]:
                    inputs.append(y)
                elif isinstance(x, Node) or isinstance(y, Node):
                    raise _Mismatch(f"{b.name} reads something else")
                else:
                    inputs.append(self._value(x, y))
            attrs = tuple(self._attribute(name, x, y, a, b) for (name, _), x, y in
                          zip(b.op.attributes, a.attrs, b.attrs, strict=True))
            self.rows.append((b, tuple(inputs), attrs))

    def _attribute(self, name: str, x: Any, y: Any, first: Node, node: Node) -> Any:
        if name == "index":
            return self._index(x, y, first, node)
        if SHAPES.get(node.op.name) == name:
            return tuple(self._value(a, b) for a, b in zip(x, y, strict=True))
        if value_key(x) != value_key(y):
            raise _Mismatch(f"`{name}` of {node.name} changes")
        return y

    def _index(self, x: tuple[Any, ...], y: tuple[Any, ...], first: Node, node: Node) -> Any:
        """A basic index: along a changing dim it takes everything."""
        before, after = (n.attr("shape") if n.op.name == "embed" else next(n.parents()).type.shape
                         for n in (first, node))
        if len(x) != len(y):
            raise _Mismatch("indices differ")
        entries: list[Any] = []
        dims = iter(zip(before, after, strict=True))
        for a, b in zip(x, y, strict=True):
            old, new = (0, 0) if b is None else next(dims)
            if old != new:
                if a != slice(0, old, 1) or b != slice(0, new, 1):
                    raise _Mismatch("a part of a changing dim is taken")
                entries.append(slice(0, self._value(a.stop, b.stop), 1))
            elif value_key(a) != value_key(b):
                raise _Mismatch("indices differ")
            else:
                entries.append(b)
        return tuple(entries)

    def _value(self, x: Any, y: Any) -> Any:
        if value_key(x) == value_key(y):
            return y
        if type(x) is not type(y) or not isinstance(y, (int, float)) or x != int(x) or y != int(y):
            raise _Mismatch(f"{x} against {y}")
        return self._fit(x, y)

    def _fit(self, x: Any, y: Any) -> Any:
        """The one form that gives x at the first extents and y at the second."""
        if x == y:
            return y
        found = []
        for degree in range(1, DEGREE + 1):
            for powers in combinations_with_replacement(range(len(self.old)), degree):
                a, b = prod(self.old[i] for i in powers), prod(self.new[i] for i in powers)
                if x % a == 0 and y % b == 0 and x // a == y // b:
                    found.append(_Fit(int(x // a), powers, 0, type(y)))
        found += [_Fit(1, (i,), int(x - a), type(y)) for i, (a, b) in enumerate(zip(self.old, self.new, strict=True))
                  if x - a == y - b and x != a]
        if len(found) != 1:
            raise _Mismatch(f"{x} against {y} is no form of the extents, or several")
        return found[0]

    # ---- filling

    def at(self, extents: Sequence[int]) -> Specialization | None:
        """The trace for a call's extents; None where it has to be taken."""
        graph = self.graph_at(extents)
        return None if graph is None else self.second.over(graph)

    def graph_at(self, extents: Sequence[int]) -> Graph | None:
        """The graph for a call's extents; None where it doesn't hold there."""
        values = []
        for place in self.symbols:
            here = {extents[i] for i in place}
            if len(here) != 1 or min(here) < 2:
                return None
            values.append(here.pop())
        if any(e != b for e, a, b in zip(extents, self.before, self.after, strict=True) if a == b):
            return None
        return self._filled(values, dict(zip(self.new, values, strict=True)))

    def _filled(self, values: list[int], moved: dict[int, int]) -> Graph | None:
        graph = self.second.graph
        new: dict[Any, Any] = {}
        for node in graph.inputs:
            shape = tuple(moved.get(e, e) for e in node.type.shape)
            new[node] = input_node(node.name, node.type if shape == node.type.shape else
                                   TensorType(node.type.dtype, shape, None, node.type.weak), node.origin)

        def at(value: Any) -> Any:
            if isinstance(value, _Fit):
                return value.at(values)
            if isinstance(value, slice):
                return slice(at(value.start), at(value.stop), at(value.step))
            return tuple(map(at, value)) if isinstance(value, tuple) else value

        nodes = []
        for node, inputs, attrs in self.rows:
            try:
                operands = tuple(new[i] if isinstance(i, Node) else at(i) for i in inputs)
                filled = tuple(map(at, attrs))
                type = node.op.infer(*(o.type if isinstance(o, Node) else o for o in operands), *filled)
            except (RetapeError, _Mismatch):
                return None
            new[node] = Node(node.op, operands, filled, type, node.name, node.origin)
            nodes.append(new[node])
        effects = tuple(replace(e, target=new[e.target], value=new[e.value] if isinstance(e.value, Node) else e.value)
                        for e in graph.effects)
        return replace(graph, inputs=tuple(new[n] for n in graph.inputs), nodes=tuple(nodes), effects=effects,
                       outputs=tuple(new[o] if isinstance(o, Node) else o for o in graph.outputs))


class Templates:
    """The templates of one function, by what its signatures have in common."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, list[tuple[tuple[int, ...], Group]]] = {}
        self._made: dict[Hashable, list[tuple[Template, Group]]] = {}

    def learn(self, key: Sequence[Any], group: Group) -> None:
        """Take note of a first trace; with an earlier one of other extents it may make a template."""
        pattern, extents = pattern_of(key), extents_of(key)
        seen = self._seen.setdefault(pattern, [])
        for other, earlier in seen:
            if other == extents or not earlier.environment.holds() or (group.grads and not earlier.grads):
                continue
            try:
                template = Template(earlier.traces[0], group.traces[0], other, extents)
            except ValueError:
                continue
            self._made.setdefault(pattern, []).insert(0, (template, group))
            break
        seen.append((extents, group))
        del seen[:-KEPT]

    def fill(self, key: Sequence[Any]) -> list[Group]:
        """Groups for a signature that is new, from templates."""
        made = self._made.get(pattern_of(key)) if self._made else None
        found = []
        for template, group in made or ():
            if group.environment.holds() and (known := template.at(extents_of(key))) is not None:
                found.append(group.over(known))
        return found
