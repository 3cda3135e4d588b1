"""The memory plan: values that are alive together never overlap, and the others share their places."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import retape as rt
from retape.codegen import compile_graph, memory
from retape.codegen.memory import ALIGNMENT, plan_memory
from retape.codegen.views import Buffer
from retape.func import value_and_grad
from retape.ir import f64


def values(*lifetimes: tuple[int, int, int]) -> list[tuple[Buffer, int, int]]:
    """Buffers of so many units of alignment, and their first and last steps."""
    return [(Buffer(f64, units * ALIGNMENT // 8, "arena"), first, last) for units, first, last in lifetimes]


def live(lifetimes: list[tuple[Buffer, int, int]]) -> int:
    """The most units that are alive in one step: no plan can do with less."""
    steps = {step for _, first, last in lifetimes for step in (first, last)}
    return max((sum(max(b.nbytes // ALIGNMENT, 1) for b, first, last in lifetimes if first <= s <= last)
                for s in steps), default=0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12), st.integers(0, 5)), max_size=30), st.booleans())
def test_no_two_values_overlap(drawn: list[tuple[int, int, int]], few: bool) -> None:
    lifetimes = values(*((units, first, first + length) for units, first, length in drawn))
    offsets, size = memory._by_size(lifetimes) if few else plan_memory(lifetimes)
    places = [(offsets[b], offsets[b] + max(b.nbytes, 1), first, last) for b, first, last in lifetimes]
    assert all(start % ALIGNMENT == 0 and stop <= size for start, stop, _, _ in places)
    for number, (start, stop, first, last) in enumerate(places):
        for other, behind, begin, end in places[:number]:
            assert stop <= other or behind <= start or last < begin or end < first
    assert live(lifetimes) * ALIGNMENT <= size <= sum(max(b.nbytes, 1) + ALIGNMENT - 1 for b, _, _ in lifetimes)


@pytest.mark.parametrize("plan", [plan_memory, memory._by_size])
def test_a_large_place_is_split_and_put_together_again(plan: Any) -> None:
    lifetimes = values((8, 0, 1), (3, 2, 3), (5, 2, 4), (8, 5, 6), (9, 7, 8), (2, 8, 9))
    _, size = plan(lifetimes)
    assert size == live(lifetimes) * ALIGNMENT == 11 * ALIGNMENT


def test_few_values_are_placed_by_size_where_that_takes_less() -> None:
    lifetimes = values((1, 0, 1), (1, 0, 2), (3, 2, 3))  # the first leaves a gap below the second
    assert memory._by_time(lifetimes)[1] == 5 * ALIGNMENT
    assert plan_memory(lifetimes)[1] == live(lifetimes) * ALIGNMENT == 4 * ALIGNMENT


def test_long_programs_are_planned_in_one_walk() -> None:
    lifetimes = values(*((1 + n % 7, n, n + 2 + n % 3) for n in range(20_000)))
    assert plan_memory(lifetimes)[1] <= 1.3 * live(lifetimes) * ALIGNMENT


def test_memory_of_a_call() -> None:
    def chain(x: Any) -> Any:
        for _ in range(20):
            x = rt.exp(x @ x * 0.01)
        return x

    s = rt.compile(chain).specialize(np.ones((100, 100)))
    assert s.memory == {"peak": 240_000, "workspace": 160_000, "outputs": 80_000, "constants": 0,
                        "inputs": 80_000}


A, B, INDEX = np.linspace(-1.0, 1.0, 15_000).reshape(150, 100), np.ones((100, 80)), np.arange(300) % 150


def relaxed(x: Any) -> Any:
    for _ in range(10):
        x = x + 0.1 * (x.roll(1, 0) - x) * x.roll(2, 1)
    return x


CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "pointwise, three results": (lambda x: (rt.exp(x) * 2.0, x + 1.0, (x * x).sum()), (A,)),
    "products": (lambda x, w: rt.tanh(rt.tanh(x @ w) @ w.T) @ w, (A, B)),
    "a gradient": (value_and_grad(lambda x, w: (rt.softmax(x @ w, 1) ** 2).sum(), argnums=(0, 1)), (A, B)),
    "steps of a loop": (relaxed, (A,)),
    "gather and scatter": (
        lambda x, i: rt.zeros(150, 100, dtype=rt.float64).index_add(0, i, rt.exp(x[i])), (A, INDEX)),
    "a look at a value": (lambda x: rt.exp(x) if x.sum() > -9 else x, (A,)),
    "other layouts": (lambda x, w: rt.exp(x.T) @ w, (A[:, ::-1], A[:, ::2])),
    "a rows kernel": (lambda x: rt.softmax(x, 1), (A,)),
}
SMALL = 6000  # bytes of Python objects around arrays


@pytest.mark.parametrize("name", CALLS)
def test_a_warm_call_allocates_its_results_alone(name: str) -> None:
    """NumPy tells `tracemalloc` of its arrays, and nothing native allocates."""
    function, arrays = CALLS[name]
    compiled = rt.compile(function)
    graph = compiled.specialize(*arrays).graph
    for _ in range(3):
        results = compiled(*arrays)
    total = sum(np.asarray(r).nbytes for r in _flat(results))
    gc.collect()
    tracemalloc.start()
    try:
        again = compiled(*arrays)
        kept, peak = tracemalloc.get_traced_memory()
        assert total <= kept <= peak <= total + SMALL
        if graph.guards:  # pieces, each with a program
            return
        program = compile_graph(graph)
        tracemalloc.clear_traces()
        tracemalloc.reset_peak()
        first = program(arrays)  # takes the workspace as well
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    told = program.memory
    assert told["peak"] == told["workspace"] + told["outputs"] + told["constants"]
    assert abs(peak - told["peak"]) <= SMALL
    for found, wanted in zip(_flat(again), first, strict=True):
        np.testing.assert_array_equal(found, wanted)


def _flat(results: Any) -> list[Any]:
    return [part for r in results for part in _flat(r)] if isinstance(results, tuple) else [results]
