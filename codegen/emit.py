"""Kernel source: one flat Python function over typed pointers for a group of operations.

Statements stand at the outermost loop on which they depend. A kernel over rows (`rows.py`) has a section of loops for
each pass over a row's elements. The same text runs under Python, with arrays in place of pointers.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from operator import mul
from typing import Any

from retape.ir.graph import Node, Operand
from retape.ir.types import FLOAT

from .body import Body
from .division import divide
from .expressions import count_of, element_text, literal_text, operand_dtype, reciprocal
from .fuse import Group
from .indexed import (
    INDEXED,
    STATUS,
    embedded,
    gather,
    index_strides,
    indexed_strides,
    is_gather,
    is_indexed,
    is_scatter,
    result_strides,
    scatter,
)
from .loops import Choice, build_nest
from .lowered import Emitted, Walk
from .piecewise import chosen, is_cut, piece, piece_strides, shift
from .reduce import embed, reduction
from .regions import cuts
from .rows import is_alias, kept_in_row, row_strides, sections
from .stages import MEMORY, from_memory
from .views import View

__all__ = ["Writer", "emit"]


@dataclass(slots=True)
class Access:
    """One pointer parameter: a view read or written, and its place in the nest."""

    view: View
    strides: tuple[int, ...] = ()
    shift: int = 0  # elements by which what is read lies before the view's own
    level: int = -1  # the innermost loop that moves it

    def walks(self, strides: tuple[int, ...]) -> None:
        """Tell how it moves over the loops of the nest."""
        self.strides, level = strides, len(strides) - 1
        while level >= 0 and not strides[level]:
            level -= 1
        self.level = level


def emit(group: Group, views: dict[Node, View], stored: set[Node], inlined: set[Node], status: View,
         exact: bool = False) -> Emitted:
    """Generate the kernel of a group; `views` says where every operand and stored result lies, `status` where it
    reports an index out of bounds. With `exact`, each operation is rounded as in eager execution."""
    return Writer(group, views, stored, inlined, status, exact).write()


# a value; an operand of an indexed operation, by its position; one that is read along the rows; the status
Key = Node | tuple[Node, int] | str
ALONG_ROWS = -1
CLOSE = 8  # the innermost loop's strides up to this one are written out, for LLVM to know them


class Writer:
    """Writes one kernel. `names` holds the variables that are known so far, by section and value (the section is 0 for
    what is known outside the loops over a row's elements)."""

    def __init__(
        self, group: Group, views: dict[Node, View], stored: set[Node], inlined: set[Node], status: View, exact: bool
    ) -> None:
        self.group = group
        self.exact = exact
        self.views = views
        self.inlined = inlined
        self.inside: list[tuple[Node, Node]] = []
        own = set(group.nodes)
        self.nodes, outside = self._needed(stored, own)
        self.results = [node for node in self.nodes if node in stored and node in own and not is_alias(node)]
        self.accesses: dict[Key, Access] = {}
        for key in outside:
            self._read(key)
        kinds = {node.op.kind for node in self.nodes}
        if not kinds.isdisjoint(MEMORY):
            for node in self.nodes:
                if is_indexed(node):
                    self._index_accesses(node)
                elif node.op.kind == "piecewise":
                    self._piece_accesses(node)
        self.early: list[Node] = []  # what is read where a result is written
        read = {access.view.buffer for access in self.accesses.values()}
        for node in self.results:
            view = embedded(node, views[node]) if node.op.kind == "embed" else views[node]
            access = self.accesses[node] = Access(view, self._strides(node))
            if view.buffer in read:
                self._replaces(access)
        if not kinds.isdisjoint(INDEXED):
            self.accesses[STATUS] = Access(status, (0,) * len(group.space))
        self.section, self.kept = dict.fromkeys(self.nodes, 0), list[Node]()
        if group.rowwise:
            self.section = sections(self.nodes, self.inside)
            self.kept = kept_in_row(self.nodes, self.inside, self.section, {*group.rowwise, *self.results, *inlined})
        self.cut = any(map(is_cut, self.nodes))
        boxes = [index for n in self.nodes if is_cut(n) for index in n.attr("indices")] if self.cut else []
        nest = build_nest(group.space, [a.strides for a in self.accesses.values()], group.rows,
                          cuts(group.space, boxes) if boxes else ())
        for access, strides in zip(self.accesses.values(), nest.strides, strict=True):
            access.walks(strides)
        self.body = Body(nest, max(self.section.values(), default=0) + 2)
        self.depth = self.body.depth
        self.rows = nest.rows
        self.names: dict[int, dict[Any, str]] = defaultdict(dict)
        self.labels: dict[str, Node] = {}
        self.levels: dict[Any, int] = {}
        numbers: dict[int, int] = {}
        self.order = {key: numbers.setdefault(id(access), len(numbers)) for key, access in self.accesses.items()}
        self.parameters = [entry for entry in self.accesses.items() if numbers.pop(id(entry[1]), None) is not None]

    def _needed(self, stored: set[Node], own: set[Node]) -> tuple[list[Node], list[Key]]:
        """The nodes this kernel computes (single elements from elsewhere included), and what it reads."""
        computed: dict[Node, None] = {}
        outside: dict[Key, None] = {}
        begun: set[Node] = set()
        inlined, inside = self.inlined, self.inside
        for root in self.group.nodes:
            stack = [root] if root in stored and not is_alias(root) else []
            while stack:
                node = stack.pop()
                if node in begun:  # its operands are computed
                    computed[node] = None
                    continue
                begun.add(node)
                stack.append(node)
                memory, position = node.op.kind in MEMORY, len(node.inputs)
                for parent in reversed(node.inputs):
                    position -= 1
                    if parent.__class__ is not Node or (memory and from_memory(node, position)):
                        continue
                    if parent in own or parent in inlined:
                        inside.append((node, parent))
                        stack.append(parent)
                    else:
                        outside[self._key(parent, node)] = None
        return list(computed), list(outside)

    def _key(self, operand: Node, reader: Node) -> Key:
        """How a reader finds an operand in memory: in step with the space, or with its rows."""
        return (operand, ALONG_ROWS) if self._along_rows(reader) else operand

    def _along_rows(self, node: Node) -> bool:
        rowwise = self.group.rowwise
        return bool(rowwise) and node in rowwise and node.op.kind != "reduction"

    # ---- where operands and results lie

    def _read(self, key: Key) -> None:
        space = self.group.space
        if isinstance(key, Node):
            self.accesses[key] = Access(self.views[key], self.views[key].aligned(space) if space else ())
            return
        assert isinstance(key, tuple)
        operand = key[0]
        reader = next(node for node in self.nodes if self._along_rows(node) and operand in node.inputs)
        shape = reader.type.shape
        steps = row_strides(shape, self.views[operand].aligned(shape), space, self.group.rows)
        self.accesses[key] = Access(self.views[operand], steps)

    def _strides(self, node: Node) -> tuple[int, ...]:
        """A result's strides over the group's space."""
        view, space = self.views[node], self.group.space
        if not space:
            return ()
        if node.op.kind == "reduction":
            return result_strides(node, view)
        if self._along_rows(node):
            return row_strides(view.shape, view.strides, space, self.group.rows)
        if node.op.kind == "embed":
            return embedded(node, view).aligned(space)
        return indexed_strides(node, view) if is_scatter(node) else view.aligned(space)

    def _replaces(self, access: Access) -> None:
        """Operands in the place of a result are one parameter with it."""
        for key, known in self.accesses.items():
            if known == access and isinstance(key, Node) and known is not access:
                self.early.append(key)
                self.accesses[key] = access

    def _index_accesses(self, node: Node) -> None:
        rank = len(self.group.space)
        for position, operand in enumerate(node.inputs):
            assert isinstance(operand, Node)
            if from_memory(node, position):
                view = self.views[operand]
                steps = index_strides(node, view, rank) if position else indexed_strides(node, view)
                self.accesses[node, position] = Access(view, steps if rank else ())

    def _piece_accesses(self, node: Node) -> None:
        for position, operand in enumerate(node.parents()):
            view = self.views[operand]
            steps = piece_strides(node, position, view.strides)
            own = tuple(0 if extent == 1 else step for extent, step in zip(node.type.shape, steps, strict=True))
            self.accesses[node, position] = Access(view, own, shift(node, position, steps))

    def address(self, key: Key, level: int, *more: str) -> str:
        """`p3[i0 * k2 + i1]`."""
        access, number = self.accesses[key], self.order[key]
        terms = list(more)
        for dim, stride in enumerate(access.strides[: level + 1]):
            if stride == 0:
                continue
            if dim == self.depth - 1 and 1 <= stride <= CLOSE:
                terms.append(f"i{dim}" if stride == 1 else f"i{dim} * {stride}")
            else:
                terms.append(f"i{dim} * {self.body.integer('s', number, dim, stride)}")
        offset = access.view.offset - access.shift
        if offset:
            terms.append(self.body.integer("o", number, 0, offset))
        return f"p{number}[{' + '.join(terms) or '0'}]"

    # ---- text

    def write(self) -> Emitted:
        for key in self.early:  # before the first write
            level = self.accesses[key].level
            self.variable(key, level, 0, self.address(key, level))
        for node in self.nodes:
            self._node(node)
        accesses = [access for _, access in self.parameters]
        pointers = tuple(a.view.buffer.dtype.short for a in accesses)
        lines = self.body.lines()
        parameters = ", ".join([*(f"p{i}" for i in range(len(pointers))),
                                *(f"k{i}" for i in range(len(self.body.ints))), "lo", "hi"])
        source = "\n".join([f"def kernel({parameters}):", *(f"    {line}" for line in lines)]) + "\n"
        labels = {name: (node.name, None if node.op.kind == "source" else node.origin)
                  for name, node in self.labels.items()}
        own = self.nodes if not self.group.rowwise else [n for n in self.nodes if not self._along_rows(n)]
        return Emitted(source, labels, tuple(_label(key) for key, _ in self.parameters), pointers,
                       tuple(a.view for a in accesses), tuple(self.body.ints),
                       self.body.nest.extents[0],
                       divide(self.body.nest, own, self.results, self.accesses, self.order), self._walks())

    def _walks(self) -> tuple[Walk, ...]:
        strides = [access.strides for _, access in self.parameters]
        if self.cut or any(min(steps) < 0 for steps in strides):
            return ()
        inner, written = [extent - 1 for extent in self.body.nest.extents[1:]], {self.order[n] for n in self.results}
        return tuple([Walk(steps[0], sum(map(mul, inner, steps[1:])), number in written)
                      for number, steps in enumerate(strides)])

    def variable(self, node: Node, level: int, section: int, text: str | Choice) -> str:
        """A new variable for a value, assigned at a level. What is known per row is known in all sections."""
        name = f"v{len(self.labels)}"
        self.labels[name] = node
        self.levels[node] = level
        self.names[section if level >= self.rows else 0][node] = name
        line = f"{name} = {text}" if isinstance(text, str) else replace(
            text, texts={part: f"{name} = {t}" for part, t in text.texts.items()})
        self.body.at(level, line, section)
        return name

    def _node(self, node: Node) -> None:
        kind = node.op.kind
        if kind == "reduction":
            reduction(self, node)
        elif kind == "embed":
            embed(self, node)
        elif kind == "scatter":
            scatter(self, node)
        elif kind == "view" and is_alias(node):
            source = node.inputs[0]
            assert isinstance(source, Node)
            self.names[0][node], self.levels[node] = self.names[0][source], self.levels[source]
        else:
            name = self._compute(node, self.section[node])
            if node in self.accesses:
                self.store(node, name)
            if self.kept and node in self.kept:
                level = self.depth - 1
                self.body.at(level, f"{self._kept(node)} = {name}", self.section[node])

    def _compute(self, node: Node, section: int) -> str:
        """Lines that compute a value in a section; its variable."""
        if is_gather(node):
            text, level = gather(self, node, section)
            return self.variable(node, level, section, text)
        if self.cut and is_cut(node):
            choice, level = piece(self, node) if node.op.kind == "piecewise" else chosen(self, node, section)
            return self.variable(node, level, section, choice)
        operands, level, names = [], -1, self.names[section]
        for operand in node.inputs:
            if operand in names:
                text, known = names[operand], self.levels[operand]
            else:
                text, known = self.operand(operand, node, section)
            operands.append(text)
            if known > level:
                level = known
        factor = reciprocal(node) if node.op.name == "div" else None
        text = element_text(node, operands) if factor is None or not self._continues(node) \
            else f"{operands[0]} * {literal_text(factor, operand_dtype(node))}"
        return self.variable(node, level, section, text)

    def _continues(self, node: Node) -> bool:
        """Whether all that reads a value is here and continuous, so that a rounding more makes no jump."""
        return not self.exact and node not in self.accesses and all(
            reader.op.differentiable and reader.type.dtype.category == FLOAT and not is_alias(reader)
            for reader, operand in self.inside if operand is node)

    def operand(self, operand: Operand, reader: Node, section: int) -> tuple[str, int]:
        """The text of an operand in a section, and the loop level from which on it is known."""
        if operand.__class__ is not Node:
            dtype = operand_dtype(reader)
            count = count_of(operand, reader)
            if count is not None:  # a parameter, as extents are: others need no other kernel
                return f"to_{dtype.short}({self.body.integer('n', 0, count, count)})", -1
            return literal_text(operand, dtype), -1
        for known in (0, section) if section else (0,):
            name = self.names[known].get(operand)
            if name is not None and (known == section or self.levels[operand] < self.rows):
                return name, self.levels[operand]
        key = operand if operand in self.accesses else self._key(operand, reader)
        if key in self.accesses:
            level = self.accesses[key].level
            section = section if level >= self.rows else 0  # a row's own number is read before all sections
            return self.variable(operand, level, section, self.address(key, level)), level
        if operand in self.kept:
            return self.variable(operand, self.depth - 1, section, self._kept(operand)), self.depth - 1
        return self._compute(operand, section), self.levels[operand]

    def _kept(self, node: Node) -> str:
        """The place of an element in what is kept of a row."""
        number = self.kept.index(node)
        terms, count = [], 1
        for dim in range(self.depth - 1, self.rows - 1, -1):
            step = f" * {self.body.integer('w', 0, dim, count)}" if count > 1 else ""
            terms.append(f"i{dim}{step}")
            count *= self.body.nest.extents[dim]
        size = self.body.integer("w", 0, self.rows - 1, count)
        self.body.first(f"w{number} = row_{node.type.dtype.short}({size})")
        return f"w{number}[{' + '.join(reversed(terms))}]"

    def store(self, node: Node, text: str) -> None:
        level = max(self.accesses[node].level, self.levels[node], 0)
        self.body.at(level, f"{self.address(node, level)} = {text}", self.section[node])


def _label(key: Key) -> str:
    if isinstance(key, tuple):
        node, position = key
        operand = node if position == ALONG_ROWS else node.inputs[position]
        assert isinstance(operand, Node)
        return operand.name
    return key if isinstance(key, str) else key.name
