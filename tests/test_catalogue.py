"""Every entry of the op catalogue is complete, and its four executions agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy
from support import Sample, all_ops, assert_close, dtypes_of, executions, samples

import retape as rt
from retape.ir import CATALOGUE, Op, TensorType, dtype_of, verify
from retape.ir.ops import NotDifferentiable
from retape.ir.passes import MARKERS
from retape.tracer.apply import apply

OPS = all_ops()
KINDS = {"embed", "gather", "scatter", "pointwise", "reduction", "view", "library", "source"}


def ids(op: Op) -> str:
    return op.name


# ---- completeness


@pytest.mark.parametrize("op", OPS, ids=ids)
def test_entry_is_complete(op: Op) -> None:
    assert CATALOGUE[op.name] is op
    assert op.kind in KINDS
    assert op.doc.endswith(".") and len(op.doc) > 5
    if isinstance(op.vjp, NotDifferentiable):
        assert len(op.vjp.reason) > 5
    else:
        assert len(op.vjp) == len(op.operands)
    if not op.variadic and op.kind != "source":
        assert len(op.domain) == len(op.operands), "a sample domain for each operand"
        assert all(low < high for low, high in op.domain)
    if op.kind == "pointwise":
        assert (op.kernel or op.kernel_integer) and op.form
        names = set(op.operands)
        assert {str(s) for s in sympy.sympify(op.form).free_symbols} <= names
        for kernel in filter(None, (op.kernel, op.kernel_integer, op.kernel_truth)):
            filled = kernel.format(**dict.fromkeys(op.operands, "v"), t="f64", zero="0.0", one="1.0")
            compile(filled, op.name, "eval")
    if op.kind == "reduction" and op.differentiable:
        assert op.kernel in ("radd", "rmul", "rmax", "rmin")
    assert op.cost > 0 and op.ulp >= 0
    assert op.promotion in ("same", "float", "none", "where", "first")


def test_the_catalogue_stays_small() -> None:
    assert len(CATALOGUE.keys() - MARKERS) < 100  # markers compute nothing


SAMPLES: dict[str, Any] = {
    "contiguous": lambda a: a.size > 1 and a.flags.c_contiguous,
    "strided": lambda a: a.size > 1 and not a.flags.c_contiguous and 0 not in a.strides,
    "broadcast": lambda a: a.size > 1 and 0 in a.strides,
    "0-dim": lambda a: a.ndim == 0,
    "empty": lambda a: a.size == 0,
}
# what these do to a dim or to matrices has no meaning without one
NEED_DIMS = frozenset({
    "fft", "matmul", "matmul_add", "solve", "slogdet", "cholesky", "eigh", "qr", "svd", "lu", "pinv", "matrix_exp",
    "cat", "unfold", "gather", "scatter_add", "put"})


@pytest.mark.parametrize("op", [op for op in OPS if op.kind != "source"], ids=ids)
def test_there_are_samples_of_every_kind(op: Op) -> None:
    """Of element types, too: both floats, and integers where the op takes them."""
    cases = samples(op)
    for kind, holds in SAMPLES.items():
        broadcast = kind == "broadcast" and any(len({a.shape for a in sample.arrays}) > 1 for sample in cases)
        if not broadcast and not (kind == "0-dim" and op.name in NEED_DIMS):
            assert any(holds(array) for sample in cases for array in sample.arrays), f"no {kind} sample"
    types = {array.dtype.name for sample in cases for array in sample.arrays}
    floats = {"float32", "float64"} if op.name != "fft" else {"complex64", "complex128"}
    assert op.name in ("bitwise_and", "places") or floats <= types
    taken = {dtype.numpy.name for dtype in dtypes_of(op)} if op.kind in ("pointwise", "reduction") else set()
    assert taken <= types


def test_names_are_unique_under_any_case() -> None:
    assert len({name.lower() for name in CATALOGUE}) == len(CATALOGUE)


def test_public_ops_are_functions_and_methods() -> None:
    for op in OPS:
        if op.public:
            assert callable(getattr(rt, op.name)), op.name
            if op.name != "where":
                assert callable(getattr(rt.Tensor, op.name)), op.name
            assert getattr(rt, op.name).__doc__


def test_a_name_can_be_taken_once() -> None:
    from retape.ir import register

    with pytest.raises(ValueError, match="already"):
        register("add", "x", "pointwise", infer=None, eager=None, vjp=NotDifferentiable("a test"), doc="")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rules"):
        register("two_rules_short", "x y", "pointwise", infer=None, eager=None, vjp=(lambda b, ct: ct,), doc="")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="names no operand"):
        register("odd", "x", "pointwise", infer=None, eager=None, vjp=(lambda b, ct, q: ct,), doc="")  # type: ignore[arg-type]
    assert "two_rules_short" not in CATALOGUE and "odd" not in CATALOGUE


# ---- agreement


def magnitude(sample: Sample) -> Any:
    """The size of the terms that are added up, where a result may be smaller than these."""
    op, arrays = sample.op, [np.abs(a) if a.dtype.kind != "b" else a for a in sample.arrays]
    if op.name in ("sum", "mean", "cumsum", "take_add", "scatter_add"):
        return op.eager(*(np.abs(a) if a.dtype.kind == "f" else o for a, o in zip(arrays, sample.arrays, strict=True)),
                        *sample.attrs)
    if op.name == "matmul":
        return np.matmul(*arrays)
    if op.name in ("lgamma", "digamma"):  # their zeros have no formula
        return np.maximum(np.abs(op.eager(*sample.arrays)), 1.0)
    if op.name == "remainder":
        return np.abs(sample.operands[1]) if isinstance(sample.operands[1], float) else np.abs(arrays[-1])
    return None


def bound_of(sample: Sample) -> float:
    """The catalogue's tolerance; `remainder` states its own in units of a small result, here of the divisor."""
    return 4.0 if sample.op.name == "remainder" else sample.op.ulp


@pytest.mark.parametrize("op", OPS, ids=ids)
def test_four_executions_agree(op: Op) -> None:
    cases = samples(op)
    assert cases, f"tests/support.py has no samples for `{op.name}`"
    for number, sample in enumerate(cases):
        what = f"{op.name} {sample.label}"
        with np.errstate(all="ignore"):
            direct = np.asarray(op.eager(*sample.operands, *sample.attrs))
            tensors = [rt.from_numpy(o) if isinstance(o, np.ndarray) else o for o in sample.operands]
            eager = apply(op, tuple(tensors), sample.attrs)._data
        types = [TensorType(dtype_of(o.dtype), o.shape) if isinstance(o, np.ndarray) else o for o in sample.operands]
        wanted = op.infer(*types, *sample.attrs)
        assert (wanted.dtype.numpy, wanted.shape) == (eager.dtype, eager.shape), f"{what}: infer says {wanted}"
        assert_close(eager, direct.astype(eager.dtype), 0.0, f"{what} eager")
        graph = verify(sample.graph)
        size = magnitude(sample)
        for name, (found, *more) in executions(graph, sample.arrays, tiny=number == 0).items():
            assert not more
            bound = 0.0 if name == "interpreter" else bound_of(sample)
            assert_close(found, eager, bound, f"{what} {name}", size)


SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e30, -1e-30]


@pytest.mark.parametrize("dtype", [rt.float32, rt.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("op", [op for op in OPS if op.kind == "pointwise" and len(op.operands) <= 2
                                and not op.attributes and op.name != "bitwise_and"], ids=ids)
def test_special_values(op: Op, dtype: Any) -> None:
    """NaN, infinities, zeros of both signs: every execution treats them as NumPy does."""
    values = np.array(SPECIAL, dtype.numpy)
    operands = (values,) if len(op.operands) == 1 else tuple(
        np.ascontiguousarray(a.ravel()) for a in np.meshgrid(values, values))
    sample = Sample(op, operands, (), "special")
    with np.errstate(all="ignore"):
        eager = np.asarray(op.eager(*operands))
    for name, (found,) in executions(sample.graph, operands).items():
        assert_close(found, eager, op.ulp, f"{op.name} {name}", magnitude(sample))
        # the sign of zero is a value, too; of 0.0 and -0.0 either may be the larger
        if op.ulp == 0 and found.dtype.kind == "f" and op.name not in ("maximum", "minimum"):
            known = ~np.isnan(eager)
            assert np.array_equal(np.signbit(found)[known], np.signbit(eager)[known]), f"{op.name} {name}: signs"


@pytest.mark.parametrize("name", ["add", "sub", "mul", "neg", "abs", "maximum", "minimum", "floor_divide", "remainder",
                                  "sign", "relu", "pow"])
@pytest.mark.parametrize("dtype", [rt.int64, rt.int32, rt.int16, rt.int8, rt.uint8], ids=lambda d: d.short)
def test_integers_wrap_as_numpy_does(name: str, dtype: Any) -> None:
    op = CATALOGUE[name]
    bounds = np.iinfo(dtype.numpy)
    values = np.array([bounds.min, bounds.max, 0, 1, 2, 3, 7], dtype.numpy)
    if len(op.operands) == 1:
        operands: tuple[Any, ...] = (values,)
    else:
        grid = np.meshgrid(values, np.array([0, 1, 3, 2], dtype.numpy) if name == "pow" else values)
        operands = tuple(np.ascontiguousarray(a.ravel()) for a in grid)
    if name in ("floor_divide", "remainder"):
        left, right = operands
        # by zero NumPy gives 0; the least number by -1 overflows
        keep = right != 0
        operands = left[keep], right[keep]
    sample = Sample(op, operands, (), "wrap")
    with np.errstate(all="ignore"):
        eager = np.asarray(op.eager(*operands))
    for execution, (found,) in executions(sample.graph, operands).items():
        assert_close(found, eager, 0.0, f"{name} {dtype.short} {execution}")


@pytest.mark.parametrize("source", [rt.float64, rt.float32, rt.int64, rt.int32, rt.uint8, rt.bool],
                         ids=lambda d: d.short)
def test_casts_between_all_types(source: Any) -> None:
    op = CATALOGUE["cast"]
    values = np.array([0, 1, 2, 100, 127], source.numpy)
    if source.is_floating_point:
        values = np.array([0.0, -0.0, 1.5, -1.5, 2.999, 100.25, 126.0], source.numpy)
    for target in rt.ir.DTYPES[:8]:
        if target is rt.uint8:
            values = np.abs(values)
        with np.errstate(all="ignore"):
            wanted = values.astype(target.numpy)
        for name, (found,) in executions(Sample(op, (values,), (target,), "").graph, [values]).items():
            assert_close(found, wanted, 0.0, f"{source} to {target} {name}")


def test_division_of_integers_by_zero_is_zero() -> None:
    """As in NumPy; machine code must not trap."""
    x, y = np.array([1, -1, 0]), np.zeros(3, np.int64)
    for name in ("floor_divide", "remainder"):
        graph = Sample(CATALOGUE[name], (x, y), (), "").graph
        for execution, (found,) in executions(graph, [x, y]).items():
            assert_close(found, np.zeros(3, np.int64), 0.0, f"{name} {execution}")


def test_complex_operands_run_on_the_host() -> None:
    x = np.array([1 + 2j, -0.5j, 3.0])
    for name in ("add", "mul", "neg", "exp", "sum"):
        op = CATALOGUE[name]
        operands = (x, x[::-1].copy()) if len(op.operands) == 2 else (x,)
        attrs = ((0,), False) if op.kind == "reduction" else ()
        with np.errstate(all="ignore"):
            wanted = np.asarray(op.eager(*operands, *attrs))
        for execution, (found,) in executions(Sample(op, operands, attrs, "").graph, operands).items():
            assert_close(found, wanted, 4.0, f"{name} {execution}")


@pytest.mark.parametrize("name", ["sum", "mean"])
def test_long_sums_are_accurate(name: str) -> None:
    """The error of a compiled sum of many float32 values stays near that of NumPy's pairwise sum."""
    x = np.full(5_000_000, 0.1, np.float32)  # roundings that all go one way
    exact = float(getattr(np, name)(x.astype(np.float64)))
    f = rt.compile(lambda t: getattr(t, name)())
    for _ in range(2):
        assert abs(float(f(x)) - exact) <= 2e-6 * abs(exact)
