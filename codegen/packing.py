"""A lowered graph as plain data and back: what is kept on disk of a program.

Buffers, views and texts are columns of numbers and strings; steps name them by their numbers. No object of retape's is
written down, and none but those made here comes out: operations are named, and looked up in the catalogue. Addresses
and what depends on the number of threads come later, in `linking`.

Names and the user's lines are none of it. They are found in the graph that is compiled now, which is lowered again
where somebody looks at them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from typing import Any

import numpy as np

from retape.ir import CATALOGUE, Graph, Node
from retape.ir.fingerprint import Untold, decoded, encoded, type_from, type_told
from retape.ir.types import DTYPES

from .lowered import Chunks, Division, Emitted, HostStep, KernelStep, Lowered, PanelStep, ProductStep, Step
from .views import Buffer, View

__all__ = ["pack", "unpack"]

KINDS = ("input", "output", "arena", "constant", "host", "status")
_KIND = {kind: number for number, kind in enumerate(KINDS)}
_DTYPE = {dtype: number for number, dtype in enumerate(DTYPES)}
UNIFORM = 64  # bytes of a constant from which on it is looked at whether its elements are all the same
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Reread(Emitted):
    """A kernel's text that was kept: `texts` gives the readable ones of its program."""

    texts: Callable[[], dict[str, str]] = dict

    @property
    def readable(self) -> str:
        return self.texts().get(self.source, self.source)


# ---- to plain data


def pack(lowered: Lowered) -> Row:
    """A lowered graph as tuples, lists, numbers, strings and bytes. Raises `Untold` where it has no such form."""
    return _Packing(lowered).rows()


class _Packing:
    """The numbers of buffers, views, layouts and texts."""

    def __init__(self, lowered: Lowered) -> None:
        self.lowered = lowered
        self.buffers = [*lowered.inputs, *lowered.buffers, lowered.status]
        self.buffer = {buffer: number for number, buffer in enumerate(self.buffers)}
        self.views: dict[int, int] = {}  # by the view's id; a step holds it
        self.columns: tuple[list[int], list[int], list[int]] = ([], [], [])  # of views: buffer, layout, offset
        self.layouts: dict[Row, int] = {}
        self.texts: dict[Row, int] = {}
        nodes = lowered.graph.nodes
        hosts = any(isinstance(step, HostStep) for step in lowered.steps)
        self.named = {node.name: number for number, node in enumerate(nodes)} if hosts else {}
        self.from_there = {id(node.origin): number for number, node in enumerate(nodes) if node.origin} if hosts else {}

    def rows(self) -> Row:
        lowered = self.lowered
        read = self._kernels_views()
        steps = [self._step(step) for step in lowered.steps]
        outputs = [(self._operand(where), copied) for where, copied in lowered.outputs]
        buffers = (bytes([_DTYPE[b.dtype] for b in self.buffers]), bytes([_KIND[b.kind] for b in self.buffers]),
                   [b.numel for b in self.buffers])
        held, op = [b for b in lowered.buffers if b.kind == "constant"], CATALOGUE["constant"]
        arrays = {id(node.attrs[0].array): i for i, node in enumerate(lowered.graph.nodes) if node.op is op} \
            if held else {}
        constants = [(self.buffer[b], _constant(b.constant, arrays)) for b in held]
        return (len(lowered.inputs), buffers, constants, list(self.layouts), self.columns, list(self.texts), read,
                steps, outputs, [*map(self.buffer.__getitem__, lowered.offsets)], [*lowered.offsets.values()],
                lowered.workspace, lowered.final, lowered.beside)

    def _kernels_views(self) -> list[int]:
        """The numbers of the views that kernels are given, all in one: most of a program, so nothing of it is done
        view by view."""
        kernels = [step.kernel if step.__class__ is PanelStep else step for step in self.lowered.steps]
        every = [*chain.from_iterable([step.emitted.views for step in kernels if step.__class__ is KernelStep])]
        ids = [*map(id, every)]
        known = dict(zip(ids, every, strict=True))
        self.views = dict(zip(known, count()))
        if known:
            owners, shapes, strides, offsets = zip(*known.values(), strict=True)
            kinds = [*zip(shapes, strides, strict=True)]
            self.layouts = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
            self.columns = ([*map(self.buffer.__getitem__, owners)], [*map(self.layouts.__getitem__, kinds)],
                            [*offsets])
        return [*map(self.views.__getitem__, ids)]

    def view(self, view: View) -> int:
        number = self.views.get(id(view))
        if number is None:
            number = self.views[id(view)] = len(self.views)
            buffers, layouts, offsets = self.columns
            buffers.append(self.buffer[view.buffer])
            layouts.append(self.layouts.setdefault((view.shape, view.strides), len(self.layouts)))
            offsets.append(view.offset)
        return number

    def _operand(self, operand: Any) -> Any:
        return self.view(operand) if isinstance(operand, View) else [encoded(operand)]

    def _step(self, step: Step) -> Row:
        if isinstance(step, KernelStep):
            emitted, chunks = step.emitted, step.chunks
            division = emitted.division
            text = (emitted.source, emitted.pointers, emitted.extent, division.grain, division.chunk, division.work)
            return (self.texts.setdefault(text, len(self.texts)), len(emitted.views), emitted.ints,
                    None if chunks is None else (chunks.size, chunks.count, chunks.strides))
        if isinstance(step, ProductStep):
            arguments = [(name, encoded(value)) for name, value in step.arguments.items()]
            return "product", [self.view(view) for view in step.operands], arguments, step.batch
        if isinstance(step, PanelStep):
            return ("panels", self._step(step.product), self._step(step.kernel), step.reads, step.rows, step.lanes,
                    self.view(step.scratch))
        node = step.node
        if CATALOGUE.get(node.op.name) is not node.op:
            raise Untold(node.op.name)
        known = self.named.get(node.name, self.from_there.get(id(node.origin), node.note))
        return ("host", node.op.name, encoded(node.attrs), type_told(node.type), known,
                [self._operand(operand) for operand in step.operands], self.buffer[step.result])


def _constant(array: Any, arrays: dict[int, int]) -> Any:
    """An array that was written down in the graph by the number of its node; another by its bytes."""
    if id(array) in arrays:
        return arrays[id(array)]
    flat = array.reshape(-1)
    if array.nbytes > UNIFORM and (flat.view(np.uint8).reshape(-1, array.itemsize) == flat[:1].view(np.uint8)).all():
        return array.shape, flat[:1].tobytes()
    return array.shape, array.tobytes()


# ---- and back


def unpack(rows: Row, graph: Graph, strict: bool, texts: Callable[[], dict[str, str]]) -> Lowered:
    """The lowered form of a graph that is equal to the one that `rows` were made of, but for names and places. `texts`
    gives its kernels as they are to be read, by what is compiled."""
    (inputs, (dtypes, kinds, numels), constants, layouts, columns, sources, read, steps, outputs, placed, offsets, size,
     final, beside) = rows
    buffers = [Buffer(DTYPES[d], n, KINDS[k]) for d, n, k in zip(dtypes, numels, kinds, strict=True)]
    for number, told in constants:
        buffers[number].constant = _array(told, buffers[number], graph)
    shapes, strides = [shape for shape, _ in layouts], [steps for _, steps in layouts]
    owners, kinds, starts = columns
    views: list[View] = [*map(partial(tuple.__new__, View), zip(
        map(buffers.__getitem__, owners), map(shapes.__getitem__, kinds), map(strides.__getitem__, kinds), starts,
        strict=True))]
    given = map(views.__getitem__, read)  # to one kernel after the other

    def operand(told: Any) -> Any:
        return views[told] if told.__class__ is int else decoded(told[0])

    def step(row: Row) -> Step:
        kind, *rest = row
        if kind == "product":
            (a, b, c), arguments, batch = rest
            return ProductStep((views[a], views[b], views[c]), {n: decoded(v) for n, v in arguments}, batch)
        if kind == "panels":
            product, kernel, reads, count, lanes, scratch = rest
            return _panels(step(product), step(kernel), reads, count, lanes, views[scratch])
        if kind == "host":
            name, attrs, type, known, operands, result = rest
            node = _host(name, decoded(attrs), type, known, graph)
            return HostStep(node, tuple(map(operand, operands)), buffers[result])
        chosen, ints, chunks = rest
        source, pointers, extent, grain, chunk, work = sources[kind]
        emitted = Reread(source, {}, (), pointers, tuple(islice(given, chosen)), ints, extent,
                         Division(grain, chunk, work), texts=texts)
        return KernelStep(emitted, None if chunks is None else Chunks(*chunks))

    return Lowered(
        graph, strict, steps=[step(row) for row in steps], inputs=buffers[:inputs],
        outputs=[(operand(told), copied) for told, copied in outputs], buffers=buffers[inputs:-1], status=buffers[-1],
        offsets=dict(zip([buffers[b] for b in placed], offsets, strict=True)), workspace=size, final=final,
        beside=beside)


def _panels(product: Step, kernel: Step, reads: tuple[bool, ...], rows: int, lanes: int, scratch: View) -> PanelStep:
    assert isinstance(product, ProductStep) and isinstance(kernel, KernelStep)
    return PanelStep(product, kernel, reads, rows, lanes, scratch)


def _array(told: Any, buffer: Buffer, graph: Graph) -> Any:
    dtype = buffer.dtype.numpy
    if told.__class__ is int:
        return np.ascontiguousarray(graph.nodes[told].attrs[0].array, dtype)
    shape, data = told
    if len(data) < buffer.nbytes:
        return np.full(shape, np.frombuffer(data, dtype)[0], dtype)
    return np.frombuffer(bytearray(data), dtype, buffer.numel).reshape(shape)


def _host(name: str, attrs: Row, type: Row, known: int | str, graph: Graph) -> Node:
    """The node of a host step, with the name and the origin that it has in the graph."""
    if isinstance(known, str):
        return Node(CATALOGUE[name], (), attrs, type_from(type), name, known)
    given = graph.nodes[known]
    return Node(CATALOGUE[name], (), attrs, type_from(type), given.name, given.origin)
