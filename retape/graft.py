"""How a trace is grafted on a tree of traces: which of the tree's segments it follows, and what it adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from retape.ir import Effect, Graph, Guard, Node
from retape.ir.builder import value_key
from retape.ir.graph import make_node
from retape.tracer.randomness import Draw, Made, Seeded
from retape.tracer.trace import Recorded

from .specialization import Specialization

if TYPE_CHECKING:
    from retape.codegen.trails import Stage

    from .branches import Branches

__all__ = ["Graft", "Segment"]


class Segment:
    """The operations between two looks. `value` leads to it from its parent; `stage` is its native form."""

    __slots__ = ("actions", "children", "depth", "exports", "guard", "leaf", "look", "nodes", "parent", "results",
                 "stage", "value", "varied")

    def __init__(self, parent: Segment | None, value: bytes, nodes: list[Node], actions: list[Any]) -> None:
        self.parent = parent
        self.value = value
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.nodes = nodes
        self.actions = actions  # what is done with generators before the segment runs
        self.guard: Node | None = None
        self.look: Guard | None = None  # the one that leads here
        self.children: dict[bytes, Segment] = {}
        self.exports: dict[Node, None] = {}
        self.leaf: Specialization | None = None
        self.results: tuple[Any, ...] = ()
        self.stage: Stage | None = None
        self.varied = False  # made for one of many extents: no code is built for it alone


class Graft:
    """One trace on its way into a tree: which of the tree's nodes and draws its own stand for."""

    def __init__(self, tree: Branches, recorded: Recorded) -> None:
        self.tree = tree
        self.recorded = recorded
        self.sources = dict(zip(recorded.graph.inputs, recorded.inputs, strict=True))
        self.new: dict[Node, Node] = {}
        self.draws: dict[Any, Any] = {}  # generators and draws of the trace by those of the tree

    def current(self, operand: Any) -> Any:
        if not isinstance(operand, Node):
            return operand
        found = self.new.get(operand)
        if found is None:
            source = self.sources[operand]
            found = self.new[operand] = self.tree.input_of(self.draws.get(source, source), operand)
        return found

    def read(self, operand: Any, reader: Segment | None) -> Any:
        found = self.current(operand)
        if isinstance(found, Node):
            self.tree.export(found, reader)
        return found

    def grow(self, parent: Segment | None, value: bytes, nodes: Sequence[Node], actions: Sequence[Any]) -> Segment:
        """A new segment."""
        self.draws.update((a, a) for a in actions)
        own: list[Node] = []
        segment = Segment(parent, value, own, [self._action(a) for a in actions])
        new, owner, export = self.new, self.tree.owner, self.tree.export
        read: list[Any] = [*dict.fromkeys(chain.from_iterable([node.inputs for node in nodes]))]
        made = set(nodes)
        if all(operand in made or self.current(operand) is operand for operand in read):  # of a tree's first trace
            own += nodes
            new.update(zip(nodes, nodes, strict=True))
            owner.update(dict.fromkeys(nodes, segment))
            for operand in read:
                if operand not in made and operand.__class__ is Node:
                    export(operand, segment)
            return segment
        for node in nodes:
            for operand in node.inputs:
                if operand.__class__ is Node and new.get(operand) is not operand:  # the tree's own are another's
                    inputs = tuple(map(self.current, node.inputs))
                    kept = node if inputs == node.inputs else make_node(
                        node.op, inputs, node.attrs, node.type, node.name, node.origin)
                    break
            else:
                kept = node
            new[node] = kept
            owner[kept] = segment
            own.append(kept)
        for kept in own:
            for operand in kept.inputs:
                if operand.__class__ is Node and owner.get(operand) is not segment:
                    export(operand, segment)
        return segment

    def look_before(self, number: int) -> Guard | None:
        """The look that leads to the trace's segment with a number."""
        if not number:
            return None
        guard = self.recorded.graph.guards[number - 1]
        return Guard(self.current(guard.node), guard.value, guard.origin)

    def end(self, segment: Segment, leaf: Specialization) -> None:
        """The trace ends in a segment. From now on the tree tells its graph: operations and guards."""
        graph, current = self.recorded.graph, self.current
        segment.leaf = leaf
        segment.results = tuple(self.read(r, segment) for r in (*graph.outputs, *[e.value for e in graph.effects]))
        leaf.draws = self.draws
        if not segment.varied:
            effects = tuple(Effect(current(e.target), current(e.value), e.origin) for e in graph.effects)
            leaf.whole = partial(_whole, segment, replace(
                graph, inputs=tuple(map(current, graph.inputs)), nodes=(), guards=(),
                outputs=segment.results[: len(graph.outputs)], effects=effects))

    def _action(self, action: Any) -> Any:
        """An action on the tree's generators; draws stay themselves, unless their generator is one of the tree's."""
        known = self.draws.get(action.generator, action.generator)
        if known is action.generator:
            return action
        moved = replace(action, generator=known) if isinstance(action, Draw) else type(action)(known, action.seed)
        self.draws[action] = moved
        return moved

    def follow(self, segment: Segment, nodes: Sequence[Node], actions: Sequence[Any], guard: Guard | None) -> bool:
        """Whether the trace did what a known segment does; its nodes stand for the segment's then."""
        if len(nodes) != len(segment.nodes) or len(actions) != len(segment.actions) \
                or (guard is None) != (segment.guard is None):
            return False
        for own, known in zip(actions, segment.actions, strict=True):
            generator = self.draws.get(own.generator, own.generator)
            if type(own) is not type(known) or (isinstance(own, (Made, Seeded)) and own.seed != known.seed):
                return False
            if isinstance(own, Made):
                self.draws[own.generator] = known.generator
            elif generator is not known.generator:
                return False
            self.draws[own] = known
        new, current = self.new, self.current
        for node, other in zip(nodes, segment.nodes, strict=True):
            if node.op is not other.op or (node.type is not other.type and node.type != other.type):
                return False
            if node.attrs is not other.attrs and value_key(node.attrs) != value_key(other.attrs):
                return False
            for a, b in zip(node.inputs, other.inputs, strict=True):
                if a.__class__ is Node:
                    if new.get(a) is not b and current(a) is not b:
                        return False
                elif a is not b and value_key(a) != value_key(b):
                    return False
            new[node] = other
        return guard is None or self.current(guard.node) is segment.guard


def _whole(leaf: Segment, ends: Graph) -> Graph:
    """A trace's graph, from what the tree has of it; `ends` says the rest."""
    path: list[Segment] = []
    segment: Segment | None = leaf
    while segment is not None:
        path.append(segment)
        segment = segment.parent
    path.reverse()
    return replace(ends, nodes=tuple([node for s in path for node in s.nodes]),
                   guards=tuple([s.look for s in path if s.look is not None]))
