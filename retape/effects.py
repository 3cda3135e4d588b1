"""What a compiled call gives back and changes: its results, writes in place, `.grad` and memory of tensors outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from retape.ir.recipes import Recipe
from retape.tracer.changes import Change, Value
from retape.tracer.formulas import ExtentOf
from retape.tracer.numbers import NumberTensor
from retape.tracer.outside import DataBind, GradBind, GradOf, overlapping
from retape.tracer.paths import ABSENT, Path
from retape.tracer.randomness import Draw
from retape.tracer.tensor import Tensor, wrap
from retape.tracer.trace import Recorded
from retape.tracer.tree import changeable, unflatten

__all__ = ["Effects", "Setting", "plan_results", "take", "view_of"]


@dataclass(slots=True)
class Setting:
    """What sources stand for in one call: the leaves of the arguments, what paths lead to, what was drawn, what is
    computed of numbers."""

    leaves: list[Any]
    found: dict[Path, Any]
    given: Sequence[Any] = ()  # the arguments
    drawn: dict[Any, Any] | None = None

    def home(self, path: Path) -> Any:
        """The container that a path leads to: one in an argument, or a captured one."""
        if path.access != "argument":
            return path.follow()
        found = changeable(self.given)[path.key]
        return found if isinstance(found, (list, dict)) else vars(found)

    def get(self, source: Any) -> Any:
        """An argument leaf, a captured object, the `.grad` of one, or a draw (None before it is drawn)."""
        if isinstance(source, int):
            return self.leaves[source]
        if isinstance(source, GradOf):
            return self.get(source.owner)._grad
        if isinstance(source, Draw):
            return None if self.drawn is None else self.drawn[source]
        if isinstance(source, Recipe):
            return source.value(self.get)
        if isinstance(source, ExtentOf):
            return self.leaves[source.position].shape[source.dim]
        return self.found[source] if source in self.found else source.follow()


class Effects:
    """The changes that a trace makes outside, carried out in the order of their first occurrence."""

    def __init__(self, recorded: Recorded) -> None:
        positions = {node: i for i, node in enumerate(recorded.graph.inputs)}
        self.writes = [(positions[effect.target], write)
                       for effect, write in zip(recorded.graph.effects, recorded.writes, strict=True)]
        self.binds = recorded.binds
        self.changes = recorded.changes
        self.printed = recorded.printed
        self.written = [index for index, _ in self.writes]
        self._apart: list[Any] = []  # arrays that were found to share no memory with a written one

    def __bool__(self) -> bool:
        return bool(self.writes or self.binds or self.changes or self.printed)

    def needed(self, plan: list[tuple[str, Any]]) -> frozenset[int] | None:
        """The outputs that results (by their plan) and changes outside are made of; None where something is printed:
        that comes before any effect."""
        if self.printed:
            return None
        found = {value for kind, value in plan if kind in ("output", "number")}
        found.update(bind.output for bind in self.binds if bind.output is not None)
        for value in self.bound():
            found.update(what for kind, what in value.leaves if kind in ("output", "number"))
        return frozenset(found)

    def bound(self) -> Iterator[Value]:
        """The values that variables, attributes and entries get."""
        for change in self.changes:
            new = change.new
            values = new.values() if isinstance(new, dict) else new if isinstance(new, list) else (new,)
            yield from (value for value in values if isinstance(value, Value))

    def apart(self, operands: list[Any]) -> bool:
        """Whether no written memory is that of another input, too: then the order of reads and writes matters."""
        if not self.writes:
            return True
        arrays = [o._data if isinstance(o, Tensor) else o for o in operands]
        if overlapping(arrays, self.written, self._apart):
            return False
        self._apart = arrays
        return True

    def commit(self, operands: list[Any], here: Setting, outputs: list[Tensor], values: list[Any]) -> None:
        """Carry the effects out. Raises `ValueError` where memory is read-only, with nothing changed."""
        if not self:
            return
        targets = [operands[index] for index in self.written]
        for target in targets:
            if not (target._data if isinstance(target, Tensor) else target).flags.writeable:
                raise ValueError("assignment destination is read-only")
        for call in self.printed:
            call.show([out._data for out in outputs], here.get)
        for target, value, (_, write) in zip(targets, values, self.writes, strict=True):
            if value is not None:  # else it is there
                np.copyto(target._data if isinstance(target, Tensor) else target, value)
            if not isinstance(target, Tensor):
                continue
            target._version[0] += write.count
            target._version[1] = write.place
            if write.output is not None:
                out = outputs[write.output]
                target._grad_fn, target._requires_grad = out._grad_fn, out._requires_grad
        binds = [self._bound_to(bind, here, outputs) for bind in self.binds]
        steps = [_prepared(change, here, outputs) for change in self.changes]  # nothing leads elsewhere yet
        for owner, name, value in binds:
            setattr(owner, name, value)
        for step in steps:
            step()

    def _bound_to(self, bind: GradBind | DataBind, here: Setting, outputs: list[Tensor]) -> tuple[Any, str, Any]:
        """A tensor, which of its fields is bound, and to what."""
        owner = here.get(bind.owner)
        if isinstance(bind, DataBind):
            return owner, "_data", outputs[bind.output]._data
        value = None if bind.value is None else here.get(bind.value)
        return owner, "_grad", value if bind.output is None else outputs[bind.output]

    def repeat_on(self, here: Setting, outputs: list[Tensor]) -> None:
        """After the traced call, which got copies of the containers in its arguments: change these themselves."""
        for change in self.changes:
            if change.path.access == "argument":
                _prepared(change, here, outputs)()


def _prepared(change: Change, here: Setting, outputs: list[Tensor]) -> Callable[[], None]:
    """What rebinds what a traced call has rebound; the values, and what they go into, are found at once."""
    path, new = change.path, change.new

    def made(value: Any) -> Any:
        return unflatten(value.structure, [_made(kind, what, here, outputs) for kind, what in value.leaves])

    if change.kind == "slot":
        return partial(path.assign, new if new is ABSENT else made(new))
    container = here.home(path)
    if change.kind == "append":
        return partial(container.extend, list(map(made, new)))
    if change.kind == "list":
        entries = [container[entry] if isinstance(entry, int) else made(entry) for entry in new]
        return partial(container.__setitem__, slice(None), entries)
    return partial(_update, container, {key: value if value is ABSENT else made(value) for key, value in new.items()})


def _update(container: dict[Any, Any], new: dict[Any, Any]) -> None:
    for key, value in new.items():
        if value is ABSENT:
            del container[key]
        else:
            container[key] = value


def _made(kind: str, what: Any, here: Setting, outputs: list[Tensor]) -> Any:
    if kind == "output":
        return outputs[what]
    if kind == "number":
        return outputs[what]._data.item()
    return here.get(what) if kind == "outside" else what


def plan_results(recorded: Recorded, here: Setting, path_of: Callable[[Any], Path | None]) -> list[tuple[str, Any]]:
    """How each leaf of the result is got: an output of the graph (as a tensor, or as a number of Python), an argument
    itself, something outside, or a view. `path_of` tells where the function finds an array that it returns as it is."""
    plan: list[tuple[str, Any]] = []
    leaves = here.leaves
    outside = {id(here.get(s)): s for s in recorded.inputs if not isinstance(s, (int, Draw, Recipe))}
    written = {id(here.get(write.source)): write.source for write in recorded.writes}
    first: dict[int, int] = {}  # a tensor that is returned twice is one object
    count = 0
    for out in recorded.outputs:
        if not isinstance(out, Tensor):
            found = out if isinstance(out, Recipe) else path_of(out) if isinstance(out, np.ndarray) else None
            plan.append(("value", out) if found is None else ("outside", found))
            continue
        position = _position(out, leaves)
        if position is not None:
            plan.append(("leaf", position))
        elif id(out) in outside:
            plan.append(("outside", outside[id(out)]))
        else:
            view = _view(out, leaves, written)
            kind = "number" if type(out) is NumberTensor else "output"
            plan.append((kind, first.setdefault(id(out), count)) if view is None else ("view", view))
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


def _view(out: Tensor, leaves: list[Any], written: dict[int, Any]) -> tuple[Any, list[Any]] | None:
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
            return written[id(tensor)], steps
    return None


def take(kind: str, value: Any, outputs: list[Tensor], here: Setting) -> Any:
    """One leaf of a call's result, by its entry in the plan."""
    if kind == "output":
        return outputs[value]
    if kind == "number":
        return outputs[value]._data.item()
    if kind in ("leaf", "outside"):
        return here.get(value)
    if kind == "value":
        return value.copy() if isinstance(value, np.ndarray) else value
    source, steps = value
    return view_of(here.get(source), steps)


def view_of(owner: Any, steps: Sequence[tuple[Any, Any]]) -> Tensor:
    """A view of written memory, taken again."""
    array = owner._data if isinstance(owner, Tensor) else owner
    for op, attrs in steps:
        array = op.eager(array, *attrs)
    out = wrap(array)
    if isinstance(owner, Tensor):
        out._version = owner._version
    return out
