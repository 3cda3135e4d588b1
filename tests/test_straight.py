"""Kernels without loops are compiled without numba: every expression as numba's own lowering has it, bit by bit."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from retape.codegen import native, vmath
from retape.codegen.native import names

FLOATS = ["{a} + {b} * {c}", "-{a} / {b}", "{a} - 2.5", "3 * {a}", "{a} < {b}", "{a} != {b}", "{a} == {a}", "{a} >= 0",
          "select({a} > {b}, {a}, {b})", "select({a} < 0.0, 1.0, {b})", "rmax({a}, {b})", "rmin({a}, {b})",
          "radd({a}, {b})", "rmul({a}, {b})", "sqrt(fabs({a}))", "floor({a})", "ceil({a})", "rint({a})", "trunc({a})",
          "copysign({a}, {b})", "({a} > {b}) & ({b} > {c})", "({a} > {b}) | ({b} != {c})", "inf - {a}", "nan"]
INTEGERS = ["{a} + {b} * {c}", "-{a} + 3", "{a} - {b}", "{a} < {b}", "{a} == {b}", "select({a} < {b}, {a}, {b})",
            "rmax({a}, {b})", "rmin({a}, {b})", "radd({a}, {b})", "rmul({a}, {b})", "{a} * 0.5", "1.0 / {a}"]
BOOLS = ["{a} & {b}", "{a} | {b}", "{a} == {b}", "{a} != False", "select({a}, {b}, {c})", "select({a}, 1.5, 2.0)"]
CASTS = [f"to_{short}({{a}})" for short in names.CASTS]
CASES = [(kind, text) for kind, texts in (("f64", FLOATS), ("f32", FLOATS), ("i64", INTEGERS), ("i32", INTEGERS),
                                          ("i8", INTEGERS), ("b1", BOOLS)) for text in (*texts, *CASTS)]
CASES += [("u8", text) for text in (*CASTS, "select({a} == {a}, {a}, {b})", "{a} + {b}", "rmax({a}, {b})")]
TWO = ("pow", "lone_pow", "atan2", "hypot")
CASES += [("f64", f"vm_{name}_{ty}(to_{ty}({{a}}){', to_f32(0.5)' * (name in TWO)})")
          for name in sorted(vmath.NAMES) for ty in ("f64", "f32")]
NUMBA_ALONE = {("u8", "{a} + {b}"), ("u8", "rmax({a}, {b})"), ("u8", "select({a} == {a}, {a}, {b})")}


def values_of(kind: str) -> Any:
    random = np.random.default_rng(3)
    if kind == "b1":
        return random.random((3, 16)) < 0.5
    if kind in ("f64", "f32"):
        values = random.normal(0, 3, (3, 16))
        values[0, :3], values[1, 2:5] = (np.nan, 0.0, 90.0), (0.0, -0.0, 1.0)
        return values.astype(names.DTYPES[kind])
    return random.integers(0 if kind == "u8" else -100, 100, (3, 16)).astype(names.DTYPES[kind]) | 1


def run(kernel: Any, arrays: list[Any]) -> None:
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(kernel.address)
    for i in range(arrays[0].size):
        pointers = np.array([a[i:].ctypes.data for a in arrays], np.int64)
        function(pointers.ctypes.data, None, 0, 1)


@pytest.mark.parametrize("contract", [True, False])
def test_every_expression_is_what_numba_makes_of_it(contract: bool) -> None:
    """In few kernels, since each is compiled twice: one a type, with a result for each expression."""
    scope = {**native.intrinsics(True), **vmath.namespace(True), "inf": np.inf, "nan": np.nan}
    for kind in ("f64", "f32", "i64", "i32", "i8", "b1", "u8"):
        texts = [text for k, text in CASES if k == kind and (k, text) not in NUMBA_ALONE]
        lines = ["def kernel(p0, p1, p2, " + "".join(f"p{i + 3}, " for i in range(len(texts))) + "lo, hi):",
                 *(f"    v{i} = p{i}[0]" for i in range(3)),
                 *(f"    p{i + 3}[0] = {text.format(a='v0', b='v1', c='v2')}" for i, text in enumerate(texts))]
        source = "\n".join(lines) + "\n"
        pointers = [*[kind] * 3, *["f64"] * len(texts)]
        built = native.build(source, "kernel", pointers, 0, scope, contract=contract)
        straight = native.build_straight(source, "kernel", pointers, vmath.FUNCTIONS, contract=contract)
        assert straight is not None
        given = list(values_of(kind))
        found = [[np.zeros(16) for _ in texts] for _ in range(2)]
        for kernel, results in zip((built, straight), found, strict=True):
            run(kernel, [*given, *results])
        for text, a, b in zip(texts, *found, strict=True):
            whole = re.match("to_[iu]", text)  # where that isn't defined for a NaN and what is too large
            defined = abs(given[0].astype(float)) < 100 if whole and kind in ("f64", "f32") else np.ones(16, bool)
            assert np.array_equal(a[defined], b[defined], equal_nan=True), (kind, text)


@pytest.mark.parametrize(("kind", "text"), sorted(NUMBA_ALONE))
def test_what_only_numba_knows_is_left_to_it(kind: str, text: str) -> None:
    source = f"def kernel(p0, p1, p2, lo, hi):\n    p2[0] = {text.format(a='p0[0]', b='p1[0]')}\n"
    assert native.build_straight(source, "kernel", [kind] * 3, vmath.FUNCTIONS) is None


@pytest.mark.parametrize("text", ["p0[lo]", "p0[0] // 2.0", "math.sin(p0[0])", "unheard_of(p0[0])", "p0[0] ** 2"])
def test_no_more_than_expressions_of_scalars(text: str) -> None:
    source = f"def kernel(p0, p1, lo, hi):\n    p1[0] = {text}\n"
    assert native.build_straight(source, "kernel", ["f64"] * 2, vmath.FUNCTIONS) is None


def test_loops_are_left_to_numba() -> None:
    source = "def kernel(p0, lo, hi):\n    for i0 in range(lo, hi):\n        p0[i0] = 1.0\n"
    assert native.build_straight(source, "kernel", ["f64"], {}) is None


def test_tiny_programs_need_no_numba() -> None:
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
        assert "numba" not in sys.modules"""
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "RETAPE_CACHE_DIR": ""})
