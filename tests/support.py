"""What several test files share: samples of every op, the four executions of a graph, and distances in ULP."""

from __future__ import annotations

import contextlib
import marshal
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.lib.stride_tricks import as_strided

from retape.codegen import kept
from retape.codegen import lower as lowering
from retape.codegen.kernels import Kernel
from retape.codegen.lower import lower
from retape.codegen.lowered import HostStep, KernelStep, Lowered, PanelStep, ProductStep
from retape.codegen.packing import pack, unpack
from retape.codegen.program import compile_graph
from retape.codegen.views import Buffer, View
from retape.ir import CATALOGUE, DTYPES, Array, Graph, GraphBuilder, Op, TensorType, dtype_of, f32, f64, input_node
from retape.ir.errors import DtypeError, RetapeError
from retape.ir.fingerprint import Untold
from retape.ir.ops import OWN
from retape.ir.passes import MARKERS, simplify

__all__ = [
    "Sample", "assert_close", "all_ops", "attributes_of", "examples", "executions", "graph_of", "layout",
    "loops_only", "run_unjitted", "samples", "ulps",
]


SOAK = int(os.environ.get("RETAPE_SOAK", "0"))  # how many times more examples, and fresh ones at each run


def examples(count: int) -> Any:
    """Hypothesis settings: `count` examples, the same at every run unless RETAPE_SOAK asks for more."""
    return settings(max_examples=count * max(SOAK, 1), derandomize=not SOAK, deadline=None)


# ---- graphs


def layout(array: np.ndarray[Any, Any]) -> TensorType:
    """The type of a graph input that is given `array`."""
    plain = TensorType(dtype_of(array.dtype), array.shape)
    if array.flags.c_contiguous:
        return plain
    return plain.strided(*(step // array.itemsize for step in array.strides))


def graph_of(op: Op, operands: Sequence[Any], attrs: tuple[Any, ...] = ()) -> Graph:
    """One operation as a graph; arrays become inputs, numbers stay literals."""
    builder = GraphBuilder()
    inputs = [input_node(f"x{i}", layout(o)) if isinstance(o, np.ndarray) else o for i, o in enumerate(operands)]
    parameters = tuple(i for i in inputs if not isinstance(i, (int, float, bool, complex)))
    builder.reserve(parameters)
    node = builder.emit(op, tuple(inputs), attrs)
    return Graph(op.name, parameters, tuple(builder.nodes), (node,), "trace", op.name)


# ---- the third execution: kernels under Python


class Pointer:
    """Memory as a kernel sees it: an address to count from. Every access is checked."""

    def __init__(self, memory: np.ndarray[Any, Any], start: int = 0) -> None:
        assert memory.ndim == 1
        self.memory = memory
        self.start = start

    def _at(self, index: Any) -> int:
        place = self.start + int(index)
        assert 0 <= place < len(self.memory), f"element {place} of {len(self.memory)} is out of bounds"
        return place

    def __getitem__(self, index: Any) -> Any:
        return self.memory[self._at(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.memory[self._at(index)] = value

    def array(self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> np.ndarray[Any, Any]:
        if 0 in shape:
            return np.empty(shape, self.memory.dtype)
        ends = [(extent - 1) * step for extent, step in zip(shape, strides, strict=True)]
        self._at(offset + sum(min(e, 0) for e in ends))
        self._at(offset + sum(max(e, 0) for e in ends))
        size = self.memory.itemsize
        return as_strided(self.memory[self.start + offset:], shape, [s * size for s in strides])


def poisoned(count: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Memory whose elements show up where they are read before they are written."""
    memory = np.empty(count, dtype)
    memory[...] = np.nan if dtype.kind in "fc" else True if dtype.kind == "b" else 85
    return memory


def _memory_of(array: np.ndarray[Any, Any]) -> Pointer:
    """The elements of an array at their strides, poison in between."""
    if 0 in array.shape:
        return Pointer(poisoned(1, array.dtype))
    steps = [s // array.itemsize for s in array.strides]
    ends = [(extent - 1) * step for extent, step in zip(array.shape, steps, strict=True)]
    low, high = sum(min(e, 0) for e in ends), sum(max(e, 0) for e in ends)
    memory = poisoned(high - low + 1, array.dtype)
    pointer = Pointer(memory, -low)
    pointer.array(array.shape, tuple(steps))[...] = array
    return pointer


class _Unjitted:
    """A lowered program carried out step by step in Python."""

    def __init__(self, lowered: Lowered) -> None:
        self.lowered = lowered
        self.memory: dict[Buffer, Pointer] = {}

    def pointer(self, buffer: Buffer) -> Pointer:
        found = self.memory.get(buffer)
        if found is None:
            memory = buffer.constant.reshape(-1) if buffer.kind == "constant" \
                else poisoned(buffer.numel, buffer.dtype.numpy)
            found = self.memory[buffer] = Pointer(memory)
        return found

    def view(self, view: View) -> np.ndarray[Any, Any]:
        return self.pointer(view.buffer).array(view.shape, view.strides, view.offset)

    def run(self, arrays: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
        for buffer, node, array in zip(self.lowered.inputs, self.lowered.graph.inputs, arrays, strict=True):
            self.memory[buffer] = _memory_of(np.asarray(array, node.type.dtype.numpy))
        with np.errstate(all="ignore"):
            for step in self.lowered.steps:
                self.step(step)
        return [np.array(self.view(where)) if isinstance(where, View) else np.asarray(where)
                for where, _ in self.lowered.outputs]

    def step(self, step: Any) -> None:
        if isinstance(step, KernelStep):
            pointers = [self.pointer(view.buffer) for view in step.emitted.views]
            Kernel(step.emitted).run_python(pointers, 0, step.emitted.extent)
        elif isinstance(step, ProductStep):
            self.product(step)
        elif isinstance(step, PanelStep):
            self.step(step.product)
            self.step(step.kernel)
        else:
            assert isinstance(step, HostStep)
            operands = [self.view(o) if isinstance(o, View) else o for o in step.operands]
            result = step.node.op.eager(*operands, *step.node.attrs)
            dtype = step.node.type.dtype.numpy
            self.memory[step.result] = Pointer(np.array(result, dtype).reshape(-1))

    def product(self, step: ProductStep) -> None:
        """What BLAS does with these numbers."""
        left, right, out = (self.pointer(view.buffer) for view in step.operands)
        a = step.arguments
        starts = a["offsets"]
        m, n, k = a["m"], a["n"], a["k"]
        strides = a["batch_strides"]
        for number in range(step.batch):
            at = [start + number * stride for start, stride in zip(starts, strides, strict=True)]
            x = left.array((m, k), (1, a["lda"]) if a["transpose_a"] else (a["lda"], 1), at[0])
            y = right.array((k, n), (1, a["ldb"]) if a["transpose_b"] else (a["ldb"], 1), at[1])
            result = out.array((m, n), (a["ldc"], 1), at[2])
            result[...] = a.get("alpha", 1.0) * (x @ y) + (a["beta"] * result if a.get("beta") else 0.0)


def run_unjitted(graph: Graph, arrays: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
    """All results of a graph (outputs, saved, guarded) by running its generated kernels without the jit, as they are
    once the program was kept and read again."""
    return _Unjitted(reread(lower(graph))).run(arrays)


def reread(lowered: Lowered) -> Lowered:
    """A lowered graph as it comes out of the cache."""
    try:
        rows = pack(lowered)
    except Untold:
        assert any(node.op not in OWN for node in lowered.graph.nodes)
        return lowered
    found = unpack(marshal.loads(marshal.dumps(rows, 2)), lowered.graph, lowered.strict, dict)
    assert pack(found) == rows
    return found


def _interpreted(graph: Graph, arrays: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
    result = graph(*arrays)
    if graph.kind == "forward":
        return [*result[0], *result[1]]
    return list(result)


@contextlib.contextmanager
def loops_only() -> Iterator[None]:
    """Tiny graphs are compiled like large ones, as loops."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lowering, "suits", lambda *_: False)
        patch.setattr(kept, "sources", lambda: "loops only")  # no programs that were kept for others
        yield


def executions(graph: Graph, arrays: Sequence[Any], tiny: bool = True) -> dict[str, list[np.ndarray[Any, Any]]]:
    """The outputs of a graph by interpreter, kernels without the jit, and compiled code.

    What would become straight-line code for tiny arrays is run as loops, too; with `tiny=False` the straight-line code
    isn't compiled (which takes longer), only run without the jit.
    """
    count = len(graph.outputs) + len(graph.saved)
    with loops_only():
        results = {
            "interpreter": _interpreted(graph, arrays),
            "unjitted": run_unjitted(graph, arrays)[:count],
            "compiled": compile_graph(graph)(list(arrays))[:count],
        }
    if lowering.suits(simplify(graph, MARKERS)):
        results["tiny unjitted"] = run_unjitted(graph, arrays)[:count]
        if tiny:
            results["tiny compiled"] = compile_graph(graph)(list(arrays))[:count]
    return results


# ---- distances


def ulps(a: Any, b: Any, magnitude: Any = None) -> float:
    """The largest distance in units in the last place of the greater value (or of `magnitude`); NaN equals NaN."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind == "c":
        both = magnitude if magnitude is not None else np.maximum(np.abs(a), np.abs(b))
        return max(ulps(a.real, b.real, both), ulps(a.imag, b.imag, both))
    if a.dtype.kind != "f":
        return 0.0 if np.array_equal(a, b) else np.inf
    if a.size == 0:
        return 0.0
    with np.errstate(all="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        scale = np.maximum(np.abs(a), np.abs(b))
        if magnitude is not None:
            scale = np.maximum(scale, np.asarray(magnitude, a.dtype))
        distance = np.abs(a - b) / np.spacing(scale)
    distance = np.where(same, 0.0, np.where(np.isfinite(distance), distance, np.inf))
    return float(distance.max())


def assert_close(found: Any, wanted: Any, bound: float, what: str, magnitude: Any = None) -> None:
    """Same element type and shape, and within `bound` ULP."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.dtype == wanted.dtype, f"{what}: {found.dtype} against {wanted.dtype}"
    assert found.shape == wanted.shape, f"{what}: {found.shape} against {wanted.shape}"
    distance = ulps(found, wanted, magnitude)
    assert distance <= bound, f"{what}: {distance:.3g} ULP apart (bound {bound}):\n{found}\n{wanted}"


# ---- samples

SHAPE = (3, 4)


@dataclass(frozen=True)
class Sample:
    """One call of an op: operands (arrays, numbers), attributes, and a label for test ids."""

    op: Op
    operands: tuple[Any, ...]
    attrs: tuple[Any, ...]
    label: str

    @property
    def arrays(self) -> list[np.ndarray[Any, Any]]:
        return [o for o in self.operands if isinstance(o, np.ndarray)]

    @property
    def graph(self) -> Graph:
        return graph_of(self.op, self.operands, self.attrs)


def draw(rng: np.random.Generator, domain: tuple[float, float], shape: tuple[int, ...], dtype: Any) -> Any:
    """Values from a domain."""
    low, high = domain
    if dtype.numpy.kind in "iu":
        low = max(low, 0.0) if dtype.short == "u8" else low
        return np.asarray(rng.integers(int(np.ceil(low)), int(np.floor(high)) + 1, shape)).astype(dtype.numpy)
    if dtype.numpy.kind == "b":
        return np.asarray(rng.integers(0, 2, shape)).astype(bool)
    return np.asarray(rng.uniform(low, high, shape)).astype(dtype.numpy)


def strided_copies(arrays: Sequence[Any]) -> tuple[Any, ...]:
    """The same values with other strides: columns of a wider array, a transpose, both orders reversed."""
    results = []
    for number, array in enumerate(arrays):
        if array.ndim == 0:
            results.append(array)
        elif number % 3 == 0:
            wide = poisoned(2 * array.size, array.dtype).reshape(*array.shape[:-1], 2 * array.shape[-1])
            wide[..., ::2] = array
            results.append(wide[..., ::2])
        elif number % 3 == 1:
            results.append(np.asfortranarray(array) if array.ndim > 1 else array[::-1].copy()[::-1])
        else:
            turned = tuple(slice(None, None, -1) for _ in array.shape)
            results.append(array[turned].copy()[turned])
    return tuple(results)


def dtypes_of(op: Op) -> list[Any]:
    """The element types (of those that code is generated for) that the op takes."""
    found = []
    for dtype in DTYPES[:8]:
        try:
            types = [TensorType(dtype, (2, 2))] * len(op.operands)
            if op.name == "where":
                types[0] = TensorType(DTYPES[0], (2, 2))
            op.infer(*types, *attributes_of(op))
        except RetapeError:
            continue
        found.append(dtype)
    return found


def attributes_of(op: Op) -> tuple[Any, ...]:
    """Attributes for a pointwise op or a reduction of a (3, 4) operand."""
    if op.kind == "reduction":
        return ((1,), False)
    return (f32,) if op.name == "cast" else ()


def _operands(op: Op, rng: np.random.Generator, shapes: Sequence[tuple[int, ...]], dtype: Any) -> tuple[Any, ...]:
    kinds = [dtype] * len(shapes)
    if op.name == "where":
        kinds[0] = DTYPES[0]
    drawn = [draw(rng, d, s, k) for d, s, k in zip(op.domain, shapes, kinds, strict=True)]
    if op.name == "pow" and not dtype.is_floating_point:  # NumPy refuses negative powers of integers
        drawn[1] = np.asarray(np.abs(drawn[1]))
    return tuple(drawn)


def _pointwise_samples(op: Op, dtypes: Sequence[Any] | None) -> Iterator[Sample]:
    rng = np.random.default_rng(7)
    count, attrs = len(op.operands), attributes_of(op)
    wide = [SHAPE, (4,), (3, 1)]
    for dtype in dtypes or dtypes_of(op):
        plain = _operands(op, rng, [SHAPE] * count, dtype)
        yield Sample(op, plain, attrs, f"{dtype.short}-contiguous")
        if dtype.short not in ("f32", "f64", "i64", "b1"):
            continue
        yield Sample(op, strided_copies(plain), attrs, f"{dtype.short}-strided")
        yield Sample(op, _operands(op, rng, [()] * count, dtype), attrs, f"{dtype.short}-scalar")
        yield Sample(op, _operands(op, rng, [(0, 4)] * count, dtype), attrs, f"{dtype.short}-empty")
        if count == 1:
            row = np.broadcast_to(draw(rng, op.domain[0], (4,), dtype), SHAPE)
            yield Sample(op, (row,), attrs, f"{dtype.short}-broadcast")
            continue
        for turn in range(count):
            shapes = [wide[(i + turn) % count] for i in range(count)]
            yield Sample(op, _operands(op, rng, shapes, dtype), attrs, f"{dtype.short}-broadcast{turn}")
        if dtype.short in ("f32", "f64"):
            for position in range(count):
                mixed = list(plain)
                mixed[position] = mixed[position].ravel()[0].item()
                yield Sample(op, tuple(mixed), attrs, f"{dtype.short}-literal{position}")


def _reduction_samples(op: Op, dtypes: Sequence[Any] | None) -> Iterator[Sample]:
    rng = np.random.default_rng(8)
    for dtype in dtypes or dtypes_of(op):
        x = draw(rng, op.domain[0], (2, 3, 4), dtype)
        arg = op.name.startswith("arg")
        axes: list[tuple[int, ...]] = [(0,), (1,), (2,), (0, 1, 2)] + ([] if arg else [(0, 2), (1, 2), (0, 1), ()])
        for number, axis in enumerate(axes):
            yield Sample(op, (x,), (axis, bool(number % 2)), f"{dtype.short}-axis{axis}")
            if dtype.short in ("f32", "f64") and number < 4:
                yield Sample(op, strided_copies([x]), (axis, False), f"{dtype.short}-strided{axis}")
        if dtype.short not in ("f32", "f64", "i64"):
            continue
        yield Sample(op, (np.broadcast_to(x[:1, :, :1], (2, 3, 4)),), ((1,), False), f"{dtype.short}-broadcast")
        yield Sample(op, (x.transpose(2, 0, 1)[::-1],), ((0,), True), f"{dtype.short}-turned")
        yield Sample(op, (draw(rng, op.domain[0], (), dtype),), ((), False), f"{dtype.short}-scalar")
        yield Sample(op, (draw(rng, op.domain[0], (2, 0), dtype),), ((0,), False), f"{dtype.short}-empty")
        long = draw(rng, op.domain[0], (3, 2500), dtype)
        yield Sample(op, (long,), ((1,), False), f"{dtype.short}-long")
        yield Sample(op, (long.T,), ((0,), False), f"{dtype.short}-long-turned")
        if op.name in ("sum", "prod", "any", "all"):
            yield Sample(op, (draw(rng, op.domain[0], (2, 0), dtype),), ((1,), False), f"{dtype.short}-over-empty")


def _indices(rng: np.random.Generator, shape: tuple[int, ...], extent: int, dtype: Any = np.int64) -> Any:
    return np.asarray(rng.integers(-extent, extent, shape)).astype(dtype)


def distinct(rng: np.random.Generator, shape: tuple[int, ...], extent: int, axis: int) -> Any:
    """Indices that don't meet along an axis."""
    rows = np.argsort(rng.uniform(size=(*shape[:axis], extent, *shape[axis + 1 :])), axis=axis)
    return np.take(rows, range(shape[axis]), axis=axis)


def _matrix_cases(x: Any, y: Any) -> dict[str, list[tuple[tuple[Any, ...], tuple[Any, ...]]]]:
    """Calls of the operations on matrices; x and y are (2, 3, 4)."""
    if x.dtype.kind != "f":
        return {}
    square = x[..., :3] + 4 * np.eye(3, dtype=x.dtype)  # far from singular
    even = square + square.swapaxes(-1, -2)
    spread = even + np.diag([0.0, 3.0, 7.0]).astype(x.dtype)  # eigenvalues apart
    stretched = x + np.eye(3, 4, dtype=x.dtype) * np.array([2, 5, 9, 1], x.dtype)
    return {
        "solve": [((square, y), ("general",)), ((square[0], y[1].copy()), ("general",)), ((square[0], y), ("general",)),
                  ((square, y), ("lower",)), ((square, y[0].copy()), ("upper",)), ((square[:0], y[:0]), ("general",))],
        "slogdet": [((square,), ()), ((-square[0],), ()), ((square[:0],), ())],
        "cholesky": [((even + 4 * np.eye(3, dtype=x.dtype),), ()), ((np.eye(3, dtype=x.dtype) * 2,), ()),
                     ((square[:0],), ())],
        "eigh": [((spread,), ()), ((spread[0],), ()), ((spread[:0],), ())],
        "qr": [((square,), ()), ((stretched.swapaxes(-1, -2).copy(),), ()), ((stretched,), ()), ((square[0],), ()),
               ((square[:0],), ())],
        "svd": [((stretched,), ()), ((stretched.swapaxes(-1, -2).copy(),), ()), ((stretched[0, :, :3].copy(),), ()),
                ((stretched[:0],), ())],
        "lu": [((square,), ()), ((stretched.swapaxes(-1, -2).copy(),), ()), ((stretched,), ()), ((square[0],), ()),
               ((square[:0],), ())],
        "pinv": [((stretched,), (1e-15,)), ((stretched[0].T.copy(),), (1e-15,)), ((stretched[:0],), (1e-15,))],
        "matrix_exp": [((square / 4,), ()), ((x[0, :2, :2].copy(),), ()), ((x[:0, :3, :3],), ())],
    }


def _structural_cases(op: Op, x: Any, rng: np.random.Generator) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """(operands, attributes) for an op that is neither pointwise nor a reduction, x being (2, 3, 4)."""
    full = slice(0, 4, 1)
    y = x.ravel()[::-1].reshape(x.shape).copy()
    cases: dict[str, list[tuple[tuple[Any, ...], tuple[Any, ...]]]] = {
        "reshape": [((x,), (s,)) for s in ((24,), (4, 6), (2, 3, 4), (1, 2, 1, 12), (3, 2, 4))]
                   + [((x[0, 0, :1],), ((),)), ((x[0, 0, 0],), ((1, 1),)), ((x[:0],), ((4, 0),))],
        "permute": [((x,), (a,)) for a in ((0, 1, 2), (2, 1, 0), (1, 0, 2), (2, 0, 1))]
                   + [((x[0, 0, 0],), ((),)), ((x[:, :0],), ((1, 2, 0),))],
        "expand": [((x[:1],), ((5, 3, 4),)), ((x[0, :, :1],), ((2, 3, 4),)), ((x[0, 0, 0],), ((2, 2),)),
                   ((x,), (x.shape,)), ((x[:1, :, :0],), ((2, 3, 0),))],
        "slice": [((x,), (i,)) for i in (
            (0,), (1, 2), (1, 2, 3), (slice(0, 2, 1), slice(1, 3, 1)), (slice(0, 2, 1), 1, slice(0, 4, 2)),
            (slice(1, None, -1), slice(2, 0, -1), slice(3, None, -2)), (None, slice(0, 2, 1), None, 0),
            (slice(0, 0, 1),), ())] + [((x[0, 0, 0],), ((None,),)), ((x[:, :0],), ((1, slice(0, 0, 1)),))],
        "flip": [((x,), (a,)) for a in ((0,), (1, 2), (0, 1, 2), ())]
                + [((x[0, 0, 0],), ((),)), ((x[:, :0],), ((0,),))],
        "embed": [((x,), ((4, 5, 4), (slice(1, 3, 1), slice(0, 5, 2)))), ((x[0],), ((2, 3, 4), (1,))),
                  ((x,), ((2, 3, 4), (slice(1, None, -1), slice(0, 3, 1), full))),
                  ((x[0, 0, 0],), ((3,), (2,))), ((x[:0],), ((2, 3, 4), (slice(0, 0, 1),)))],
        "slice_scatter": [((x, y[0]), ((1,),)), ((x, y[0, 0, 0]), ((0, slice(0, 3, 2)),)),
                          ((x, y[:, :, ::2]), ((slice(0, 2, 1), slice(0, 3, 1), slice(0, 4, 2)),)),
                          ((x, y[:, :1]), ((slice(1, None, -1), slice(1, 3, 1)),)), ((x[0, 0, 0], y[0, 0, 0]), ((),)),
                          ((x[:0], y[:0]), ((slice(0, 0, 1),),))],
        "embed_sum": [
            ((x, y), ((4, 2, 3, 4), ((3,), (0,)))), ((x, y), ((2, 2, 3, 4), ((1,), (0,)))),
            ((x[0], y[1]), ((2, 5, 4), ((0, slice(1, 4, 1)), (0, slice(2, 5, 1))))),
            ((x[0, 0, 0], y[0, 0, 0]), ((3,), ((0,), (2,)))), ((x[:0], y[:0]), ((4, 0, 3, 4), ((3,), (0,)))),
        ],
        "overwrite": [((x, y), ()), ((x.transpose(2, 1, 0), y.transpose(2, 1, 0)), ()),
                      ((x[0, 0, 0], y[0, 0, 0]), ()), ((x[:0], y[:0]), ())],
        "opaque": [((x, y), ("Custom",)), ((x,), ("Custom",)), ((x[0, 0, 0], y[:0]), ("Custom",))],
        "cat": [((x, y), (0,)), ((x, y, x), (1,)), ((x, y[:, :, :1]), (2,)), ((x,), (0,)), ((x[:0], y), (0,)),
                ((x.transpose(2, 1, 0), y.transpose(2, 1, 0)), (1,))],
        "take": [((x, _indices(rng, (5,), 3)), (1,)), ((x, _indices(rng, (2, 2), 2)), (0,)),
                 ((x, _indices(rng, (), 4)), (2,)), ((x, _indices(rng, (0,), 4)), (2,)),
                 ((x, _indices(rng, (5,), 3, np.int32)), (1,)), ((x.T, _indices(rng, (3,), 2)), (2,))],
        "take_add": [((x, _indices(rng, (3,), 5)), ((2, 5, 4), 1)), ((x, _indices(rng, (2,), 2)), ((2, 3, 4), 0)),
                     ((x, _indices(rng, (2, 3), 4)), ((4, 4), 0)), ((x[:, 0], _indices(rng, (), 3)), ((2, 3, 4), 1)),
                     ((x[:, :, :0], _indices(rng, (0,), 4)), ((2, 3, 4), 2))],
        "gather": [((x, _indices(rng, (2, 2, 4), 3)), (1,)), ((x, _indices(rng, (5, 3, 4), 2)), (0,)),
                   ((x, _indices(rng, (1, 2, 7), 4)), (2,)), ((x, _indices(rng, (2, 0, 4), 3)), (1,))],
        "scatter_add": [((x, _indices(rng, (2, 3, 4), 5)), ((2, 5, 4), 1)),
                        ((x, _indices(rng, (2, 3, 4), 2)), ((2, 3, 4), 0)),
                        ((x[:, :0], _indices(rng, (2, 0, 4), 3)), ((2, 3, 4), 1))],
        "matmul": [((x[0], y[0].T), ()), ((x[0].T, y[0]), ()), ((x, y.transpose(0, 2, 1)), ()),
                   ((x, y[0].T.copy()), ()),
                   ((x[:1], y.transpose(0, 2, 1)), ()), ((x[0, :, ::2], y[0, :, ::2].T), ()),
                   ((x[0, :1], y[0, 1:2].T), ()), ((x[0, :0], y[0].T), ()), ((x[0, :, :0], y[0, :, :0].T), ()),
                   ((x[None], y.transpose(0, 2, 1)[None]), ()), ((x[0, ::-1], y[0].T[:, ::-1]), ())],
        "matmul_add": [((x[0] @ y[0].T, x[0], y[0].T), (1.0,)), ((x[0, :, :0], x[0], y[0, :0].T), (2.0,)),
                       ((x @ y.transpose(0, 2, 1), x, y[:, ::-1].transpose(0, 2, 1)), (-0.5,)),
                       ((x[:, :, :3], x, y.transpose(0, 2, 1)), (2.0,))],
        "cumsum": [((x,), (a,)) for a in (0, 1, 2)] + [((x[:, :0],), (1,)), ((x[0, 0, 0],), (0,))],
        "erfinv": [((np.tanh(x),), ()), ((np.tanh(x.T),), ()), ((np.tanh(x[0, 0, 0]),), ()), ((x[:, :0],), ())],
        "polygamma": [((np.abs(x) + 0.5,), (1,)), ((np.abs(x.T) + 0.5,), (2,)), ((np.abs(x[0, 0, 0]) + 0.5,), (1,)),
                      ((x[:, :0],), (1,))],
        **{name: [((z,), ()) for z in (x, x + 1j * y, x[0, 0, 0] + 1j, x[:, :0] + 1j * y[:, :0])]
           for name in ("real", "imag", "conj")},
        "complex": [((x, y), ()), ((x.T, y.T), ()), ((x[0, 0, 0], y[0, 0, 0]), ()), ((x[:, :0], y[:, :0]), ())],
        "fft": [((x + 1j * y,), ((2,), False)), ((x.T + 1j * y.T,), ((0, 1), True)), ((x[:1] + 0j,), ((1,), True)),
                ((x[:0] + 0j,), ((2,), False))],
        "unfold": [((x,), a) for a in ((2, 2, 1), (2, 3, 1), (1, 2, 2), (0, 1, 1), (2, 4, 3))]
                  + [((x.T,), (0, 2, 1)), ((x[:0],), (1, 2, 1)), ((x,), (2, 1, 5))],
        "put": [((x, distinct(rng, (2, 2, 4), 3, 1), y[:, :2]), (1,)), ((x, distinct(rng, (2, 3, 4), 2, 0), y), (0,)),
                ((x, distinct(rng, (1, 2, 3), 4, 2), y[:1, :2, :1]), (2,)),
                ((x, _indices(rng, (2, 0, 4), 3), y[:, :0]), (1,))],
        "argsort": [((x,), (a, d, None)) for a in (0, 1, 2) for d in (False, True)]
                   + [((np.round(x),), (a, True, 2)) for a in (0, 1, 2)] + [((np.round(x).T,), (1, False, 3))]
                   + [((x[:, :0],), (1, False, None)), ((x,), (2, False, 0)), ((x[0, 0, 0],), (0, False, None))],
        "cumargmax": [((x,), (a,)) for a in (0, 1, 2)]
                     + [((np.round(x),), (2,)), ((x[0, 0, 0],), (0,)), ((x[:, :0],), (1,))],
        "searchsorted": [((np.sort(x[0, 0]), y), (r,)) for r in (False, True)]
                        + [((np.sort(x), y), (False,)), ((np.sort(x[0, 0]), np.broadcast_to(y[0], y.shape)), (False,)),
                           ((np.sort(x[0, 0]), y[0, 0, 0]), (True,)), ((np.sort(x[0, 0]), y[:, :0]), (True,))],
        "places": [((m,), (int(np.count_nonzero(m)),))
                   for m in (x > 0, x[0].T > 1, x > 9, x[:, :0] > 0, x[0, 0, 0] < 9,
                             np.broadcast_to(x[:1] > 0, x.shape))],
        **_matrix_cases(x, y),
        "full": [((), ((2, 3), 1.5, f64)), ((), ((), 2, f32)), ((), ((0,), 1, DTYPES[5])),
                 ((), ((2,), True, DTYPES[0]))],
        "arange": [((), (0, 5, 1, DTYPES[5])), ((), (1, 9, 3, f32)), ((), (5, 0, -2, DTYPES[5])),
                   ((), (0.5, 2.0, 0.25, f64)), ((), (3, 1, 1, DTYPES[5]))],
        "constant": [((), (Array(x.tolist(), TensorType(dtype_of(x.dtype), x.shape)),)),
                     ((), (Array([], f32[0, 2]),)), ((), (Array([True], DTYPES[0][()]),))],
    }
    return cases.get(op.name, [])


def _structural_samples(op: Op, dtypes: Sequence[Any] | None) -> Iterator[Sample]:
    for dtype in dtypes or (f32, f64, DTYPES[5]):
        rng = np.random.default_rng(9)
        x = draw(rng, (-3.0, 3.0), (2, 3, 4), dtype)
        for number, (operands, attrs) in enumerate(_structural_cases(op, x, rng)):
            arrays = tuple(np.asarray(o) for o in operands)
            try:
                op.infer(*map(layout, arrays), *attrs)
            except DtypeError:
                continue
            yield Sample(op, arrays, attrs, f"{dtype.short}-{number}")
            if arrays and number < 3:
                yield Sample(op, strided_copies(arrays), attrs, f"{dtype.short}-{number}-strided")
            if number == 0 and arrays and arrays[0].ndim > 2 and op.name != "places":  # which counts what it finds
                row = np.broadcast_to(arrays[0][:1], arrays[0].shape)
                yield Sample(op, (row, *arrays[1:]), attrs, f"{dtype.short}-{number}-broadcast")


def samples(op: Op, *dtypes: Any) -> list[Sample]:
    """Calls of an op in every form that it has: contiguous, strided, broadcast, 0-dim, empty; of `dtypes` or all."""
    make = {"pointwise": _pointwise_samples, "reduction": _reduction_samples}.get(op.kind, _structural_samples)
    return list(make(op, dtypes or None))


def all_ops() -> list[Op]:
    """The catalogue as it is when tests are collected."""
    return list(CATALOGUE.values())
