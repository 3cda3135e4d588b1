"""Trace trees: the traces of one signature that differ by what Python saw in values.

A trace is cut into segments where Python looked at a value. Traces share the segments up to the look at which they
part; a call walks from segment to segment in native code (`codegen.trails`), the value that is looked at choosing the
next, and stops where the value was never seen before. Segments that compute the same share one program, so the steps of
a loop do.

What a later segment reads of an earlier one is kept for it (exported); views and constants are made again instead.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from retape.ir import Graph, Node
from retape.ir.builder import value_key
from retape.ir.once import building
from retape.tracer.randomness import Draw, perform
from retape.tracer.trace import Recorded

from .graft import Graft, Segment
from .specialization import Specialization, guarded

if TYPE_CHECKING:
    from retape.codegen.trails import Link, Trails

__all__ = ["Branches"]

AGAIN = frozenset({"detach", "overwrite", "opaque"})  # made again where they are read, as views and sources are


class Branches:
    """The tree of the traces of one signature in the same surroundings.

    It grows in two steps: `add` grafts a trace on, and the next `walk` brings new segments into native form.
    """

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.root: Segment | None = None
        self.sources: list[Any] = []  # of the inputs of all traces
        self.given: list[Any] = []  # those that a call gives: all but draws
        self.trails: Trails | None = None
        self._inputs: dict[Any, Node] = {}
        self.owner: dict[Node, Segment] = {}  # in which a value is made
        self._drawn: dict[Any, int] = {}  # bases of draws
        self._entering: list[Any] = []  # sources, segments that more is read of, and new segments that aren't laid yet
        self._changed: dict[Segment, None] = {}
        self._grown: list[list[Segment]] = []

    # ---- growing

    def add(self, recorded: Recorded, leaf: Specialization | None, varied: bool = False) -> bool:
        """Graft a trace on; without a leaf, the beginning of one up to its last look, whose graph's outputs are what is
        read behind that. False where it doesn't fit: the function did different things for like values."""
        with building:
            return self._add(recorded, leaf, varied)

    def _add(self, recorded: Recorded, leaf: Specialization | None, varied: bool) -> bool:
        graft = Graft(self, recorded)
        bounds = [(0, 0), *recorded.looks]
        if leaf is not None:
            bounds.append((len(recorded.graph.nodes), len(recorded.random)))
        segment = self.root
        parent: Segment | None = None
        value = b""
        grown: list[Segment] = []
        for number in range(len(bounds) - 1):
            (first, drawn), (last, drawn_last) = bounds[number], bounds[number + 1]
            nodes, actions = recorded.graph.nodes[first:last], recorded.random[drawn:drawn_last]
            guard = recorded.graph.guards[number] if number < len(recorded.looks) else None
            if segment is None:
                segment = graft.grow(parent, value, nodes, actions)
                segment.varied = varied
                grown.append(segment)
                segment.look = graft.look_before(number)
                if guard is not None:
                    segment.guard = graft.read(guard.node, segment)
            elif not graft.follow(segment, nodes, actions, guard):
                return False
            if guard is not None:
                parent, value = segment, guarded(guard)
                segment = segment.children.get(value)
        if not grown:
            return False
        if leaf is None:
            for node in recorded.graph.outputs:
                graft.read(node, None)
        elif segment is None or segment.leaf is not None or segment.guard is not None:
            return False
        else:
            graft.end(segment, leaf)
            leaf.grown = len(grown), len(bounds) - 1
        first_grown = grown[0]
        if first_grown.parent is None:
            self.root = first_grown
        for new in grown:
            if new.parent is not None:
                new.parent.children[new.value] = new
        self._grown.append(grown)
        return True

    def leads(self, seen: Sequence[bytes]) -> bool:
        """Whether the tree goes on behind looks that saw these values."""
        segment = self.root
        for value in seen:
            segment = None if segment is None else segment.children.get(value)
        return segment is not None

    def input_of(self, source: Any, node: Node) -> Node:
        """The tree's input for a source."""
        known = self._inputs.get(source)
        if known is None:
            known = self._inputs[source] = node
            self.sources.append(source)
            self._entering.append(source)
        return known

    def export(self, node: Node, reader: Segment | None) -> None:
        """Have a value kept for a segment that reads it, or for one to come."""
        owner = self.owner.get(node)
        if owner is None or owner is reader:
            return
        if node.op.kind in ("view", "source") or node.op.name in AGAIN:
            for parent in node.parents():
                self.export(parent, reader)
        elif node not in owner.exports:
            owner.exports[node] = None
            if owner.stage is not None:
                self._changed[owner] = None

    # ---- native form

    def _settle(self) -> Trails:
        """Bring what has grown into native form; only then is it known what of each segment is read."""
        from retape.codegen.trails import Trails

        with building:
            if self.trails is None:
                self.trails = Trails(self.strict)
            trails = self.trails
            for source in self._entering:
                node = self._inputs[source]
                if isinstance(source, Draw):
                    self._drawn[source] = trails.enter(node)
                else:
                    trails.give(node)
                    self.given.append(source)
            self._entering.clear()
            for segment in sorted(self._changed, key=lambda s: s.depth):
                assert segment.stage is not None
                link = self._link(segment, trails)
                trails.renew(segment.stage, link.part, link.exports)
                del self._changed[segment]
            while self._grown:
                grown = self._grown[0]
                links = [self._link(segment, trails) for segment in grown]
                for link, following in zip(links, grown[1:], strict=False):
                    link.value = following.value
                parent = grown[0].parent
                stages = trails.lay(None if parent is None else parent.stage, grown[0].value, links)
                for segment, stage in zip(grown, stages, strict=True):
                    segment.stage = stage
                del self._grown[0]
            return trails

    def _link(self, segment: Segment, trails: Trails) -> Link:
        from retape.codegen.trails import Link

        guard, exports = segment.guard, list(segment.exports)
        look = guard.type.numel * guard.type.dtype.itemsize if guard is not None else 0
        outputs: tuple[Any, ...] = (*exports, guard) if look else (*exports, *segment.results)
        nodes, inputs, key = self._read(segment, outputs)
        part = trails.part(key, len(exports) + bool(look),
                           lambda: Graph("segment", tuple(inputs), tuple(nodes), outputs), segment.varied)
        return Link(part, inputs, exports, look, b"", segment.actions, segment.leaf)

    def _read(self, segment: Segment, outputs: tuple[Any, ...]) -> tuple[list[Node], list[Node], Hashable]:
        """The operations of a segment (with those that are made again), the values that it reads, and what it has in
        common with all segments that compute the same."""
        inputs: list[Node] = []
        nodes: list[Node] = []
        number: dict[Node, int] = {}
        rows: list[Hashable] = []
        owner = self.owner

        def visit(node: Node) -> int:
            if owner.get(node) is not segment and (
                    node.op.name == "input" or not (node.op.kind in ("view", "source") or node.op.name in AGAIN)):
                inputs.append(node)
                rows.append(node.type)
            else:
                operands: list[Hashable] = []
                known = None
                for operand in node.inputs:
                    if operand.__class__ is Node:
                        known = number.get(operand)
                        operands.append(visit(operand) if known is None else known)
                    else:
                        operands.append(value_key(operand))
                nodes.append(node)
                # the type follows from those of the operands
                rows.append((node.op, *operands, value_key(node.attrs) if node.attrs else None,
                             node.type if known is None else None))
            number[node] = len(rows) - 1
            return number[node]

        for node in segment.nodes:
            if node not in number:
                visit(node)
        ends = [value_key(o) if not isinstance(o, Node) else number[o] if o in number else visit(o) for o in outputs]
        return nodes, inputs, (tuple(rows), tuple(ends))

    # ---- running

    def walk(
        self, get: Callable[[Any], Any], restore: Callable[[], None] | None, missed: list[bytes]
    ) -> tuple[Specialization, list[Any], dict[Any, Any]] | None:
        """The trace that holds, its outputs and what its effects write, and what was drawn. None where the path was
        never taken before: then `missed` takes the values that were looked at. `get` gives the arrays of sources,
        `restore` puts generators back."""
        while True:
            trails = self.trails
            if trails is None or self._grown or self._changed or self._entering:
                trails = self._settle()
            edition = trails.edition
            drawn: dict[Any, Any] = {}
            found = trails.run(edition, tuple([get(s) for s in self.given[: edition.given]]), self._draw(drawn), missed)
            if found is not None:
                return found[0], found[1], drawn
            if trails.edition is edition:
                return None
            if restore is not None:  # another thread has grafted a trace on meanwhile
                restore()

    def entrance(self) -> Callable[[tuple[Any, ...]], tuple[Specialization, list[Any]] | None]:
        """`walk` for the arrays of `given` as they are now, where nothing is drawn; None also where the tree has grown
        and asks for more."""
        trails, count = self._settle(), len(self.given)

        def walk(arrays: tuple[Any, ...]) -> tuple[Specialization, list[Any]] | None:
            edition = trails.edition
            return trails.run(edition, arrays) if edition.given == count and not self._grown else None

        return walk

    def _draw(self, drawn: dict[Any, Any]) -> Callable[[Any], list[tuple[int, Any]]]:
        """What performs a segment's actions in one call, and gives the arrays that were drawn with their bases."""
        made: dict[Any, Any] = {}

        def draw(actions: Any) -> list[tuple[int, Any]]:
            found = perform(actions, made)
            drawn.update(found)
            return [(self._drawn[d], np.asarray(array)) for d, array in found.items() if d in self._drawn]

        return draw
