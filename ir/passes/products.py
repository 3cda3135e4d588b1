"""Collects sums of matrix products: the gradient of a matrix that a loop multiplies by in every step.

Written as it stands, each product is stored before it is added. A product can add to its result instead. And where the
operands are thin, a sum of products is one product of the operands side by side,

    A1 @ B1 + A2 @ B2 = [A1 A2] @ [B1; B2],

which touches the result once. Sums are added up in another order than the one that was written.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ..builder import GraphBuilder
from ..graph import Graph, Node, Operand
from ..ops import CATALOGUE
from ..ops.products import transposed
from ..types import DType
from .eliminate import eliminate_dead

__all__ = ["collect_products"]

# Products over so few numbers are worth joining, since reading and writing the result is most of their work; for large
# results (in elements) more of them [measured with OpenBLAS: 20 products, k from 1 to 64, 14 x 56 to 1024 x 1024].
THIN, THIN_FOR_LARGE, LARGE = 8, 32, 2**16


@dataclass(frozen=True, slots=True)
class _Term:
    """`scale` times the product of two nodes, or the transpose of that."""

    scale: float
    x: Node
    y: Node
    turned: bool = False


@dataclass(frozen=True, slots=True)
class _Sum:
    """Products and other operands with their signs; with `onto` the products are added to the first of these."""

    terms: list[_Term]
    rest: list[tuple[int, Operand]]
    onto: bool


def collect_products(graph: Graph) -> Graph:
    """The graph with sums of matrix products, and scaled ones, as products that add to their result."""
    if "matmul" not in graph.op_names:
        return graph
    reads = Counter(chain.from_iterable([node.inputs for node in graph.nodes]))
    reads.update(graph.roots())
    elementwise = set(chain.from_iterable([n.inputs for n in graph.nodes if n.op.kind in ("pointwise", "reduction")]))
    sums: dict[Node, _Sum] = {}
    folded: dict[Node, tuple[Any, Any]] = {}
    inner: set[Node] = set()
    for node in reversed(graph.nodes):
        if node in inner or not _is_blas(node.type.dtype):
            continue
        if node.op.name in ("add", "sub"):
            terms, rest = _flattened(node, reads, inner)
            alone = node not in elementwise  # else the sum is part of a kernel
            if alone:
                rest.sort(key=lambda leaf: not _is_whole(leaf, node))
            one = len(terms) == 1 and not _is_outer(terms[0])
            if len(terms) > 1 or (one and alone and len(rest) == 1 and _is_whole(rest[0], node)):
                sums[node] = _Sum(terms, rest, alone and bool(rest) and _is_whole(rest[0], node))
        elif node.op.name == "sum" and _sums_batch(node, reads):
            x, y = next(node.parents()).inputs
            folded[node] = x, y
        elif node.op.name in ("mul", "neg") and node not in elementwise:
            scaled = _term(node, 1, node, reads)
            if scaled is not None and not _is_outer(scaled):
                sums[node] = _Sum([scaled], [], False)
    return _Rebuilder(graph, sums, folded).run() if sums or folded else graph


def _is_blas(dtype: DType) -> bool:
    return dtype.short in ("f32", "f64")


def _flattened(top: Node, reads: Counter[Any], inner: set[Node]) -> tuple[list[_Term], list[tuple[int, Operand]]]:
    """The products of a tree of sums, and its other leaves with their signs."""
    terms: list[_Term] = []
    rest: list[tuple[int, Operand]] = []
    stack: list[tuple[Operand, int]] = [(top, 1)]
    while stack:
        operand, sign = stack.pop()
        if isinstance(operand, Node) and operand.type.shape == top.type.shape:
            if operand.op.name in ("add", "sub") and (operand is top or reads[operand] == 1):
                inner.add(operand)
                first, second = operand.inputs
                stack += [(second, -sign if operand.op.name == "sub" else sign), (first, sign)]
                continue
            term = _term(operand, sign, None, reads)
            if term is not None:
                terms.append(term)
                continue
        rest.append((sign, operand))
    return terms, rest


def _is_whole(leaf: tuple[int, Operand], node: Node) -> bool:
    """Whether products can be added to a leaf of a sum."""
    sign, operand = leaf
    return sign > 0 and isinstance(operand, Node) and operand.type.shape == node.type.shape


def _term(operand: Node, sign: int, top: Node | None, reads: Counter[Any]) -> _Term | None:
    """An operand that is a product, perhaps negated, scaled or transposed, which nothing else reads."""
    scale, turned, node = float(sign), False, operand
    while node is top or reads[node] == 1:
        name = node.op.name
        if name == "matmul":
            x, y = node.parents()
            return _Term(scale, x, y, turned)
        numbers = [i for i in node.inputs if isinstance(i, (int, float)) and not isinstance(i, bool)]
        if name == "neg":
            scale = -scale
        elif name == "mul" and numbers:
            scale *= numbers[0]
        elif name == "permute" and _swaps(node):
            turned = not turned
        else:
            return None
        node = next(node.parents())
    return None


def _swaps(node: Node) -> bool:
    """Whether a view exchanges the last two dims."""
    n = node.type.ndim
    return node.op.name == "permute" and node.attr("axes") == (*range(n - 2), n - 1, n - 2)


def _is_outer(term: _Term) -> bool:
    """Whether a product is but one multiplication an element, which a kernel does as well."""
    return term.x.type.shape[-1] == 1


def _is_thin(term: _Term) -> bool:
    """Whether a product is worth joining with others, and its operands take no more memory than its result."""
    (m, k), (_, n) = term.x.type.shape, term.y.type.shape
    return k * (m + n) <= m * n and k <= (THIN_FOR_LARGE if m * n >= LARGE else THIN)


def _sums_batch(node: Node, reads: Counter[Any]) -> bool:
    """Whether a sum is over the products of a batch, which are then one product over more numbers.

    The left matrices have to be transposed ones: only then do their rows lie one below the other, over all the batch.
    """
    product = next(node.parents())
    if product.op.name != "matmul" or reads[product] != 1 or node.attr("keepdims"):
        return False
    x, y = product.parents()
    lead = product.type.shape[:-2]
    return len(lead) > 0 and tuple(node.attr("axis")) == tuple(range(len(lead))) and _swaps(x) \
        and x.type.shape[:-2] == y.type.shape[:-2] == lead and x.type.numel > 0 and _is_blas(node.type.dtype)


class _Rebuilder:
    """Writes the graph anew, with products in the places of sums."""

    def __init__(self, graph: Graph, sums: dict[Node, _Sum], folded: dict[Node, tuple[Node, Node]]) -> None:
        self.graph = graph
        self.sums = sums
        self.folded = folded
        self.new: dict[Any, Any] = {}
        self.position = {node: number for number, node in enumerate(graph.inputs)}
        self.counted = 0
        self.b = GraphBuilder()
        self.b.reserve(chain(graph.inputs, graph.nodes))

    def run(self) -> Graph:
        nodes, new = self.b.nodes, self.new
        for node in self.graph.nodes:
            if node in self.sums:
                self.b.origin = node.origin
                new[node] = self._total(node, self.sums[node])
            elif node in self.folded:
                self.b.origin = node.origin
                new[node] = self._one(node, *(new.get(i, i) for i in self.folded[node]))
            else:
                if not new.keys().isdisjoint(node.inputs):
                    inputs = tuple([new.get(i, i) for i in node.inputs])
                    new[node] = node = Node(node.op, inputs, node.attrs, node.type, node.name, node.origin)
                nodes.append(node)
        return eliminate_dead(self.graph.map_roots(nodes, lambda o: new.get(o, o)))

    def _one(self, node: Node, x: Node, y: Node) -> Any:
        """The sum of a batch of products as one product."""
        m, n = x.type.shape[-2], y.type.shape[-1]
        count = x.type.numel // m
        left = self.b.reshape(self._swapped(x), shape=(count, m))
        right = self.b.reshape(y, shape=(count, n))
        return self.b.emit(CATALOGUE["matmul"], (self._swapped(left), right), (), node.name)

    def _total(self, node: Node, found: _Sum) -> Any:
        """The sum: products one upon the other, then the other operands."""
        terms = self._joined([self._straight(term) for term in found.terms])
        rest = [(sign, self.new.get(operand, operand)) for sign, operand in found.rest]
        total = rest.pop(0)[1] if found.onto else 0.0
        calls: list[tuple[str, tuple[Any, ...], tuple[Any, ...]]] = [
            ("matmul_add", (term.x, term.y), (term.scale,)) for term in terms]
        if not found.onto and terms[0].scale == 1:
            total, calls[0] = None, ("matmul", (terms[0].x, terms[0].y), ())
        calls += [("add" if sign > 0 else "sub", (operand,), ()) for sign, operand in rest]
        for number, (name, operands, attrs) in enumerate(calls):
            operands = operands if total is None else (total, *operands)
            total = self.b.emit(CATALOGUE[name], operands, attrs, node.name if number == len(calls) - 1 else None)
        return total

    def _straight(self, term: _Term) -> _Term:
        """The term without a transposed product, of nodes of the new graph."""
        x, y = self.new.get(term.x, term.x), self.new.get(term.y, term.y)
        return _Term(term.scale, self._swapped(y), self._swapped(x)) if term.turned else _Term(term.scale, x, y)

    def _swapped(self, node: Node) -> Node:
        if _swaps(node):
            return next(node.parents())
        return transposed(self.b, node, node.type.ndim)  # type: ignore[no-any-return]

    def _joined(self, terms: list[_Term]) -> list[_Term]:
        """The terms, those with thin operands side by side in one."""
        groups: dict[tuple[float, int, int], list[_Term]] = {}
        for number, term in enumerate(terms):
            k = term.x.type.shape[-1]
            flat = term.x.type.ndim == term.y.type.ndim == 2
            groups.setdefault((term.scale, k, -1 if flat and _is_thin(term) else number), []).append(term)
        return [group[0] if len(group) == 1 else self._side_by_side(scale, k, group)
                for (scale, k, _), group in groups.items()]

    def _side_by_side(self, scale: float, k: int, terms: list[_Term]) -> _Term:
        left, right = [term.x for term in terms], [term.y for term in terms]
        upright = k > 1 and not any(map(_swaps, left))
        rows = left if upright else [self._as_row(self._swapped(x)) for x in left]
        others = [self._as_row(y) for y in right]
        order = _slices(rows) or _slices(others) or self._first_made(rows, others)
        numbers = sorted(range(len(terms)), key=order.__getitem__)
        rows, others = [rows[i] for i in numbers], [others[i] for i in numbers]
        whole = self.b.cat(*rows, axis=1) if upright else self._swapped(self._stacked(rows))
        return _Term(scale, whole, self._stacked(others))

    def _first_made(self, rows: list[Node], others: list[Node]) -> list[int]:
        """The positions in the graph of those operands that come first in it.

        In a gradient these are the values of the forward pass. So operands of several sums lie in the same order, in
        which one array of them may serve all.
        """
        for number in range(self.counted, len(self.b.nodes)):
            self.position[self.b.nodes[number]] = len(self.graph.inputs) + number
        self.counted = len(self.b.nodes)
        sides = [[self.position[_root(node)] for node in side] for side in (rows, others)]
        return min(sides, key=min)

    def _as_row(self, node: Node) -> Node:
        """A matrix of one row as a reshape of what it is a view of: transposes of columns and rows alike."""
        if node.type.shape[0] != 1:
            return node
        while node.op.name in ("reshape", "permute"):
            node = next(node.parents())
        shape = (1, node.type.numel)
        return node if node.type.shape == shape else self.b.reshape(node, shape=shape)

    def _stacked(self, rows: list[Node]) -> Node:
        """Matrices one below the other; consecutive slices of one array are a slice of it."""
        found = _slices(rows)
        if found is None or found != list(range(found[0], found[0] + len(rows))):
            return self.b.cat(*rows, axis=0)  # type: ignore[no-any-return]
        source = next(_sliced(rows[0]).parents())
        part = self.b.slice(source, index=(slice(found[0], found[-1] + 1, 1),))
        count = sum(row.type.shape[0] for row in rows)
        return self.b.reshape(part, shape=(count, rows[0].type.shape[1]))  # type: ignore[no-any-return]


def _root(node: Node) -> Node:
    while node.op.kind == "view":
        node = next(node.parents())
    return node


def _sliced(node: Node) -> Node:
    while node.op.name == "reshape":
        node = next(node.parents())
    return node


def _slices(rows: list[Node]) -> list[int] | None:
    """The positions at which the matrices lie along the first dim of one array, if they do and differ."""
    found: list[int] = []
    sources = set()
    for row in rows:
        node = _sliced(row)
        if node.op.name != "slice" or not node.attr("index") or type(node.attr("index")[0]) is not int:
            return None
        source = next(node.parents())
        if node.type.numel * source.type.shape[0] != source.type.numel or node.type.numel != row.type.numel:
            return None
        sources.add(source)
        found.append(node.attr("index")[0])
    return found if len(sources) == 1 and len(set(found)) == len(found) else None
