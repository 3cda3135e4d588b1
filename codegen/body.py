"""The body of a kernel: statements placed at loop levels, and the loops written around them.

Level -1 is the prologue, level d the body of loop d. A kernel over rows has several **sections**: loops over a row's
elements that run one after the other inside the loops over rows, with statements on single rows between them. A loop
that is cut (`pieces.py`) is written once for each part, with the lines that hold there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from .loops import Choice, Nest

__all__ = ["BLOCK", "SHORT", "Body"]

BLOCK = 1024
SHORT = 32


@dataclass(slots=True)
class _Section:
    """Lines by loop level, before and after the loops inside it."""

    before: dict[float, list[str | Choice]] = field(default_factory=dict)
    after: dict[float, list[str | Choice]] = field(default_factory=dict)

    def reaches(self, level: float) -> bool:
        """Whether there is anything to do at a level or inside it."""
        return any(known >= level for lines in (self.before, self.after) for known in lines)


class Body:
    """A kernel's statements under construction, and its integer parameters."""

    def __init__(self, nest: Nest) -> None:
        self.nest = nest
        self.depth = len(nest.extents)
        self.block = self.depth - 1.5  # the level of a block: between the innermost loop and the one around it
        # short rows get their extent in the text, so that the loop over them is unrolled
        self.short = self.depth > 1 and nest.extents[-1] <= SHORT
        self.ints: list[int] = []
        self._int_names: dict[tuple[str, int, int], str] = {}
        self._sections = [_Section()]
        self._part: dict[int, int] = {}  # which part of a loop that is cut is being written

    def section(self, number: int) -> _Section:
        while number >= len(self._sections):
            self._sections.append(_Section())
        return self._sections[number]

    def at(self, level: float, line: str | Choice, section: int = 0) -> None:
        """Add a line before the loops inside `level`. Levels outside the body of a row belong to no section."""
        self.section(section if level >= self.nest.rows - 1 else 0).before.setdefault(level, []).append(line)

    def behind(self, level: float, line: str, section: int = 0) -> None:
        """Add a line after the loops inside `level`."""
        self.section(section if level >= self.nest.rows - 1 else 0).after.setdefault(level, []).append(line)

    def first(self, line: str) -> bool:
        """Let the kernel begin with a line; False where it does already."""
        prologue = self._sections[0].before.setdefault(-1, [])
        if line in prologue:
            return False
        prologue.insert(0, line)
        return True

    def integer(self, kind: str, owner: int, dim: int, value: int) -> str:
        """The parameter that holds an extent or a stride."""
        name = self._int_names.get((kind, owner, dim))
        if name is None:
            name = self._int_names[kind, owner, dim] = f"k{len(self.ints)}"
            self.ints.append(value)
        return name

    def extent(self, dim: int) -> str:
        """The text of a loop's extent."""
        value = self.nest.extents[dim]
        return str(value) if self.short and dim == self.depth - 1 else self.integer("e", 0, dim, value)

    def lines(self) -> list[str]:
        """All statements inside their loops."""
        return self._inside(-1, self._sections[0])

    def _picked(self, lines: list[str | Choice]) -> list[str]:
        """Lines as they are in the present part of the loops."""
        return [line if isinstance(line, str) else line.texts[tuple(self._part[at] for at in line.levels)]
                for line in lines]

    def _inside(self, level: int, section: _Section) -> list[str]:
        """What stands inside the loop at `level`."""
        sections = self._sections if level == self.nest.rows - 1 else [section]
        lines: list[str] = []
        for part in sections:
            lines += self._picked(part.before.get(level, []))
            if part.reaches(level + 0.5):
                lines += self._parts(level + 1, part)
            lines += self._picked(part.after.get(level, []))
        return lines

    def _parts(self, level: int, section: _Section) -> list[str]:
        """One loop, or one after the other for the parts of one that is cut."""
        first, last = ("lo", "hi") if level == 0 else ("0", self.extent(level))
        cuts = self.nest.cuts[level]
        if not cuts:
            return self._loop(level, section, first, last)
        lines: list[str] = []
        names = [first, *(self.integer("b", level, number, cut) for number, cut in enumerate(cuts)), last]
        for number, (start, end) in enumerate(pairwise(names)):
            self._part[level] = number
            if level == 0:  # a share of the range may begin and end in any part
                low, high, start, end = start, end, f"f0_{number}", f"l0_{number}"
                lines.append(f"{start} = lo if lo > {low} else {low}" if number else f"{start} = lo")
                lines.append(f"{end} = hi if hi < {high} else {high}" if number < len(cuts) else f"{end} = hi")
            lines += self._loop(level, section, start, end)
        return lines

    def _loop(self, level: int, section: _Section, first: str, last: str) -> list[str]:
        """A loop with what stands inside it, in blocks where a variable accumulates in it."""
        if level < self.depth - 1 or self.block not in section.before:
            return [f"for i{level} in range({first}, {last}):", *_indented(self._inside(level, section))]
        start = f"j{level}"
        end = f"{start} + {BLOCK} if {start} + {BLOCK} < {last} else {last}"
        return [
            f"for {start} in range({first}, {last}, {BLOCK}):",
            *_indented([
                *self._picked(section.before[self.block]),
                f"for i{level} in range({start}, {end}):",
                *_indented(self._inside(level, section)),
                *self._picked(section.after.get(self.block, [])),
            ]),
        ]  # fmt: skip


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
