"""Arrays put together from parts: right in every order of reads and writes, and with no more copies than needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retape as rt
from retape.codegen.lower import KernelStep, lower
from retape.codegen.regions import are_disjoint, region, uncovered
from tests.support import executions

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, 50)), RNG.standard_normal((40, 50))


def kernels(function: Callable[..., Any], *arrays: Any) -> int:
    """How many kernels a function takes, after all executions have agreed. Nothing runs in Python."""
    graph = rt.compile(function).specialize(*arrays).graph
    found = executions(graph, arrays)
    for name, results in found.items():
        for result, wanted in zip(results, found["interpreter"], strict=True):
            np.testing.assert_allclose(result, wanted, rtol=1e-10, atol=1e-10, err_msg=name)
    steps = lower(graph).steps
    return sum(isinstance(step, KernelStep) for step in steps)


def workspace(function: Callable[..., Any], *arrays: Any) -> int:
    """Bytes of all values that are neither inputs nor results."""
    found = lower(rt.compile(function).specialize(*arrays).graph)
    return sum(buffer.nbytes for buffer in found.buffers if buffer.kind == "arena")


# ---- parts are written to their places by their own kernels


@pytest.mark.parametrize(("join", "count"), [
    (lambda x, y: rt.cat([rt.exp(x), rt.tanh(y)]), 2),
    (lambda x, y: rt.cat([rt.exp(x), rt.tanh(y)], 1), 2),
    (lambda x, y: rt.stack([rt.exp(x), rt.tanh(y)]), 2),
    (lambda x, y: rt.stack([rt.exp(x), rt.tanh(y)], -1), 2),
    (lambda x, y: rt.cat([rt.exp(x).T, rt.tanh(y).T]), 2),
    (lambda x, y: rt.cat([rt.cat([rt.exp(x), rt.sin(y)]), rt.cos(x), rt.zeros(2, 50, dtype=rt.float64)]), 3),
    (lambda x, y: rt.cat([x @ y.T, y @ x.T]), 0),
    (lambda x, y: rt.cat([x @ y.T, y @ x.T], 1), 0),
    (lambda x, y: rt.cat([x @ y.T, (y @ x.T).T], 1), 0),
    (lambda x, y: rt.cat([x, rt.exp(y)]), 2),  # an input is copied
    (lambda x, y: rt.stack([rt.exp(x)] * 2), 2),  # a value has one place
    (lambda x, y: rt.cat([rt.exp(x).reshape(50, 40), y.T]), 2),
], ids=range(12))
def test_parts_are_computed_in_place(join: Any, count: int) -> None:
    assert kernels(join, X, Y) == count
    assert workspace(join, X, Y) == 0


def test_a_part_that_others_read_lies_in_the_whole_as_well() -> None:
    def f(x: Any, y: Any) -> Any:
        a = rt.exp(x)
        return rt.cat([a, rt.sin(y)]), a.sum(0), a @ y.T

    assert workspace(f, X, Y) == 0


def test_a_part_whose_reshape_would_need_a_copy() -> None:
    """Side by side with another, a part's elements are no longer in one row."""
    def f(x: Any, y: Any) -> Any:
        a = rt.exp(x)
        return rt.cat([a, rt.sin(y)], 1), a.reshape(50, 40) @ y

    assert kernels(f, X, Y) == 3


def test_a_part_that_is_a_result_has_its_own_memory() -> None:
    def f(x: Any, y: Any) -> Any:
        a = rt.exp(x)
        return rt.cat([a, rt.sin(y)]), a

    compiled = rt.compile(f)
    compiled(X, Y)
    whole, part = compiled(X, Y)
    assert not np.shares_memory(whole, part)
    assert kernels(f, X, Y) == 3


def test_rows_written_in_a_loop() -> None:
    def f(x: Any) -> Any:
        a = rt.zeros(40, 50, dtype=rt.float64)
        h = x[0]
        for i in range(40):
            h = rt.tanh(h + x[i])
            a[i] = h
        return a

    assert kernels(f, X) == 1 and workspace(f, X) == 0


# ---- slice writes


def border(x: Any, y: Any) -> Any:
    a = rt.zeros(40, 50, 2, dtype=rt.float64)
    a[1:-1, 1:-1, 0] = rt.exp(x)[1:-1, 1:-1]
    a[1:-1, 1:-1, 1] = y[1:-1, 1:-1] * 2
    return a


def dead(x: Any, y: Any) -> Any:
    a = rt.exp(x)
    a[1:-1] = y[1:-1] * 2
    a[0] = 1.0
    return a


def read_before(x: Any, y: Any) -> Any:
    """The old values are read by a sum that comes later in the graph than the new part."""
    a = rt.exp(x)
    b = a.clone()
    b[1:-1] = rt.sin(y[1:-1])
    return b, a.sum(0)


def read_between(x: Any, y: Any) -> Any:
    a = rt.exp(x)
    first = a.sum(0)
    a[1:-1] = y[1:-1] * 2
    second = a.sum(0)
    a[0] = first + second
    return a


def read_behind(x: Any, y: Any) -> Any:
    """The old values are needed for what depends on the new ones: a copy."""
    a = rt.exp(x)
    b = a.clone()
    b[1:-1] = rt.sin(y[1:-1])
    return b, (a * b.sum(0)).sum(1)


def shifted(x: Any, y: Any) -> Any:
    """A part is computed from its neighbours: it has to wait until they are read."""
    a = rt.exp(x)
    for _ in range(3):
        a[1:-1] = 0.5 * (a[2:] + a[:-2]) + y[1:-1]
    return a


def copied_late(x: Any, y: Any) -> Any:
    """Two writes to one array are carried out together: `b` must wait for that before it is overwritten."""
    a, b = rt.exp(x), rt.sin(y)
    a[:] = b
    a[:, 1:-1] = 0.25
    b[:] = 0.5
    return a, b * x


@pytest.mark.parametrize(("write", "count", "bytes_used"), [
    (copied_late, 6, 16000),
    (border, 7, 16000),  # exp, its slice and y's, and four strips of zeros around them
    (dead, 3, 0),
    (read_before, 2, 0),
    (read_between, 4, 800),
    (read_behind, 6, 16000 + 400),  # of the old values, only the two rows that stay are copied
    (shifted, 7, 45600),
])
def test_slice_writes(write: Any, count: int, bytes_used: int) -> None:
    assert (kernels(write, X, Y), workspace(write, X, Y)) == (count, bytes_used)


# ---- random programs

SIDE = 6
INDICES: list[Any] = [slice(None), slice(1, -1), slice(0, 4), slice(2, 6), slice(None, None, 2), slice(1, None, 2),
                      0, 3]
KINDS = ["map", "add", "write", "write", "write", "shift", "cat", "stack", "product", "row"]


@st.composite
def programs(draw: Any) -> list[tuple[Any, ...]]:
    """Steps over a growing list of 6 x 6 arrays: (what, numbers of arrays, indices)."""
    steps: list[tuple[Any, ...]] = []
    count = 2
    for _ in range(draw(st.integers(2, 9))):
        what = draw(st.sampled_from(KINDS))
        a, b = (count - 1 - draw(st.integers(0, min(count, 4) - 1)) for _ in range(2))
        index = draw(st.tuples(st.sampled_from(INDICES), st.sampled_from(INDICES)))
        steps.append((what, a, b, index, draw(st.integers(0, 3))))
        count += what != "write"
    return [*steps, ("return", *draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=3)))]


def run(steps: list[tuple[Any, ...]], x: Any, y: Any) -> Any:
    """Carry a program out; arrays are changed in place, but for the arguments."""
    arrays = [rt.sin(x), y * 1.0]
    for what, *rest in steps:
        if what == "return":
            return tuple(arrays[number] * 1 for number in rest)
        a, b, index, way = arrays[rest[0]], arrays[rest[1]], rest[2], rest[3]
        if what == "map":
            arrays.append(rt.tanh(a) if way else a.clone())
        elif what == "add":
            arrays.append(a * 0.5 + b)
        elif what == "write":
            a[index] = 0.25 if way == 0 else (b * 0.5)[index] if way == 1 else b[index] if way == 2 \
                else b.mean(0)[index[1]] if isinstance(index[0], int) else b[index].mean()
        elif what == "shift":
            c = a.clone()
            c[1:-1] = 0.5 * (b[2:] + a[:-2])
            arrays.append(c)
        elif what == "cat":
            arrays.append(rt.cat([a[:3], b[:3] * 2], 0) if way < 2 else rt.cat([rt.sin(a[:, :2]), b[:, 2:]], 1))
        elif what == "stack":
            arrays.append(rt.stack([a[i] * (i + way) for i in range(SIDE)], way % 2))
        elif what == "product":
            arrays.append(rt.tanh(a @ b) if way else 0.1 * (a.T @ b))
        else:
            arrays.append(a - b.mean(0))
    raise AssertionError("a program ends with its results")


def check(steps: list[tuple[Any, ...]]) -> None:
    x, y = (np.random.default_rng(1).standard_normal((2, SIDE, SIDE)))
    found = executions(rt.compile(lambda x, y: run(steps, x, y)).specialize(x, y).graph, (x, y), tiny=False)
    for name, results in found.items():
        for result, wanted in zip(results, found["interpreter"], strict=True):
            np.testing.assert_allclose(result, wanted, rtol=1e-9, atol=1e-9, err_msg=name)


@settings(max_examples=40, deadline=None)
@given(programs())
def test_random_writes(steps: list[tuple[Any, ...]]) -> None:
    check(steps)


# ---- regions

_index = st.one_of(st.integers(0, 5),
                   st.builds(slice, st.integers(0, 5), st.integers(0, 6), st.sampled_from([1, 2, -1])))


@given(st.lists(st.tuples(_index, _index), max_size=4))
def test_regions_against_counting(indices: list[Any]) -> None:
    count = np.zeros((6, 6), int)
    for index in indices:
        count[index] += 1
    regions = [region((6, 6), index) for index in indices]
    apart = are_disjoint(regions)
    assert apart or (count > 1).any() or len(indices) > 1
    if apart:
        assert (count <= 1).all()
        for rest in uncovered((6, 6), regions):
            count[rest] += 1
        assert (count >= 1).all()
        if list(uncovered((6, 6), regions)) != [(slice(0, 6, 1), slice(0, 6, 1))]:
            assert (count == 1).all()
