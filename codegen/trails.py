"""Trace trees in native form: rows, forks, and the memory of the values that pass from segment to segment.

A segment is a `Part` laid into memory. Its results get places in the workspace when the rest of their trace is known,
and give them back behind the last segment that reads them; traces that part have the workspace to themselves from
there on. A trace that is added later may read what has no place that lasts until there: such a value is then also
saved to a place that nothing else uses, by new rows for the segment that computes it.

Walks may be under way while a tree grows. They take the rows that were there when they began: what is added is of a
new generation, and nothing is taken away.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from retape.ir import Graph

from .frames import Edition, Frame
from .links import NOTHING_SEEN, Link, Place, Stage
from .lowered import HostStep
from .memory import Free, rounded
from .native import trail
from .native.guide import guide
from .parts import Part, maker
from .stops import Allocation, Arrival, Drawing, Host, Stop

__all__ = ["Link", "Stage", "Trails"]


NO_SLOTS = np.zeros(0, np.int64)


class Trails:
    """The native form of one trace tree. `run` walks it; `lay` and `renew` make it grow, in one thread at a time."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.parts: dict[Hashable, Part] = {}
        self.size = 0  # bytes of workspace
        self.rows = 0
        self._places: dict[Hashable, Place] = {}
        self._owners: dict[Hashable, Stage] = {}
        self._bases: dict[Hashable, int] = {}
        self._given: list[int] = []  # bases of the inputs that a call gives, in order
        self._outputs: list[tuple[Any, ...]] | None = None  # shapes and dtypes that are allocated before a walk
        self._makers: list[Callable[[], Any]] = []
        self._bodies: dict[Hashable, list[Any]] = {}
        self._words: list[Any] = []  # operands, which rows point to
        self._stops: list[Stop] = []
        self._cells = 0  # where addresses of operands are put in a walk
        self._root: Stage | None = None
        self._frames: list[Frame] = []
        self._branches: dict[int, Stage] = {}  # by the addresses of their rows
        self.edition = Edition()

    # ---- values and places

    def part(self, key: Hashable, stored: int, make: Callable[[], Graph], varied: bool = False) -> Part:
        """The compiled form of a graph that `make` makes; graphs with equal keys are equal but for names. One of many
        that differ in extents alone is `varied`."""
        found = self.parts.get((stored, key))
        if found is None:
            found = self.parts[stored, key] = Part(make(), self.strict, stored, varied)
        return found

    def give(self, value: Hashable) -> None:
        """An input of the tree that each call gives, in the order of these calls."""
        self._given.append(self.enter(value))

    def enter(self, value: Hashable) -> int:
        """An input of the tree: its base."""
        base = self._base(value)
        self._places[value] = Place(base, 0, 0)
        return base

    def _base(self, key: Hashable) -> int:
        return self._bases.setdefault(key, trail.STATUS + 1 + len(self._bases))

    def _new_place(self, size: int) -> Place:
        """Memory that nothing else uses."""
        place = Place(trail.ARENA, self.size, size)
        self.size += rounded(size)
        return place

    # ---- growing

    def lay(self, parent: Stage | None, value: bytes, links: Sequence[Link]) -> list[Stage]:
        """Lay the segments of a trace behind `parent`, which goes on there where `value` is seen."""
        last: dict[Hashable, int] = {}
        for number, link in enumerate(links):
            last.update(dict.fromkeys(link.inputs, number))
        own = {export for link in links for export in link.exports}
        outer = [v for v in last if v not in own and (v not in self._places or self._places[v].base == trail.ARENA)]
        self._secure(outer, parent)
        taken = {(p.offset, p.offset + rounded(p.size)) for p in (self._places[v] for v in outer)}
        free = Free(taken)
        ending: dict[int, list[Place]] = {}
        for v in outer:
            ending.setdefault(last[v], []).append(self._places[v])
        stages: list[Stage] = []
        for number, link in enumerate(links):
            stage = Stage(link, parent, value, [self._places[v] for v in link.inputs])
            for export, buffer in zip(link.exports, link.part.stored, strict=False):
                place = self._places[export] = self._take(free, buffer.nbytes, stage)
                self._owners[export] = stage
                stage.targets.append(place)
                ending.setdefault(max(last.get(export, number), number), []).append(place)
            if link.look:
                stage.seen = self._take(free, link.look, stage)
                stage.targets.append(stage.seen)
                ending.setdefault(number, []).append(stage.seen)
            elif link.leaf is None:
                stage.seen = NOTHING_SEEN
            if link.part.scratch:
                stage.scratch = self._take(free, link.part.scratch, stage)
                ending.setdefault(number, []).append(stage.scratch)
            for place in ending.pop(number, ()):
                free.give(place.offset, rounded(place.size))
            stages.append(stage)
            parent, value = stage, link.value
        self.size = max(self.size, free.size)
        self._publish(stages)
        return stages

    def _take(self, free: Free, size: int, stage: Stage) -> Place:
        count = rounded(size)
        place = Place(trail.ARENA, free.take(count), size)
        stage.taken.append((place.offset, place.offset + count))
        return place

    def _publish(self, stages: list[Stage]) -> None:
        generation = self.edition.generation + 1
        self._build(stages)
        for stage, following in itertools.pairwise(stages):
            assert stage.fork is not None
            stage.fork.lead(following.value, following.address, generation)
        self._join(stages[0], generation)

    def _join(self, stage: Stage, generation: int) -> None:
        """Let new walks find a stage, and enter the new edition of the tree."""
        if stage.parent is None:
            self._root = stage
        else:
            assert stage.parent.fork is not None
            stage.parent.fork.lead(stage.value, stage.address, generation)
        assert self._root is not None
        outputs = [self._base(("output", i)) for i in range(len(self._outputs or ()))]
        slots = np.array([*self._given, *outputs], np.int64)
        self.edition = Edition(generation, self._root.address, len(self._given), slots, self._makers, self.size,
                               trail.STATUS + 1 + len(self._bases), self._cells)

    def _secure(self, values: Sequence[Hashable], stage: Stage | None) -> None:
        """Have values lie where nothing writes from where they are computed to the end of `stage`."""
        waiting = {value: self._places[value] for value in values}
        while waiting:
            assert stage is not None
            for value in [v for v in waiting if self._owners[v] is stage]:
                del waiting[value]
            for value, place in list(waiting.items()):
                if any(start < place.offset + place.size and place.offset < end for start, end in stage.taken):
                    del waiting[value]
                    owner = self._owners[value]
                    saved = self._places[value] = self._new_place(place.size)
                    owner.saves.append((saved, place))
                    self._rebuild(owner, [(saved.offset, saved.offset + rounded(saved.size))])
            stage = stage.parent

    def renew(self, stage: Stage, part: Part, exports: Sequence[Hashable]) -> None:
        """Give a stage that more is read of new rows."""
        more = []
        known = dict(zip(stage.link.exports, stage.targets, strict=False))
        targets = []
        for export, buffer in zip(exports, part.stored, strict=False):
            place = known.get(export)
            if place is None:
                place = self._places[export] = self._new_place(buffer.nbytes)
                self._owners[export] = stage
                more.append((place.offset, place.offset + rounded(place.size)))
            targets.append(place)
        if stage.seen is not None and stage.link.look:
            targets.append(stage.seen)
        if part.scratch > stage.scratch.size:
            stage.scratch = self._new_place(part.scratch)
            more.append((stage.scratch.offset, stage.scratch.offset + rounded(part.scratch)))
        stage.targets, stage.link.part, stage.link.exports = targets, part, exports
        self._rebuild(stage, more)

    def _rebuild(self, stage: Stage, more: list[tuple[int, int]]) -> None:
        stage.taken = [*stage.taken, *more]
        self._build([stage])
        self._join(stage, self.edition.generation + 1)

    # ---- rows

    def _build(self, stages: Sequence[Stage]) -> None:
        """Make the rows of stages, which lie in memory as a walk takes them, and forks with what these knew before."""
        rows: list[Any] = []
        ends: list[int] = []
        waiting: list[tuple[Stop, int]] = []
        for stage in stages:
            for step in self._steps(stage):
                if isinstance(step, Stop):
                    rows.append([trail.STOP, len(self._stops), 0, 0, 0, 0, 0, 0])
                    self._stops.append(step)
                    waiting.append((step, len(rows)))
                else:
                    rows += step
            ends.append(len(rows))
        table = np.array(rows, np.uint64)
        self.rows += len(rows)
        for stop, number in waiting:
            stop.resume = trail.row_address(table, number)
        for stage, begin, end in zip(stages, [0, *ends], ends, strict=False):
            stage.address = trail.row_address(table, begin)
            stage.keep += [table, stage.fork]  # walks may be there
            if stage.seen is not None:
                self._branches[trail.row_address(table, end - 1)] = stage
                stage.fork = trail.Fork(table, end - 1, stage.seen, 0, stage.fork)

    def _steps(self, stage: Stage) -> list[Any]:
        """Lists of rows, and stops."""
        link = stage.link
        found: list[Any] = []
        if link.actions:
            found.append(Drawing(link.actions))
        makers, arrival = self._arrival(stage) if link.leaf is not None else ([], None)
        if arrival is not None and makers:
            found.append(Allocation(arrival.bases, makers))
        found += self._body(stage)
        if arrival is not None:
            found.append(arrival)
        elif stage.seen is not None:
            found.append([trail.branch(*stage.seen)])
        return found

    def _body(self, stage: Stage) -> list[Any]:
        """The steps of a stage's part where it lies: lists of rows, and host steps. Equal ones are made once."""
        part = stage.link.part
        key = (part, tuple(stage.sources), tuple(stage.targets), stage.scratch, tuple(stage.saves))
        known = self._bodies.get(key)
        if known is not None:
            return known
        at = self._locations(stage)
        operands: list[int] = []
        found: list[Any] = []
        run: list[list[int]] = []
        for step in part.steps:
            if isinstance(step, HostStep):
                found += [run, Host(step, at)]
                run = []
            else:
                run.append([step.kernel, len(operands), len(step.buffers), step.ints.ctypes.data, step.extent,
                            step.grain, step.wake, self._new_cells(len(step.buffers))])
                operands += [word for buffer in step.buffers for word in at[buffer]]
        for (to, offset, size), (base, add) in self._copies(stage, at):
            run.append(trail.copy_row(len(operands), size, self._new_cells(2)))
            operands += [to, offset, base, add]
        found.append(run)
        words = np.array(operands or [0], np.int64)
        self._words.append(words)
        for rows in found:
            for row in rows if isinstance(rows, list) else ():
                row[1] = int(words.ctypes.data) + 8 * row[1]
        if not part.hosts:
            self._bodies[key] = found
        return found

    def _new_cells(self, count: int) -> int:
        """Cells for the addresses of a row's operands: how many bytes are before them."""
        first = self._cells
        self._cells += 1 + count
        return 8 * first

    def _locations(self, stage: Stage) -> dict[Any, tuple[int, int]]:
        """Base and offset of each buffer of a stage's part."""
        part = stage.link.part
        at = {part.status: (trail.STATUS, 0)}
        at.update((b, p[:2]) for b, p in zip(part.inputs, stage.sources, strict=True))
        at.update((b, p[:2]) for b, p in zip(part.stored, stage.targets, strict=True) if b.kind == "output")
        at.update((b, (trail.ARENA, stage.scratch.offset + offset)) for b, offset in part.offsets.items())
        at.update((b, (trail.NOTHING, int(c.ctypes.data))) for b, c in part.constants.items())
        at.update((b, (self._base(("host", i)), 0)) for i, b in enumerate(part.hosts))
        at.update((b, (self._base(("output", i)), 0)) for i, (b, _) in enumerate(part.fresh))
        return at

    def _copies(self, stage: Stage, at: dict[Any, tuple[int, int]]) -> list[tuple[Place, tuple[int, int]]]:
        """What is copied behind the steps: results that lie elsewhere, values that a leaf returns, saved values."""
        part = stage.link.part
        found = [(place, at[b]) for b, place in zip(part.stored, stage.targets, strict=True) if at[b] != place[:2]]
        found += [(to, place[:2]) for to, place in stage.saves]
        if stage.link.leaf is not None:
            for number, buffer in enumerate(self._returned(stage), len(part.fresh)):
                found.append((Place(self._base(("output", number)), 0, buffer.nbytes), at[buffer]))
        return [(place, source) for place, source in found if place.size]

    def _returned(self, stage: Stage) -> list[Any]:
        """Values of earlier segments that results of a leaf are, or are views of."""
        part = stage.link.part
        places = dict(zip(part.inputs, stage.sources, strict=True))
        return [b for b in part.buffers if b in places and places[b].base == trail.ARENA]

    def _arrival(self, stage: Stage) -> tuple[list[Any], Arrival]:
        """The end of a trace, and what makes its results if nothing is allocated for them before a walk."""
        part = stage.link.part
        returned = self._returned(stage)
        shapes = dict(zip(part.inputs, part.types, strict=True))
        kinds = [kind for _, kind in part.fresh] + [(shapes[b].shape, shapes[b].dtype.numpy) for b in returned]
        if self._outputs is None:
            self._outputs, self._makers = kinds, [maker(*kind) for kind in kinds]
        order = [b for b, _ in part.fresh] + returned
        places = dict(zip(part.inputs, stage.sources, strict=True))
        picks: list[tuple[str, Any]] = []
        for buffer in part.buffers:
            if buffer in order:
                picks.append(("output", order.index(buffer)))
            elif buffer in places:
                base = places[buffer].base
                picks.append(("given", self._given.index(base)) if base in self._given else ("held", base))
            elif buffer in part.constants:
                picks.append(("constant", part.constants[buffer]))
            else:
                picks.append(("held", self._base(("host", part.hosts.index(buffer)))))
        makers = [] if kinds == self._outputs else [maker(*kind) for kind in kinds]
        return makers, Arrival(stage.link.leaf, part, picks, [self._base(("output", i)) for i in range(len(makers))])

    # ---- running

    def run(
        self, edition: Edition, arrays: tuple[Any, ...], draw: Callable[[Any], Any] | None = None,
        missed: list[bytes] | None = None,
    ) -> tuple[Any, list[Any]] | None:
        """The leaf that a walk comes to, and its results; None where the path was never taken before: then `missed`
        takes the values that were looked at, the last of them new.

        `arrays` are the inputs that are given in this edition. `draw` is called with a segment's actions before it
        runs, and gives pairs of a base and an array. Raises the located errors of host steps.
        """
        try:
            frame = self._frames.pop()
        except IndexError:
            frame = Frame()
        if frame.edition is not edition:
            frame.fit(edition)
        follow, header, bases = guide().follow, frame.header, frame.bases
        given = (*arrays, *[make() for make in edition.makers]) if edition.makers else arrays
        try:
            number = follow(header, bases, edition.slots, given)
            while True:
                if number < 0:
                    frame.status[0] = 0
                    if missed is not None and number == trail.UNKNOWN:
                        missed[:] = self._looked_at(frame)
                    return None
                stop = self._stops[number]
                if isinstance(stop, Arrival):
                    return stop.leaf, stop.results(frame, given, len(arrays))
                stop.act(frame, draw)
                header[0] = stop.resume
                number = follow(header, bases, NO_SLOTS, ())
        finally:
            if frame.held:
                frame.held.clear()
            header[0] = edition.root
            self._frames.append(frame)

    def _looked_at(self, frame: Frame) -> list[bytes]:
        """The values on the way to the branch where a walk has stopped, and the one there; none where that is a part
        of a value."""
        stage = self._branches.get(int(frame.header[0]))
        if stage is None or stage.seen is None:
            return []
        base, offset, size = stage.seen
        found = [ctypes.string_at(int(frame.bases[base]) + offset, size) if stage.seen != NOTHING_SEEN else b""]
        while stage.parent is not None:
            found.append(stage.value)
            stage = stage.parent
        return found[::-1]
