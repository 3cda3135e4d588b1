"""The body of a kernel: statements placed at loop levels, and the loops written around them.

Level -1 is the prologue, level d the body of loop d. A kernel over rows has several **sections**: loops over a row's
elements that run one after the other inside the loops over rows, with statements on single rows between them. A loop
that is cut (`pieces.py`) is written once for each part, with the lines that hold there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .loops import Choice, Nest, parts

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

    def __init__(self, nest: Nest, sections: int) -> None:
        self.nest = nest
        self.depth = len(nest.extents)
        self._first = nest.rows - 1  # the level from which on lines belong to a section
        self.block = self.depth - 1.5  # the level of a block: between the innermost loop and the one around it
        # short rows get their extent in the text, so that the loop over them is unrolled
        self.short = self.depth > 1 and nest.extents[-1] <= SHORT
        self.ints: list[int] = []
        self._int_names: dict[tuple[str, int, int], str] = {}
        self._sections = [_Section() for _ in range(sections)]
        self._part: dict[int, int | None] = {}  # the part of a loop that is cut that is being written; None: short ones
        self._shared: dict[str, str] = {}  # variables of a loop that short parts share

    def at(self, level: float, line: str | Choice, section: int = 0) -> None:
        """Add a line before the loops inside `level`. Levels outside the body of a row belong to no section."""
        self._sections[section if level >= self._first else 0].before.setdefault(level, []).append(line)

    def behind(self, level: float, line: str, section: int = 0) -> None:
        """Add a line after the loops inside `level`."""
        self._sections[section if level >= self._first else 0].after.setdefault(level, []).append(line)

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
        return [line if isinstance(line, str) else self._chosen(line) for line in lines]

    def _chosen(self, line: Choice) -> str:
        """A line as it is in the present part. Where short parts share a loop, all their texts are computed, at places
        where each holds, and one is selected: branches would take LLVM longer than all the rest."""
        at, count = self.depth - 1, len(self.nest.cuts[self.depth - 1]) + 1
        if self._part.get(at) is not None or at not in line.levels:
            return line.texts[self._place(line, -1)]
        texts = [line.texts[self._place(line, part)] for part in range(count)]
        name, chain, end = texts[0].partition(" = ")[0], "", count
        for start in reversed(range(count)):
            if start and texts[start - 1] == texts[start]:
                continue
            text = texts[start].partition(" = ")[2]
            if "[" in text:
                text = re.sub(rf"\bi{at}\b", self._held(start, end), text)
            chain = f"select({self._below(end - 1)}, {text}, {chain})" if chain else text
            end = start
        return f"{name} = {chain}"

    def _held(self, start: int, end: int) -> str:
        """A variable for the nearest place to the present one in some parts of the innermost loop."""
        at = self.depth - 1
        text = f"rmax(i{at}, {self._bound(at, start - 1)})" if start else f"i{at}"
        if end <= len(self.nest.cuts[at]):
            text = f"rmin({text}, {self._bound(at, end - 1)} - 1)"
        return self._shared.setdefault(text, f"h{len(self._shared)}")

    def _below(self, cut: int) -> str:
        """A variable that tells whether the present place lies before one at which the innermost loop is cut."""
        text = f"i{self.depth - 1} < {self._bound(self.depth - 1, cut)}"
        return self._shared.setdefault(text, f"h{len(self._shared)}")

    def _place(self, line: Choice, innermost: int) -> tuple[int, ...]:
        """Which parts of the loops a line is wanted for; short parts of the innermost that share a loop are named."""
        return tuple([innermost if part is None else part for part in map(self._part.__getitem__, line.levels)])

    def _bound(self, level: int, number: int) -> str:
        """The place at which a loop is cut."""
        return self.integer("b", level, number, self.nest.cuts[level][number])

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
        """One loop, or one after the other for the parts of one that is cut; many short parts share one loop."""
        first, last = ("lo", "hi") if level == 0 else ("0", self.extent(level))
        cuts = self.nest.cuts[level]
        if not cuts:
            return self._loop(level, section, first, last)
        names = [first, *(self._bound(level, number) for number in range(len(cuts))), last]
        lines: list[str] = []
        shared: list[tuple[str, str]] = []
        for part, end, own in parts(cuts, self.nest.extents[level], level == self.depth - 1):
            start, stop = names[part], names[end]
            if level == 0:  # a share of the range may begin and end in any part
                low, high, start, stop = start, stop, f"f0_{part}", f"l0_{part}"
                lines.append(f"{start} = lo if lo > {low} else {low}" if part else f"{start} = lo")
                lines.append(f"{stop} = hi if hi < {high} else {high}" if end <= len(cuts) else f"{stop} = hi")
            if own:
                self._part[level] = part
                lines += self._loop(level, section, start, stop)
            else:
                shared.append((start, stop))
        if shared:
            self._part[level] = None
            lines.append(f"for e in range({len(shared)}):")
            for name, bound in zip("st", zip(*shared, strict=True), strict=True):
                text = bound[-1]
                for number in reversed(range(len(bound) - 1)):
                    text = f"{bound[number]} if e == {number} else {text}"
                lines.append(f"    {name} = {text}")
            loop = self._loop(level, section, "s", "t")
            head = next(number for number, line in enumerate(loop) if line.lstrip().startswith(f"for i{level} "))
            space = " " * (len(loop[head]) - len(loop[head].lstrip()) + 4)
            loop[head + 1 : head + 1] = [f"{space}{name} = {text}" for text, name in self._shared.items()]
            self._shared.clear()
            lines += _indented(loop)
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
