"""One trace for all extents: templates, from which the traces of further calls are made without a trace.

Where a signature differs from earlier ones by extents only, those that differ are symbols of its trace: Python is given
formulas (`retape.ir.extents`), and what it looks at in them becomes guards. The trace with its formulas is a template.
For other extents that fulfil the guards, the formulas' values are put into it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from retape.ir import Graph, Node, TensorType, input_node, same_graph
from retape.tracer.randomness import Draw
from retape.tracer.tensor import Tensor
from retape.tracer.trace import Recorded

from .call import Call
from .group import Group
from .specialization import Specialization

__all__ = ["Template", "Templates"]

KEPT = 8  # earlier signatures that a new one is compared with


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


class Template:
    """A trace with formulas of some extents, and the extents it was taken at: `symbols` are the places of those that
    may be others.

    It keeps no values of the call: `recorded` and `known` are what it did, `group` where its surroundings are known.
    """

    def __init__(self, recorded: Recorded, known: Specialization, group: Group, extents: Sequence[int],
                 symbols: Sequence[int]) -> None:
        assert recorded.formulas is not None
        self.recorded = replace(recorded, result=None, outputs=(), extra=())
        self.known, self.group = known, group
        self.extents, self.symbols = tuple(extents), tuple(symbols)
        self.formulas = recorded.formulas

    def at(self, extents: Sequence[int]) -> tuple[Recorded, Specialization] | None:
        """The trace for a call's extents; None where it has to be taken."""
        symbols = set(self.symbols)
        if any(a != b for i, (a, b) in enumerate(zip(extents, self.extents, strict=True)) if i not in symbols):
            return None
        filled = self.formulas.extents.at([extents[i] for i in self.symbols])
        if filled is None:
            return None
        recorded = self._recorded(filled)
        return recorded, self.known.at(recorded, filled)

    def _recorded(self, filled: Callable[[Any], Any]) -> Recorded:
        """What was recorded, for other extents."""
        recorded = self.recorded
        moved: dict[Any, Any] = {}

        def current(action: Any) -> Any:
            if isinstance(action, Draw) and action not in moved:
                moved[action] = replace(action, size=filled(action.size))
            return moved.get(action, action) if isinstance(action, Draw) else action

        graph = fill(recorded.graph, self.formulas.rows, self.formulas.types, filled)
        return replace(recorded, graph=graph, inputs=tuple(map(current, recorded.inputs)),
                       random=tuple(map(current, recorded.random)))


def fill(graph: Graph, rows: dict[Node, tuple[tuple[Any, ...], tuple[Any, ...]]], types: dict[Node, TensorType],
         filled: Callable[[Any], Any]) -> Graph:
    """A graph with the values of its formulas: `rows` are operands and attributes with formulas, `types` such types."""
    new: dict[Any, Any] = {}

    def type_at(node: Node) -> TensorType:
        found = types.get(node)
        return node.type if found is None else TensorType(found.dtype, filled(found.shape), found.strides, found.weak)

    for node in graph.inputs:
        new[node] = input_node(node.name, type_at(node), node.origin)
    nodes = []
    for node in graph.nodes:
        inputs, attrs = node.inputs, node.attrs
        if node in rows:
            inputs, attrs = filled(rows[node])
        operands = tuple([new[i] if i.__class__ is Node else i for i in inputs])
        new[node] = Node(node.op, operands, attrs, type_at(node), node.name, node.origin)
        nodes.append(new[node])
    return replace(
        graph, inputs=tuple(new[n] for n in graph.inputs), nodes=tuple(nodes),
        outputs=tuple(new[o] if isinstance(o, Node) else o for o in graph.outputs),
        guards=tuple(replace(g, node=new[g.node]) for g in graph.guards),
        effects=tuple(replace(e, target=new[e.target], value=new[e.value] if isinstance(e.value, Node) else e.value)
                      for e in graph.effects))


class Templates:
    """The templates of one function, by what its signatures have in common."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, list[tuple[int, ...]]] = {}
        self._made: dict[Hashable, list[Template]] = {}
        self._first: dict[Hashable, tuple[tuple[int, ...], Group]] = {}  # the first trace without formulas

    def varying(self, call: Call) -> dict[int, tuple[bool, ...]]:
        """For the leaves of a call's arguments, which of their extents have been others before."""
        places = set(self._symbols(call.key))
        found: dict[int, tuple[bool, ...]] = {}
        place = 0
        for position, leaf in enumerate(call.leaves):
            data = leaf._data if isinstance(leaf, Tensor) else leaf
            if places and isinstance(data, np.ndarray) and data.flags.c_contiguous:
                found[position] = tuple(place + dim in places for dim in range(data.ndim))
                place += data.ndim
        return found if places else {}

    def _symbols(self, key: Sequence[Any]) -> list[int]:
        """The places of extents that have been others before. Extents of 0 and 1 are traces of their own."""
        extents = extents_of(key)
        seen = self._seen.get(pattern_of(key), ())
        return [i for i, e in enumerate(extents) if e > 1 and any(other[i] != e for other in seen)]

    def check(self, call: Call, recorded: Recorded) -> None:
        """Raises `ValueError` where the first trace is another than formulas say: Python has told extents from ints."""
        first = self._first.get(pattern_of(call.key))
        if first is None or recorded.looks or recorded.formulas is None:
            return
        extents, group = first
        formulas = recorded.formulas
        filled = formulas.extents.at([extents[i] for i in self._symbols(call.key)])
        if filled is not None and extents_of(call.key) != extents and group.environment.holds() \
                and not group.traces[0].guards \
                and not same_graph(group.traces[0].graph, fill(recorded.graph, formulas.rows, formulas.types, filled)):
            raise ValueError("the first trace is another")

    def learn(self, call: Call, recorded: Recorded, known: Specialization, group: Group) -> None:
        """Take note of a trace; with formulas it is a template."""
        pattern, extents = pattern_of(call.key), extents_of(call.key)
        if recorded.formulas is not None:
            template = Template(recorded, known, group, extents, self._symbols(call.key))
            self._made.setdefault(pattern, []).insert(0, template)
        else:
            self._first.setdefault(pattern, (extents, group))
        seen = self._seen.setdefault(pattern, [])
        if extents not in seen:
            seen.append(extents)
            del seen[:-KEPT]

    def fill(self, call: Call) -> list[Group]:
        """Groups for a signature that is new, from templates."""
        found: list[Group] = []
        for template in self._made.get(pattern_of(call.key), ()) if self._made else ():
            group = template.group
            if not group.environment.holds() or (made := template.at(extents_of(call.key))) is None:
                continue
            if not any(known.environment is group.environment and known.take(*made) for known in found):
                fresh = group.over()
                if fresh.take(*made):
                    found.append(fresh)
        return found
