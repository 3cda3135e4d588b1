"""One trace of a compiled function: its graph, when it may be used, and its compiled code."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from retape.ir import Graph, Guard, Node
from retape.ir.errors import RetapeError
from retape.ir.extents import plain
from retape.ir.once import once
from retape.ir.relations import described, relations_of
from retape.tracer.apply import located
from retape.tracer.environment import Environment
from retape.tracer.gradnode import attach_outputs
from retape.tracer.randomness import perform, snapshot
from retape.tracer.state import describe
from retape.tracer.tensor import Tensor, wrap
from retape.tracer.trace import Recorded
from retape.tracer.tree import flatten, unflatten

from .differentiable import Derivative, DifferentiableGraph
from .effects import Effects, Setting, plan_results, take

if TYPE_CHECKING:
    from retape.codegen import Kernel

__all__ = ["Specialization", "guarded"]


def guarded(guard: Guard) -> bytes:
    """The value that Python looked at as bytes: NaN is NaN, 0.0 is not -0.0."""
    value = np.asarray(getattr(guard.value, "array", guard.value), guard.node.type.dtype.numpy)
    return value.tobytes()


class Specialization:
    """A traced call: look at its graphs, kernels and guards.

    `graph` is what was recorded, `forward` and `backward` the same split for differentiation, `kernels` the generated
    code of both.
    """

    def __init__(self, recorded: Recorded, environment: Environment, leaves: list[Any], strict: bool = False) -> None:
        graph = recorded.graph
        self.whole: Callable[[], Graph] = lambda: graph  # a tree of many traces has what they have in common once
        self.strict = strict
        self.environment = environment
        self.grown = 1, 1  # how many of its pieces are its own in its tree, and how many it has
        self.price = 0.0  # of the budget; not known before its programs are
        self.extents = None if recorded.formulas is None else recorded.formulas.extents
        self.sources = recorded.inputs
        self.random = recorded.random
        self.effects = Effects(recorded)
        self.ends = tuple(out.type if isinstance(out, Node) else None for out in recorded.graph.outputs)
        self.looks = len(recorded.graph.guards)
        self.shared = recorded.shared
        self.draws: dict[Any, Any] = {}  # draws and generators of this trace by those of its tree
        formulas = recorded.formulas
        self.conditions = None if formulas is None else formulas.conditions()  # what has to hold of numbers
        self.free = frozenset() if formulas is None else formulas.free()
        here = Setting(leaves, {path: path.expected for path in environment.paths})
        operands = [here.get(source) for source in self.sources]
        self._marked = tuple(i for i, operand in enumerate(operands) if _requires(operand))
        self.structure = flatten(recorded.result)[1]
        self._plan = plan_results(recorded, here, environment.path_of)
        self.plan: list[tuple[str, Any]] = plain(self._plan)
        self.barred = recorded.barred
        self.notices = recorded.notices
        self.constant = recorded.constant

    @property
    def graph(self) -> Graph:
        """What was recorded."""
        return self._code.graph if "_code" in self.__dict__ else self.whole()

    @once
    def _code(self) -> DifferentiableGraph:
        return DifferentiableGraph(self.whole(), self.strict, self.effects.needed(self.plan))

    @property
    def lean(self) -> bool:
        """Whether it has no program of its own, but those that its pieces share with others alone."""
        return "_code" not in self.__dict__

    @once
    def _guarded(self) -> list[bytes]:
        return [guarded(guard) for guard in self.graph.guards]

    # ---- running

    def attempt(self, here: Setting, commit: bool = True) -> list[Any] | None:
        """The result's leaves, or None where Python would have looked at other values than in this trace.

        Effects are carried out when all has been computed, so a call that fails changes nothing; without `commit` they
        aren't. Generators have moved on also where None is given.
        """
        if self.random:
            here.drawn = perform(self.random)
        operands = [here.get(source) for source in self.sources]
        found = self.computed(operands, commit=commit)
        return None if found is None else self._conclude(here, operands, *found, commit)

    def finish(self, here: Setting, results: list[Any], drawn: dict[Any, Any], commit: bool) -> list[Any]:
        """The result's leaves once a walk has found that this trace holds, and what it computes (draws by their names
        in the tree). Where a gradient may be asked for it is computed again, with what that needs."""
        here.drawn = {own: drawn[known] for own, known in self.draws.items() if known in drawn}
        operands = [here.get(source) for source in self.sources]
        if self._differentiable(operands):
            found = self.computed(operands, check=False)
            assert found is not None
            return self._conclude(here, operands, *found, commit)
        count = len(self.ends)
        outputs = [wrap(array) for array in results[:count]]
        if self.barred:
            self.bar(outputs, operands)
        return self._conclude(here, operands, outputs, results[count:], commit)

    def _conclude(self, here: Setting, operands: list[Any], outputs: list[Tensor], values: list[Any], commit: bool) \
            -> list[Any]:
        if not commit:
            return []
        self.effects.commit(operands, here, outputs, values)
        return [take(kind, value, outputs, here) for kind, value in self.plan]

    def at(self, recorded: Recorded, filled: Callable[[Any], Any]) -> Specialization:
        """The same trace for other extents: `recorded` is it, `filled` puts them in place of formulas."""
        other = self.over(recorded.graph)
        other.sources, other.random = recorded.inputs, recorded.random
        other.draws = {}
        other.plan = filled(self._plan)
        return other

    def over(self, graph: Graph, strict: bool | None = None) -> Specialization:
        """The same trace over a graph that differs in extents only, or with other numerics."""
        other = copy.copy(self)
        for name in ("derivative", "_code", "_guarded"):
            other.__dict__.pop(name, None)
        other.whole, other.strict = lambda: graph, self.strict if strict is None else strict
        other.price = 0.0
        other.ends = tuple(out.type if isinstance(out, Node) else None for out in graph.outputs)
        other.effects = copy.copy(self.effects)
        other.effects._apart = []
        return other

    def apart(self, here: Setting) -> bool:
        """Whether no memory that the trace writes to is that of another of its inputs, too."""
        return not self.effects.writes or self.effects.apart([here.get(source) for source in self.sources])

    def fulfilled(self, here: Setting) -> bool:
        """Whether the numbers that the call has are such as the trace is for."""
        try:
            return self.conditions is None or bool(self.conditions.value(here.get))
        except (ArithmeticError, ValueError, TypeError):
            return False

    def _differentiable(self, operands: list[Any]) -> bool:
        return len(self.constant) < len(self.ends) and any(map(_requires, operands))

    def computed(self, operands: list[Any], check: bool = True, commit: bool = True) \
            -> tuple[list[Tensor], list[Any]] | None:
        """The graph's outputs and what its effects write, None where that is done; None where a guard doesn't hold."""
        guards = self._guarded
        try:
            outputs, seen = self._code(operands, self.constant, commit)
        except RetapeError:
            if not guards and not self.effects.printed:
                raise
            return None  # the values belong to another path, or something is to be printed first: recording will tell
        if check and guards and any(found.tobytes() != key for key, found in zip(guards, seen, strict=False)):
            return None
        if self.barred:
            self.bar(outputs, operands)
        return outputs, seen[len(guards):]

    def bar(self, outputs: list[Tensor], operands: list[Any]) -> None:
        """Give results the history that eager ones have although backward would raise."""
        tensors = [o for o in operands if _requires(o)]
        for position, error in self.barred.items():
            attach_outputs("Compiled", [outputs[position]], tensors, partial(_refuse, error))

    def inputs_of(self, leaves: list[Any]) -> list[Any]:
        """The arrays (and floats) that the graph's inputs stand for in a call; generators stay where they are."""
        restore = snapshot(self.random)
        here = Setting(leaves, self.environment.find() or {}, (), perform(self.random))
        restore()
        return [_array(here.get(source)) for source in self.sources]

    def rebuild(self, outputs: list[Any]) -> Any:
        """The function's result from its leaves."""
        return unflatten(self.structure, outputs)

    def runner(self) -> Callable[..., Any]:
        """A function of arrays that runs the program for values."""
        return self._code.program.direct()

    def dtypes(self) -> list[Any]:
        """NumPy's types of the inputs."""
        return [node.type.dtype.numpy for node in self.graph.inputs]

    # ---- looking

    @property
    def guards(self) -> tuple[Guard, ...]:
        """The values that Python looked at: the trace holds only where it would see them again."""
        return self.graph.guards

    @property
    def relations(self) -> list[Any]:
        """What other extents have to fulfil so that this trace serves them, too: SymPy relations. Their symbols and the
        user's lines are in `explain()`."""
        return [] if self.extents is None else [relation for relation, _ in relations_of(self.extents)]

    @once
    def derivative(self) -> Derivative:
        """Forward and backward with respect to the inputs that require grad, or all that could, if none does."""
        from retape.ir.passes.differentiate import differentiable_inputs

        able = set(differentiable_inputs(self.graph))
        every = tuple(i for i, node in enumerate(self.graph.inputs) if node in able)
        return self._code.derivative(self._marked or every)

    @property
    def forward(self) -> Graph:
        """The graph that returns the outputs and what backward needs."""
        return self.derivative.forward

    @property
    def backward(self) -> Graph:
        """The graph from cotangents and saved values to gradients."""
        return self.derivative.backward

    @property
    def kernels(self) -> list[Kernel]:
        """The generated kernels of the value, of forward and of backward, each once."""
        from retape.ir.passes.differentiate import differentiable_inputs

        programs = [self._code.program]
        if differentiable_inputs(self.graph):
            programs += [self.derivative.forward_program, self.derivative.backward_program]
        found: dict[str, Kernel] = {}
        for program in programs:
            for kernel in program.kernels:
                found.setdefault(kernel.text, kernel)
        return list(found.values())

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of a call of the program that computes values: `peak` is the sum of its workspace, its results, and
        the arrays that it holds ready (`constants`); `inputs` are the caller's."""
        return self._code.program.memory

    def explain(self) -> str:
        """On what this trace depends: types of its inputs, looks at values, and names outside the function."""
        lines = [f"({', '.join(f'{n.name}: {n.type}' for n in self.graph.inputs)}), {len(self.graph)} operations"]
        if self.extents is not None:
            lines += described(self.extents)
        lines += [f"guard: {guard.node.name} == {guard.value}   {guard.note}" for guard in self.guards]
        lines += [f"prints: {call.text}   {describe(call.place)}" for call in self.effects.printed]
        lines += [f"note: {notice}" for notice in self.notices]
        lines += [f"depends on: {path.name}" for path in self.environment.paths if not callable(path.expected)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self.graph)


def _array(source: Any) -> Any:
    return source._data if isinstance(source, Tensor) else source


def _requires(source: Any) -> bool:
    return isinstance(source, Tensor) and source._requires_grad


def _refuse(error: RetapeError, cotangents: Any, on_tensors: bool) -> Any:
    raise located(type(error)(error.message, *error.facts))
