"""Traces: one eager call of a function, recorded as a graph.

While a `Tracer` is active, every operation that passes `apply` is appended to its graph, and every look of Python at a
value becomes a guard. Changes of what lives outside happen as they do in eager code; the trace's effects tell how a
compiled call repeats them. What can't be compiled (arrays of unknown origin, say) is refused with the user's line, so
that no compiled function leaves it out in silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from retape.ir import Graph
from retape.ir.collection import rarely
from retape.ir.errors import RetapeError, UnsupportedOp
from retape.ir.quantities import TRACKED
from retape.ir.types import weak_type

from .apply import located
from .changes import Change, changes, undo
from .engine import barrier
from .environment import Environment
from .formulas import Formulas, formulas_of, seen_lengths, standing_in
from .notices import Watch
from .numbers import F64, Number, Numbers, Source, emit, known
from .outside import DataBind, GradBind, Write
from .paths import Path
from .printing import Printed, muted, printed
from .randomness import drawn_since, foreign_state
from .reads import Reads
from .reckoning import Real
from .state import state
from .tensor import Tensor, wrap
from .tracer import DETACH, Tracer, layout
from .tree import changeable, flatten, unflatten


@dataclass(frozen=True)
class Recorded:
    """A finished trace: the graph, what its inputs stand for, and the result of the eager call.

    `inputs` gives, for each graph input, the position of an argument leaf, a `Path`, a `GradOf`, or a `Draw`. `outputs`
    are the result's leaves; the tensors among them and then those of `extra` are the graph's outputs. `writes` go with
    the graph's effects; `grads` tells for which tensors `.grad` was there when it was looked at; `random` what was done
    with generators, `looks` how many operations and such actions there were at each guard.
    """

    graph: Graph
    inputs: tuple[Any, ...]
    result: Any
    outputs: tuple[Any, ...]
    extra: tuple[Tensor, ...]
    writes: tuple[Write, ...]
    binds: tuple[GradBind | DataBind, ...]
    grads: tuple[tuple[Any, bool], ...]
    looks: tuple[tuple[int, int], ...]
    extents: tuple[int, ...]  # the guards that are looks at extents
    formulas: Formulas | None  # of the extents, where the trace holds for others, too
    random: tuple[Any, ...]
    changes: tuple[Change, ...]
    printed: tuple[Printed, ...]
    shared: tuple[tuple[Path, int], ...]  # paths that lead to an argument, and its position
    barred: dict[int, RetapeError]  # outputs from which backward raises
    notices: tuple[str, ...]  # changes that no later call repeats
    constant: frozenset[int]  # outputs without a history (a trace that is taken back takes it from what was written)
    views: tuple[tuple[Any, Any], ...]  # sources of tensors that have to be views of others


@rarely
def trace(
    function: Callable[..., Any], name: str, of: str, leaves: Sequence[tuple[str, Any]],
    rebuild: Callable[[list[Any]], Any], environment: Environment, commit: bool = True,
    varying: dict[int, tuple[bool, ...]] | None = None, check: Callable[[Recorded], None] | None = None,
    numbers: Numbers | None = None,
) -> Recorded:
    """Call `function` eagerly and record it as a graph called `name`, of the function `of`.

    `leaves` are the named argument leaves; `rebuild` makes (args, kwargs) of what stands for them: tensors as they
    are, arrays and floats as tensors over them. Raises what the function raises, and the tracer's own refusals;
    nothing outside has been changed then, nor is it without `commit`. With `varying` Python is given formulas of
    extents: of those of leaves that it marks, and of those that values decide; also of numbers that are inputs of
    the environment. `check` may raise where what was recorded isn't right.
    """
    formulas = formulas_of(leaves, varying, environment)
    tracer = Tracer(environment, formulas, numbers)
    given: list[Any] = []
    for position, (label, leaf) in enumerate(leaves):
        given.append(_enter(tracer, label, leaf, position))
    previous, state.tracer = state.tracer, tracer
    foreign = foreign_state()
    try:
        watch, reads = Watch(environment), Reads(environment)
        args, kwargs = rebuild(given)
        held = [(c, c.copy() if isinstance(c, (list, dict)) else dict(vars(c)))
                for c in changeable([*args, *kwargs.values()])]
        with muted(0 if commit else math.inf), nullcontext() if formulas is None else seen_lengths(), \
                standing_in(formulas, environment):
            result = function(*args, **kwargs)
        if drawn_since(foreign):
            raise located(UnsupportedOp("numbers drawn from Python's or NumPy's own generator can't be recorded",
                                        ("why", "a compiled call would see the same numbers again"),
                                        fix="draw with `rt.rand` and the like, or outside the compiled function"))
        recorded = _recorded(tracer, name, of, result, leaves, held, watch)
        if check is not None:
            check(recorded)
        reads.keep(tracer.entered, [tensor for tensor, *_ in tracer.journal.memory.values()])
        if not commit:
            tracer.journal.undo()
            undo(environment)
        return recorded
    except BaseException:
        tracer.journal.undo()
        undo(environment)
        raise
    finally:
        state.tracer = previous
        tracer.finish()


def _recorded(
    tracer: Tracer, name: str, of: str, result: Any, arguments: Sequence[tuple[str, Any]],
    held: Sequence[tuple[Any, Any]], watch: Watch,
) -> Recorded:
    """The finished trace: results, then tensors that end up outside, and writes."""
    given = flatten(result)[0]
    leaves = [out.output() if isinstance(out, Number) and out._live() else out for out in given]
    tensors = [out for out in leaves if isinstance(out, Tensor)]
    extra, binds = _binds(tracer, len(tensors))
    changed = changes(tracer, tracer.environment, held, extra, len(tensors))
    shown = printed(tracer, extra, len(tensors))
    effects, writes = tracer.effects()
    views = tuple((tracer.source_of(view), tracer.source_of(base)) for view, base in tracer.views.values())
    for position, (tensor, _, _, _) in enumerate(tracer.journal.memory.values()):
        _, grad_fn, _ = tracer.journal.histories[id(tensor)]
        if tensor._grad_fn is not grad_fn:
            writes[position] = replace(writes[position], output=len(tensors) + len(extra))
            extra.append(tensor)
    barred = {i: error for i, out in enumerate((*tensors, *extra))
              if out._requires_grad and (error := barrier(out, tracer.first)) is not None}
    nodes = tuple(map(tracer.node_of, (*tensors, *extra)))
    nodes = tuple(tracer.builder.append(DETACH, (node,), (), node.type, node.origin) if i in barred else node
                  for i, node in enumerate(nodes))
    graph = Graph(name, tuple(tracer.inputs), tuple(tracer.builder.nodes), nodes, "trace", of,
                  guards=tuple(tracer.guards), effects=effects)
    formulas = tracer.formulas
    if formulas is not None:
        leaves = [formulas.kept(leaf) if type(leaf) in TRACKED and formulas.extents.varies(leaf) else leaf
                  for leaf in leaves]
        formulas.close(tracer)
    if formulas is not None or tracer.numbers is not None:
        result = unflatten(flatten(result)[1], list(map(known, given)))
    for out in (*tensors, *extra):
        out._traced = None
    shared = tuple((path, i) for i, (_, leaf) in enumerate(arguments)
                   if isinstance(leaf, (Tensor, np.ndarray))
                   and (path := tracer.environment.path_of(leaf)) is not None)
    constant = frozenset(i for i, out in enumerate((*tensors, *extra)) if not out._requires_grad or i in barred)
    return Recorded(graph, tuple(tracer.sources), result, tuple(leaves), tuple(extra), tuple(writes), tuple(binds),
                    tuple(tracer.grads), tuple(tracer.looks), tuple(tracer.extents), tracer.formulas,
                    tuple(tracer.random), tuple(changed), shown, shared, barred, watch.changed(), constant, views)


def _binds(tracer: Tracer, first: int) -> tuple[list[Tensor], list[GradBind | DataBind]]:
    """Tensors of the trace that are now the `.grad` (or the memory) of others; outputs from number `first` on."""
    extra: list[Tensor] = []
    binds: list[GradBind | DataBind] = []
    for tensor, before in tracer.journal.grads.values():
        now, owner = tensor._grad, tracer.source_of(tensor)
        if now is before and id(tensor) not in tracer._set:
            continue
        if now is None or not tracer.made(now):
            binds.append(GradBind(owner, None, now if now is None else tracer.source_of(now)))
            continue
        binds.append(GradBind(owner, first + len(extra)))
        extra.append(now)
    for tensor, _ in tracer.journal.data.values():
        binds.append(DataBind(tracer.source_of(tensor), first + len(extra)))
        extra.append(tensor)
    return extra, binds


def _enter(tracer: Tracer, label: str, leaf: Any, position: int) -> Any:
    """The object that stands for an argument leaf in the traced call."""
    if isinstance(leaf, Tensor):
        if leaf._traced is None or leaf._traced[0] is not tracer:  # else it is given twice
            node = tracer.add_input(label, layout(leaf._data), position)
            if tracer.formulas is not None:
                tracer.formulas.enter(node, position)
            tracer.bind(leaf, node, position)
        return leaf
    if isinstance(leaf, np.ndarray):
        if id(leaf) not in tracer._roots:
            out = wrap(leaf)
            tracer._roots[id(leaf)] = (leaf, out)
            node = tracer.add_input(label, layout(leaf), position)
            if tracer.formulas is not None:
                tracer.formulas.enter(node, position)
            tracer.bind(out, node, position)
        return tracer._roots[id(leaf)][1]
    if isinstance(leaf, float):
        node = tracer.add_input(label, weak_type(float), position)
        if tracer.numbers is None:  # Python is to have the float itself
            tracer.guard(node, leaf)
            return leaf
        tracer.numbers.made = True
        return Real(tracer, leaf, emit(tracer, "cast", (node,), (F64,)), source=Source(node, leaf))
    return leaf if tracer.formulas is None else tracer.formulas.given.get(position, leaf)
