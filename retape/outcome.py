"""What a call does when its program has run, as text: lines that carry out effects and put the result together."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from retape.tracer.changes import Change, Value
from retape.tracer.outside import DataBind, Write
from retape.tracer.paths import ABSENT, Path
from retape.tracer.tensor import wrap
from retape.tracer.transforms import to_numpy

from .arguments import Writer, made
from .effects import view_of

if TYPE_CHECKING:
    from .specialization import Specialization

__all__ = ["FILE", "Outcome", "show_of"]

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "<entry>")  # a place of retape's own


class Outcome:
    """Outputs are `out0` and so on, as tensors `new0`; what effects write is `value0`. `name` gives the names of what
    sources stand for, `numbers` those of what paths lead to, `containers` are those in the arguments."""

    def __init__(self, known: Specialization, writer: Writer, name: Callable[[Any], str], numbers: dict[Path, int],
                 containers: Sequence[str], tensors: bool) -> None:
        self.known, self.writer, self.tensors = known, writer, tensors
        self.numbers, self.containers = numbers, containers
        self.wrapped: set[int] = set()  # outputs that are wanted as tensors
        self._name = name
        writer.scope.update(ABSENT=ABSENT, wrap=wrap, to_numpy=to_numpy, view_of=view_of)

    def lines(self, barred: Sequence[Any] | None) -> list[str]:
        """Lines that carry out the effects and return the result. Of `barred` sources outputs seem to be made."""
        known, effects = self.known, self.known.effects
        lines: list[str] = []
        if barred is not None:
            self.writer.scope["bar"] = known.bar
            self.wrapped.update(range(len(known.ends)))
            lines.append(f"bar([{', '.join(f'new{i}' for i in range(len(known.ends)))}], "
                         f"[{', '.join(map(self._name, barred))}])")
        for number, (index, write) in enumerate(effects.writes):
            lines += self._write(number, known.sources[index], write)
        for bind in effects.binds:
            owner = self._name(bind.owner)
            if isinstance(bind, DataBind):
                lines.append(f"{owner}._data = out{bind.output}")
            else:
                new = "None" if bind.value is None else self._name(bind.value)
                lines.append(f"{owner}._grad = {new if bind.output is None else self._new(bind.output)}")
        homes = {change.path: f"home{i}" for i, change in enumerate(effects.changes) if change.kind != "slot"}
        lines += [f"{name} = {self._home(path)}" for path, name in homes.items()]  # nothing leads elsewhere yet
        for change in effects.changes:
            lines += self._change(change, homes.get(change.path, ""))
        leaves = iter([self._result(kind, value) for kind, value in known.plan])
        return [*lines, f"return {made(known.structure, leaves, self.writer)}"]

    def _new(self, output: int) -> str:
        self.wrapped.add(output)
        return f"new{output}"

    def _write(self, number: int, source: Any, write: Write) -> list[str]:
        target = self._name(source)
        data = self.writer.data[target]
        lines = [f"if value{number} is not None: {data}[...] = value{number}"]
        if data != target:
            lines += [f"version = {target}._version", f"version[0] += {write.count}",
                      f"version[1] = {self.writer.constant(write.place)}"]
            if write.output is not None:
                new = self._new(write.output)
                lines.append(f"{target}._grad_fn, {target}._requires_grad = {new}._grad_fn, {new}._requires_grad")
        return lines

    def _change(self, change: Change, home: str) -> list[str]:
        path, new = change.path, change.new
        if change.kind == "slot":
            if new is ABSENT:
                return [f"{self.writer.constant(path)}.assign(ABSENT)"]
            home, key, value = self.writer.constant(path.container), self.writer.constant(path.key), self._value(new)
            return [{"cell": f"{home}.cell_contents = {value}", "item": f"{home}[{key}] = {value}"}.get(
                path.access, f"setattr({home}, {key}, {value})")]
        if change.kind == "append":
            return [f"{home}.extend([{', '.join(map(self._value, new))}])"]
        if change.kind == "list":
            entries = [f"{home}[{entry}]" if isinstance(entry, int) else self._value(entry) for entry in new]
            return [f"{home}[:] = [{', '.join(entries)}]"]
        return [f"del {home}[{self.writer.constant(key)}]" if value is ABSENT
                else f"{home}[{self.writer.constant(key)}] = {self._value(value)}" for key, value in new.items()]

    def _home(self, path: Path) -> str:
        """The expression of a container that is changed."""
        if path.access == "argument":
            return self.containers[int(path.key)]
        return f"v{self.numbers[path]}" if path in self.numbers else f"{self.writer.constant(path)}.follow()"

    def _value(self, value: Value) -> str:
        """The expression of a value that is bound outside."""
        leaves = [self._leaf(kind, what) for kind, what in value.leaves]
        return made(value.structure, iter(leaves), self.writer)

    def _leaf(self, kind: str, what: Any) -> str:
        if kind == "output":
            return self._new(what)
        if kind == "number":
            return f"out{what}.item()"
        return self._name(what) if kind == "outside" else self.writer.constant(what)

    def _result(self, kind: str, value: Any) -> str:
        """The expression of a leaf of the result: of arrays where no argument is a tensor."""
        tensors = self.tensors
        if kind == "output" and not tensors:
            end = self.known.ends[value]
            return f"out{value}[()]" if end is None or not end.shape else f"out{value}"
        if kind in ("output", "number"):
            return self._leaf(kind, value)
        if kind == "value":
            return self.writer.constant(value) + (".copy()" if isinstance(value, np.ndarray) else "")
        shown = self._name(value[0] if kind == "view" else value)
        if kind == "view":
            shown = f"view_of({shown}, {self.writer.constant(value[1])})"
        return shown if tensors or (kind == "leaf" and isinstance(value, int)) else f"to_numpy({shown})"


def show_of(shown: dict[Any, Any], tensors: bool, trace: Specialization) -> Any:
    """A function that puts a trace's result together from the values of a walk and the leaves of the arguments; None
    where that isn't all."""
    found = None
    if not (trace.effects or trace.random or trace.barred) and trace.conditions is None \
            and all(kind in ("output", "number", "leaf") for kind, _ in trace.plan):
        writer = Writer()
        writer.scope.update(wrap=wrap)
        new = [f"new{i}" if tensors else f"values[{i}][()]" if end is None or not end.shape else f"values[{i}]"
               for i, end in enumerate(trace.ends)]
        leaves = iter([new[v] if kind == "output" else f"values[{v}].item()" if kind == "number" else f"leaves[{v}]"
                       for kind, v in trace.plan])
        result = made(trace.structure, leaves, writer)
        wanted = sorted({v for kind, v in trace.plan if kind == "output"}) if tensors else []
        lines = [*(f"    new{i} = wrap(values[{i}])" for i in wanted), f"    return {result}"]
        exec(compile("def show(values, leaves):\n" + "\n".join(lines), FILE, "exec"), writer.scope)
        found = writer.scope["show"]
    shown[trace] = found
    return found


