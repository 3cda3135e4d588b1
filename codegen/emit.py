"""Kernel source: one flat Python function over typed pointers for a group of operations.

Statements stand at the outermost loop on which they depend. A reduction whose innermost dims are reduced accumulates in
a variable, in blocks (for accuracy, and so that the result doesn't depend on how the loop is cut); otherwise it
accumulates in the memory of its result. The same text runs under Python, with arrays in place of pointers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from retape.ir.graph import Node, Operand, Origin

from .expressions import IDENTITY, element_text, identity, joined, literal_text, operand_dtype, rename
from .fuse import REDUCING, Group, from_memory
from .indexed import (
    embedded,
    extent_of,
    index_strides,
    indexed_strides,
    is_gather,
    is_indexed,
    is_scatter,
    result_strides,
)
from .loops import Nest, build_nest
from .views import View

__all__ = ["Emitted", "emit"]

BLOCK = 1024
SHORT = 32


@dataclass(frozen=True, slots=True)
class Emitted:
    """A kernel's text in canonical names (equal kernels have equal text), and what a call of it needs.

    `readable` is the same text with the graph's names and the user's lines, from `labels` (a name and an origin for
    each variable) and `operands` (a name for each pointer).
    """

    source: str
    labels: dict[str, tuple[str, Origin]]
    operands: tuple[str, ...]
    pointers: tuple[str, ...]
    views: tuple[View, ...]
    ints: tuple[int, ...]
    extent: int

    @property
    def readable(self) -> str:
        return rename(self.source, self.labels, {f"p{i}": f"p_{name}" for i, name in enumerate(self.operands)})


@dataclass(slots=True)
class _Access:
    """One pointer parameter: a view read or written, and its place in the nest."""

    view: View
    strides: tuple[int, ...] = ()


@dataclass(slots=True)
class _Kernel:
    """A kernel under construction: lines by loop level (-1 is the prologue), before and after the inner loop."""

    nest: Nest
    before: dict[float, list[str]] = field(default_factory=dict)
    after: dict[float, list[str]] = field(default_factory=dict)
    ints: list[int] = field(default_factory=list)
    int_names: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def at(self, level: float, line: str) -> None:
        self.before.setdefault(level, []).append(line)

    def behind(self, level: float, line: str) -> None:
        self.after.setdefault(level, []).append(line)

    def integer(self, kind: str, owner: int, dim: int, value: int) -> str:
        """The parameter that holds an extent or a stride."""
        name = self.int_names.get((kind, owner, dim))
        if name is None:
            name = self.int_names[kind, owner, dim] = f"k{len(self.ints)}"
            self.ints.append(value)
        return name


def emit(group: Group, views: dict[Node, View], stored: set[Node], inlined: set[Node], status: View) -> Emitted:
    """Generate the kernel of a group; `views` says where every operand and stored result lies, `status` where it
    reports an index out of bounds."""
    return _Writer(group, views, stored, inlined, status).write()


Key = Node | tuple[Node, int] | str  # a value, an operand that an indexed operation reads in its own way, the status
STATUS = "status"


class _Writer:
    def __init__(
        self, group: Group, views: dict[Node, View], stored: set[Node], inlined: set[Node], status: View
    ) -> None:
        self.group = group
        self.views = views
        self.inlined = inlined
        self.nodes, self.outside = self._needed(stored)
        own = set(group.nodes)
        self.results = [node for node in self.nodes if node in stored and node in own]
        self.accesses: dict[Key, _Access] = {}
        rank = len(group.space)
        for node in self.outside:
            self.accesses[node] = _Access(views[node], views[node].aligned(group.space) if rank else ())
        for node in self.nodes:
            if is_indexed(node):
                self._index_accesses(node, rank)
        for node in self.results:
            view = embedded(node, views[node]) if node.op.kind == "embed" else views[node]
            self.accesses[node] = _Access(view, self._strides(node, rank))
        if any(map(is_indexed, self.nodes)):
            self.accesses[STATUS] = _Access(status, (0,) * rank)
        nest = build_nest(group.space, [a.strides for a in self.accesses.values()])
        for access, strides in zip(self.accesses.values(), nest.strides, strict=True):
            access.strides = strides
        self.kernel = _Kernel(nest)
        self.depth = len(nest.extents)
        self.block = self.depth - 1.5  # the level of a block: between the innermost loop and the one around it
        # short rows get their extent in the text, so that the loop over them is unrolled
        self.short = self.depth > 1 and nest.extents[-1] <= SHORT
        self.names: dict[Node, str] = {}
        self.levels: dict[Node, int] = {}
        self.order = {node: i for i, node in enumerate(self.accesses)}

    def _needed(self, stored: set[Node]) -> tuple[list[Node], list[Node]]:
        """The nodes this kernel computes (single elements from elsewhere included), and those it reads."""
        own = set(self.group.nodes)
        computed: dict[Node, None] = {}
        outside: dict[Node, None] = {}

        def visit(root: Node) -> None:
            stack = [(root, False)]
            while stack:
                node, ready = stack.pop()
                if node in computed or node in outside:
                    continue
                if ready:
                    computed[node] = None
                elif node is root or (node in own and node.op.kind not in REDUCING) or node in self.inlined:
                    stack.append((node, True))
                    stack.extend((parent, False) for position, parent in reversed(list(enumerate(node.inputs)))
                                 if isinstance(parent, Node) and not from_memory(node, position))
                else:
                    outside[node] = None

        for node in self.group.nodes:
            if node in stored:
                visit(node)
        return list(computed), list(outside)

    def _strides(self, node: Node, rank: int) -> tuple[int, ...]:
        """A result's strides over the group's space."""
        view = self.views[node]
        if not rank:
            return ()
        if node.op.kind == "reduction":
            return result_strides(node, view)
        if node.op.kind == "embed":
            return embedded(node, view).aligned(self.group.space)
        return indexed_strides(node, view) if is_scatter(node) else view.aligned(self.group.space)

    def _index_accesses(self, node: Node, rank: int) -> None:
        for position, operand in enumerate(node.inputs):
            assert isinstance(operand, Node)
            if from_memory(node, position):
                view = self.views[operand]
                steps = index_strides(node, view, rank) if position else indexed_strides(node, view)
                self.accesses[node, position] = _Access(view, steps if rank else ())

    # ---- text

    def write(self) -> Emitted:
        for node in self.nodes:
            self._node(node)
        body = self._loops()
        pointers = tuple(a.view.buffer.dtype.short for a in self.accesses.values())
        parameters = ", ".join([*(f"p{i}" for i in range(len(pointers))),
                                *(f"k{i}" for i in range(len(self.kernel.ints))), "lo", "hi"])
        source = "\n".join([f"def kernel({parameters}):", *(f"    {line}" for line in body)]) + "\n"
        labels = {name: (node.name, None if node.op.kind == "source" else node.origin)
                  for node, name in self.names.items()}
        return Emitted(source, labels, tuple(map(_label, self.order)), pointers,
                       tuple(a.view for a in self.accesses.values()), tuple(self.kernel.ints),
                       self.kernel.nest.extents[0])

    def _node(self, node: Node) -> None:
        if node.op.kind == "reduction":
            self._reduction(node)
            return
        if node.op.kind == "embed":
            self._embed(node)
            return
        if is_scatter(node):
            self._scatter(node)
            return
        if is_gather(node):
            self._gather(node)
            return
        operands = [self._operand(operand, node) for operand in node.inputs]
        level = max((lv for _, lv in operands), default=-1)
        name = self.names[node] = f"v{len(self.names)}"
        self.levels[node] = level
        self.kernel.at(level, f"{name} = {element_text(node, [text for text, _ in operands])}")
        if node in self.accesses:
            self._store(node, name)

    def _operand(self, operand: Operand, reader: Node) -> tuple[str, int]:
        """The text of an operand, and the loop level from which on it is known."""
        if not isinstance(operand, Node):
            return literal_text(operand, operand_dtype(reader)), -1
        if operand in self.names:
            return self.names[operand], self.levels[operand]
        access = self.accesses[operand]
        level = max((d for d, s in enumerate(access.strides) if s), default=-1)
        name = self.names[operand] = f"v{len(self.names)}"
        self.levels[operand] = level
        self.kernel.at(level, f"{name} = {self._address(operand, level)}")
        return name, level

    def _address(self, node: Key, level: int, *more: str) -> str:
        """`p3[i0 * k2 + i1]`."""
        access, number = self.accesses[node], self.order[node]
        terms = list(more)
        for dim, stride in enumerate(access.strides[: level + 1]):
            if stride == 0:
                continue
            if stride == 1 and dim == self.depth - 1:
                terms.append(f"i{dim}")
            else:
                terms.append(f"i{dim} * {self.kernel.integer('s', number, dim, stride)}")
        if access.view.offset:
            terms.append(self.kernel.integer("o", number, 0, access.view.offset))
        return f"p{number}[{' + '.join(terms) or '0'}]"

    def _store(self, node: Node, text: str) -> None:
        self.kernel.at(self.depth - 1, f"{self._address(node, self.depth - 1)} = {text}")

    # ---- indices

    def _position(self, node: Node) -> tuple[str, int]:
        """The part of an address that the index decides: wrapped, clamped, in elements; and from which loop on."""
        number = self.order[node, 1]
        level = max((d for d, s in enumerate(self.accesses[node, 1].strides) if s), default=-1)
        extent = self.kernel.integer("x", number, 0, extent_of(node))
        raw, wrapped, held = f"x{number}", f"y{number}", f"z{number}"
        self.kernel.at(level, f"{raw} = to_i64({self._address((node, 1), level)})")
        self.kernel.at(level, f"{wrapped} = select({raw} < 0, {raw} + {extent}, {raw})")
        self.kernel.at(level, f"{held} = rmax(rmin({wrapped}, {extent} - 1), 0)")
        if "bad = 0" not in self.kernel.before.get(-1, ()):
            self.kernel.before.setdefault(-1, []).insert(0, "bad = 0")
            status = f"p{self.order[STATUS]}[0]"
            self.kernel.behind(-1, f"{status} = rmax({status}, bad)")
        self.kernel.at(level, f"bad = rmax(bad, to_i64({wrapped} != {held}))")
        large = self.views[node] if is_scatter(node) else self.accesses[node, 0].view
        step = large.strides[node.attr("axis")]
        return f"{held} * {self.kernel.integer('t', number, 0, step)}", level

    def _gather(self, node: Node) -> None:
        place, level = self._position(node)
        level = max([level, *(d for d, s in enumerate(self.accesses[node, 0].strides) if s)])
        name = self.names[node] = f"v{len(self.names)}"
        self.levels[node] = level
        self.kernel.at(level, f"{name} = {self._address((node, 0), level, place)}")
        if node in self.accesses:
            self._store(node, name)

    def _scatter(self, node: Node) -> None:
        text, _ = self._operand(node.inputs[0], node)
        place, _ = self._position(node)
        self._fill(node, identity("radd", node.type.dtype))
        target = self._address(node, self.depth - 1, place)
        self.kernel.at(self.depth - 1, f"{target} = {target} + {text}")

    def _embed(self, node: Node) -> None:
        """Zeros, and the operand in its place among them."""
        text, _ = self._operand(node.inputs[0], node)
        self._fill(node, identity("radd", node.type.dtype))
        self._store(node, text)

    # ---- reductions

    def _reduction(self, node: Node) -> None:
        text, _ = self._operand(node.inputs[0], node)
        combine, dtype = node.op.kernel, node.type.dtype
        operand = node.inputs[0]
        assert isinstance(operand, Node)
        if operand.type.dtype is not dtype:
            text = f"to_{dtype.short}({text})"
        strides = self.accesses[node].strides
        first = self.depth  # the reduced dims that lie innermost
        while first > 0 and strides[first - 1] == 0:
            first -= 1
        start = identity(combine, dtype)
        crosses = any(s == 0 for s in strides[:first])
        if first == self.depth:
            self._fill(node, start)
            target = self._address(node, self.depth - 1)
            self.kernel.at(self.depth - 1, f"{target} = {combine}({target}, {text})")
        else:
            total = self._accumulate(node, combine, text, first)
            target = self._address(node, first - 1)
            if crosses:
                self._fill(node, start)
                self.kernel.behind(first - 1, f"{target} = {combine}({target}, {total})")
            else:
                self.kernel.behind(first - 1, f"{target} = {self._finished(node, total)}")
                return
        if node.op.name == "mean":
            count = self.kernel.integer("n", self.order[node], 1, node.type.numel)
            target = f"p{self.order[node]}[j]"
            self.kernel.behind(-1, f"for j in range({count}):")
            self.kernel.behind(-1, f"    {target} = {self._finished(node, target)}")

    def _accumulate(self, node: Node, combine: str, text: str, first: int) -> str:
        """Lines that combine `text` over the loops from `first` inwards in a variable; the text of the result.

        Long rows are combined in blocks. Blocks of float32 are added up in float64, one addition a block.
        """
        dtype, number = node.type.dtype, self.order[node]
        start, name = identity(combine, dtype), f"a{number}"
        if combine not in IDENTITY or self.short:
            self.kernel.at(first - 1, f"{name} = {start}")
            self.kernel.at(self.depth - 1, f"{name} = {combine}({name}, {text})")
            return name
        inner, wide = f"b{number}", combine == "radd" and dtype.short == "f32"
        self.kernel.at(first - 1, f"{name} = {'0.0' if wide else start}")
        self.kernel.at(self.block, f"{inner} = {start}")
        self.kernel.at(self.depth - 1, f"{inner} = {combine}({inner}, {text})")
        self.kernel.behind(self.block, f"{name} = {joined(combine, name, f'to_f64({inner})' if wide else inner)}")
        return f"to_f32({name})" if wide else name

    def _finished(self, node: Node, text: str) -> str:
        """The reduced value: a mean is divided by its count."""
        if node.op.name != "mean":
            return text
        operand = node.inputs[0]
        assert isinstance(operand, Node)
        count = operand.type.numel // max(node.type.numel, 1)
        return f"{text} / to_{node.type.dtype.short}({self.kernel.integer('c', self.order[node], 0, count)})"

    def _fill(self, node: Node, start: str) -> None:
        count = self.kernel.integer("n", self.order[node], 1, node.type.numel)
        self.kernel.at(-1, f"for j in range({count}):")
        self.kernel.at(-1, f"    p{self.order[node]}[j] = {start}")

    # ---- loops

    def _loops(self) -> list[str]:
        """The nest around the statements. The innermost loop is cut into blocks where a variable accumulates in it."""
        kernel, _nest = self.kernel, self.kernel.nest
        lines = list(kernel.before.get(-1, []))
        tails: list[list[str]] = [kernel.after.get(-1, [])]
        blocked = self.block in kernel.before
        pad = ""
        for dim in range(self.depth):
            first, last = ("lo", "hi") if dim == 0 else ("0", self._extent(dim))
            if blocked and dim == self.depth - 1:
                middle = self.block
                lines.append(f"{pad}for j{dim} in range({first}, {last}, {BLOCK}):")
                lines += [f"{pad}    {line}" for line in kernel.before.get(middle, [])]
                lines.append(f"{pad}    for i{dim} in range(j{dim}, j{dim} + {BLOCK} if j{dim} + {BLOCK} < {last} "
                             f"else {last}):")
                lines += [f"{pad}        {line}" for line in kernel.before.get(dim, [])]
                lines += [f"{pad}    {line}" for line in kernel.after.get(middle, [])]
            else:
                lines.append(f"{pad}for i{dim} in range({first}, {last}):")
                lines += [f"{pad}    {line}" for line in kernel.before.get(dim, [])]
            pad += "    "
            tails.append([pad + line for line in kernel.after.get(dim, [])])
        for tail in reversed(tails):
            lines += tail
        return lines

    def _extent(self, dim: int) -> str:
        extent = self.kernel.nest.extents[dim]
        return str(extent) if self.short and dim == self.depth - 1 else self.kernel.integer("e", 0, dim, extent)


def _label(key: Key) -> str:
    if isinstance(key, tuple):
        operand = key[0].inputs[key[1]]
        assert isinstance(operand, Node)
        return operand.name
    return key if isinstance(key, str) else key.name
