"""Trace trees: the traces of one signature that differ by what Python saw in values.

A trace is cut into segments where Python looked at a value. Traces share the segments up to the look at which they
part, so that a call runs segment after segment, the value that is looked at choosing the next, and stops where the
value was never seen before. Segments that compute the same share one program, so the steps of a loop do.

What a later segment reads of an earlier one is kept for it (exported); views and constants are made again instead.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from retape.ir import Graph, Guard, Node, input_node
from retape.ir.builder import value_key
from retape.tracer.randomness import Draw, Made, Seeded, perform
from retape.tracer.trace import Recorded

from .differentiable import compile_graph
from .specialization import Specialization, guarded

__all__ = ["Branches", "Unknown"]

AGAIN = frozenset({"detach", "overwrite", "opaque"})  # made again where they are read, as views and sources are


class Unknown(Exception):
    """A value was seen that no trace has seen: there is no branch for it."""


class Segment:
    """The operations between two looks. `reads` and `writes` are places in the values of a call."""

    __slots__ = ("actions", "children", "exports", "guard", "leaf", "nodes", "parent", "reads", "results", "run",
                 "writes")

    def __init__(self, parent: Segment | None, nodes: list[Node], actions: list[Any]) -> None:
        self.parent = parent
        self.nodes = nodes
        self.actions = actions  # what is done with generators before the segment runs
        self.guard: Node | None = None
        self.children: dict[Hashable, Segment] = {}
        self.exports: dict[Node, None] = {}
        self.leaf: Specialization | None = None
        self.results: tuple[Any, ...] = ()
        self.run: Callable[..., Any] | None = None
        self.reads: list[int] = []
        self.writes: list[int] = []


class Branches:
    """The tree of the traces of one signature in the same surroundings."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.root: Segment | None = None
        self.sources: list[Any] = []  # of the inputs of all traces
        self.nodes = 0
        self._places: dict[Node, int] = {}
        self._inputs: dict[Any, Node] = {}
        self._owner: dict[Node, Segment] = {}
        self._programs: dict[Hashable, Callable[..., Any]] = {}

    # ---- growing

    def add(self, recorded: Recorded, leaf: Specialization) -> bool:
        """Graft a trace on. False where it doesn't fit: the function did different things for like values."""
        graft = _Graft(self, recorded)
        bounds = [(0, 0), *recorded.looks, (len(recorded.graph.nodes), len(recorded.random))]
        segment = self.root
        place: tuple[Segment, Hashable] | None = None
        for number in range(len(bounds) - 1):
            (first, drawn), (last, drawn_last) = bounds[number], bounds[number + 1]
            nodes, actions = recorded.graph.nodes[first:last], recorded.random[drawn:drawn_last]
            guard = recorded.graph.guards[number] if number < len(recorded.looks) else None
            if segment is None:
                segment = graft.grow(place[0] if place else None, nodes, actions)
                if place is None:
                    self.root = segment
                else:
                    place[0].children[place[1]] = segment
                if guard is not None:
                    segment.guard = graft.read(guard.node, segment)
            elif not graft.follow(segment, nodes, actions, guard):
                return False
            if guard is not None:
                place = (segment, guarded(guard))
                segment = segment.children.get(place[1])
        if segment is None or segment.leaf is not None or segment.guard is not None:
            return False
        segment.leaf = leaf
        values = [effect.value for effect in recorded.graph.effects]
        segment.results = tuple(graft.read(r, segment) for r in (*recorded.graph.outputs, *values))
        leaf.draws = graft.draws
        return True

    def input_of(self, source: Any, node: Node) -> Node:
        """The tree's input for a source."""
        known = self._inputs.get(source)
        if known is None:
            known = self._inputs[source] = node
            self.place(node)
            self.sources.append(source)
        return known

    def place(self, node: Node) -> int:
        return self._places.setdefault(node, len(self._places))

    def define(self, node: Node, segment: Segment) -> None:
        self._owner[node] = segment
        self.nodes += 1

    def export(self, node: Node, reader: Segment) -> None:
        """Have a value kept for a segment that reads it."""
        owner = self._owner.get(node)
        if owner is None or owner is reader:
            return
        if node.op.kind in ("view", "source") or node.op.name in AGAIN:
            for parent in node.parents():
                self.export(parent, reader)
        elif node not in owner.exports:
            owner.exports[node] = None
            owner.run = None

    # ---- running

    def walk(self, arrays: dict[Any, Any]) -> tuple[Specialization, list[Any], dict[Any, Any]]:
        """The trace that holds, its outputs and what its effects write, and what was drawn. `arrays` are those of the
        sources. Raises `Unknown` where the path was never taken before."""
        values: dict[int, Any] = {}
        places = self._places
        for source, node in self._inputs.items():
            if not isinstance(source, Draw):
                values[places[node]] = arrays[source]
        drawn: dict[Any, Any] = {}
        made: dict[Any, Any] = {}
        segment = self.root
        assert segment is not None
        while True:
            if segment.actions:
                for draw, array in perform(segment.actions, made).items():
                    drawn[draw] = array
                    if draw in self._inputs:
                        values[places[self._inputs[draw]]] = array
            run = segment.run or self._prepare(segment)
            results = run(*[values[i] for i in segment.reads])
            values.update(zip(segment.writes, results, strict=False))
            if segment.leaf is not None:
                return segment.leaf, results[len(segment.writes):], drawn
            child = segment.children.get(results[-1].tobytes())
            if child is None:
                raise Unknown
            segment = child

    def _prepare(self, segment: Segment) -> Callable[..., Any]:
        """Bring a segment's program about; equal segments share it."""
        graph, segment.reads = self._graph(segment)
        segment.writes = [self.place(node) for node in segment.exports]
        key = _key(graph)
        run = self._programs.get(key)
        if run is None:
            program = compile_graph(graph, self.strict)
            run = program.direct()
            if run is None:
                def run(*arrays: Any) -> Any:
                    return program(arrays)
            self._programs[key] = run
        segment.run = run
        return run

    def _graph(self, segment: Segment) -> tuple[Graph, list[int]]:
        """A segment as a graph of its own, and the places of its inputs."""
        inputs: dict[Node, Node] = {}
        new: dict[Any, Any] = {}
        nodes: list[Node] = []

        def current(operand: Any) -> Any:
            if not isinstance(operand, Node) or operand in new:
                return new.get(operand, operand) if isinstance(operand, Node) else operand
            if self._owner.get(operand) is not segment and (
                operand.op.name == "input" or not (operand.op.kind in ("view", "source") or operand.op.name in AGAIN)
            ):
                found = inputs[operand] = input_node(operand.name, operand.type, operand.origin)
            else:
                found = Node(operand.op, tuple(map(current, operand.inputs)), operand.attrs, operand.type, operand.name,
                             operand.origin)
                nodes.append(found)
            new[operand] = found
            return found

        for node in segment.nodes:
            current(node)
        results = segment.results if segment.leaf is not None else (segment.guard,)
        outputs = tuple(map(current, (*segment.exports, *results)))
        graph = Graph("segment", tuple(inputs.values()), tuple(nodes), outputs, "trace", "")
        return graph, [self._places[node] for node in inputs]


def _key(graph: Graph) -> Hashable:
    """What two graphs have in common that differ by names only."""
    number: dict[Any, int] = {}
    rows: list[Any] = []
    for node in graph.inputs:
        number[node] = len(number)
        rows.append(node.type)
    for node in graph.nodes:
        operands = tuple(number[i] if isinstance(i, Node) else value_key(i) for i in node.inputs)
        rows.append((node.op, operands, value_key(node.attrs), node.type))
        number[node] = len(number)
    rows.append(tuple(number[o] if isinstance(o, Node) else value_key(o) for o in graph.outputs))
    return tuple(rows)


class _Graft:
    """One trace on its way into a tree: which of the tree's nodes and draws its own stand for."""

    def __init__(self, tree: Branches, recorded: Recorded) -> None:
        self.tree = tree
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

    def read(self, operand: Any, reader: Segment) -> Any:
        found = self.current(operand)
        if isinstance(found, Node):
            self.tree.export(found, reader)
        return found

    def grow(self, parent: Segment | None, nodes: Sequence[Node], actions: Sequence[Any]) -> Segment:
        """A new segment."""
        self.draws.update((a, a) for a in actions)
        own: list[Node] = []
        segment = Segment(parent, own, [self._action(a) for a in actions])
        for node in nodes:
            inputs = tuple(map(self.current, node.inputs))
            kept = node
            if inputs != node.inputs:
                kept = Node(node.op, inputs, node.attrs, node.type, node.name, node.origin)
            self.new[node] = kept
            self.tree.define(kept, segment)
            own.append(kept)
        for kept in own:
            for operand in kept.parents():
                self.tree.export(operand, segment)
        return segment

    def _action(self, action: Any) -> Any:
        """An action on the tree's generators; draws stay themselves, unless their generator is one of the tree's."""
        known = self.draws.get(action.generator, action.generator)
        if known is action.generator:
            return action
        moved = Draw(known, action.draw) if isinstance(action, Draw) else type(action)(known, action.seed)
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
        for node, other in zip(nodes, segment.nodes, strict=True):
            if node.op is not other.op or node.type != other.type or value_key(node.attrs) != value_key(other.attrs):
                return False
            for a, b in zip(node.inputs, other.inputs, strict=True):
                if (self.current(a) is not b) if isinstance(a, Node) else value_key(a) != value_key(b):
                    return False
            self.new[node] = other
        return guard is None or self.current(guard.node) is segment.guard
