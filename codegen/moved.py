"""Pieces that are computed where they are read, at shifted places, rather than read from memory.

A loop that shifts a value by `cat` or a padded slice and goes on with it, time step after time step, would make each
step a kernel: what is shifted must lie in memory. If a few additions and products give an element anew, the reader's
own kernel computes it: `cat([one, (y + k)[:-1]])` has at i the sum y[i - 1] + k[i - 1], in all parts of the loop but
the first. Such values are **moved**; they end in others that lie in memory, and every kernel that reads them computes
them for itself.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from functools import cache
from itertools import chain
from math import inf
from operator import add
from typing import Any

from retape.ir import CATALOGUE, Graph
from retape.ir.builder import value_key
from retape.ir.graph import Node, Operand, rewired
from retape.ir.ops import Op
from retape.ir.ops.structure import sliced_shape
from retape.ir.passes import eliminate_dead
from retape.ir.shapes import Shape
from retape.ir.types import FLOAT, TensorType

from .pieces import PIECES
from .regions import bounds

__all__ = ["compute_pieces"]

CHOSEN = replace(CATALOGUE["embed_sum"], name="chosen", kind="moved")
# What is computed anew: operations that are cheap, and continuous, so that a rounding more or less does no harm.
ARITHMETIC = frozenset({"add", "mul", "neg", "sub"})
WORK = 16  # of them, for one element
SOURCES = 4  # arrays that are read for it
POPULAR = 3  # so many operations read what had better lie in memory

LOOPS = frozenset({"embed", "pointwise", "reduction", "view"})  # kinds of operations that read what is computed anew

Box = tuple[slice, ...]


def compute_pieces(graph: Graph) -> Graph:
    """The graph in which kernels compute cheap `pieces` at the shifted places where they read them."""
    if not any(map(_takes_shifted, [node for node in graph.nodes if node.op is PIECES])):
        return graph
    mover = _Mover(graph)
    for node in graph.nodes:
        mover.visit(node)
    new = mover.new
    return eliminate_dead(graph.map_roots(mover.nodes, lambda o: new.get(o, o))) if mover.found else graph


@cache
def _moved(op: Op) -> Op:
    return replace(op, kind="moved")


class _Mover:
    """Rebuilds a graph in order; `held` are those of the new nodes that lie in memory when they are moved."""

    def __init__(self, graph: Graph) -> None:
        self.nodes: list[Node] = []
        self.new: dict[Any, Node] = {}
        self.held: set[Node] = set(graph.inputs)
        self.found: dict[tuple[Any, ...], Node] = {}
        self.origin: dict[Node, tuple[Node, Shape]] = {}  # of what has been moved: what and how far
        self.reads = Counter(chain.from_iterable([node.inputs for node in graph.nodes]))
        self.old: dict[Node, Node] = {}
        self.free = _free(graph)

    def visit(self, old: Node) -> None:
        """Add a node with new operands."""
        node = rewired(old, self.new)
        if old.op is PIECES:
            node = self._pieces(old, node)
        else:
            self.nodes.append(node)
            if old not in self.free:
                self.held.add(node)
        if node is not old:
            self.new[old] = node
            self.old[node] = old

    def _is_cheap(self, node: Node) -> bool:
        """Whether few operations give an element anew from memory, where that may hold one value more."""
        work, popular = self._work(node)
        if work > WORK and popular is not None:
            self.held.add(popular)
            work, _ = self._work(node)
        return work <= WORK

    def _work(self, root: Node) -> tuple[float, Node | None]:
        """How many operations give an element anew, and the nearest value at the same place that many others read."""
        popular: Node | None = None
        operations, sources, seen = 0, set(), {root}
        queue = deque([(root, True)])
        while queue and operations <= WORK:
            node, here = queue.popleft()
            if node in self.held or node.op is PIECES:
                sources.update([_shown(p) for p in node.parents()] if node.op is PIECES else [node])
                continue
            arrays = [p for p in node.parents() if p.type.numel > 1]
            if node.op is not CHOSEN:
                if node.op.name not in ARITHMETIC or node.type.dtype.category != FLOAT \
                        or any(p.type.dtype is not node.type.dtype or p.type.shape != node.type.shape for p in arrays):
                    return inf, popular
                operations += 1
                if here and popular is None and self.reads[self.old.get(node, node)] >= POPULAR:
                    popular = node
            queue.extend([(p, here and node.op is not CHOSEN) for p in arrays if p not in seen])
            seen.update(arrays)
        return operations if len(sources) <= SOURCES else inf, popular

    def _pieces(self, old: Node, node: Node) -> Node:
        """Pieces, some of them computed; `node` reads the new operands, where nothing is."""
        _, indices = old.attrs
        inputs = list(node.parents())
        sources = [self._source(old, value, index) for value, index in zip(inputs, indices, strict=True)]
        if not any(sources):
            self.nodes.append(node)
            return node
        chosen = [self._read(value, index, old) if source is None
                  else self._moved(source, _shift(index, value.attr("index")), index)
                  for value, index, source in zip(inputs, indices, sources, strict=True)]
        return self._choose(chosen, indices, old)

    def _source(self, pieces: Node, value: Node, box: tuple[Any, ...]) -> Node | None:
        """The value that a piece is a slice of, if its elements can be computed anew; else it will lie in memory."""
        source = value.inputs[0] if value.op.name == "slice" else None
        if not isinstance(source, Node):
            return None
        if _shows_shifted(pieces, value, box) and source not in self.held \
                and self._is_cheap(source) and source not in self.held:
            return source
        self.held.add(source)
        return None

    def _moved(self, node: Node, shift: Shape, box: Box) -> Node:
        """A value that has in the box what `node` has before the shift."""
        if not any(shift):
            return node
        if node in self.origin:  # it has been moved itself
            node, more = self.origin[node]
            return self._moved(node, tuple(map(add, shift, more)), box)
        key = node, shift, value_key(box)
        known = self.found.get(key)
        if known is not None:
            return known
        if node.op is PIECES or node.op is CHOSEN:
            made = self._shifted_pieces(node, shift, box)
        elif node in self.held:
            at = tuple(slice(e.start - s, e.stop - s, 1) for e, s in zip(box, shift, strict=True))
            made = self._read(self._slice(node, at), box, node)
        else:
            inputs = tuple([self._moved(i, shift, box) if isinstance(i, Node) and i.type.numel > 1 else i
                            for i in node.inputs])
            made = self._add(_moved(node.op), inputs, node.attrs, node.type, node)
        self.found[key] = made
        self.origin.setdefault(made, (node, shift))
        return made

    def _shifted_pieces(self, node: Node, shift: Shape, box: Box) -> Node:
        """Pieces at shifted places, as far as they lie in the box."""
        chosen: list[Node] = []
        indices: list[Box] = []
        for value, index in zip(node.parents(), node.attr("indices"), strict=True):
            whole = tuple(slice(bounds(e)[0] + s, bounds(e)[1] + s, 1) for e, s in zip(index, shift, strict=True))
            part = tuple(slice(max(e.start, b.start), min(e.stop, b.stop), 1) for e, b in zip(whole, box, strict=True))
            if any(e.start >= e.stop for e in part):
                continue
            if node.op is CHOSEN:
                chosen.append(self._moved(value, shift, part))
            else:
                at = tuple([slice(p.start - w.start, p.stop - w.start, 1) for p, w, e in
                            zip(part, whole, index, strict=True) if isinstance(e, slice)])
                place = tuple([p if isinstance(e, slice) else p.start for p, e in zip(part, index, strict=True)])
                chosen.append(self._read(self._slice(value, at), place, node))
            indices.append(part)
            if part == box:
                return chosen[-1]
        return self._choose(chosen, tuple(indices), node)

    def _choose(self, chosen: list[Node], indices: tuple[Box, ...], old: Node) -> Node:
        return self._add(CHOSEN, tuple(chosen), (old.type.shape, indices), old.type, old)

    def _read(self, value: Node, index: tuple[Any, ...], old: Node) -> Node:
        return self._add(PIECES, (value,), (old.type.shape, (index,)), old.type, old)

    def _slice(self, value: Node, index: Box) -> Node:
        """A slice of a value, or of what the value is a slice of."""
        own = value.attr("index") if value.op.name == "slice" else ()
        source = next(value.parents()) if own else value
        if own and _is_shift(index, own, source.type.shape):
            return self._slice(source, tuple([slice(e.start + bounds(o)[0], e.stop + bounds(o)[0], 1)
                                              for e, o in zip(index, own, strict=True)]))
        shape = sliced_shape(value.type.shape, index)
        return value if shape == value.type.shape else self._add(
            CATALOGUE["slice"], (value,), (index,), TensorType(value.type.dtype, shape), value)

    def _add(self, op: Op, inputs: tuple[Operand, ...], attrs: tuple[Any, ...], type: TensorType, of: Node) -> Node:
        """A new node, once for all that ask for it."""
        key = op, *[i if isinstance(i, Node) else value_key(i) for i in inputs], value_key(attrs)
        node = self.found.get(key)
        if node is None:
            node = self.found[key] = Node(op, inputs, attrs, type, f"{of.name}_at{len(self.found)}", of.origin)
            self.nodes.append(node)
        return node


def _takes_shifted(pieces: Node) -> bool:
    """Whether some piece is a part of an array of the same shape, which may be computed anew."""
    return any(_shows_shifted(pieces, value, box)
               for value, box in zip(pieces.parents(), pieces.attr("indices"), strict=True))


def _shows_shifted(pieces: Node, value: Node, box: tuple[Any, ...]) -> bool:
    """Whether a piece is a slice of an array of the whole's shape, in steps of 1."""
    shape = pieces.type.shape
    return value.op.name == "slice" and next(value.parents()).type.shape == shape \
        and _is_shift(box, value.attr("index"), shape)


def _free(graph: Graph) -> set[Node]:
    """The pointwise operations whose results only loops read, and these at one shifted place at most."""
    free = {node for node in graph.nodes if node.op.kind == "pointwise"}
    free.difference_update(graph.roots())
    shifts: dict[Node, Shape] = {}
    for node in graph.nodes:
        if node.op is PIECES:
            for value, box in zip(node.parents(), node.attr("indices"), strict=True):
                source = _shown(value)
                index = value.attr("index") if value.op.name == "slice" else ()
                if not _is_shift(box, index, source.type.shape) \
                        or shifts.setdefault(source, _shift(box, index)) != _shift(box, index):
                    free.discard(source)
            continue
        if node.op.kind not in LOOPS:
            free.difference_update(node.inputs)
        for operand in node.inputs:  # what is shown otherwise than to pieces lies in memory
            if operand.__class__ is Node and operand.op.kind == "view":
                free.discard(operand.inputs[0])
    return free


def _shown(value: Node) -> Node:
    """What a value is a view of."""
    return next(value.parents()) if value.op.kind == "view" else value


def _is_shift(box: tuple[Any, ...], index: tuple[Any, ...], shape: Shape) -> bool:
    """Whether a box of a whole shape takes a slice of another in steps of 1."""
    return len(box) == len(index) == len(shape) \
        and all(isinstance(e, slice) and e.step in (None, 1) for e in (*box, *index))


def _shift(box: Box, index: Box) -> Shape:
    """How far a part of a value is moved: from the slice of it to the box."""
    return tuple(bounds(to)[0] - bounds(start)[0] for to, start in zip(box, index, strict=True))
