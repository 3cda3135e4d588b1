"""Small kernels that threads take turns on: which may run at the same time, and that results stay the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import retape as rt
from retape.codegen import beside
from retape.codegen.lowered import Walk
from retape.codegen.native import Tape, build, intrinsics
from retape.codegen.native.lanes import LANES, in_lanes
from retape.codegen.native.pool import pool
from retape.codegen.views import Buffer, View
from retape.ir import f32, f64

rng = np.random.default_rng(11)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = rt.get_num_threads()
    yield
    rt.set_num_threads(before)


def framed(x, y):
    """Arrays with margins around what large kernels compute; two margins of each are columns."""
    first, second = rt.zeros(400, 300, 4, dtype=rt.float64), y.clone()
    first[3:-3, 2:-2] = rt.tanh(x[3:-3, 2:-2, None]) * rt.exp(y[3:-3, 2:-2])
    second[1:-1, 4:-4] = rt.sin(first[1:-1, 4:-4]) * 2
    return first, second


def _counted(function, *arrays):
    """Results for several numbers of threads, and the regions of a call with two."""
    compiled = rt.compile(function)
    results = []
    for threads in (1, 2, 3, 5):
        rt.set_num_threads(threads)
        results += [[np.asarray(part) for part in compiled(*arrays)] for _ in range(4)]
    del results[0]  # eager's
    rt.set_num_threads(2)
    before = pool().get("regions")
    compiled(*arrays)
    return results, pool().get("regions") - before


def test_margins_are_filled_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAPE_CACHE_DIR", "off")
    x, y = rng.standard_normal((400, 300)), rng.standard_normal((400, 300, 4))
    found: list[list[tuple[int, int]]] = []
    wanted_runs = beside.beside

    def noted(lowered):
        found.append(wanted_runs(lowered))
        return found[-1]

    monkeypatch.setattr(beside, "beside", noted)
    results, regions = _counted(framed, x, y)
    assert any(behind - first >= 4 for runs in found for first, behind in runs)
    monkeypatch.setattr(beside, "beside", lambda lowered: [])
    alone, fewer = _counted(framed, x, y)
    assert regions == fewer + sum(map(len, found))
    for result in [*results, *alone]:
        for part, wanted in zip(result, alone[0], strict=True):
            np.testing.assert_array_equal(part, wanted)
    first = np.zeros((400, 300, 4))
    first[3:-3, 2:-2] = np.tanh(x[3:-3, 2:-2, None]) * np.exp(y[3:-3, 2:-2])
    np.testing.assert_allclose(results[-1][0], first, rtol=1e-12)
    second = y.copy()
    second[1:-1, 4:-4] = np.sin(first[1:-1, 4:-4]) * 2
    np.testing.assert_allclose(results[-1][1], second, rtol=1e-10)


def test_a_program_that_was_kept_has_its_turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RETAPE_CACHE_DIR", str(tmp_path))
    x, y = rng.standard_normal((400, 300)), rng.standard_normal((400, 300, 4))
    made, regions = _counted(framed, x, y)
    monkeypatch.setattr(beside, "beside", None)  # nothing is planned again
    again, as_many = _counted(framed, x, y)
    assert regions == as_many
    for part, wanted in zip(again[-1], made[-1], strict=True):
        np.testing.assert_array_equal(part, wanted)


def test_what_reads_a_margin_waits_for_it() -> None:
    def chained(x):
        a = rt.zeros(500, 300, dtype=rt.float64)
        a[2:-2, 2:-2] = rt.exp(rt.tanh(x[2:-2, 2:-2]))
        b = a.clone()
        b[:2] = a[2:4] * 2  # each of these reads what the one before it writes
        b[-2:] = b[:2] + 1
        b[2:4] = b[-2:] * 3
        return a, b

    x = rng.standard_normal((500, 300))
    results, _ = _counted(chained, x)
    a = np.zeros((500, 300))
    a[2:-2, 2:-2] = np.exp(np.tanh(x[2:-2, 2:-2]))
    b = a.copy()
    b[:2] = a[2:4] * 2
    b[-2:] = b[:2] + 1
    b[2:4] = b[-2:] * 3
    for result in results:
        np.testing.assert_allclose(result[0], a, rtol=1e-12)
        np.testing.assert_allclose(result[1], b, rtol=1e-12)


accesses = st.tuples(st.sampled_from([f32, f64]), st.integers(0, 40), st.integers(0, 12), st.integers(0, 14),
                     st.integers(1, 5), st.booleans())


def _bytes(access: tuple) -> set[int]:
    dtype, offset, step, reach, extent, _ = access
    size = dtype.itemsize
    return {(offset + i * step) * size + byte for i in range(extent) for byte in range((reach + 1) * size)}


@given(accesses, accesses, st.sampled_from([0, 64, 128]))
def test_accesses_that_meet_are_found(first: tuple, second: tuple, distance: int) -> None:
    """Two values in the workspace: it may be said of those that lie apart that they meet, never the reverse."""
    offsets: dict[Buffer, int] = {}

    def touch(access: tuple, place: int) -> beside._Touch:
        dtype, offset, step, reach, extent, written = access
        buffer = Buffer(dtype, 100, "arena")
        offsets[buffer] = place
        return beside._touch(View(buffer, (extent,), (step,), offset), Walk(step, reach, written), extent, offsets)

    a, b = touch(first, 0), touch(second, distance)
    common = _bytes(first) & {byte + distance for byte in _bytes(second)}
    assert beside._meet(a, b) == beside._meet(b, a)
    if common and (first[-1] or second[-1]):
        assert beside._meet(a, b)
    if not (first[-1] or second[-1]):
        assert not beside._meet(a, b)


def test_columns_of_one_array_are_apart() -> None:
    buffer = Buffer(f64, 10_000, "output")
    left, right, inner = (beside._touch(View(buffer, (100, 2), (100, 1), offset), Walk(100, width, True), 100, {})
                          for offset, width in ((0, 1), (98, 1), (2, 95)))
    assert not beside._meet(left, right) and not beside._meet(left, inner) and not beside._meet(inner, right)
    wide = beside._touch(View(buffer, (100, 3), (100, 1), 0), Walk(100, 2, True), 100, {})
    assert beside._meet(wide, inner) and not beside._meet(wide, right)


@pytest.mark.parametrize("count", [1, 3, LANES, 2 * LANES + 3])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_every_kernel_runs_once(count: int, threads: int) -> None:
    source = "def k(p0, p1, k0, lo, hi):\n    for i in range(lo, hi):\n        p1[i] = p1[i] + p0[i] * k0\n"
    kernel = build(source, "k", ["i64", "i64"], 1, intrinsics(True))
    run, ints, extent = in_lanes([(kernel.address, 2, [7 + i], 5 + i) for i in range(count)])
    tape = Tape(np.array([[run, 0, 0, 0, extent, 1]] * 20), 2 * count, np.array(ints), kernel)
    call = tape.bind(range(2 * count))
    rt.set_num_threads(threads)
    for _ in range(30):
        arrays = [array for _ in range(count) for array in (np.arange(50), np.zeros(50, np.int64))]
        call(tuple(arrays))
        for i, result in enumerate(arrays[1::2]):
            wanted = np.where(np.arange(50) < 5 + i, 20 * np.arange(50) * (7 + i), 0)
            np.testing.assert_array_equal(result, wanted)
