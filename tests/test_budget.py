"""Ten thousand random branches: what is kept for them, and what a call does, stays bounded; results stay right."""

from __future__ import annotations

import gc
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from test_branches import kernels_of, tree_of

import retape as rt
from retape.compiled import BUDGET
from retape.ir.interpreter import evaluate
from retape.ir.verifier import verify

STEPS, CALLS = 16, 10_000
ENTERED = bytearray()  # what compiled calls don't look into


def walk(x: Any) -> Any:
    """Looks at sixteen elements: 65536 paths."""
    ENTERED.append(1)
    for i in range(STEPS):
        x = x * 1.25 + 0.5 if x[i] > 0 else x * 0.75 - 0.25
    return x


def by_hand(x: Any) -> Any:
    for i in range(STEPS):
        x = np.where(x[:, i:i + 1] > 0, x * 1.25 + 0.5, x * 0.75 - 0.25)
    return x


def kept(f: Any) -> Any:
    """What is kept for the paths that are known: traces, operations, programs, kernels, rows and bytes."""
    tree = tree_of(f)
    return (f.traces, len(f.specializations), sum(len(s.graph.nodes) for s in f.specializations), len(tree.parts),
            kernels_of(tree), tree.rows, tree.size)


def entered() -> int:
    """How often the function's body was entered since the last time."""
    found = len(ENTERED)
    ENTERED.clear()
    return found


def test_ten_thousand_random_branches() -> None:
    f = rt.compile(walk)
    inputs = np.random.default_rng(0).choice([-100.0, 100.0], (CALLS, STEPS))
    results = np.empty_like(inputs)
    entered()
    known: set[bytes] = set()
    marks: list[tuple[Any, int]] = []
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for number, x in enumerate(inputs):
            traces = f.traces
            results[number] = f(x)
            path = (x > 0).tobytes()
            assert entered() == (path not in known), number  # once where the path is unknown, else not at all
            if f.traces > traces:
                known.add(path)
            if number in (4 * BUDGET, CALLS // 5, CALLS - 1):
                gc.collect()
                marks.append((kept(f), sys.getallocatedblocks()))
    np.testing.assert_allclose(results, by_hand(inputs), rtol=1e-12)
    assert [w.category for w in seen] == [rt.errors.GuardExplosion]
    assert BUDGET < f.traces < 3 * BUDGET  # most have pieces in common with others
    (early, _), (later, blocks), (last, blocks_last) = marks
    assert last == later == early
    assert blocks_last - blocks < 300


def test_steps_that_are_equal_share_their_programs() -> None:
    """However paths part and come together, each step's two bodies are two programs, and the kernels are fewer."""
    f = rt.compile(walk)
    inputs = np.random.default_rng(1).choice([-100.0, 100.0], (100, STEPS))
    for x, y in zip(inputs, by_hand(inputs), strict=True):
        for _ in range(2):
            np.testing.assert_allclose(f(x), y, rtol=1e-12)
    assert f.traces == 100
    assert len(tree_of(f).parts) <= 2 * STEPS + 2
    assert kernels_of(tree_of(f)) <= 2 * STEPS + 2


def test_known_paths_are_compiled_past_the_budget() -> None:
    f = rt.compile(walk, budget=4)
    inputs = np.random.default_rng(2).choice([-100.0, 100.0], (50, STEPS))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for x in inputs:
            f(x)
        entered()
        for x in inputs[:4]:
            f(x)
    assert len(seen) == 1 and entered() == 0


def count(x: Any, n: Any) -> Any:
    while n > 0:
        x, n = x * 0.5 + 1.0, n - 1
    return x


def counted(n: Any) -> float:
    """What `count` gives for a single 4."""
    return 4.0 * 0.5 ** float(n) + 2.0 * (1 - 0.5 ** float(n))


@pytest.mark.parametrize("order", ["random", "rising", "falling"])
def test_lengths_of_a_loop_are_compiled_past_any_number_of_traces(order: str) -> None:
    """A loop as long as a value says: a length costs what is new of it, which is little, and no new program."""
    f = rt.compile(count)
    rising = np.arange(1, 201)
    lengths = {"random": np.random.default_rng(3).permutation(rising), "rising": rising, "falling": rising[::-1]}[order]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            for n in lengths:
                np.testing.assert_allclose(f(np.array([4.0]), np.array(float(n))), [counted(n)], rtol=1e-12)
    assert f.traces == 200
    tree, group = tree_of(f), next(iter(f._known.values()))[0]
    assert group.cost() < 20
    assert len(tree.parts) <= 6 and kernels_of(tree) <= 6
    pieces, stack = 0, [group.branches.root]
    while stack:
        segment = stack.pop()
        pieces += 1
        stack += segment.children.values()
    assert pieces <= 2 * 200 + 2
    assert all(known.lean for known in f.specializations)


def test_what_a_trace_of_many_keeps() -> None:
    """Traces have their common operations in memory once, and still tell what they are."""
    f = rt.compile(count)
    x = np.array([4.0])
    for n in (3, 200, 1, 150, 199):
        f(x, np.array(float(n)))
    graphs = [known.graph for known in f.specializations]
    for graph, n in zip(graphs, (3, 200, 1, 150, 199), strict=True):
        verify(graph)
        assert [guard.value for guard in graph.guards] == [True] * n + [False]
        np.testing.assert_allclose(evaluate(graph, x, np.array(float(n)))[0], [counted(n)], rtol=1e-12)
    first, last = graphs[1], graphs[4]
    assert sum(a is b for a, b in zip(first.nodes, last.nodes, strict=False)) >= len(last.nodes) - 1


def test_lengths_whose_gradients_are_asked_for_cost_a_trace_each() -> None:
    """They have programs of their own."""
    f = rt.compile(count, budget=6)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for n in range(1, 12):
            x = rt.tensor([4.0], dtype=rt.float64, requires_grad=True)
            for _ in range(2):
                y = f(x, rt.tensor(float(n)))
                assert y.tolist() == pytest.approx([counted(n)], rel=1e-12)
                assert rt.autograd.grad(y.sum(), x)[0].tolist() == [0.5**n]
    assert [w.category for w in seen] == [rt.errors.GuardExplosion] and f.traces == 6
