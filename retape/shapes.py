"""One trace for all extents: templates, from which the traces of further calls are made without a trace.

Where a signature differs from earlier ones by extents only, those that differ are symbols of its trace: Python is given
formulas (`retape.ir.extents`), and what it looks at in them becomes guards. The trace with its formulas is a template.
For other extents that fulfil the guards, the formulas' values are put into it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from retape.ir import same_graph
from retape.ir.recipes import LIMIT
from retape.tracer.tensor import Tensor
from retape.tracer.trace import Recorded

from .call import Call
from .group import Group
from .growth import Template, fill
from .specialization import Specialization

__all__ = ["Template", "Templates"]

KEPT = 8  # earlier signatures that a new one is compared with


def _extents(part: Any) -> tuple[int, ...] | None:
    """The shape in the key of a row-major tensor or array; an int counts as one extent."""
    if isinstance(part, tuple) and part:
        if isinstance(part[0], np.dtype) and part[2] is None:
            shape: tuple[int, ...] = part[1]
            return shape
        if part[0] is int:
            return part[1:]
    return None


def pattern_of(key: Sequence[Any]) -> Hashable:
    """What two calls have in common that differ by extents and ints only."""
    return tuple(part if (shape := _extents(part)) is None else (part[0], len(shape), *part[3:]) for part in key)


def extents_of(key: Sequence[Any]) -> tuple[int, ...]:
    """The extents and ints in a key, in order."""
    return tuple(extent for part in key for extent in _extents(part) or ())


def _kinds(key: Sequence[Any]) -> Iterator[bool]:
    """Whether each of them is an int."""
    for part in key:
        shape = _extents(part)
        if shape is not None:
            yield from (part[0] is int for _ in shape)


class Templates:
    """The templates of one function, by what its signatures have in common."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, list[tuple[int, ...]]] = {}
        # with the groups that were made for other extents
        self._made: dict[Hashable, list[tuple[Template, Group, dict[tuple[int, ...], Group]]]] = {}
        self._first: dict[Hashable, tuple[tuple[int, ...], Group]] = {}  # the first trace without formulas

    def varying(self, call: Call) -> dict[int, tuple[bool, ...]]:
        """For the leaves of a call's arguments, which of their extents have been others before."""
        places = set(self._symbols(call.key))
        found: dict[int, tuple[bool, ...]] = {}
        place = 0
        for position, leaf in enumerate(call.leaves):
            data = leaf._data if isinstance(leaf, Tensor) else leaf
            count = data.ndim if isinstance(data, np.ndarray) and data.flags.c_contiguous else int(type(leaf) is int)
            if places and count:
                found[position] = tuple(place + dim in places for dim in range(count))
                place += count
        return found if places else {}

    def _symbols(self, key: Sequence[Any]) -> list[int]:
        """The places of extents and ints that have been others before. Extents of 0 and 1 are traces of their own, and
        so are ints beyond 64 bits."""
        seen = self._seen.get(pattern_of(key), ())
        return [i for i, (e, number) in enumerate(zip(extents_of(key), _kinds(key), strict=True))
                if (-LIMIT <= e < LIMIT if number else e > 1) and any(other[i] != e for other in seen)]

    def check(self, call: Call, recorded: Recorded) -> None:
        """Raises `ValueError` where the first trace is another than formulas say: Python has told extents from ints."""
        first = self._first.get(pattern_of(call.key))
        if first is None or recorded.looks or recorded.formulas is None or recorded.formulas.numbers:
            return
        extents, group = first
        formulas = recorded.formulas
        filled = formulas.extents.at(formulas.values([extents[i] for i in self._symbols(call.key)]))
        if filled is not None and extents_of(call.key) != extents and group.environment.holds() \
                and not group.traces[0].guards \
                and not same_graph(group.traces[0].graph, fill(recorded.graph, formulas.rows, formulas.types, filled)):
            raise ValueError("the first trace is another")

    def learn(self, call: Call, recorded: Recorded, known: Specialization, group: Group) -> None:
        """Take note of a trace; with formulas it is a template."""
        pattern, extents = pattern_of(call.key), extents_of(call.key)
        symbols = self._symbols(call.key)
        if recorded.formulas is not None and (symbols or recorded.formulas.looks):
            template = Template(recorded, known, extents, symbols)
            group.templates.append((template, extents))
            if symbols:
                self._made.setdefault(pattern, []).insert(0, (template, group, {template.shape(extents): group}))
        elif recorded.formulas is None:
            self._first.setdefault(pattern, (extents, group))
        seen = self._seen.setdefault(pattern, [])
        if extents not in seen:
            seen.append(extents)
            del seen[:-KEPT]

    def fill(self, call: Call) -> list[Group]:
        """Groups for a signature that is new, from templates."""
        found: list[Group] = []
        extents = extents_of(call.key)
        for template, group, homes in self._made.get(pattern_of(call.key), ()) if self._made else ():
            if not group.environment.holds():
                continue
            known = homes.get(template.shape(extents)) if template.fits(extents) else None
            if known is not None:
                if known not in found:
                    found.append(known)
                continue
            if (made := template.at(extents)) is None:
                continue
            home = next((g for g in found if g.environment is group.environment and g.take(*made)), None)
            if home is None:
                home = group.over()
                if not home.take(*made):
                    continue
                found.append(home)
            home.templates.append((template, extents))
            homes[template.shape(extents)] = home
        return found
