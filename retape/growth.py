"""Traces for extents that were never seen, grown from a template while a call runs.

Where values decide extents (a mask's, say), each of them is a look in the trace tree. A trace with formulas is a
template: for another extent at such a look, the operations up to the next one are filled in and grafted on, and the
call goes on there. So extents are found one by one, as the call computes them, and Python isn't entered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from retape.ir import Graph, Node, TensorType, input_node
from retape.tracer.randomness import Draw
from retape.tracer.trace import Recorded

from .specialization import Specialization, guarded

__all__ = ["Template", "fill"]


class Template:
    """A trace with formulas of some extents and ints, and those it was taken at: `symbols` are the places, among those
    of the arguments, of those that may be others.

    It keeps no values of the call: `recorded` and `known` are what it did.
    """

    def __init__(self, recorded: Recorded, known: Specialization, extents: Sequence[int], symbols: Sequence[int]) \
            -> None:
        assert recorded.formulas is not None
        self.recorded = replace(recorded, result=None, outputs=(), extra=())
        self.known = known
        self.formulas = recorded.formulas
        self.symbols = tuple(symbols)
        self._fixed = {i: extent for i, extent in enumerate(extents) if i not in set(symbols)}
        shaping = self.formulas.shaping()  # ints that nothing is shaped by are inputs of the graph
        self._shaping = [i for i, atom in zip(symbols, self.formulas.sources, strict=False)
                         if atom in shaping or atom not in self.formulas.extents.numbers]
        self._behind: dict[int, tuple[Node, ...]] = {}  # by a look's number, what is made before and read behind
        self._seen = [guarded(guard) for guard in recorded.graph.guards]

    def fits(self, extents: Sequence[int]) -> bool:
        """Whether these differ from those that the trace was taken at by symbols alone."""
        return all(extents[i] == extent for i, extent in self._fixed.items())

    def shape(self, extents: Sequence[int]) -> tuple[int, ...]:
        """Those of the extents and ints for which there is a trace each; all others are inputs."""
        return tuple([extents[i] for i in self._shaping])

    def at(self, extents: Sequence[int], seen: Sequence[bytes] = ()) -> tuple[Recorded, Specialization | None] | None:
        """The trace for a call's extents that has `seen` these values so far, up to the first look behind them whose
        value isn't known: without a specialization, unless nothing is open. None where the trace is another."""
        looks = self.formulas.looks
        if not self.fits(extents) or len(seen) > len(self._seen):
            return None
        free = set(looks)
        if any(value != known for i, (value, known) in enumerate(zip(seen, self._seen, strict=False)) if i not in free):
            return None
        found = {i: int(np.frombuffer(seen[i], np.int64)[0]) for i in looks if i < len(seen)}
        filled = self.formulas.extents.at(self.formulas.values([extents[i] for i in self.symbols], found.values()))
        if filled is None:
            return None
        end = next((i for i in looks if i >= len(seen)), None)
        recorded = self._filled(filled, end)
        guards = tuple(replace(guard, value=found.get(i, guard.value)) for i, guard in enumerate(recorded.graph.guards))
        recorded = replace(recorded, graph=replace(recorded.graph, guards=guards))
        return recorded, self.known.at(recorded, filled) if end is None else None

    def _filled(self, filled: Callable[[Any], Any], end: int | None) -> Recorded:
        """What was recorded for other extents, up to guard `end`."""
        recorded = self.recorded
        moved: dict[Any, Any] = {}

        def current(action: Any) -> Any:
            if isinstance(action, Draw) and action not in moved:
                size = filled(action.size)
                moved[action] = action if None in size else replace(action, size=size)
            return moved.get(action, action) if isinstance(action, Draw) else action

        graph, looks = recorded.graph, recorded.looks
        if end is not None:
            looks = looks[: end + 1]
            graph = replace(graph, nodes=graph.nodes[: looks[end][0]], guards=graph.guards[: end + 1],
                            outputs=self._read_behind(end), effects=())
        return replace(recorded, graph=fill(graph, self.formulas.rows, self.formulas.types, filled), looks=looks,
                       inputs=tuple(map(current, recorded.inputs)), random=tuple(map(current, recorded.random)))


    def _read_behind(self, number: int) -> tuple[Node, ...]:
        """What is computed before a look and read behind it."""
        found = self._behind.get(number)
        if found is None:
            graph = self.recorded.graph
            first = self.recorded.looks[number][0]
            made = set(graph.nodes[:first])
            read = [p for node in graph.nodes[first:] for p in node.parents()]
            read += [r for r in (*graph.outputs, *(g.node for g in graph.guards[number + 1 :]),
                                 *(e.value for e in graph.effects)) if isinstance(r, Node)]
            found = self._behind[number] = tuple(dict.fromkeys(node for node in read if node in made))
        return found


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
