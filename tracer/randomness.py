"""Generators of random numbers, and how a trace repeats their draws.

A draw depends on its generator and on nothing that is computed, so it enters a trace as an input that is drawn anew at
the beginning of each call, in the order in which eager code draws.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from retape.ir.extents import plain

from .state import state

__all__ = ["Draw", "Generator", "Made", "Seeded", "default_generator", "drawn_since", "foreign_state", "perform",
           "snapshot"]


class Generator:
    """A source of random numbers that can be seeded."""

    def __init__(self, seed: int | None = None) -> None:
        self._seed = seed
        if state.tracer is not None:
            state.tracer.random.append(Made(self, seed))

    @cached_property
    def state(self) -> np.random.Generator:
        """NumPy's generator, made at the first draw (NumPy loads its random module only then)."""
        return np.random.default_rng(self._seed)

    def manual_seed(self, seed: int) -> Generator:
        if state.tracer is not None:
            state.tracer.random.append(Seeded(self, seed))
            state.tracer.journal.before_draw(self)
        self.state = np.random.default_rng(seed)
        return self


default_generator = Generator()


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """A draw from `generator`: `draw` gets NumPy's generator and the size, and gives the array."""

    generator: Generator
    draw: Callable[[np.random.Generator, tuple[int, ...]], Any]
    size: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Seeded:
    """A generator is seeded."""

    generator: Generator
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A generator is made in the call."""

    generator: Generator
    seed: int | None


Action = Draw | Seeded | Made


def perform(actions: Iterable[Action], made: dict[Generator, Generator] | None = None) -> dict[Action, Any]:
    """Repeat what a trace did with generators; gives the arrays that were drawn. Those made in it are made anew, and
    noted in `made`."""
    made = {} if made is None else made
    drawn: dict[Action, Any] = {}
    for action in actions:
        generator = made.get(action.generator, action.generator)
        if isinstance(action, Draw):
            drawn[action] = action.draw(generator.state, plain(action.size))
        elif isinstance(action, Seeded):
            generator.manual_seed(action.seed)
        else:
            made[action.generator] = Generator(action.seed)
    return drawn


def snapshot(actions: Sequence[Action]) -> Callable[[], None]:
    """A function that puts the generators of these actions back to where they are now."""
    inner = {action.generator for action in actions if isinstance(action, Made)}
    kept = [(g, g.state, g.state.bit_generator.state) for g in {a.generator for a in actions} - inner]

    def restore() -> None:
        for generator, numpy, position in kept:
            numpy.bit_generator.state = position
            generator.state = numpy

    return restore


def is_generator(value: Any) -> bool:
    """Whether a value is a generator of NumPy, whose module is loaded only when it is wanted."""
    module = sys.modules.get("numpy.random")
    return module is not None and isinstance(value, module.Generator)


def foreign_state() -> Any:
    """Where Python's and NumPy's own global generators stand: numbers drawn from them can't be recorded."""
    found: list[Any] = [random.getstate()]
    module = sys.modules.get("numpy.random")
    if module is not None:
        found += _place(module)
    return found


def _place(generator: Any) -> list[Any]:
    """Where a generator of NumPy's older kind stands."""
    _, keys, position, *rest = generator.get_state(legacy=True)
    return [keys.tobytes(), position, *rest]


def drawn_since(before: Any) -> bool:
    """Whether Python's or NumPy's own generators have moved on from where they stood."""
    now = foreign_state()
    if now == before:
        return False
    module = sys.modules["numpy.random"] if len(now) > len(before) else None
    if module is None or now[:1] != before:
        return True
    # NumPy's was loaded meanwhile, maybe by a library that wasn't there before: it is where its seed has put it, or not
    own = module.get_bit_generator()
    return own.seed_seq is None or now[1:] != _place(module.RandomState(type(own)(own.seed_seq)))
