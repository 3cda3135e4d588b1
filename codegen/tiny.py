"""Whole graphs of tiny static arrays as straight-line scalar code: one kernel without loops.

Each element is a variable. Views, slices, `cat` and `embed` only rename variables, so what costs a loop, a call or a
copy elsewhere costs nothing here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from retape.ir import Graph
from retape.ir.graph import Node, Origin
from retape.ir.types import COMPLEX

from .expressions import element_text, literal_text, operand_dtype
from .indexed import is_indexed
from .lowered import Emitted
from .stages import is_fusable
from .views import View

__all__ = ["emit_tiny", "suits"]

ELEMENTS = 64
STATEMENTS = 400
LONE = ("vm_pow_f64(", "vm_lone_pow_f64(")  # the form for one number at a time
MOVES = frozenset({"cat", "embed", "slice_scatter"})


def suits(graph: Graph, strict: bool = False) -> bool:
    """Whether every value is tiny, every operation can be scalar code, and there is not too much of it."""
    work, moved = 0, False
    for node in (*graph.inputs, *graph.nodes):
        if not 0 < node.type.numel <= ELEMENTS or node.type.dtype.category == COMPLEX:
            return False
    for node in graph.nodes:
        if node.op.kind in ("view", "source"):
            continue
        if node.op.name in MOVES:
            moved = True
        elif node.op.name == "matmul" and not strict:
            work += node.type.numel * next(node.parents()).type.shape[-1]
        elif is_fusable(node, strict) and not is_indexed(node):
            work += max(node.type.numel, *(p.type.numel for p in node.parents()))
        else:
            return False
        if work > STATEMENTS:
            return False
    return work > 0 or moved


class _Scalars:
    """Arrays of atoms: names of variables, or Python numbers."""

    def __init__(self) -> None:
        self.atoms: dict[Node, Any] = {}
        self.lines: list[tuple[str, str]] = []
        self.labels: dict[str, tuple[str, Origin]] = {}
        self.known: dict[str, str] = {}

    def variable(self, text: str, node: Node, index: int) -> str:
        """The variable that holds an expression; the same expression has one variable."""
        name = self.known.get(text)
        if name is None:
            name = self.known[text] = f"v{len(self.lines)}"
            self.lines.append((name, text))
            label = node.name if node.type.numel == 1 else f"{node.name}_{index}"
            self.labels[name] = (label, node.origin)
        return name

    def operand(self, operand: Any) -> Any:
        if isinstance(operand, Node):
            return self.atoms[operand]
        return _array([operand], ())

    def node(self, node: Node) -> None:
        """Compute a node's atoms."""
        if node.op.kind == "source":
            self.atoms[node] = _array(np.asarray(node.op.eager(*node.attrs)).ravel().tolist(), node.type.shape)
        elif node.op.kind == "view" or node.op.name == "cat":
            self.atoms[node] = np.asarray(node.op.eager(*map(self.operand, node.inputs), *node.attrs), object)
        elif node.op.name == "embed":
            result = _array([0] * node.type.numel, node.type.shape)
            _put(result, node.attr("index"), self.operand(node.inputs[0]))
            self.atoms[node] = result
        elif node.op.name == "slice_scatter":
            result = self.operand(node.inputs[0]).copy()
            _put(result, node.attr("index"), self.operand(node.inputs[1]))
            self.atoms[node] = result
        elif node.op.kind == "reduction":
            self.reduce(node)
        elif node.op.name == "matmul":
            self.product(node)
        else:
            self.pointwise(node)

    def pointwise(self, node: Node) -> None:
        arrays = np.broadcast_arrays(*map(self.operand, node.inputs))
        atoms = []
        for index, parts in enumerate(zip(*(a.ravel().tolist() for a in arrays), strict=True)):
            if not any(isinstance(part, str) for part in parts):
                with np.errstate(all="ignore"):
                    typed = [np.asarray(p, i.type.dtype.numpy)[()] if isinstance(i, Node) else p
                             for p, i in zip(parts, node.inputs, strict=True)]
                    atoms.append(np.asarray(node.op.eager(*typed, *node.attrs), node.type.dtype.numpy).item())
                continue
            texts = [self.text(part, node) for part in parts]
            if node.op.name == "where" and not isinstance(parts[0], str):
                texts[0] = str(bool(parts[0]))
            atoms.append(self.variable(element_text(node, texts).replace(*LONE), node, index))
        self.atoms[node] = _array(atoms, node.type.shape)

    def text(self, atom: Any, reader: Node) -> str:
        return atom if isinstance(atom, str) else literal_text(atom, operand_dtype(reader))

    def reduce(self, node: Node) -> None:
        """Elements are combined one after the other, as NumPy does for so few."""
        x = self.operand(node.inputs[0])
        source, axes, dtype = next(node.parents()), node.attr("axis"), node.type.dtype
        kept = [d for d in range(x.ndim) if d not in axes]
        rows = np.transpose(x, (*kept, *axes)).reshape(node.type.numel, -1)
        pattern = {"radd": "{} + {}", "rmul": "{} * {}"}.get(node.op.kernel, f"{node.op.kernel}({{}}, {{}})")
        atoms = []
        for index, row in enumerate(rows.tolist()):
            parts = [p if isinstance(p, str) else literal_text(p, dtype) for p in row]
            if source.type.dtype is not dtype:
                parts = [self.variable(f"to_{dtype.short}({p})", node, index) for p in parts]
            total = parts[0]
            for part in parts[1:]:
                total = self.variable(pattern.format(total, part), node, index)
            if node.op.name == "mean":
                total = self.variable(f"{total} / {literal_text(len(row), dtype)}", node, index)
            atoms.append(self.variable(total, node, index) if total not in self.labels else total)
        self.atoms[node] = _array(atoms, node.type.shape)

    def product(self, node: Node) -> None:
        x, y = map(self.operand, node.inputs)
        dtype = node.type.dtype
        lead = node.type.shape[:-2]
        x, y = np.broadcast_to(x, (*lead, *x.shape[-2:])), np.broadcast_to(y, (*lead, *y.shape[-2:]))
        atoms = []
        for index, where in enumerate(np.ndindex(*node.type.shape)):
            row, column = x[(*where[:-1], slice(None))], y[(*where[:-2], slice(None), where[-1])]
            total = ""
            for a, b in zip(row.tolist(), column.tolist(), strict=True):
                texts = [p if isinstance(p, str) else literal_text(p, dtype) for p in (a, b)]
                term = self.variable(f"{texts[0]} * {texts[1]}", node, index)
                total = self.variable(f"{total} + {term}", node, index) if total else term
            atoms.append(total or 0)
        self.atoms[node] = _array(atoms, node.type.shape)


def emit_tiny(graph: Graph, views: dict[Node, View], results: list[Node]) -> Emitted:
    """The one kernel of a tiny graph; `views` says where inputs and results lie."""
    scalars = _Scalars()
    loads: dict[str, tuple[int, str]] = {}
    accesses: dict[Node, View] = {}
    for node in graph.inputs:
        atoms = []
        for index, where in enumerate(np.ndindex(*node.type.shape)):
            view = views[node]
            place = view.offset + sum(i * s for i, s in zip(where, view.strides, strict=True))
            atoms.append(scalars.variable(f"{node.name}[{place}]", node, index))
            loads[atoms[-1]] = (place, node.name)
        scalars.atoms[node] = _array(atoms, node.type.shape)
    for node in graph.nodes:
        scalars.node(node)
    stores: list[tuple[Node, int, str]] = []
    for node in results:
        for index, atom in enumerate(scalars.atoms[node].ravel().tolist()):
            stores.append((node, index, atom if isinstance(atom, str) else literal_text(atom, node.type.dtype)))
    alive = _alive(scalars.lines, {text for _, _, text in stores})
    by_name = {node.name: node for node in graph.inputs}
    used = {by_name[loads[name][1]] for name in alive if name in loads}
    for node in (*(n for n in graph.inputs if n in used), *dict.fromkeys(results)):
        accesses[node] = views[node]
    order = {node: i for i, node in enumerate(accesses)}
    body = []
    for name, text in scalars.lines:
        if name in loads and name in alive:
            place, source = loads[name]
            body.append(f"{name} = p{order[by_name[source]]}[{place}]")
        elif name in alive:
            body.append(f"{name} = {text}")
    body += [f"p{order[node]}[{index}] = {text}" for node, index, text in stores]
    return _emitted(body, scalars, accesses)


def _emitted(body: list[str], scalars: _Scalars, accesses: dict[Node, View]) -> Emitted:
    parameters = ", ".join([*(f"p{i}" for i in range(len(accesses))), "lo", "hi"])
    source = "\n".join([f"def kernel({parameters}):", *(f"    {line}" for line in body)]) + "\n"
    return Emitted(source, scalars.labels, tuple(node.name for node in accesses),
                   tuple(view.buffer.dtype.short for view in accesses.values()), tuple(accesses.values()), (), 1)


def _alive(lines: list[tuple[str, str]], wanted: set[str]) -> set[str]:
    """The variables on which the stored ones depend."""
    alive = set(wanted)
    for name, text in reversed(lines):
        if name in alive:
            alive.update(_words(text))
    return alive


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "_" else " " for c in text).split()


def _put(result: Any, index: Any, atoms: Any) -> None:
    """Write atoms at an index; an array of no dims would itself become an element."""
    result[index] = atoms if atoms.ndim else atoms.item()


def _array(atoms: list[Any], shape: tuple[int, ...]) -> Any:
    result = np.empty(len(atoms), object)
    for index, atom in enumerate(atoms):
        result[index] = atom
    return result.reshape(shape)
