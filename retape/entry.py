"""The short way into compiled code: a generated function that does what a call of a known trace takes, and no more.

It tries whether the arguments, and all that the function reaches by its names, are as the trace wants them; then it
runs the program, carries out the effects and puts the result together. Where something is otherwise it gives `MISS`
before anything has happened, and the general way is taken, which does the same for any trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from retape.ir.errors import RetapeError
from retape.ir.recipes import Recipe
from retape.ir.types import default_float
from retape.tracer.formulas import ExtentOf
from retape.tracer.outside import GradOf
from retape.tracer.paths import Path, described, followed, guarded
from retape.tracer.randomness import Draw, perform, snapshot
from retape.tracer.state import state
from retape.tracer.tensor import Tensor
from retape.tracer.tracer import layout
from retape.tracer.transforms import to_numpy

from .arguments import Arguments, Default, Unwritten, Writer
from .effects import Setting
from .outcome import FILE, Outcome, show_of

if TYPE_CHECKING:
    from .call import Call
    from .group import Group
    from .specialization import Specialization

__all__ = ["MISS", "Entry", "make_entry"]

MISS: Any = object()
Entry = Callable[[tuple[Any, ...], dict[str, Any]], Any]


def make_entry(
    known: Specialization, group: Group, call: Call, head: str, shown: Sequence[str | Default]
) -> Entry | None:
    """The entry for calls like `call`, whose arguments are `shown` where not `head`; None where it has no short text.
    It is called with the positional arguments and those by name."""
    try:
        writer = _Entry(known, group, call, head, shown)
        writer.write()
        return writer.function()
    except Unwritten:
        return None


class _Entry:
    """The text of one entry."""

    def __init__(
        self, known: Specialization, group: Group, call: Call, head: str, shown: Sequence[str | Default]
    ) -> None:
        self.known, self.group, self.call = known, group, call
        self.writer = Writer()
        self.scope, self.lines = self.writer.scope, self.writer.lines
        self.writer.leave_if(head)
        self.arguments = Arguments(self.writer, call, shown, known.free)
        self.names: dict[Any, str] = {}  # of what sources stand for
        self.numbers: dict[Path, int] = {}  # of paths
        self.scope.update(MISS=MISS, state=state, default_float=default_float, default=default_float(),
                          asarray=np.asarray, array=np.array)

    def function(self) -> Entry:
        body = "\n".join(f"    {line}" for line in self.lines)
        exec(compile(f"def entry(args, kwargs):\n{body}", FILE, "exec"), self.scope)
        found: Entry = self.scope["entry"]
        return found

    def write(self) -> None:
        known, group, writer = self.known, self.group, self.writer
        if known.effects.printed or any(path.check == "once" for path in known.environment.paths):
            raise Unwritten
        writer.leave_if(f"state.grad_enabled is not {state.grad_enabled} or default_float() is not default")
        self._surroundings()
        walks = known.looks > 0
        self._entries()
        sources = list(dict.fromkeys([*known.sources, *(group.branches.sources if walks else ())]))
        for source in sources:
            self._source(source)
        self._numbers(sources)
        differentiable = len(known.constant) < len(known.ends) and any(map(self._requires, sources))
        if walks and (differentiable or group.random):
            raise Unwritten
        self._fitting(sources, () if walks else [known.sources[i] for i in known.effects.written])
        if walks:
            self._walk()
            return
        outcome = Outcome(known, writer, self._name, self.numbers, self.arguments.containers, self.call.tensors)
        barred = [s for s in sources if self._requires(s)] if known.barred and not differentiable else None
        tail = outcome.lines(barred)
        self._compute(differentiable, outcome.wrapped)
        self.lines += tail

    # ---- what has to be as it was

    def _surroundings(self) -> None:
        environment, group, leave_if = self.known.environment, self.group, self.writer.leave_if
        if environment.paths:
            self.scope["environment"] = environment
            leave_if(f"environment.edition != {environment.edition}")
            lines, self.numbers = followed(environment.paths, self.scope, "MISS", self._array)
            self.lines += guarded(lines, "MISS") if lines else []
            for path, number in self.numbers.items():
                if path.check == "array":
                    self.lines += self.writer.take(f"v{number}")
        for path, position in group.shared:
            leave_if(f"{self._name(path)} is not {self.arguments.leaves[position]}")
        for view, base in group.views:
            leave_if(f"{self._name(view)}._base is None or {self._name(view)}._base[0] is not {self._name(base)}")
        for owner, present in group.grads:
            leave_if(f"{self._name(owner)}._grad is {'None' if present else 'not None'}")
        for source, kind in group.captures.items():
            name = f"grad{len(self.names)}"
            self.lines.append(f"{name} = {self._name(source.owner)}._grad")
            leave_if(self.writer.array(name, True, kind))
            self.lines += self.writer.take(name)
            self.names[source] = name

    def _array(self, path: Path, name: str) -> str:
        test = self.writer.array(name, isinstance(path.expected, Tensor), path.type)
        if path.values is None:
            return test
        values = self.writer.constant(path.values)
        return f"{test} or " + (f"{name}.tobytes() != {values}" if type(path.values) is bytes
                                else f"{name} is not {values}")

    def _entries(self) -> None:
        """Have arrays that are entries of large containers tried: no path of their own does."""
        for source, node in zip(self.known.sources, self.known.graph.inputs, strict=True):
            if isinstance(source, Path) and source.access == "root":
                value = source.container
                kind = described(value)
                if layout(value._data if isinstance(value, Tensor) else value) != node.type:
                    raise Unwritten  # it was another in the traced call
                name = self._name(source)
                test = self.writer.array(name, isinstance(value, Tensor), kind)
                if isinstance(value, Tensor):
                    self.writer.leave_if(test)
                self.lines += self.writer.take(name)

    def _fitting(self, sources: Sequence[Any], written: Sequence[Any]) -> None:
        """Try all arrays together."""
        from retape.codegen.native.alike import signature  # the compiler has been imported when there is a program
        from retape.codegen.native.player import player

        data = self.writer.data
        operands = {data[self.names[source]] for source in sources if self.names[source] in data}
        changed = {data[self._name(source)] for source in written}
        arrays = self.writer.arrays
        if not arrays:
            return
        words = signature([kind for _, kind in arrays], [name in changed for name, _ in arrays],
                          [name in operands for name, _ in arrays])
        seen = np.zeros(len(arrays), np.int64)
        self.scope["fits"] = partial(player().fits, words, seen)
        self.scope["kinds"] = [kind for _, kind in arrays]  # dtypes are compared as objects
        self.writer.leave_if(f"not fits(({', '.join(name for name, _ in arrays)},))")

    def _requires(self, source: Any) -> bool:
        """Whether a source is a tensor that requires grad, as the entry has tried."""
        kind = self.call.kinds[source] if isinstance(source, int) else source.type if isinstance(source, Path) \
            else self.group.captures.get(source)
        return type(kind) is tuple and len(kind) > 3 and bool(kind[3])

    # ---- what sources stand for

    def _source(self, source: Any) -> None:
        """Give a source its name. Raises `Unwritten` for those that aren't tried by the entry."""
        if isinstance(source, Recipe):
            for inner in source.sources:
                self._source(inner)
            self.names.setdefault(source, f"number{len(self.names)}")
        elif isinstance(source, Draw):
            self.names.setdefault(source, f"draw{len(self.names)}")
        elif not isinstance(source, ExtentOf):
            self._name(source)

    def _name(self, source: Any) -> str:
        found = self.names.get(source)
        if found is None:
            if isinstance(source, int):
                found = self.arguments.leaves[source]
            elif isinstance(source, Path) and source in self.numbers:
                found = f"v{self.numbers[source]}"
            elif isinstance(source, Path) and source.access == "root":  # tried by `_entries`
                found = self.writer.constant(source.container)
            else:
                raise Unwritten
            self.names[source] = found
        return found

    def _numbers(self, sources: Sequence[Any]) -> None:
        """Lines that evaluate formulas, and leave where one can't be or does not hold."""
        recipes = dict.fromkeys(source for source in sources if isinstance(source, Recipe))
        recipes.update(dict.fromkeys(source for source in self._bound() if isinstance(source, Recipe)))
        lines = []
        for recipe in recipes:
            self._source(recipe)
            lines.append(f"{self.names[recipe]} = {self._formula(recipe)}")
        if self.known.conditions is not None:
            for inner in self.known.conditions.sources:
                self._source(inner)
            lines.append(f"if not {self._formula(self.known.conditions)}: return MISS")
        if lines:
            self.lines += ["try:", *(f"    {line}" for line in lines),
                           "except (ArithmeticError, ValueError, TypeError): return MISS"]

    def _formula(self, recipe: Recipe) -> str:
        given = [f"{self._data(s.position)}.shape[{s.dim}]" if isinstance(s, ExtentOf) else self._name(s)
                 for s in recipe.sources]
        return f"{self.writer.constant(recipe.function)}({', '.join(given)})"

    def _data(self, source: Any) -> str:
        return self.writer.data[self._name(source)]

    def _bound(self) -> Iterator[Any]:
        """What is returned, or bound outside, as it is found."""
        yield from (value for kind, value in self.known.plan if kind == "outside")
        for value in self.known.effects.bound():
            yield from (what for kind, what in value.leaves if kind == "outside")

    def _operand(self, source: Any, dtype: str = "") -> str:
        """The expression of the array that a source stands for."""
        name = self._name(source)
        if isinstance(source, (Path, GradOf)) and name not in self.writer.data:
            raise Unwritten
        return self.writer.data.get(name) or f"{'asarray' if isinstance(source, Draw) else 'array'}({name}{dtype})"

    # ---- running

    def _compute(self, differentiable: bool, wrapped: set[int]) -> None:
        known = self.known
        ends, effects = len(known.ends), len(known.effects.writes)
        values = [f"value{i}" for i in range(effects)]
        before = []
        if differentiable:
            self.scope["computed"] = known.computed
            lines = [f"found = computed([{', '.join(map(self._name, known.sources))}])",
                     f"[{', '.join(f'new{i}' for i in range(ends))}], [{', '.join(values)}] = found"]
            before = [f"out{i} = new{i}._data" for i in range(ends)]
        else:
            self.scope["run"] = known.runner()
            operands = [self._operand(source, "" if isinstance(source, int) else f", {self.writer.constant(dtype)}")
                        for source, dtype in zip(known.sources, known.dtypes(), strict=True)]
            results = [*(f"out{i}" for i in range(ends)), *values]
            lines = [f"[{', '.join(results)}] = run({', '.join(operands)})"]
            before = [f"new{i} = wrap(out{i})" for i in sorted(wrapped)]
        if known.random:
            self.scope.update(perform=perform, snapshot=snapshot, actions=known.random)
            drawn = [f"{self._name(d)} = drawn[{self.writer.constant(d)}]" for d in known.sources
                     if isinstance(d, Draw)]
            lines = ["restore = snapshot(actions)", "try:",
                     *(f"    {line}" for line in ["drawn = perform(actions)", *drawn, *lines]),
                     "except BaseException:", "    restore()", "    raise"]
        self.lines += [*lines, *before]

    def _walk(self) -> None:
        """Lines that walk a trace tree, and what the trace does that holds: its results are put together in a function
        of its own where that is all."""
        group, call = self.group, self.call
        self.scope.update(RetapeError=RetapeError, Setting=Setting, walk=group.branches.entrance(),
                          finish=partial(_finish, call.tensors))
        found = ", ".join(f"{self.writer.constant(path)}: v{number}" for path, number in self.numbers.items()
                          if path.check in ("array", "number"))
        operands = [self._operand(source) for source in group.branches.given]
        shown = group.shown.setdefault(call.tensors, {})
        self.scope.update(shown=shown, show_of=partial(show_of, shown, call.tensors))
        leaves = f"({', '.join(self.arguments.leaves)}{',' if self.arguments.leaves else ''})"
        self.lines += [
            f"try: found = walk(({', '.join(operands)}{',' if operands else ''}))",
            "except RetapeError: return MISS",  # something may have to be printed before
            "if found is None: return MISS",
            "trace, values = found",
            "show = shown.get(trace) or show_of(trace)",
            f"if show is not None: return show(values, {leaves})",
            f"return finish(trace, values, Setting([{', '.join(self.arguments.leaves)}], {{{found}}}, "
            f"[{', '.join(self.arguments.given)}]))"]


def _finish(tensors: bool, trace: Specialization, values: list[Any], here: Setting) -> Any:
    """What a walk's trace does outside, and its result."""
    if not trace.apart(here) or not trace.fulfilled(here):
        return MISS
    results = trace.finish(here, values, {}, True)
    return trace.rebuild(results if tensors else [to_numpy(leaf) for leaf in results])
