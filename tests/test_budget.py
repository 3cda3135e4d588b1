"""Ten thousand random branches: what is kept for them, and what a call does, stays bounded; results stay right."""

from __future__ import annotations

import gc
import itertools
import sys
import warnings
from typing import Any

import numpy as np
from test_branches import kernels_of, tree_of

import retape as rt
from retape.compiled import BUDGET

STEPS, CALLS = 16, 10_000
ENTERED = itertools.count()


def walk(x: Any) -> Any:
    """Looks at sixteen elements: 65536 paths."""
    next(ENTERED)
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
    now = next(ENTERED)
    found = now - entered.last - 1  # type: ignore[attr-defined]
    entered.last = now  # type: ignore[attr-defined]
    return int(found)


entered.last = -1  # type: ignore[attr-defined]


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
            results[number] = f(x)
            path = (x > 0).tobytes()
            assert entered() == (path not in known), number  # once where the path is unknown, else not at all
            if f.traces < BUDGET or number < BUDGET:
                known.add(path)
            if number in (BUDGET + 100, CALLS // 5, CALLS - 1):
                gc.collect()
                marks.append((kept(f), sys.getallocatedblocks()))
    np.testing.assert_allclose(results, by_hand(inputs), rtol=1e-12)
    assert [w.category for w in seen] == [rt.errors.GuardExplosion]
    assert f.traces == BUDGET
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


def test_random_lengths_past_the_budget() -> None:
    """A loop as long as a value says: past the budget a longer one than any known is run eagerly."""
    def count(x: Any, n: Any) -> Any:
        while n > 0:
            x, n = x * 0.5 + 1.0, n - 1
        return x

    f = rt.compile(count, budget=20)
    lengths = np.random.default_rng(3).integers(0, 200, 400)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in lengths:
            value = 4.0 * 0.5 ** float(n) + 2.0 * (1 - 0.5 ** float(n))
            np.testing.assert_allclose(f(np.array([4.0]), np.array(float(n))), [value], rtol=1e-12)
    assert f.traces == 20
    assert len(tree_of(f).parts) <= 6
