"""The steps of a plan in an order that can be refined: "this one before that one", as long as no cycle comes of it.

A step moves behind another together with everything that depends on it and stood before: only the steps between the two
are looked at (D. J. Pearce and P. H. J. Kelly, A dynamic topological sort algorithm, 2006). The work is bounded by a
multiple of the number of steps; when it is used up, only what holds already is granted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from retape.ir import Graph
from retape.ir.graph import Node, Operand

from .fuse import Group, Plan
from .stages import MEMORY, from_memory

__all__ = ["Order", "Task"]

Task = Group | Node  # a kernel, or an operation that is called


class Order:
    """Which step comes when, which step computes a value, and which steps read it."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.steps: list[Task] = list(plan.steps)
        self.position = {step: number for number, step in enumerate(self.steps)}
        self.home: dict[Any, Task] = {}
        self.readers: dict[Node, dict[Task, None]] = {}
        self._after: dict[Task, set[Task]] = {step: set() for step in self.steps}
        self._sources: dict[Any, tuple[Node, ...]] = {}
        self._work = 1000 + 20 * len(self.steps)
        for step in self.steps:
            self.home.update(dict.fromkeys(step.nodes if isinstance(step, Group) else (step,), step))
        self._read(graph, plan)
        for value, readers in self.readers.items():
            if value in self.home:
                self._after[self.home[value]].update(readers)

    def _read(self, graph: Graph, plan: Plan) -> None:
        """Note what each node reads; values it can be read from, in turn, are memory, or computed anew from memory."""
        home, readers, known = self.home, self.readers, self._sources
        for node in graph.nodes:
            step, kind = home.get(node), node.op.kind
            if step is not None:
                memory = kind in MEMORY
                for position, parent in enumerate(node.inputs):
                    if parent.__class__ is Node and (
                            home.get(parent) is not step or (memory and from_memory(node, position))):
                        for source in known.get(parent, (parent,)):
                            if home.get(source) is not step:
                                readers.setdefault(source, {})[step] = None
            if kind == "view" or node in plan.inlined:
                found = dict.fromkeys([source for parent in node.parents() for source in self.sources(parent)])
                if node in plan.stored:
                    found[node] = None
                known[node] = tuple(found)

    def sources(self, node: Node) -> tuple[Node, ...]:
        """The values in memory that are read where `node` is."""
        return self._sources.get(node, (node,))

    def merge(self, node: Node, other: Node, operands: Iterable[Operand | None]) -> None:
        """Let a called operation be carried out by the step of another, which reads these of its operands in memory."""
        kept = {source for o in operands if isinstance(o, Node) for source in self.sources(o)}
        for operand in node.parents():
            for source in self.sources(operand):
                self.readers[source].pop(node, None)
                if source in kept:
                    self.readers[source][other] = None

    def before(self, first: Task, second: Task) -> bool:
        """Make one step run before another; False where it can't be."""
        low, high = self.position[second], self.position[first]
        self._work -= 1
        if high < low:
            self._after[first].add(second)
            return True
        if first is second or self._work < high - low:
            return False
        self._work -= high - low
        moved, stack = {second}, [second]
        while stack:
            for step in self._after[stack.pop()]:
                if step is first:
                    return False
                if step not in moved and self.position[step] < high:
                    moved.add(step)
                    stack.append(step)
        between = self.steps[low : high + 1]
        self.steps[low : high + 1] = [*(s for s in between if s not in moved), *(s for s in between if s in moved)]
        for number in range(low, high + 1):
            self.position[self.steps[number]] = number
        self._after[first].add(second)
        return True
