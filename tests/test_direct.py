"""Kernels are compiled from their text: every expression and statement as numba's own lowering has it, bit by bit."""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import all_ops, loops_only, samples

from retape.codegen import kept, kernels, native, vmath
from retape.codegen.native import names
from retape.codegen.program import compile_graph

FLOATS = ["{a} + {b} * {c}", "-{a} / {b}", "{a} - 2.5", "3 * {a}", "{a} < {b}", "{a} != {b}", "{a} == {a}", "{a} >= 0",
          "select({a} > {b}, {a}, {b})", "select({a} < 0.0, 1.0, {b})", "rmax({a}, {b})", "rmin({a}, {b})",
          "radd({a}, {b})", "rmul({a}, {b})", "sqrt(fabs({a}))", "floor({a})", "ceil({a})", "rint({a})", "trunc({a})",
          "copysign({a}, {b})", "({a} > {b}) & ({b} > {c})", "({a} > {b}) | ({b} != {c})", "inf - {a}", "nan"]
INTEGERS = ["{a} + {b} * {c}", "-{a} + 3", "{a} - {b}", "{a} < {b}", "{a} == {b}", "select({a} < {b}, {a}, {b})",
            "rmax({a}, {b})", "rmin({a}, {b})", "radd({a}, {b})", "rmul({a}, {b})", "{a} * 0.5", "1.0 / {a}",
            "{a} & {b}", "{a} | {b}", "{a} ^ 5", "{a} // {b}", "{a} % {b}", "-7 // {a}", "{a} % 3",
            "{a} // ({b} - {b})", "{a} % ({b} - {b})", "rmax(-9223372036854775808, {a})"]
WORDS = ["number({a})"]
UNSIGNED = ["{a} + {b} * {c}", "{a} - {b} < {c}", "select({a} == {a}, {a}, {b})", "rmax({a}, {b})", "rmin({a}, {b})",
            "{a} & {b}", "{a} // {b}", "{a} % {b}", "{a} // ({b} - {b})", "to_u8(-{a})", "{a} * 0.5", "{a} > {b}"]
BOOLS = ["{a} ^ {b}", "rmax({a}, {b})",
         "{a} & {b}", "{a} | {b}", "{a} == {b}", "{a} != False", "select({a}, {b}, {c})", "select({a}, 1.5, 2.0)"]
CASTS = [f"to_{short}({{a}})" for short in names.CASTS]
CASES = [(kind, text) for kind, texts in (("f64", FLOATS), ("f32", FLOATS), ("i64", INTEGERS), ("i32", INTEGERS),
                                          ("i8", INTEGERS), ("b1", BOOLS)) for text in (*texts, *CASTS)]
CASES += [*(("u8", text) for text in (*UNSIGNED, *CASTS)), *(("i64", text) for text in WORDS)]
TWO = ("pow", "lone_pow", "atan2", "hypot")
CASES += [("f64", f"vm_{name}_{ty}(to_{ty}({{a}}){', to_f32(0.5)' * (name in TWO)})")
          for name in sorted(vmath.NAMES) for ty in ("f64", "f32")]


def values_of(kind: str) -> Any:
    random = np.random.default_rng(3)
    if kind == "b1":
        return random.random((3, 16)) < 0.5
    if kind in ("f64", "f32"):
        values = random.normal(0, 3, (3, 16))
        values[0, :3], values[1, 2:5] = (np.nan, 0.0, 90.0), (0.0, -0.0, 1.0)
        return values.astype(names.DTYPES[kind])
    return random.integers(0 if kind == "u8" else -100, 100, (3, 16)).astype(names.DTYPES[kind]) | 1


def both(source: str, pointers: list[str], n_ints: int = 0, **options: Any) -> tuple[Any, Any]:
    """A kernel through numba, and one directly."""
    scope = {**native.intrinsics(True), **vmath.namespace(True), "inf": np.inf, "nan": np.nan}
    direct = native.build_directly(source, "kernel", pointers, n_ints, vmath.FUNCTIONS, **options)
    assert direct is not None, source
    return native.build(source, "kernel", pointers, n_ints, scope, **options), direct


def run(kernel: Any, arrays: Sequence[Any], ints: Sequence[int] = (), lo: int = 0, hi: int = 1) -> None:
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(kernel.address)
    pointers, words = np.array([a.ctypes.data for a in arrays], np.int64), np.array([*ints, 0], np.int64)
    function(pointers.ctypes.data, words.ctypes.data, lo, hi)


def same(a: Any, b: Any) -> bool:
    """Whether all bits are equal but those of a NaN."""
    if a.dtype.kind == "f":
        a, b = (np.where(np.isnan(x), np.nan, x) for x in (a, b))
    return bool(a.tobytes() == b.tobytes())


@pytest.mark.parametrize("contract", [True, False])
def test_every_expression_is_what_numba_makes_of_it(contract: bool) -> None:
    """In few kernels, since each is compiled twice: one a type, with a result for each expression."""
    for kind in ("f64", "f32", "i64", "i32", "i8", "b1", "u8"):
        texts = [text for k, text in CASES if k == kind]
        lines = ["def kernel(p0, p1, p2, " + "".join(f"p{i + 3}, " for i in range(len(texts))) + "lo, hi):",
                 *(f"    v{i} = p{i}[0]" for i in range(3)),
                 *(f"    p{i + 3}[0] = {text.format(a='v0', b='v1', c='v2')}" for i, text in enumerate(texts))]
        pair = both("\n".join(lines) + "\n", [*[kind] * 3, *["f64"] * len(texts)], contract=contract)
        given = list(values_of(kind))
        found = [[np.zeros(16) for _ in texts] for _ in range(2)]
        for kernel, results in zip(pair, found, strict=True):
            for i in range(16):
                run(kernel, [a[i:] for a in (*given, *results)])
        for text, a, b in zip(texts, *found, strict=True):
            whole = re.match("to_[iu]", text)  # where that isn't defined for a NaN and what is too large
            defined = abs(given[0].astype(float)) < 100 if whole and kind in ("f64", "f32") else np.ones(16, bool)
            assert same(a[defined], b[defined]), (kind, text)


@pytest.mark.parametrize("kind", ["i64", "i32", "i8", "u8"])
def test_integers_are_divided_as_numpy_does_it(kind: str) -> None:
    """Also by zero, and the least integer by -1."""
    dtype = names.DTYPES[kind]
    info = np.iinfo(dtype)
    some = np.array([info.min, info.min + 1, 7 if info.min else 250, 0, 1, 3, info.max, *([-1, -3] * (info.min < 0))],
                    dtype)
    a, b = (np.ascontiguousarray(x.ravel()) for x in np.meshgrid(some, some))
    source = """def kernel(p0, p1, p2, p3, lo, hi):
    for i0 in range(lo, hi):
        p2[i0] = p0[i0] // p1[i0]
        p3[i0] = p0[i0] % p1[i0]
"""
    kernel = native.build_directly(source, "kernel", [kind] * 4, 0, {})
    assert kernel is not None
    quotient, rest = np.empty_like(a), np.empty_like(a)
    run(kernel, [a, b, quotient, rest], hi=a.size)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(quotient, a // b)
        np.testing.assert_array_equal(rest, a % b)


STATEMENTS = {
    "nested": (["f64", "f64", "f64"], [7, 33], """
    for i0 in range(lo, hi):
        v0 = p1[i0 * k0]
        for i1 in range(0, k0):
            p2[i0 * k0 + i1] = p0[i0 * k0 + i1] * v0 + vm_exp_f64(-v0)
"""),
    "blocks": (["f32", "f32", "f32"], [], """
    a1 = 0.0
    for j0 in range(lo, hi, 128):
        b1 = to_f32(0.0)
        for i0 in range(j0, j0 + 128 if j0 + 128 < hi else hi):
            v0 = p1[i0] * p0[i0]
            b1 = radd(b1, v0)
        a1 = a1 + to_f64(b1)
    p2[0] = to_f32(a1)
"""),
    "rows": (["f64", "b1", "f64"], [9], """
    w0 = row_f64(k0)
    w1 = row_b1(k0)
    for i0 in range(lo, hi):
        a = -inf
        for i1 in range(k0):
            v1 = p0[i0 * k0 + i1]
            w0[i1] = v1 * v1
            w1[i1] = p1[i1]
            a = rmax(a, v1)
        for i1 in range(k0):
            p2[i0 * k0 + i1] = select(w1[i1], w0[i1] - a, a)
"""),
    "branches": (["i64", "i32", "i64"], [30], """
    bad = 0
    count = 0
    i = lo
    while i < hi and count < k0:
        x = to_i64(p1[i])
        y = select(x < 0, x + k0, x)
        bad = rmax(bad, to_i64(y > 20))
        if y > 10 or y == 3:
            p2[count] = y * p1[count]
            count = count + 1
        i = i + 1
    while count < k0:
        p2[count] = bad
        count = count + 1
"""),
    "search": (["f64", "f64", "i64"], [40], """
    for i0 in range(lo, hi):
        v = p1[i0]
        done = 0
        left = k0
        while left > 0:
            half = left >> 1
            x = p0[done + half]
            if not (v < x or (v == v and x != x)):
                done = done + half + 1
                left = left - half - 1
            else:
                left = half
        p2[i0] = done
"""),
    "parts": (["f64", "f64", "f64"], [13, 20], """
    for e in range(2):
        s = 0 if e == 0 else k1
        t = k0 if e == 0 else hi
        for i0 in range(s, t):
            h0 = rmin(rmax(i0, k0), k1 - 1)
            h1 = i0 < k0
            v0 = select(h1, 0.0, p0[h0])
            p2[i0] = v0 + p1[i0]
    for i0 in range(k0, k1):
        v0 = p0[i0] - p1[i0]
        p2[i0] = v0
"""),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", STATEMENTS)
def test_statements_are_what_numba_makes_of_them(name: str, masked: bool) -> None:
    pointers, ints, body = STATEMENTS[name]
    source = f"def kernel(p0, p1, p2, {''.join(f'k{i}, ' for i in range(len(ints)))}lo, hi):{body}"
    pair = both(source, pointers, len(ints), masked=masked, width=256)
    for hi in (0, 1, 6, 31, 32):
        found = []
        for kernel in pair:
            random = np.random.default_rng(3)
            arrays = [random.normal(0, 20, 2000).astype(names.DTYPES[kind]) for kind in pointers]
            run(kernel, arrays, ints, hi=hi)
            found.append(arrays)
        for a, b in zip(*found, strict=True):
            assert same(a, b), hi


@pytest.mark.parametrize("text", [
    "p1[0] = p0[0] // 2.0", "p1[0] = math.sin(p0[0])", "p1[0] = unheard_of(p0[0])", "p1[0] = p0[0] ** 2",
    "p1[0] = p0[0] if lo < hi else 1.0", "p1[0] = (p0[0] > 1.0) + 1", "v = 1\n    v = 1.5\n    p1[0] = v",
    "for i in range(hi, lo, -1):\n        p1[i] = 1.0", "for i in range(lo, hi):\n        i = i + 1",
    "for i in range(lo, hi):\n        v = p0[i]\n    p1[0] = v", "for i in range(hi):\n        w = row_f64(i)",
    "for i in range(lo, hi):\n        p1[i] = 1.0\n    else:\n        p1[0] = 2.0", "hi = 3\n    p1[0] = hi",
    "for i in p0:\n        p1[0] = i", "raise ValueError", "p1[p0[0]] = 1.0", "p1[0] = 9223372036854775808",
])
def test_what_isnt_known_is_left_to_numba(text: str) -> None:
    source = f"def kernel(p0, p1, lo, hi):\n    {text}\n"
    assert native.build_directly(source, "kernel", ["f64"] * 2, 0, vmath.FUNCTIONS) is None


def test_loops_are_vectorised_without_tests_for_overlap() -> None:
    source = "def kernel(p0, p1, lo, hi):\n    for i0 in range(lo, hi):\n        p1[i0] = p0[i0] * 2.5 + 1.0\n"
    for kernel in both(source, ["f64"] * 2, width=256):
        assert "<4 x double>" in kernel.llvm
        assert "vector.memcheck" not in kernel.llvm
        assert "contract" in kernel.llvm
        assert '"prefer-vector-width"="256"' in kernel.llvm


def test_data_isnt_addressed_by_way_of_the_frame_pointer() -> None:
    source = """def kernel(p0, p1, k0, k1, k2, k3, lo, hi):
    for i0 in range(lo, hi):
        a0 = 0.0
        for j1 in range(0, k3, 1024):
            b0 = 0.0
            for i1 in range(j1, j1 + 1024 if j1 + 1024 < k3 else k3):
                b0 = radd(b0, p0[i0 * k0 + i1])
            a0 = a0 + b0
        v1 = a0 / to_f64(k1)
        for i1 in range(0, k3):
            p1[i0 * k2 + i1] = p0[i0 * k0 + i1] - v1
"""
    for width in (128, 256, 512):
        for kernel in both(source, ["f64"] * 2, 4, width=width):
            assert '"frame-pointer"="all"' in kernel.llvm
            assert not re.search(r"\(%rbp,", kernel.asm)


# ---- texts of real programs


def recorded(monkeypatch: Any, work: Callable[[], None]) -> list[tuple[Any, Any]]:
    """The kernels that are asked for while something is done, with their options; each text once."""
    found: dict[Any, tuple[Any, Any]] = {}
    original = kernels._build

    def build(emitted: Any, options: Any) -> Any:
        found.setdefault((emitted.source, emitted.pointers), (emitted, options))
        return original(emitted, options)

    monkeypatch.setattr(kernels, "_build", build)
    monkeypatch.setattr(kept, "sources", lambda: "recorded")  # no programs that were kept for others
    work()
    return list(found.values())


def agree(emitted: Any, options: Any) -> None:
    """Build a kernel both ways and run both on the same data."""
    pair = both(emitted.source, list(emitted.pointers), len(emitted.ints), **dict(options))
    found = []
    for kernel in pair:
        random, arrays = np.random.default_rng(4), []
        for kind, view in zip(emitted.pointers, emitted.views, strict=True):
            count = 16 * view.buffer.numel + 4096  # strides of the caller's arrays may be large, and negative
            numbers = random.normal(0, 2, count) if kind[0] == "f" else random.integers(0, 5, count)
            arrays.append(numbers.astype(names.DTYPES[kind]))
        run(kernel, [array[array.size // 2 :] for array in arrays], emitted.ints, hi=emitted.extent)
        found.append(arrays)
    for number, (a, b) in enumerate(zip(*found, strict=True)):
        assert same(a, b), (number, emitted.source)


@pytest.mark.parametrize("workload", ["bundle", "gmm", "isoneutral", "kmeans", "lse", "mlp", "ode", "softmax_gradient"])
def test_kernels_of_workloads_are_equal_both_ways(workload: str, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent))
    module = importlib.import_module(f"benchmarks.workloads.{workload}")

    def work() -> None:
        call = module.retape(module.tiny())
        call()
        call()

    found = recorded(monkeypatch, work)
    assert found
    for emitted, options in found[:12]:
        agree(emitted, options)


def test_kernels_of_the_catalogue_are_equal_both_ways(monkeypatch: Any) -> None:
    """One operand layout of each op; loops, as larger arrays have them."""
    def work() -> None:
        with loops_only():
            for op in all_ops():
                for sample in samples(op)[:2]:
                    compile_graph(sample.graph)

    found = recorded(monkeypatch, work)
    assert len(found) > 50
    for emitted, options in found[::6]:
        agree(emitted, options)


def test_programs_need_no_numba() -> None:
    program = """if True:
        import sys
        import numpy as np, retape as rt

        @rt.compile
        def f(x):
            return (rt.sin(x) * x ** 1.5).sum() + rt.stack([x[1], x[0]]).mean()

        x = np.array([0.5, 2.0, 1.0])
        first, second = f(x), f(x)
        assert abs(first - second) < 1e-12
        assert f.traces == 1
        y = np.linspace(-2.0, 2.0, 4000).reshape(80, 50)

        @rt.compile
        def g(x, index):
            z = rt.softmax(x, 1) + rt.cat([x[:, :20], x[:, 20:].tanh()], 1)
            picked = z[index].sum(0) + z.amax(0)
            return rt.func.grad(lambda t: (t @ t.T).mean())(z), picked, x[x > 1.0], index // 3 % 2

        for turn in range(2):
            results = g(rt.tensor(y), rt.tensor(np.arange(7)))
        assert g.traces == 1
        assert "numba" not in sys.modules"""
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "RETAPE_CACHE_DIR": ""})
