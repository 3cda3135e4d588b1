"""`rt.compare`: eager against compiled, values and gradients, down to the first operation that differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from retape.ir import Graph
from retape.ir.errors import CompareMismatch
from retape.ir.interpreter import run_nodes
from retape.tracer.creation import from_numpy
from retape.tracer.engine import grad
from retape.tracer.tensor import Tensor, wrap
from retape.tracer.tree import flatten, unflatten

from .compiled import CompiledFunction
from .differentiable import compile_graph

__all__ = ["Comparison", "Row", "compare", "row_of", "ulp_distance", "worst_of"]

IDENTICAL, ROUNDING, WRONG = "IDENTICAL", "ROUNDING", "WRONG"
# what reassociated sums and the vector math may differ by, relative to the largest element
TOLERANCE = {"float32": 1e-4, "float64": 1e-10, "complex64": 1e-4, "complex128": 1e-10}


@dataclass(frozen=True)
class Row:
    """One value compared: its largest distance in units in the last place, and the verdict."""

    name: str
    ulp: float
    verdict: str


@dataclass
class Comparison:
    """What `compare` found. `str` is a table; `verdict` the worst of its rows; `ulp` the largest distance."""

    function: str
    rows: list[Row] = field(default_factory=list)
    culprit: str = ""

    @property
    def verdict(self) -> str:
        found = {row.verdict for row in self.rows}
        return next(v for v in (WRONG, ROUNDING, IDENTICAL) if v in found or v == IDENTICAL)

    @property
    def ulp(self) -> float:
        return max((row.ulp for row in self.rows), default=0.0)

    def raise_if_wrong(self) -> Comparison:
        """The comparison itself. Raises `CompareMismatch` where a value is more than rounding away."""
        if self.verdict == WRONG:
            raise CompareMismatch(
                f"eager and compiled results of `{self.function}` differ",
                ("where", self.culprit or next(row.name for row in self.rows if row.verdict == WRONG)),
                ("why", f"by {self.ulp:.3g} ULP, which rounding doesn't explain"),
                fix="this is a bug of retape: please report it with the function and `f.specialize(...).graph`")
        return self

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "verdict": self.verdict})

    def __str__(self) -> str:
        width = max((len(row.name) for row in self.rows), default=0)
        lines = [f"{self.function}: {self.verdict}"]
        lines += [f"  {row.name:{width}}  {row.verdict:9}  {row.ulp:.3g} ULP" for row in self.rows]
        if self.culprit:
            lines.append(f"  first differs at {self.culprit}")
        return "\n".join(lines)

    __repr__ = __str__


def ulp_distance(a: Any, b: Any) -> float:
    """The largest distance of two arrays' elements in units in the last place of the element type.

    Elements below a thousandth of the largest are measured in units of that thousandth, since a sum's rounding errors
    belong to its terms. Equal infinities and NaNs count as equal; inf where they differ, or shapes or types do.
    """
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape or x.dtype != y.dtype:
        return float("inf")
    if x.size == 0 or np.array_equal(x, y, equal_nan=x.dtype.kind in "fc"):
        return 0.0
    if x.dtype.kind not in "fc":
        return float("inf")
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.isfinite(x) & np.isfinite(y)
        odd = ~finite & ~((x == y) | (np.isnan(x) & np.isnan(y)))
        if odd.any():
            return float("inf")
        size = np.maximum(np.abs(x[finite]), np.abs(y[finite]))
        floor = max(float(size.max(initial=0.0)) * 1e-3, float(np.finfo(x.dtype).smallest_normal))
        unit = np.finfo(x.dtype).eps * np.maximum(size, floor)
        return float((np.abs(x[finite] - y[finite]) / unit).max(initial=0.0))


def row_of(name: str, eager: Any, compiled: Any) -> Row:
    """Two arrays compared."""
    distance = ulp_distance(eager, compiled)
    dtype = np.asarray(eager).dtype
    limit = TOLERANCE.get(dtype.name, 0.0) / float(np.finfo(dtype).eps) if dtype.kind in "fc" else 0.0
    return Row(name, distance, IDENTICAL if distance == 0 else ROUNDING if distance <= limit else WRONG)


def compare(function: Callable[..., Any], *args: Any, seed: int = 0, **kwargs: Any) -> Comparison:
    """Run a compiled function eagerly and compiled, and compare every output and every gradient.

    Gradients are those of the outputs contracted with random cotangents, with respect to all floating-point arguments.
    A function that isn't compiled yet is compiled first. A difference counts as rounding up to a bound relative to the
    largest element, and beyond it where the function compiled with strict numerics doesn't show it. Where results
    differ by more, the operations are compared one by one and the first that differs is named. Raises `TypeError` where
    there is nothing to compare.
    """
    compiled = function if isinstance(function, CompiledFunction) else CompiledFunction(function)
    found = Comparison(compiled.__qualname__)
    eager = _run(compiled.function, args, kwargs, seed)
    (fresh, named), _ = _fresh(args, kwargs)
    compiled.specialize(*fresh, **named)
    fast = _run(partial(CompiledFunction.__call__, compiled), args, kwargs, seed)
    if not eager:
        raise TypeError(f"`{found.function}` returned neither a tensor nor a number: there is nothing to compare")
    for (name, a), (_, b) in zip(eager, fast, strict=True):
        found.rows.append(row_of(name, a, b))
    if found.verdict == WRONG and compiled.numerics != "strict":
        _excuse(found, eager, CompiledFunction(compiled.function, numerics="strict"), args, kwargs, seed)
    if found.verdict == WRONG:
        found.culprit = _first_difference(compiled, args, kwargs)
    return found


def _excuse(found: Comparison, eager: list[tuple[str, Any]], strict: CompiledFunction, args: tuple[Any, ...],
            kwargs: dict[str, Any], seed: int) -> None:
    """Call a large difference rounding where strict numerics don't show it: then the function is sensitive."""
    (fresh, named), _ = _fresh(args, kwargs)
    strict.specialize(*fresh, **named)
    exact = _run(strict, args, kwargs, seed)
    for number, (row, (name, a), (_, b)) in enumerate(zip(found.rows, eager, exact, strict=True)):
        if row.verdict == WRONG and row_of(name, a, b).verdict != WRONG:
            found.rows[number] = Row(name, row.ulp, ROUNDING)


def _fresh(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, list[tuple[str, Tensor]]]:
    """The arguments with fresh tensors for all arrays and tensors, and those that require grad by name."""
    leaves, structure = flatten((args, kwargs))
    wanted: list[tuple[str, Tensor]] = []
    for position, leaf in enumerate(leaves):
        if not isinstance(leaf, (Tensor, np.ndarray)):
            continue
        data = leaf._data if isinstance(leaf, Tensor) else leaf
        leaves[position] = tensor = from_numpy(data.copy() if data.flags.c_contiguous else data)
        if data.dtype.kind in "fc":
            wanted.append((f"argument {position}", tensor.requires_grad_()))
    return unflatten(structure, leaves), wanted


def _run(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], seed: int) \
        -> list[tuple[str, Any]]:
    """Outputs and gradients by name."""
    (fresh, named), wanted = _fresh(args, kwargs)
    results = flatten(function(*fresh, **named))[0]
    rows: list[tuple[str, Any]] = [
        (f"output {i}", np.array(r._data if isinstance(r, Tensor) else r)) for i, r in enumerate(results)
        if isinstance(r, (Tensor, np.ndarray, np.generic, int, float, complex))]
    live = [r for r in results if isinstance(r, Tensor) and r.requires_grad]
    if live and wanted:
        rng = np.random.default_rng(seed)
        cotangents = [wrap(np.asarray(rng.standard_normal(out.shape), out._data.dtype)) for out in live]
        parts = grad(live, [tensor for _, tensor in wanted], cotangents, allow_unused=True)
        rows += [(f"gradient of {name}", np.zeros(t.shape, t._data.dtype) if part is None else part._data)
                 for (name, t), part in zip(wanted, parts, strict=True)]
    return rows


def _first_difference(compiled: CompiledFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The first operation whose compiled value differs from the interpreter's, with the user's line."""
    (fresh, named), _ = _fresh(args, kwargs)
    known = compiled.specialize(*fresh, **named)
    inputs = known.inputs_of(compiled.leaves_of(*fresh, **named))
    graph: Graph = known.graph
    values = run_nodes(graph, tuple(inputs))
    every = Graph(graph.name, graph.inputs, graph.nodes, tuple(graph.nodes), "trace", graph.of)
    for node, value in zip(graph.nodes, compile_graph(every)(inputs), strict=True):
        row = row_of(node.name, values[node], value)
        if row.verdict == WRONG:
            return f"`{node.name}` ({node.note}): {worst_of(values[node], value)}, {row.ulp:.3g} ULP"
    return "the backward pass"


def worst_of(eager: Any, compiled: Any) -> str:
    """The element that differs most."""
    a, b = np.asarray(eager), np.asarray(compiled)
    if a.shape != b.shape:
        return f"eager {a.shape}, compiled {b.shape}"
    distance = a != b if a.dtype.kind == "b" else np.abs(np.nan_to_num(a - b, nan=np.inf))
    index = np.unravel_index(int(np.argmax(distance)), a.shape) if a.size else ()
    return f"{list(map(int, index))}: eager {a[index]!r}, compiled {b[index]!r}"
