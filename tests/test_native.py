"""Machine code for kernels, and the tape that plays them."""

from __future__ import annotations

import math
import platform
import re
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from retape.codegen import native
from retape.codegen.native import kernel as kernel_module
from retape.codegen.native import names, player, vectors

X86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="reads the names of x86-64 vector registers"
)
FLOATS, INTEGERS = ("f64", "f32"), ("i64", "i32", "i16", "i8", "u8")


def build(source: str, pointers: Sequence[str], n_ints: int = 0, **options: Any) -> native.Kernel:
    """Compile a kernel named ``kern`` as programs do: directly, or through numba where only that knows the text."""
    text = textwrap.dedent(source)
    return native.build_directly(text, "kern", pointers, n_ints, {}, **options) \
        or native.build(text, "kern", pointers, n_ints, native.intrinsics(True), **options)


def run(
    kernel: native.Kernel, arrays: Sequence[np.ndarray], ints: Sequence[int] = (), lo: int = 0, hi: int = 1
) -> None:
    """Run one kernel through a tape of one row."""
    tape = native.Tape(np.array([[kernel.address, 0, 0, lo, hi, 0]]), len(arrays), np.array(ints or [0]))
    tape.call(np.arange(len(arrays)), tuple(arrays))


def plain(source: str, arrays: Sequence[np.ndarray], ints: Sequence[int] = (), lo: int = 0, hi: int = 1) -> None:
    """Run the same source under Python."""
    function = kernel_module.define(textwrap.dedent(source), "kern", native.intrinsics(False))
    with np.errstate(all="ignore"):
        function(*arrays, *ints, lo, hi)


def special(dtype: str) -> np.ndarray:
    """Values at which conversions and comparisons differ."""
    kind = names.DTYPES[dtype]
    if dtype in FLOATS:
        values = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.7, 120.0, -7.25, np.inf, -np.inf, np.nan, 1e-40]
        return np.array(values, dtype=kind)
    if dtype == "b1":
        return np.array([True, False] * 8)
    info = np.iinfo(kind)
    return np.array(
        [0, 1, 2, 3, 5, 7, 100, 120, info.max, info.min, *([-1, -3] if info.min else [200, 250])], dtype=kind
    )


# Building ---------------------------------------------------------------------------------------------------------


def test_import_loads_no_compiler() -> None:
    code = "import sys, retape.codegen.native; print([m for m in ('numba', 'llvmlite', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("dtype", names.DTYPES)
def test_pointers_load_and_store_every_type(dtype: str) -> None:
    source = """
    def kern(p0, p1, k0, lo, hi):
        for i0 in range(lo, hi):
            p1[i0] = p0[i0 * k0]
    """
    x = np.repeat(special(dtype), 2)
    out, expected = np.zeros_like(x[::2]), x[::2]
    run(build(source, [dtype, dtype], 1), (x, out), [2], hi=len(out))
    assert out.tobytes() == expected.tobytes()


def test_a_bool_byte_counts_as_true_when_not_zero() -> None:
    raw = np.array([0, 1, 2, 255], dtype=np.uint8)
    out = np.zeros(4, dtype=bool)
    run(
        build("def kern(p0, p1, lo, hi):\n for i0 in range(lo, hi):\n  p1[i0] = p0[i0]", ["b1", "b1"]), (raw, out), hi=4
    )
    assert out.view(np.uint8).tolist() == [0, 1, 1, 1]


def test_range_of_the_parallel_axis_is_respected() -> None:
    out = np.zeros(8)
    kernel = build("def kern(p0, lo, hi):\n for i0 in range(lo, hi):\n  p0[i0] = p0[i0] + 1.0", ["f64"])
    run(kernel, (out,), lo=3, hi=6)
    run(kernel, (out,), lo=6, hi=6)
    assert out.tolist() == [0, 0, 0, 1, 1, 1, 0, 0]


def test_symbols_carry_a_hash_of_all_that_decides_the_code() -> None:
    source = "def kern(p0, lo, hi):\n for i0 in range(lo, hi):\n  p0[i0] = p0[i0] * 3.0 + 1.0\n"
    kernels = [build(source, ["f64"]), build(source.replace("3.0", "4.0"), ["f64"]), build(source, ["f32"]),
               build(source, ["f64"], contract=False)]  # fmt: skip
    assert len({kernel.symbol for kernel in kernels}) == 4
    assert build(source, ["f64"]).symbol == kernels[0].symbol
    assert all(f"@{kernel.symbol}(" in kernel.llvm and kernel.symbol in kernel.asm for kernel in kernels)


def test_unknown_pointer_type_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown pointer types \['f16'\]; known are f64"):
        build("def kern(p0, lo, hi):\n pass", ["f16"])


@pytest.mark.parametrize("statement", ["raise ValueError('no')", "assert p0[0] > 0.0", "print(p0[0])"])
def test_source_that_needs_the_run_time_is_refused(statement: str) -> None:
    from numba.core.errors import NumbaError

    with pytest.raises((ValueError, NumbaError), match=r"kernel 'kern' needs numba's run time|<retape kern>"):
        build(f"def kern(p0, lo, hi):\n {statement}\n p0[0] = 1.0", ["f64"])


def test_a_callee_that_may_raise_is_refused() -> None:
    import numba

    @numba.njit
    def careful(x: float) -> float:
        if x < 0.0:
            raise ValueError("negative")
        return x

    source = "def kern(p0, lo, hi):\n for i0 in range(lo, hi):\n  p0[i0] = careful(p0[i0])"
    with pytest.raises(ValueError, match="kernel 'kern' needs numba's run time"):
        native.build(source, "kern", ["f64"], 0, {"careful": careful})


def test_source_without_types_is_an_error_of_numba() -> None:
    from numba.core.errors import TypingError

    with pytest.raises(TypingError, match="<retape kern>"):
        build("def kern(p0, lo, hi):\n p0[0] = p0 + 1.0", ["f64"])


def test_traceback_shows_generated_source() -> None:
    function = kernel_module.define("def kern(p0, lo, hi):\n    p0[0] = 1 // 0  # here\n", "kern", {})
    try:
        function([0], 0, 1)
    except ZeroDivisionError:
        text = traceback.format_exc()
    assert 'File "<retape kern>", line 2' in text and "# here" in text


def test_kernel_may_call_a_jitted_function() -> None:
    import numba

    triple = numba.njit(lambda x: 3.0 * x)
    source = "def kern(p0, lo, hi):\n for i0 in range(lo, hi):\n  p0[i0] = triple(p0[i0])"
    kernel = native.build(source, "kern", ["f64"], 0, {**native.intrinsics(True), "triple": triple})
    x = np.arange(5.0)
    run(kernel, (x,), hi=5)
    assert x.tolist() == [0, 3, 6, 9, 12]


def test_kernel_may_call_mathematics_of_python() -> None:
    source = "def kern(p0, lo, hi):\n for i0 in range(lo, hi):\n  p0[i0] = math.exp(p0[i0]) + math.log1p(p0[i0])"
    kernel = native.build(source, "kern", ["f64"], 0, {"math": math})
    x = np.linspace(0, 1, 5)
    expected = np.exp(x) + np.log1p(x)
    run(kernel, (x,), hi=5)
    np.testing.assert_allclose(x, expected, rtol=1e-15)


def test_object_code_loads_in_a_process_without_numba(tmp_path: Any) -> None:
    kernel = build("def kern(p0, lo, hi):\n for i0 in range(lo, hi):\n  p0[i0] = sqrt(p0[i0])", ["f64"])
    (tmp_path / "kernel.o").write_bytes(kernel.object_code)
    code = f"""
    import sys, numpy as np
    from retape.codegen import native
    data = open({str(tmp_path / "kernel.o")!r}, "rb").read()
    kernel = native.load("kern", {kernel.symbol!r}, "", data)
    x = np.arange(4.0) ** 2
    native.Tape(np.array([[kernel.address, 0, 0, 0, 4, 0]]), 1, np.array([0])).call(np.array([0]), (x,))
    print(x.tolist(), kernel.llvm, "numba" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[0.0, 1.0, 2.0, 3.0]  False"


def test_kernels_are_built_in_many_threads() -> None:
    results: dict[int, float] = {}

    def work(i: int) -> None:
        x = np.full(4, float(i))
        run(build(f"def kern(p0, lo, hi):\n for i0 in range(lo, hi):\n  p0[i0] = p0[i0] * {i}.5", ["f64"]), (x,), hi=4)
        results[i] = float(x[3])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: i * (i + 0.5) for i in range(8)}


def test_kernels_can_be_dropped() -> None:
    source = "def kern(p0, lo, hi):\n for i0 in range(lo, hi):\n  p0[i0] = p0[i0] + %d.0"
    x = np.zeros(4)
    for i in range(5):
        kernel = build(source % i, ["f64"])
        run(kernel, (x,), hi=4)
        del kernel
    assert x.tolist() == [10.0] * 4


# Vectors ----------------------------------------------------------------------------------------------------------


def test_pointers_are_not_checked_for_overlap() -> None:
    source = """
    def kern(p0, p1, p2, lo, hi):
        for i0 in range(lo, hi):
            p2[i0] = p0[i0] * p1[i0]
    """
    text = build(source, ["f64"] * 3).llvm
    assert "memcheck" not in text and "noalias" in text
    assert any(f"<{n} x double>" in text for n in (2, 4, 8))


@X86
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["radd", "rmul", "rmax", "rmin"])
def test_reductions_become_vectors(name: str, dtype: str) -> None:
    source = f"""
    def kern(p0, p1, lo, hi):
        acc = p1[0]
        for i0 in range(lo, hi):
            acc = {name}(acc, p0[i0])
        p1[0] = acc
    """
    kernel = build(source, [dtype, dtype])
    suffix = "pd" if dtype == "f64" else "ps"
    operation = {"radd": "add", "rmul": "mul", "rmax": "max", "rmin": "min"}[name]
    lines = [line for line in kernel.asm.splitlines() if operation + suffix in line]
    assert any("ymm" in line or "zmm" in line or "xmm" in line for line in lines), kernel.asm
    x = np.linspace(0.5, 1.5, 1001).astype(names.DTYPES[dtype])
    out = np.ones(1, dtype=x.dtype)
    run(kernel, (x, out), hi=len(x))
    exact = {"radd": 1 + math.fsum(x), "rmul": math.prod(x.tolist()), "rmax": 1.5, "rmin": 0.5}[name]
    np.testing.assert_allclose(out[0], exact, rtol=1e-12 if dtype == "f64" else 1e-4)


def test_a_plain_sum_keeps_its_order() -> None:
    source = """
    def kern(p0, p1, lo, hi):
        acc = 0.0
        for i0 in range(lo, hi):
            acc = acc + p0[i0]
        p1[0] = acc
    """
    x, out, expected = np.random.default_rng(1).normal(size=997), np.zeros(1), np.zeros(1)
    run(build(source, ["f64", "f64"]), (x, out), hi=len(x))
    plain(source, (x, expected), hi=len(x))
    assert out[0] == expected[0]


@X86
@pytest.mark.parametrize("name", names.UNARY)
@pytest.mark.parametrize("dtype", FLOATS)
def test_rounding_and_roots_call_no_library(name: str, dtype: str) -> None:
    kernel = build(f"def kern(p0, p1, lo, hi):\n for i0 in range(lo, hi):\n  p1[i0] = {name}(p0[i0])", [dtype, dtype])
    assert not re.search(rf"\b{name}f?\b", kernel.asm)  # a call loads the address of a symbol of that name
    assert any(f"<{n} x {'double' if dtype == 'f64' else 'float'}>" in kernel.llvm for n in (2, 4, 8, 16))


def test_a_narrow_constant_costs_nothing() -> None:
    text = build("def kern(p0, lo, hi):\n for i0 in range(lo, hi):\n  p0[i0] = p0[i0] * to_f32(2.1)", ["f32"]).llvm
    assert "fptrunc" not in text and "fpext" not in text and "double" not in text


def test_contraction_can_be_forbidden() -> None:
    source = "def kern(p0, p1, p2, lo, hi):\n for i0 in range(lo, hi):\n  p2[i0] = p0[i0] * p1[i0] + p2[i0]"
    a, b, c = np.random.default_rng(2).normal(size=(3, 1000))
    out = c.copy()
    strict = build(source, ["f64"] * 3, contract=False)
    run(strict, (a, b, out), hi=1000)
    assert (out == a * b + c).all() and "contract" not in strict.llvm
    assert "fmul contract" in build(source, ["f64"] * 3).llvm


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [0, 1, 5, 8, 17, 100])
def test_masked_loops_give_the_same(dtype: str, n: int) -> None:
    source = """
    def kern(p0, p1, lo, hi):
        for i0 in range(lo, hi):
            v0 = p0[i0]
            p1[i0] = select(v0 > 0.5, v0 * v0, sqrt(v0))
    """
    x = np.random.default_rng(n).random(n).astype(names.DTYPES[dtype])
    out, expected = np.full(n + 3, -1, x.dtype), np.full(n + 3, -1, x.dtype)
    run(build(source, [dtype, dtype], masked=True), (x, out), hi=n)
    plain(source, (x, expected), hi=n)
    assert out.tobytes() == expected.tobytes()


def test_masking_reaches_every_loop() -> None:
    source = """
    def kern(p0, n, lo, hi):
        for i0 in range(lo, hi):
            for i1 in range(n):
                p0[i0 * n + i1] = p0[i0 * n + i1] * 2.0
    """
    kernel = build(source, ["f64"], 1, masked=True)
    if "avx" in native.engine.host().features:
        assert "masked.load" in kernel.llvm
    x = np.arange(15.0)
    run(kernel, (x,), [5], hi=3)
    assert x.tolist() == (np.arange(15.0) * 2).tolist()


def test_width_follows_the_work_for_each_word() -> None:
    light = "def kern(p0, lo, hi):\n for i0 in range(lo, hi):\n  p0[i0 * 2 + 1] = p0[i0 * 2 + 1] * 2.0"
    heavy = (
        "def kern(p0, lo, hi):\n for i0 in range(lo, hi):\n  x = p0[i0]\n" + "  x = x * x + 0.5\n" * 8 + "  p0[i0] = x"
    )
    assert vectors.preferred_width(light) is None
    wide = "+avx512f" in native.engine.host().features.split(",")
    assert vectors.preferred_width(heavy) == (512 if wide else None)
    assert vectors.masking_pays(heavy) == wide
    rows = heavy.replace("\n  ", "\n   ").replace("lo, hi):\n   x", "lo, hi):\n  for i1 in range(0, 11):\n   x")
    if wide:  # 11 numbers fill 12 lanes, or 16 of 512 bits; 31 fill 32 of either
        assert [vectors.preferred_width(rows), vectors.preferred_width(rows, 4)] == [256, 512]
        assert vectors.preferred_width(rows.replace("11", "31")) == 512
        assert vectors.preferred_width(light.replace("lo, hi", "0, 3")) == 256
    assert not vectors.masking_pays(heavy.replace("x * x + 0.5", "radd(x * x, 0.5)"))
    assert '"prefer-vector-width"="128"' in build(heavy, ["f64"], width=128).llvm


# What the names mean ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_extremes_propagate_nan(dtype: str) -> None:
    source = """
    def kern(p0, p1, p2, p3, lo, hi):
        for i0 in range(lo, hi):
            p2[i0] = rmax(p0[i0], p1[i0])
            p3[i0] = rmin(p0[i0], p1[i0])
    """
    a, b = (part.ravel() for part in np.meshgrid(special(dtype), special(dtype)))
    a, b = a.copy(), b.copy()
    high, low = np.empty_like(a), np.empty_like(a)
    run(build(source, [dtype] * 4), (a, b, high, low), hi=len(a))
    np.testing.assert_array_equal(high, np.maximum(a, b))
    np.testing.assert_array_equal(low, np.minimum(a, b))
    assert not np.signbit(high[(a == 0) & (b == 0) & (np.signbit(a) != np.signbit(b))]).any()


@pytest.mark.parametrize("position", [0, 3, 500, 1000])
def test_a_reduced_maximum_propagates_nan(position: int) -> None:
    source = """
    def kern(p0, p1, lo, hi):
        acc = p0[0]
        for i0 in range(lo, hi):
            acc = rmax(acc, p0[i0])
        p1[0] = acc
    """
    x, out = np.linspace(-1, 1, 1001), np.zeros(1)
    x[position] = np.nan
    run(build(source, ["f64", "f64"]), (x, out), hi=len(x))
    assert np.isnan(out[0])


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
@pytest.mark.parametrize("name", ["radd", "rmul", "rmax", "rmin"])
def test_pairs_agree_with_python(name: str, dtype: str) -> None:
    source = f"""
    def kern(p0, p1, p2, lo, hi):
        for i0 in range(lo, hi):
            p2[i0] = {name}(p0[i0], p1[i0])
    """
    a, b = (part.ravel().copy() for part in np.meshgrid(special(dtype), special(dtype)))
    out, expected = np.empty_like(a), np.empty_like(a)
    run(build(source, [dtype] * 3), (a, b, out), hi=len(a))
    plain(source, (a, b, expected), hi=len(a))
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", FLOATS)
def test_functions_agree_with_python(dtype: str) -> None:
    calls = [
        *(f"{name}(p0[i0])" for name in names.UNARY),
        "copysign(p0[i0], p1[i0])",
        "select(p0[i0] > p1[i0], p0[i0], p1[i0])",
    ]
    lines = "".join(f"\n            p2[i0 * {len(calls)} + {j}] = {call}" for j, call in enumerate(calls))
    source = f"""
    def kern(p0, p1, p2, lo, hi):
        for i0 in range(lo, hi):{lines}
    """
    a, b = (part.ravel().copy() for part in np.meshgrid(special(dtype), special(dtype)))
    out = np.empty(len(a) * len(calls), dtype=a.dtype)
    expected = np.empty_like(out)
    run(build(source, [dtype] * 3), (a, b, out), hi=len(a))
    plain(source, (a, b, expected), hi=len(a))
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(np.signbit(out[~np.isnan(out)]), np.signbit(expected[~np.isnan(out)]))


@pytest.mark.parametrize("source_type", names.DTYPES)
def test_conversions_agree_with_python(source_type: str) -> None:
    x = special(source_type)
    if source_type in FLOATS:  # beyond the range of the target C leaves the result open
        x = x[np.isfinite(x)]
    targets = list(names.DTYPES)
    lines = "".join(f"\n            p{j}[i0] = to_{name}(p0[i0])" for j, name in enumerate(targets, start=1))
    source = f"""
    def kern({", ".join(f"p{j}" for j in range(len(targets) + 1))}, lo, hi):
        for i0 in range(lo, hi):{lines}
    """
    out = [np.zeros(len(x), names.DTYPES[name]) for name in targets]
    expected = [np.zeros(len(x), names.DTYPES[name]) for name in targets]
    run(build(source, [source_type, *targets]), (x, *out), hi=len(x))
    plain(source, (x, *expected), hi=len(x))
    for name, one, other in zip(targets, out, expected, strict=True):
        assert one.tobytes() == other.tobytes(), name


def test_nan_is_true() -> None:
    out = np.zeros(3, dtype=bool)
    source = "def kern(p0, p1, lo, hi):\n for i0 in range(lo, hi):\n  p1[i0] = to_b1(p0[i0])"
    run(build(source, ["f64", "b1"]), (np.array([np.nan, -0.0, 2.0]), out), hi=3)
    assert out.tolist() == [True, False, True]


# The tape ---------------------------------------------------------------------------------------------------------

STEP = """
def kern(p0, p1, k0, lo, hi):
    for i0 in range(lo, hi):
        p1[i0] = p0[i0] + to_f64(k0)
"""


@pytest.fixture(scope="module")
def step() -> native.Kernel:
    """A kernel that adds its integer."""
    return build(STEP, ["f64", "f64"], 1)


def test_a_thousand_kernels_in_order(step: native.Kernel) -> None:
    n, width_ = 1000, 3
    chain = np.zeros((n + 1, width_))
    rows = np.array([[step.address, 2 * i, i, 0, width_, 0] for i in range(n)])
    tape = native.Tape(rows, 2 * n, np.arange(n))
    slots = np.arange(2 * n)
    native.fill(tape.pointers, slots, tuple(chain[(i + 1) // 2] for i in range(2 * n)))
    tape.run()
    assert (chain[-1] == n * (n - 1) / 2).all()
    tape.ints[:] = 1  # integers may change between runs
    tape.run()
    assert (chain[-1] == n).all()


def test_tapes_run_in_many_threads(step: native.Kernel) -> None:
    tape = native.Tape(np.array([[step.address, 0, 0, 0, 5000, 0]] * 50), 2, np.array([1]))
    slots, failures = np.arange(2), []

    def work(seed: int) -> None:
        table = tape.new_pointers()
        x, out = np.full(5000, float(seed)), np.zeros(5000)
        for _ in range(50):
            out[:] = 0
            tape.call(slots, (x, out), table)
            if not (out == seed + 1).all():
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_bound_tape_keeps_all_it_needs() -> None:
    kernel = build(STEP, ["f64", "f64"], 1)
    call = native.Tape(np.array([[kernel.address, 0, 0, 0, 3, 0]]), 2, np.array([7]), keep=kernel).bind([0, 1])
    del kernel
    out = np.zeros(3)
    call((np.arange(3.0), out))
    assert out.tolist() == [7, 8, 9]


def test_bind_checks_its_tables(step: native.Kernel) -> None:
    tape = native.Tape(np.array([[step.address, 0, 0, 0, 3, 0]]), 2, np.array([7]))
    for slots in ([0, 2], [-1, 0], [[0, 1]]):
        with pytest.raises(ValueError, match=r"numbers in 0\.\.1"):
            tape.bind(slots)
    for table in (np.zeros(1, np.int64), np.zeros(2), np.zeros(4, np.int64)[::2]):
        with pytest.raises(ValueError, match="2 contiguous int64 words"):
            tape.bind([0, 1], table)


def test_an_empty_tape_does_nothing() -> None:
    tape = native.Tape(np.zeros((0, 6)), 0, np.zeros(0))
    tape.run()
    tape.call(np.zeros(0, dtype=np.int64), ())


def test_bad_rows_are_refused(step: native.Kernel) -> None:
    with pytest.raises(ValueError, match=r"shape \(n, 6\)"):
        native.Tape(np.zeros((2, 5)), 1, np.zeros(1))
    with pytest.raises(ValueError, match="no kernel"):
        native.Tape(np.zeros((2, 6)), 1, np.zeros(1))
    with pytest.raises(ValueError, match=r"integer slot outside 0\.\.1"):
        native.Tape(np.array([[step.address, 0, 2, 0, 1, 0]]), 2, np.zeros(1))


@pytest.mark.parametrize("documented", [False, True])
def test_fill_writes_addresses(documented: bool) -> None:
    functions = player._documented() if documented else player.player()
    arrays = (np.zeros((3, 4))[1:, ::2], np.array(1.5), np.zeros((0, 2)), np.arange(3, dtype=np.int8))
    table = np.zeros(6, dtype=np.int64)
    functions.fill(table, np.array([5, 0, 2, 1]), arrays)
    expected = [arrays[1].ctypes.data, arrays[3].ctypes.data, arrays[2].ctypes.data, 0, 0, arrays[0].ctypes.data]
    assert table.tolist() == expected
    for wrong in [arrays[:3], (*arrays[:3], [1, 2]), (*arrays[:3], 1.5), (*arrays[:3], np.ma.array([1.0]))]:
        with pytest.raises(TypeError, match="one plain ndarray for each pointer slot"):
            functions.fill(table, np.array([5, 0, 2, 1]), wrong)


def test_the_documented_player_does_the_same(step: native.Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    functions = player._documented()
    monkeypatch.setattr("retape.codegen.native.tape.player", lambda: functions)
    x, out = np.arange(3.0), np.zeros(3)
    run(step, (x, out), [4], hi=3)
    assert out.tolist() == [4, 5, 6]


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="the object layout is that of CPython")
def test_the_object_layout_holds_here() -> None:
    assert player.layout_holds() and player.player().native
