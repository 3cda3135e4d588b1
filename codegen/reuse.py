"""Kernel text that is written once for all groups of the same structure.

An unrolled loop is cut into groups that differ only in where their operands lie. A group is known by its operations and
the edges between them, and by shapes, strides and element types of what it reads and writes; for a group that is known,
only views and offsets are put in. Which integers of a kernel are offsets is found by writing its text for stand-ins:
buffers of their own for each operand, with offsets so large that nothing else in a kernel is.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

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
            marked[node] = shown[view] = view._replace(buffer=buffer, offset=offset)
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

    def __init__(self, group: Group, views: dict[Node, View], stored: set[Node], inlined: set[Node]) -> None:
        self.views, self.stored, self.inlined, self.rowwise = views, stored, inlined, group.rowwise
        self.own = set(group.nodes)
        self.parts: list[Hashable] = [group.space, group.rows]
        self.number: dict[Node, int] = {}
        self.buffers: dict[Buffer, int] = {}
        self.shown: dict[View, int] = {}
        self.nodes: list[Node] = []
        self.places: list[View] = []
        for node in group.nodes:
            self._operation(node)

    @property
    def key(self) -> Hashable:
        return tuple(self.parts)

    def _operation(self, node: Node) -> None:
        """Describe a node that the kernel computes."""
        parts, number, op = self.parts, self.number, node.op
        parts.append(op)
        if op.variadic:
            parts.append(len(node.inputs))
        for operand in node.inputs:
            if operand.__class__ is Node:
                known = number.get(operand)
                if known is None:
                    if operand in self.inlined and operand not in self.own:
                        self._operation(operand)  # single elements, few of them one behind the other
                        known = number[operand]
                    else:
                        known = number[operand] = len(number)
                        self._place(operand, self.views[operand])
                parts.append(known)
            else:
                parts.append(value_key(operand))
        if node.attrs:
            # the index of an embed decides where its operand goes, which is what its place says
            parts.append(node.type.shape if op.kind == "embed" else value_key(node.attrs))
        number[node] = len(number)
        if node in self.inlined or node in self.rowwise:
            parts.append((node in self.inlined, node in self.rowwise))
        if node in self.views:
            parts.append(node in self.stored)
            self._place(node, _place(node, self.views, self.own) if op.kind == "embed" else self.views[node])

    def _place(self, node: Node, view: View) -> None:
        """Describe how a value lies in memory."""
        buffer, shape, strides, offset = view
        number = self.buffers.setdefault(buffer, len(self.buffers))
        place = self.shown.setdefault(self.views[node], len(self.shown))
        self.parts.append((shape, strides, offset != 0, number, place, buffer.dtype))
        self.nodes.append(node)
        self.places.append(view)


def _place(node: Node, views: dict[Node, View], own: set[Node]) -> View:
    """Where a kernel reads or writes a value: of its own `embed` the part where the operand goes."""
    view = views[node]
    return embedded(node, view) if node.op.kind == "embed" and node in own else view
