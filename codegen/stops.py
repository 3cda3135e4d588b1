"""What Python does where a walk through a trace tree stops: draws, host steps, results of other shapes, the end."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .frames import Frame
from .lowered import HostStep
from .parts import Part
from .program import host_result
from .views import View

__all__ = ["Allocation", "Arrival", "Drawing", "Host", "Stop"]


class Stop:
    """A stop. The walk goes on at `resume`, but behind the end of a trace."""

    resume = 0

    def act(self, frame: Frame, draw: Callable[[Any], Any] | None) -> None:
        raise NotImplementedError


class Drawing(Stop):
    """A segment begins with actions on generators."""

    def __init__(self, actions: Any) -> None:
        self.actions = actions

    def act(self, frame: Frame, draw: Callable[[Any], Any] | None) -> None:
        assert draw is not None
        for base, array in draw(self.actions):
            frame.put(base, array)


class Allocation(Stop):
    """The results of a trace are others than those that are allocated before a walk."""

    def __init__(self, bases: Sequence[int], makers: Sequence[Callable[[], Any]]) -> None:
        self.made = list(zip(bases, makers, strict=True))

    def act(self, frame: Frame, draw: Callable[[Any], Any] | None) -> None:
        for base, make in self.made:
            frame.put(base, make())


class Host(Stop):
    """An operation that runs its eager form. `at` tells base and offset of each buffer."""

    def __init__(self, step: HostStep, at: dict[Any, tuple[int, int]]) -> None:
        self.step = step
        self.operands = [(o, at[o.buffer]) if isinstance(o, View) else (o, None) for o in step.operands]
        self.base = at[step.result][0]

    def act(self, frame: Frame, draw: Callable[[Any], Any] | None) -> None:
        bases = frame.bases
        operands = [o if place is None else _array(o, int(bases[place[0]]) + place[1]) for o, place in self.operands]
        with np.errstate(all="ignore"):
            result = host_result(self.step.node, operands)
        frame.put(self.base, result if result.flags.owndata else result.copy())


class Arrival(Stop):
    """The end of a trace. `picks` tells where the arrays are that its results show, in the order of the part's
    `buffers`: allocated (its number), given (its position), held by the frame (its base), or a constant.

    `bases` are those of the allocated arrays, if they are allocated at a stop of their own.
    """

    def __init__(self, leaf: Any, part: Part, picks: list[tuple[str, Any]], bases: list[int]) -> None:
        self.leaf = leaf
        self.part = part
        self.picks = picks
        self.bases = bases
        self._simple = not bases and part.plain and all(pick == ("output", i) for i, pick in enumerate(picks))

    def results(self, frame: Frame, given: tuple[Any, ...], first: int) -> list[Any]:
        """The results. Of `given`, those from `first` on are the arrays that were allocated before the walk."""
        if self._simple:
            return list(given[first:])
        values = []
        for kind, what in self.picks:
            if kind == "output":
                values.append(frame.held[self.bases[what]] if self.bases else given[first + what])
            else:
                values.append(given[what] if kind == "given" else frame.held[what] if kind == "held" else what)
        return [output.take(values) for output in self.part.results]


def _array(view: View, address: int) -> Any:
    """The array that a view shows of a buffer at an address."""
    dtype = view.buffer.dtype.numpy
    if 0 in view.shape:
        return np.empty(view.shape, dtype)
    start: Any = (ctypes.c_char * dtype.itemsize).from_address(address + view.offset * dtype.itemsize)
    return as_strided(np.frombuffer(start, dtype), view.shape, tuple(s * dtype.itemsize for s in view.strides))
