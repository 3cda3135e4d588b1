"""Matrix products as kernels."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from retape.codegen.native import Tape, blas, blas_ir, blas_threads

SHAPES = [
    (3, 4, 5),
    (1, 1, 1),
    (1, 200, 150),
    (200, 1, 150),
    (130, 1, 131),
    (1, 1, 20000),
    (2, 3, 0),
    (0, 3, 4),
    (17, 33, 9),
]
DTYPES: dict[str, Any] = {"f64": np.float64, "f32": np.float32}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("beta", [0.0, 1.0, 0.5])
def test_products(dtype: str, shape: tuple[int, int, int], beta: float) -> None:
    m, n, k = shape
    rng = np.random.default_rng(m + n + k)
    for ta, tb, batch, pad in itertools.product((False, True), (False, True), (1, 3), (1, 2)):
        stored_a, stored_b = ((k, m) if ta else (m, k)), ((n, k) if tb else (k, n))
        a, b, c = (
            rng.standard_normal((batch, rows, columns + pad)).astype(DTYPES[dtype])
            for rows, columns in (stored_a, stored_b, (m, n))
        )
        inner_a, inner_b, inner_c = a[:, :, : stored_a[1]], b[:, :, : stored_b[1]], c[:, :, :n]
        expected = 2.0 * np.matmul(inner_a.swapaxes(1, 2) if ta else inner_a, inner_b.swapaxes(1, 2) if tb else inner_b)
        expected = expected + beta * inner_c
        if beta == 0.0:
            inner_c[:] = np.nan  # must not be read
        margin = c[:, :, n:].copy()
        address, ints = blas.product(
            dtype, m, n, k, a.shape[2], b.shape[2], c.shape[2], transpose_a=ta, transpose_b=tb,
            alpha=2.0, beta=beta, batch_strides=(a[0].size, b[0].size, c[0].size),
        )  # fmt: skip
        tape = Tape(np.array([[address, 0, 0, 0, batch, 0]]), 3, np.array(ints))
        tape.call(np.arange(3), (a, b, c))
        tolerance = 1e-12 if dtype == "f64" else 1e-4
        np.testing.assert_allclose(inner_c, expected, rtol=tolerance, atol=tolerance * max(k, 1))
        assert (c[:, :, n:] == margin).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 200, 150), (200, 1, 150)])
def test_matrices_that_begin_inside_an_array(dtype: str, shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(count).astype(DTYPES[dtype]) for count in (m * k + 7, k * n + 11, m * n + 13))
    wanted = c.copy()
    wanted[13:] = (a[7:].reshape(m, k) @ b[11:].reshape(k, n)).ravel()
    address, ints = blas.product(dtype, m, n, k, k, n, n, offsets=(7, 11, 13))
    Tape(np.array([[address, 0, 0, 0, 1, 0]]), 3, np.array(ints)).call(np.arange(3), (a, b, c))
    np.testing.assert_allclose(c, wanted, rtol=1e-12 if dtype == "f64" else 1e-4, atol=1e-4)
    assert (c[:13] == wanted[:13]).all()


def test_one_matrix_for_a_whole_batch() -> None:
    rng = np.random.default_rng(0)
    a, b, c = rng.random((4, 5)), rng.random((3, 5, 6)), np.zeros((3, 4, 6))
    address, ints = blas.product("f64", 4, 6, 5, 5, 6, 6, batch_strides=(0, 30, 24))
    tape = Tape(np.array([[address, 0, 0, 1, 3, 0]]), 3, np.array(ints))  # only the batches 1 and 2
    tape.call(np.arange(3), (a, b, c))
    np.testing.assert_allclose(c[1:], a @ b[1:])
    assert (c[0] == 0).all()


def test_a_large_matrix_by_a_vector_goes_to_gemv() -> None:
    assert blas.product("f64", 128, 1, 128, 128, 1, 1)[0] != blas.gemm("f64")
    assert blas.product("f64", 8, 1, 8, 8, 1, 1)[0] == blas.gemm("f64")


def test_numbers_that_blas_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="lda is 2147483648; BLAS counts in 32 bits"):
        blas.gemm_ints("f64", 2, 2, 2, 2**31, 2, 2)
    with pytest.raises(ValueError, match="ldb is 3, but a row has 4 elements"):
        blas.product("f64", 2, 4, 3, 3, 3, 4)
    with pytest.raises(ValueError, match="n is -1"):
        blas.product("f64", 2, -1, 3, 3, 3, 4)
    with pytest.raises(ValueError, match="no BLAS routine for 'i32'"):
        blas.gemm("i32")


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_numbers_count_as_zero_if_asked(dtype: str) -> None:
    kind = DTYPES[dtype]
    tiny = np.finfo(kind).smallest_subnormal * kind(1024)
    a, b = np.full((40, 40), tiny, kind), np.eye(40, dtype=kind)
    for n, flush in itertools.product((40, 1), (True, False)):
        m = 40 if n > 1 else 640
        left, right, c = np.resize(a, (m, 40)), np.ascontiguousarray(b[:, :n]), np.full((m, n), 7.0, kind)
        address, ints = blas.product(dtype, m, n, 40, 40, n, n, flush=flush)
        Tape(np.array([[address, 0, 0, 0, 1, 0]]), 3, np.array(ints)).call(np.arange(3), (left, right, c))
        wanted = 0.0 if flush and blas_ir.control()[1] else tiny
        assert (np.diag(c[:n]) == wanted).all() and (a == tiny).all()
        assert tiny * kind(0.5) == tiny / kind(2) != 0  # as before, outside


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(400, 90, 300), (90, 600, 300), (2000, 1, 90), (1, 2000, 90), (301, 290, 307),
                                   (128, 128, 900)])
def test_panels(dtype: str, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas_threads, "_PANEL", 100.0)
    m, n, k = shape
    rng = np.random.default_rng(m + n + k)
    for ta, tb in itertools.product((False, True), (False, True)):
        a = rng.standard_normal((k, m) if ta else (m, k)).astype(DTYPES[dtype])
        b = rng.standard_normal((n, k) if tb else (k, n)).astype(DTYPES[dtype])
        c = np.full((m + 1, n), np.nan, DTYPES[dtype])
        arguments = {"dtype": dtype, "m": m, "n": n, "k": k, "lda": a.shape[1], "ldb": b.shape[1], "ldc": n,
                     "transpose_a": ta, "transpose_b": tb, "offsets": (0, 0, n)}
        row = blas_threads.divided(4, 1e6, 1, arguments)
        assert 2 <= row.extent <= 4 and row.grain == 1 and row.shared
        tape = Tape(np.array([[row.address, 0, 0, 0, row.extent, row.grain]]), 3, np.array(row.ints))
        tape.call(np.arange(3), (a, b, c))
        wanted = (a.T if ta else a) @ (b.T if tb else b)
        np.testing.assert_allclose(c[1:], wanted, rtol=1e-3, atol=1e-10 if dtype == "f64" else 1e-2)
        assert np.isnan(c[0]).all()
        assert blas_threads.divided(1, 1e6, 1, arguments)[2:4] == (1, 0)


def test_a_batch_is_shared_as_it_is() -> None:
    arguments = {"dtype": "f64", "m": 100, "n": 100, "k": 100, "lda": 100, "ldb": 100, "ldc": 100,
                 "batch_strides": (10000, 10000, 10000)}
    row = blas_threads.divided(2, 33000.0, 16, arguments)
    assert row.extent == 16 and row.grain >= 1 and row.work > 100000
    small = blas_threads.divided(2, 0.3, 16, {**arguments, "m": 2, "n": 2, "k": 2})
    assert small.grain > 16 and not small.shared


def test_openblas_is_held_while_any_tape_holds_it() -> None:
    hold = blas_threads.hold()
    assert hold is not None  # SciPy's wheels have OpenBLAS
    first, last = (Tape(np.array([[a, 0, 0, 0, 1, 0]]), 0, np.zeros(1)) for a in (hold.first, hold.last))
    hold.set(2)
    first.run()
    first.run()
    assert hold.get() == 1
    last.run()
    assert hold.get() == 1
    last.run()
    assert hold.get() == 2
    hold.set(1)
    first.run()
    last.run()
    assert hold.get() == 1
    hold.set(2)


def test_another_blas_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas_threads, "hold", lambda: None)
    arguments = {"dtype": "f64", "m": 800, "n": 800, "k": 800, "lda": 800, "ldb": 800, "ldc": 800}
    assert blas_threads.divided(4, 1e6, 1, arguments)[2:] == (1, 0, 0.0, False)


def test_scipy_is_loaded_only_as_far_as_needed() -> None:
    code = """
import sys
from retape.codegen.native import blas
first = blas.routine("f64")
assert "scipy.linalg" not in sys.modules
import scipy.linalg.cython_blas
assert scipy.linalg.cython_blas is blas._cython_blas()
scipy.linalg.inv([[2.0]])
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
