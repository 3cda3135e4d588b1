"""What a compiled call gives back and changes: its results, writes in place, `.grad` and memory of tensors outside."""

from __future__ import annotations

from typing import Any

import numpy as np

from retape.tracer.outside import DataBind, GradOf, overlapping
from retape.tracer.randomness import Draw
from retape.tracer.tensor import Tensor, wrap
from retape.tracer.trace import Recorded

__all__ = ["Effects", "plan_results", "resolve", "take"]


def resolve(source: Any, leaves: list[Any], drawn: dict[Any, Any] | None = None) -> Any:
    """What a source stands for in a call: an argument leaf, a captured object, the `.grad` of one, or a draw."""
    if isinstance(source, int):
        return leaves[source]
    if isinstance(source, GradOf):
        return resolve(source.owner, leaves)._grad
    if isinstance(source, Draw):
        return None if drawn is None else drawn[source]
    return source


class Effects:
    """The changes that a trace makes outside, carried out in the order of their first occurrence."""

    def __init__(self, recorded: Recorded) -> None:
        positions = {node: i for i, node in enumerate(recorded.graph.inputs)}
        self.writes = [(positions[effect.target], write)
                       for effect, write in zip(recorded.graph.effects, recorded.writes, strict=True)]
        self.binds = recorded.binds
        self._written = [index for index, _ in self.writes]
        self._apart: list[Any] = []  # arrays that were found to share no memory with a written one

    def __bool__(self) -> bool:
        return bool(self.writes or self.binds)

    def apart(self, operands: list[Any]) -> bool:
        """Whether no written memory is that of another input, too: then the order of reads and writes matters."""
        if not self.writes:
            return True
        arrays = [o._data if isinstance(o, Tensor) else o for o in operands]
        if overlapping(arrays, self._written, self._apart):
            return False
        self._apart = arrays
        return True

    def commit(self, operands: list[Any], leaves: list[Any], outputs: list[Tensor], values: list[Any]) -> None:
        """Carry the effects out. Raises `ValueError` where memory is read-only, with nothing changed."""
        if not self:
            return
        targets = [operands[index] for index in self._written]
        for target in targets:
            if not (target._data if isinstance(target, Tensor) else target).flags.writeable:
                raise ValueError("assignment destination is read-only")
        for target, value, (_, write) in zip(targets, values, self.writes, strict=True):
            if not isinstance(target, Tensor):
                np.copyto(target, value)
                continue
            np.copyto(target._data, value)
            target._version[0] += write.count
            target._version[1] = write.place
            if write.output is not None:
                out = outputs[write.output]
                target._grad_fn, target._requires_grad = out._grad_fn, out._requires_grad
        for bind in self.binds:
            owner = resolve(bind.owner, leaves)
            if isinstance(bind, DataBind):
                owner._data = outputs[bind.output]._data
            else:
                owner._grad = resolve(bind.value, leaves) if bind.output is None else outputs[bind.output]


def plan_results(recorded: Recorded, leaves: list[Any]) -> list[tuple[str, Any]]:
    """How each leaf of the result is got: an output of the graph, an argument itself, something outside, or a view."""
    plan: list[tuple[str, Any]] = []
    outside = {id(s): s for s in recorded.inputs if not isinstance(s, int)}
    written = {id(resolve(write.source, leaves)) for write in recorded.writes}
    first: dict[int, int] = {}  # a tensor that is returned twice is one object
    count = 0
    for out in recorded.outputs:
        if not isinstance(out, Tensor):
            plan.append(("value", out))
            continue
        position = _position(out, leaves)
        if position is not None:
            plan.append(("leaf", position))
        elif id(out) in outside:
            plan.append(("value", outside[id(out)]))
        else:
            view = _view(out, leaves, written)
            plan.append(("output", first.setdefault(id(out), count)) if view is None else ("view", view))
        count += 1
    for extra in recorded.extra:  # a result that is also the `.grad` of something
        if id(extra) in first:
            position = first[id(extra)]
            plan = [("output", count) if entry == ("output", position) else entry for entry in plan]
        count += 1
    return plan


def _position(out: Tensor, leaves: list[Any]) -> int | None:
    """The argument that a tensor is, or is a tensor over."""
    return next((i for i, leaf in enumerate(leaves)
                 if leaf is out or (isinstance(leaf, np.ndarray) and leaf is out._data)), None)


def _view(out: Tensor, leaves: list[Any], written: set[int]) -> tuple[Any, list[Any]] | None:
    """How `out` is a view of memory outside that the call writes to: that memory, and the views taken of it."""
    steps: list[Any] = []
    tensor = out
    while tensor._base is not None and not out._requires_grad:
        source, _, op, attrs = tensor._base
        steps.insert(0, (op, attrs))
        tensor = source
        position = _position(tensor, leaves)
        if position is not None and id(leaves[position]) in written:
            return position, steps
        if id(tensor) in written:
            return tensor, steps
    return None


def take(kind: str, value: Any, outputs: list[Tensor], leaves: list[Any]) -> Any:
    """One leaf of a call's result, by its entry in the plan."""
    if kind == "output":
        return outputs[value]
    if kind == "leaf":
        return leaves[value]
    if kind == "value":
        return value.copy() if isinstance(value, np.ndarray) else value
    source, steps = value
    owner = resolve(source, leaves)
    array = owner._data if isinstance(owner, Tensor) else owner
    for op, attrs in steps:
        array = op.eager(array, *attrs)
    out = wrap(array)
    if isinstance(owner, Tensor):
        out._version = owner._version
    return out
