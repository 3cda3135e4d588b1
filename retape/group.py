"""The traces of one signature in one kind of surroundings, and how a call finds the one that holds."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np

from retape.ir.errors import RetapeError
from retape.ir.once import building
from retape.ir.recipes import Recipe
from retape.tracer.environment import Environment
from retape.tracer.outside import GradOf
from retape.tracer.paths import described
from retape.tracer.randomness import snapshot
from retape.tracer.tensor import Tensor
from retape.tracer.trace import Recorded

from .branches import Branches
from .call import Call
from .effects import Setting
from .growth import Template
from .specialization import Specialization

__all__ = ["Group"]

LONG = 1000  # pieces of a trace
KEPT = 2**28  # bytes that what templates have made may take, about
OVERHEAD, OPERATION = 2**16, 2**12  # bytes of a piece of a program, and of each of its operations beside its result


class Group:
    """Traces that depend on the same surroundings and part at looks at values only.

    `run` gives the trace that holds and the leaves of its result; no trace where the path is new; None where the
    surroundings are others.
    """

    def __init__(self, recorded: Recorded, environment: Environment, leaves: list[Any], strict: bool) -> None:
        self.environment = environment
        self.grads = recorded.grads
        self.shared = recorded.shared
        self.views = recorded.views
        self.kind = _kind(recorded)
        self.traces: list[Specialization] = []
        self.strict = strict
        self.branches = Branches(strict)
        self.spent = False  # whether that its budget is has been said
        self._programs = 0  # how many there were when costs were last counted
        self.shown: dict[bool, dict[Specialization, Any]] = {}  # functions that `entry` has made
        self.captures: dict[Any, Any] = {}
        self.random: list[Any] = []
        self._last: Specialization | None = None
        self.templates: list[tuple[Template, tuple[int, ...]]] = []  # and the extents of this group's arguments
        self.counted = False  # whether values decide extents
        self.numbers = False  # whether there are numbers with formulas
        self._taught: list[tuple[Recorded, Specialization]] = []  # what a tree is made of again
        self._grown = 0
        self.add(recorded, leaves)

    def add(self, recorded: Recorded, leaves: list[Any]) -> Specialization | None:
        """Take up a trace; None where it doesn't belong here."""
        if not self._fits(recorded):
            return None
        known = Specialization(recorded, self.environment, leaves, self.strict)
        if not self.branches.add(recorded, known):
            return None
        here = Setting(leaves, {path: path.expected for path in self.environment.paths})
        for source in recorded.inputs:
            if isinstance(source, GradOf):
                self.captures.setdefault(source, described(here.get(source)))
        self._taken(recorded, known)
        return known

    def _fits(self, recorded: Recorded) -> bool:
        return (recorded.grads, recorded.shared, recorded.views) == (self.grads, self.shared, self.views) \
            and _kind(recorded) == self.kind

    def _taken(self, recorded: Recorded, known: Specialization) -> None:
        self.traces.append(known)
        if recorded.extents:
            self.counted = True
        self.numbers |= recorded.formulas is not None and recorded.formulas.numbers > 0
        if self.counted or recorded.formulas is not None:
            self._taught.append((replace(recorded, result=None, outputs=(), extra=()), known))
        self.random += recorded.random
        self._last = known

    def cost(self) -> float:
        """What its traces have cost: one each; of those that needed no new program, the share of their pieces that is
        new, where a thousand pieces count like a trace at least."""
        trails = self.branches.trails
        programs = 0 if trails is None else len(trails.parts)
        for known in reversed(self.traces):
            if known.price:
                break
            new, pieces = known.grown
            known.price = 1.0 if programs > self._programs or trails is None else new / min(pieces, LONG)
        self._programs = programs
        return sum(known.price if known.lean else max(known.price, 1.0) for known in self.traces)

    def over(self) -> Group:
        """A group like this one for other extents, as yet without traces."""
        other = copy.copy(self)
        other.traces, other.random, other.captures = [], [], dict(self.captures)
        other.branches, other.shown = Branches(self.strict), {}
        other._programs = 0
        other.templates, other._taught, other._grown, other._last = [], [], 0, None
        return other

    def take(self, recorded: Recorded, known: Specialization | None) -> bool:
        """Take up a trace that was made from one of other extents, or its beginning. False where it doesn't fit."""
        counted = bool(recorded.extents)
        if not self._fits(recorded) or not self.branches.add(recorded, known, counted):
            return False
        if not counted:
            assert known is not None
            self._taken(recorded, known)
        elif not self.random:
            self.random += recorded.random
        return True

    def kinds(self) -> list[Specialization]:
        """The traces that were taken, for this group or for others: all others differ from these in extents only."""
        return [*self.traces, *(template.known for template, _ in self.templates)]

    def _grow(self, seen: list[bytes]) -> bool:
        """Have the tree go on behind looks that saw these values. False where that takes a trace."""
        for template, extents in self.templates:
            made = template.at(extents, seen)
            if made is None:
                continue
            with building:
                if self.branches.leads(seen):  # another thread has been here
                    return True
                self._bound(made[0])
                if self.take(*made):
                    return True
        return False

    def _bound(self, recorded: Recorded) -> None:
        """Have the tree made anew from its traces where what grew has become too much."""
        self._grown += OVERHEAD + sum(OPERATION + node.type.numel * node.type.dtype.itemsize for node in
                                      recorded.graph.nodes if node.op.kind != "view")
        if self._grown > KEPT:
            self._grown = 0
            self.branches = Branches(self.strict)
            for shown in self.shown.values():
                shown.clear()
            for earlier, known in self._taught:
                self.branches.add(earlier, known)

    def run(self, call: Call, commit: bool = True) -> tuple[Specialization | None, list[Any]] | None:
        """See the class. Raises what the function would raise."""
        here = self._setting(call)
        if here is None:
            return None
        restore = snapshot(self.random) if self.random else None
        done = False
        try:
            found = self._found(here, commit, restore)
            done = commit and found is not None and found[0] is not None
            return found
        finally:
            if restore is not None and not done:
                restore()

    def _found(self, here: Setting, commit: bool, restore: Any) -> tuple[Specialization | None, list[Any]] | None:
        last = self._last
        single = len(self.traces) == 1 and not self.counted
        if self.numbers and not self._counted(here):
            return None
        if last is not None and last.apart(here) and last.fulfilled(here) and (
                (single and not last.looks) or (not self.counted and self._differentiable(here))):
            result = last.attempt(here, commit)
            if result is not None:
                return last, result
            if restore is not None:
                restore()
            here.drawn = None
        if single and not self.traces[0].looks:
            return None  # its arguments share memory that it writes to
        try:
            found = self._walked(here, restore)
        except RetapeError:
            if not any(trace.effects.printed for trace in self.traces):
                raise
            return None, []  # the eager call prints what comes before the error
        if found is None:
            return None, []
        known, results, drawn = found
        if not known.apart(here) or not known.fulfilled(here):
            return None
        self._last = known
        return known, known.finish(here, results, drawn, commit)

    def _counted(self, here: Setting) -> bool:
        """Whether what is computed of numbers can be, and fits."""
        try:
            for source in self.branches.sources:
                if isinstance(source, Recipe):
                    here.get(source)
        except (ArithmeticError, ValueError, TypeError):
            return False
        return True

    def _walked(self, here: Setting, restore: Any) -> tuple[Specialization, list[Any], dict[Any, Any]] | None:
        """What a walk finds in a tree that is grown for it where a template says how."""
        while True:
            missed: list[bytes] = []
            found = self.branches.walk(lambda source: _array(here.get(source)), restore, missed)
            if found is not None or not self.templates or not self._grow(missed):
                return found
            if restore is not None:
                restore()

    def _differentiable(self, here: Setting) -> bool:
        return any(isinstance(t := here.get(s), Tensor) and t._requires_grad for s in self.branches.sources)

    def _setting(self, call: Call) -> Setting | None:
        """What the sources stand for, draws aside; None where the traces don't hold for these surroundings."""
        leaves, found = call.leaves, self.environment.find()
        if found is None or any(found[path] is not leaves[position] for path, position in self.shared):
            return None
        here = Setting(leaves, found, call.given)
        for view, base in self.views:
            taken = here.get(view)._base
            if taken is None or taken[0] is not here.get(base):
                return None
        for owner, present in self.grads:
            if (here.get(owner)._grad is not None) != present:
                return None
        if any(described(here.get(source)) != kind for source, kind in self.captures.items()):
            return None
        return here


def _kind(recorded: Recorded) -> Any:
    return None if recorded.formulas is None or not recorded.formulas.numbers else recorded.formulas.kind()


def _array(source: Any) -> Any:
    return source._data if isinstance(source, Tensor) else source if isinstance(source, np.ndarray) \
        else np.asarray(source)
