"""Arrays put together from parts: `cat`, slice writes, sums of embeds that don't meet.

An assembly is a base (another array, one number, or nothing where the parts cover the result) and parts that are
written over it, each at a basic index. Where `placement` lets a part's own kernel write it to its place, nothing is
copied; the others are copied one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from retape.ir.graph import Node, Operand
from retape.ir.ops.structure import sliced_shape
from retape.ir.types import COMPLEX

from .order import Task
from .regions import are_disjoint, region, uncovered
from .steps import Draft
from .views import View, sliced

__all__ = ["Assembly", "begin", "disassemble", "finish", "is_assembled", "part_of"]

Part = tuple[Operand, tuple[Any, ...]]
ASSEMBLED = frozenset({"cat", "embed_sum", "slice_scatter"})


@dataclass(slots=True)
class Assembly:
    """`apart`: no two parts meet. `rest`: indices at which the base has to be written before any part is.

    `absorbed` are earlier slice writes that are one with this one. `placed` are the parts (by number) that their own
    kernels write, `writers` all steps that write to the result.
    """

    node: Node
    base: Operand | None
    parts: list[Part]
    apart: bool
    absorbed: list[Node] = field(default_factory=list)
    rest: list[tuple[Any, ...]] = field(default_factory=list)
    placed: set[int] = field(default_factory=set)
    writers: list[Task] = field(default_factory=list)

    @property
    def copied(self) -> list[Operand]:
        """What the step of the assembly itself reads beside the base: parts, or the factors of a product."""
        return [value for value, _ in self.parts] if is_assembled(self.node) else list(self.node.inputs[1:])


def is_assembled(node: Node) -> bool:
    """Whether an operation is carried out by writing parts to their places."""
    return node.op.name in ASSEMBLED and node.type.dtype.category != COMPLEX and node.type.numel > 0 \
        and not (node.op.name == "embed_sum" and _overlaps(node))


def disassemble(node: Node, absorbs: Callable[[Node, Node], bool]) -> Assembly:
    """The base and parts of an assembled operation. Slice writes one upon the other are one assembly, where
    `absorbs(later, earlier)` allows it."""
    if node.op.name == "cat":
        parts: list[Part] = []
        axis, start = node.attr("axis"), 0
        for part in node.inputs:
            assert isinstance(part, Node)
            end = start + part.type.shape[axis]
            parts.append((_number(part), (*(slice(0, e, 1) for e in node.type.shape[:axis]), slice(start, end, 1))))
            start = end
        return Assembly(node, None, parts, True)
    if node.op.name == "embed_sum":
        parts = [(_number(part), index) for part, index in zip(node.inputs, node.attr("indices"), strict=True)]
        return _with_rest(Assembly(node, 0, parts, True))
    assembly = Assembly(node, node.inputs[0], [(_number(node.inputs[1]), node.attr("index"))], True)
    last, base = node, node.inputs[0]
    while isinstance(base, Node) and base.op.name == "slice_scatter" and absorbs(last, base):
        assembly.absorbed.append(base)
        assembly.parts.append((_number(base.inputs[1]), base.attr("index")))
        last, base = base, base.inputs[0]
    assembly.parts.reverse()
    assembly.base = _number(base)
    return _with_rest(assembly)


def _number(operand: Operand) -> Operand:
    """One number instead of an array that is full of it."""
    return operand.attr("value") if isinstance(operand, Node) and operand.op.name == "full" else operand


def _with_rest(assembly: Assembly) -> Assembly:
    shape = assembly.node.type.shape
    regions = [region(shape, index) for _, index in assembly.parts]
    assembly.apart = are_disjoint(regions)
    assembly.rest = list(uncovered(shape, regions if assembly.apart else []))
    return assembly


def begin(draft: Draft, assembly: Assembly) -> None:
    """Write the base, where it doesn't lie there already."""
    whole, base = draft.views[assembly.node], assembly.base
    if base is None:
        return
    for index in assembly.rest:
        target = part_of(whole, index)
        draft.copy(part_of(draft.views[base], index) if isinstance(base, Node) else base, target, assembly.node)


def finish(draft: Draft, assembly: Assembly) -> None:
    """Copy the parts that don't lie in their places already."""
    whole = draft.views[assembly.node]
    for number, (value, index) in enumerate(assembly.parts):
        if number not in assembly.placed:
            draft.copy(draft.views[value] if isinstance(value, Node) else value, part_of(whole, index), assembly.node)


def part_of(whole: View, index: tuple[Any, ...]) -> View:
    """Where a part lies in the whole."""
    return sliced(whole, index, sliced_shape(whole.shape, index))


def _overlaps(node: Node) -> bool:
    """Whether parts of an `embed_sum` may meet in an element, so that they have to be added."""
    return not are_disjoint([region(node.type.shape, index) for index in node.attr("indices")])
