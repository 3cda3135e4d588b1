"""Segments of a trace tree: what is to be laid, and what is laid."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .native import trail
from .parts import Part

__all__ = ["NOTHING_SEEN", "NO_PLACE", "Link", "Place", "Stage"]


class Place(NamedTuple):
    """Where a value lies: a base, bytes from there, and how many."""

    base: int
    offset: int
    size: int


NO_PLACE = Place(trail.ARENA, 0, 0)
NOTHING_SEEN = Place(trail.STATUS, 0, 8)  # of an empty value: 0 there, as no bytes are taken for


@dataclass(slots=True)
class Link:
    """A segment to be laid: `inputs` and `exports` are values, known by their keys; `look` the bytes of the value that
    is looked at behind it, `value` the one that leads to the next segment. The last of a trace has a `leaf`."""

    part: Part
    inputs: Sequence[Hashable]
    exports: Sequence[Hashable]
    look: int = 0
    value: bytes = b""
    actions: Any = None
    leaf: Any = None


@dataclass(slots=True, eq=False)
class Stage:
    """A segment that is laid. `value` leads to it from `parent`; `taken` is all that it writes in the workspace."""

    link: Link
    parent: Stage | None
    value: bytes
    sources: list[Place]
    targets: list[Place] = field(default_factory=list)
    seen: Place | None = None
    scratch: Place = NO_PLACE
    saves: list[tuple[Place, Place]] = field(default_factory=list)
    taken: list[tuple[int, int]] = field(default_factory=list)
    address: int = 0
    fork: trail.Fork | None = None
    keep: list[Any] = field(default_factory=list)
