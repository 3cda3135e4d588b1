"""Kernel text that is written once for all groups of the same structure.

An unrolled loop is cut into groups that differ only in where their operands lie. A group is known by its operations and
the edges between them, and by shapes, strides and element types of what it reads and writes; for a group that is known,
only views and offsets are put in. Which integers of a kernel are offsets is found by writing its text for stand-ins:
buffers of their own for each operand, with offsets so large that nothing else in a kernel is.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from retape.ir.builder import value_key
from retape.ir.graph import Node

from .emit import emit
from .fuse import Group
from .indexed import embedded
from .lowered import Emitted
from .views import Buffer, View

__all__ = ["Emitter"]

MARK = 1 << 44  # elements; offsets in real memory are smaller, and sums of a mark and one of them stay apart


@dataclass(frozen=True, slots=True)
class _Template:
    """A kernel for stand-ins. `places` gives for each of its views the operand's number (None: the status), what is
    added to its offset, and whether the view is the operand's own; `offsets` the integers that are offsets, with the
    operand's number and what is added."""

    emitted: Emitted
    places: tuple[tuple[int | None, int, bool], ...]
    offsets: tuple[tuple[int, int, int], ...]


class Emitter:
    """Writes the kernels of one program; `exact` as for `emit.emit`."""

    def __init__(self, status: View, exact: bool = False) -> None:
        self.status, self.exact = status, exact
        self.templates: dict[Hashable, _Template] = {}

    def emit(self, group: Group, views: dict[Node, View], stored: set[Node], inlined: set[Node]) -> Emitted:
        """The kernel of a group, as `emit.emit` gives it; labels are those of the first group of its structure."""
        structure = _Structure(group, views, stored, inlined)
        key, real = structure.key, structure.places
        template = self.templates.get(key)
        if template is None:
            template = self.templates[key] = self._template(group, views, structure.nodes, stored, inlined)
        known = template.emitted
        found: list[View] = []
        for view, (number, more, own) in zip(known.views, template.places, strict=True):
            if number is None:
                found.append(self.status)
            else:
                place = real[number]
                found.append(place if own else View(place.buffer, view.shape, view.strides, place.offset + more))
        ints = known.ints
        if template.offsets:
            words = list(ints)
            for position, number, more in template.offsets:
                words[position] = real[number].offset + more
            ints = tuple(words)
        return Emitted(known.source, known.labels, known.operands, known.pointers, tuple(found), ints, known.extent,
                       known.division, known.walks)

    def _template(
        self, group: Group, views: dict[Node, View], nodes: list[Node], stored: set[Node], inlined: set[Node]
    ) -> _Template:
        own = set(group.nodes)
        marked: dict[Node, View] = {}
        number: dict[Buffer, int] = {}
        stand_ins: list[View] = []
        shown: dict[View, View] = {}
        for node in nodes:
            view, mark = views[node], MARK * (len(stand_ins) + 1)
            if view in shown:  # what has the place of another has it here, too
                marked[node] = shown[view]
                stand_ins.append(_place(node, marked, own))
                continue
            buffer = Buffer(view.buffer.dtype, view.buffer.numel, view.buffer.kind)
            number[buffer] = len(stand_ins)
            offset = mark if _place(node, views, own).offset else 0
            marked[node] = shown[view] = View(buffer, view.shape, view.strides, offset)
            stand_ins.append(_place(node, marked, own))
        emitted = emit(group, marked, stored, inlined, self.status, self.exact)
        places: list[tuple[int | None, int, bool]] = []
        for view in emitted.views:
            if view.buffer is self.status.buffer:
                places.append((None, 0, True))
            else:
                base = stand_ins[number[view.buffer]]
                places.append((number[view.buffer], view.offset - base.offset, view == base))
        offsets = []
        for position, value in enumerate(emitted.ints):
            if value > MARK // 2:
                owner = (value + MARK // 2) // MARK - 1
                offsets.append((position, owner, value - stand_ins[owner].offset))
        return _Template(emitted, tuple(places), tuple(offsets))


class _Structure:
    """All that a group's kernel depends on but the places in memory (`key`); the nodes that lie in memory, and where.

    The key is the group written down node by node: an operation, its operands (numbers of values that came before,
    literals, or what is new here in its turn) and attributes, and how the result lies in memory, if it does. Types of
    results follow from those of operands.
    """

    __slots__ = ("buffers", "inlined", "nodes", "number", "own", "parts", "places", "shown", "stored", "views")

    def __init__(self, group: Group, views: dict[Node, View], stored: set[Node], inlined: set[Node]) -> None:
        self.views, self.stored, self.inlined = views, stored, inlined
        self.own = set(group.nodes)
        self.parts: list[Hashable] = [group.space, group.rows]
        self.number: dict[Any, int] = {}
        self.buffers: dict[Buffer, int] = {}
        self.shown: dict[tuple[int, int], int] = {}
        self.nodes: list[Node] = []
        self.places: list[View] = []
        self._operations(group.nodes)
        if group.rowwise:
            self.parts.append(tuple([node in group.rowwise for node in group.nodes]))

    @property
    def key(self) -> Hashable:
        return tuple(self.parts)

    def _operations(self, nodes: Sequence[Node]) -> None:
        """Describe nodes that the kernel computes."""
        parts, number, views, inlined = self.parts, self.number, self.views, self.inlined
        for node in nodes:
            op = node.op
            parts.append(op)
            if op.variadic:
                parts.append(len(node.inputs))
            for operand in node.inputs:
                known = number.get(operand)
                if known is None:
                    if operand.__class__ is not Node:
                        parts.append(value_key(operand))
                        continue
                    if operand in inlined and operand not in self.own:
                        self._operations((operand,))  # single elements, few of them one behind the other
                        known = number[operand]
                    else:
                        known = number[operand] = len(number)
                        self._place(operand, views[operand])
                parts.append(known)
            if node.attrs:
                # the index of an embed decides where its operand goes, which is what its place says
                parts.append(node.type.shape if op.kind == "embed" else value_key(node.attrs))
            number[node] = len(number)
            if node in inlined:
                parts.append("inlined")
            if node in views:
                view = views[node]
                self._place(node, embedded(node, view) if op.kind == "embed" else view, node in self.stored)

    def _place(self, node: Node, view: View, stored: bool = False) -> None:
        """Describe how a value lies in memory."""
        buffer, shape, strides, offset = view
        buffers, shown = self.buffers, self.shown
        number = buffers.setdefault(buffer, len(buffers))
        place = shown.setdefault((number, self.views[node].offset), len(shown))  # with shape and strides it is a view
        self.parts.append((shape, strides, offset != 0, number, place, buffer.dtype, stored))
        self.nodes.append(node)
        self.places.append(view)


def _place(node: Node, views: dict[Node, View], own: set[Node]) -> View:
    """Where a kernel reads or writes a value: of its own `embed` the part where the operand goes."""
    view = views[node]
    return embedded(node, view) if node.op.kind == "embed" and node in own else view
