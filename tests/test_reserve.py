"""Memory of results that is handed out again: only once nobody can see it."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.codegen.reserve import HELD, LARGEST, LEAST, fresh_arrays

SHAPE = (LEAST // 8,)


def address(array: Any) -> int:
    return int(array.ctypes.data)


def test_memory_comes_back_when_the_result_is_gone() -> None:
    make = fresh_arrays(SHAPE, np.float64)
    first = address(make())
    assert address(make()) == first
    assert first % 64 == 0


@pytest.mark.parametrize("holder", [
    lambda a: a, lambda a: a[10:20], lambda a: a.reshape(2, -1).T, memoryview, lambda a: np.frombuffer(a, np.uint8),
    lambda a: rt.from_numpy(a)[3], lambda a: {"deep": [a[:1]]},
])
def test_memory_that_anything_refers_to_stays(holder: Any) -> None:
    make = fresh_arrays(SHAPE, np.float64)
    array = make()
    array[:] = 7.0
    held = holder(array)
    del array
    others = [make() for _ in range(2 * HELD + 1)]
    for other in others:
        other[:] = 1.0
    part = held["deep"][0] if isinstance(held, dict) else held
    part = part.numpy() if isinstance(part, rt.Tensor) else np.asarray(part)
    assert np.ascontiguousarray(part).view(np.float64).ravel()[0] == 7.0
    assert len({address(other) for other in others}) == len(others)


def test_at_most_so_many_are_held() -> None:
    make = fresh_arrays(SHAPE, np.float64)
    arrays = [make() for _ in range(5)]
    owners = [weakref.ref(array.base) for array in arrays]
    del arrays
    gc.collect()
    assert sum(owner() is not None for owner in owners) == HELD


def test_small_and_huge_arrays_are_ordinary() -> None:
    assert fresh_arrays((LEAST // 8 - 1,), np.float64)().base is None
    assert "reserve" not in getattr(fresh_arrays((LARGEST // 8 + 1,), np.float64), "__module__", "")
    assert fresh_arrays((0, 3), np.float32)().shape == (0, 3)


def test_threads_never_share() -> None:
    make = fresh_arrays(SHAPE, np.float64)
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(300):
            array = make()
            array[::64] = number
            if not (array[::64] == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_results_that_are_kept_keep_their_values() -> None:
    step = rt.compile(lambda x: (x * 2.0, x + 1.0))
    x = np.arange(LEAST // 4, dtype=np.float64)
    kept = [step(x + float(i)) for i in range(6)]
    for i, (double, more) in enumerate(kept):
        np.testing.assert_array_equal(double, (x + i) * 2.0)
        np.testing.assert_array_equal(more, x + i + 1.0)


def test_a_result_may_be_the_next_argument() -> None:
    step = rt.compile(lambda x: x + 1.0)
    x = np.zeros(LEAST // 4)
    for _ in range(7):
        x = step(x)
    np.testing.assert_array_equal(x, np.full(LEAST // 4, 7.0))
