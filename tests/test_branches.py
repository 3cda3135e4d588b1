"""Trace trees in native form: what a walk takes in entries, rows, kernels and memory; growing changes no result."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.codegen import trails as trails_module
from retape.codegen.native import guide, trail
from retape.codegen.trails import Trails
from retape.compiled import CompiledFunction
from retape.ir.errors import GuardExplosion


def halvings(x: Any) -> Any:
    """As many steps as the value asks for."""
    while x.abs().sum() > 1e-3:
        x = x * 0.5 + x.mean() * 0.125
    return x


def tree_of(function: CompiledFunction) -> Trails:
    """The native form of a function's only tree."""
    (groups,) = function._known.values()
    (group,) = groups
    assert group.branches.trails is not None
    return group.branches.trails


def kernels_of(tree: Trails) -> int:
    return len({kernel.text for part in tree.parts.values() for kernel in part.kernels})


def same(function: CompiledFunction, *arrays: Any) -> None:
    """Compiled results, of one array or several, are those of eager code."""
    expected = function.function(*[rt.tensor(a, dtype=rt.float64) for a in arrays])
    found = function(*arrays)
    for a, b in zip(*((r if isinstance(r, tuple) else (r,)) for r in (expected, found)), strict=True):
        np.testing.assert_allclose(b, a.numpy(), rtol=1e-12, atol=1e-300)


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each entry into native code by which a walk begins or goes on."""
    found: list[int] = []
    functions = guide.guide()

    def follow(*arguments: Any) -> int:
        found.append(1)
        return functions.follow(*arguments)

    monkeypatch.setattr(trails_module, "guide", lambda: functions._replace(follow=follow))
    return found


# ---- forks


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 16, 21])
@pytest.mark.parametrize("documented", [False, True])
def test_values_lead_to_their_rows(size: int, documented: bool) -> None:
    functions = guide._guide(not documented)
    count = 1000 if size > 1 else 200
    values = list({bytes(random.Random(i).randbytes(size)) for i in range(count)} | {bytes(size)})
    status, seen = np.zeros(1, np.int64), np.zeros(size, np.uint8)
    rows = np.array([trail.branch(3, 0, size), *([trail.STOP, i, 0, 0, 0, 0, 0, 0] for i in range(len(values)))],
                    np.uint64)
    fork = trail.Fork(rows, 0, (3, 0, size))
    header = np.array([trail.row_address(rows, 0), 1, 0, 0], np.int64)
    bases = np.array([0, 0, status.ctypes.data, seen.ctypes.data], np.int64)
    none = np.zeros(0, np.int64)
    for number, value in enumerate(values):
        seen[:] = np.frombuffer(value, np.uint8)
        assert functions.follow(header, bases, none, ()) == -1
        assert header[0] == trail.row_address(rows, 0) or size not in (1, 2, 4, 8)  # the branch where it stopped
        header[0] = trail.row_address(rows, 0)
        fork.lead(value, trail.row_address(rows, 1 + number), 1)
        assert functions.follow(header, bases, none, ()) == number
    for number, value in enumerate(values):
        seen[:] = np.frombuffer(value, np.uint8)
        assert functions.follow(header, bases, none, ()) == number
    status[0] = 1
    assert functions.follow(header, bases, none, ()) == -2


def test_a_walk_takes_what_was_there_when_it_began() -> None:
    rows = np.array([trail.branch(3, 0, 8), *([trail.STOP, i, 0, 0, 0, 0, 0, 0] for i in range(3))], np.uint64)
    fork = trail.Fork(rows, 0, (3, 0, 8))
    status, seen = np.zeros(1, np.int64), np.zeros(1, np.int64)
    bases = np.array([0, 0, status.ctypes.data, seen.ctypes.data], np.int64)
    for generation in (1, 4, 7):
        fork.lead(bytes(8), trail.row_address(rows, 1 + generation // 3), generation)
    for generation, found in ((0, -1), (1, 0), (3, 0), (4, 1), (6, 1), (7, 2), (9, 2)):
        header = np.array([trail.row_address(rows, 0), generation, 0, 0], np.int64)
        assert guide.guide().follow(header, bases, np.zeros(0, np.int64), ()) == found


# ---- counts


def test_a_known_path_is_one_native_entry(entries: list[int]) -> None:
    runs = bytearray()  # a compiled call doesn't repeat what is done to byte arrays

    def function(x: Any) -> Any:
        runs.append(1)
        return halvings(x)

    f = rt.compile(function)
    for value in (3.0, 20.0, 0.5, 1e-9):
        same(f, np.full(3, value))
    before = len(runs)
    entries.clear()
    f(np.full(3, 19.9))  # through the general way, which makes the short one
    for value in (3.0, 20.0, 0.5, 1e-9):
        f(np.full(3, value))
    assert len(runs) == before
    assert len(entries) == 5


def test_kernels_are_shared_by_all_steps() -> None:
    f = rt.compile(halvings)
    for value in (1.0, 30.0):
        same(f, np.full(3, value))
        f(np.full(3, value))
    before = kernels_of(tree_of(f))
    for value in np.geomspace(1e-5, 1e6, 60):
        same(f, np.full(3, value))
        f(np.full(3, value))
    assert f.traces > 20
    assert kernels_of(tree_of(f)) == before <= 4


@pytest.mark.parametrize("size", [3, 1000])
def test_memory_and_rows_of_a_long_path(size: int) -> None:
    def count_down(x: Any, n: Any) -> Any:
        kept = x * 2.0
        while n > 0:
            x = x * 0.999 + kept * 0.5
            n = n - 1
        return x + kept

    f = rt.compile(count_down)
    steps = 3000
    x = np.linspace(0.0, 1.0, size)
    for _ in range(2):
        same(f, x, np.array(float(steps)))
    tree = tree_of(f)
    assert tree.size <= 6 * (8 * size + 64) + 6 * 64
    assert tree.rows <= 8 * (steps + 2)
    assert len(tree.parts) <= 6
    assert len(tree._bodies) <= 12
    same(f, x, np.array(float(steps // 2)))
    same(f, x, np.array(float(steps // 2)))
    assert tree.rows <= 8 * (steps + 2) + 24  # the tail that is new, and the segment before it with what it keeps


def test_many_branches_leave_a_call_as_it_is(entries: list[int]) -> None:
    """Each of a hundred traces adds rows; a call's entries and workspace don't change."""
    def walk(x: Any) -> Any:
        y = x
        for k in range(7):
            y = y * 2.0 if y[k] > 0 else y + 1.0
        return y

    f = rt.compile(walk)
    generator = np.random.default_rng(0)
    inputs = [generator.standard_normal(7) for _ in range(300)]
    for x in inputs:
        same(f, x)
    assert f.traces > 60
    tree = tree_of(f)
    assert kernels_of(tree) <= 40
    assert tree.size <= 4096
    entries.clear()
    for x in inputs:
        f(x)
    assert len(entries) == len(inputs)


def test_past_the_budget() -> None:
    """Of a thousand paths most run eagerly in the end; the tree stays as it is, and results are right."""
    def walk(x: Any) -> Any:
        y = x
        for k in range(10):
            y = y * 2.0 if y[k] > 0 else y + 1.0
        return y

    f = rt.compile(walk, budget=20)
    generator = np.random.default_rng(0)
    with pytest.warns(GuardExplosion):
        for x in generator.standard_normal((120, 10)):
            same(f, x)
    tree = tree_of(f)
    before = tree.rows, tree.size, tree.edition
    traces = f.traces
    for x in generator.standard_normal((60, 10)):
        same(f, x)
    assert 20 < f.traces == traces < 60
    assert (tree.rows, tree.size, tree.edition) == before
    assert len(tree._frames) == 1


# ---- values that pass from segment to segment


def early_value(x: Any) -> Any:
    """What is read late was computed early, and its place has been given to others on the path known first."""
    early = x * 3.0
    y = early + x
    for k in range(4):
        if y[k] > 0:
            y = y * 1.5
        y = y - 0.25
    if y.sum() > 0:
        return y
    middle = y * early
    if middle[0] > 0:
        return middle
    return middle + early - x


def test_values_that_are_read_late() -> None:
    f = rt.compile(early_value)
    generator = np.random.default_rng(3)
    for _ in range(80):
        same(f, generator.standard_normal(4))
    for _ in range(80):
        same(f, generator.standard_normal(4) - 0.5)


def several(x: Any) -> Any:
    """Results of other numbers and shapes, views, an argument, values of earlier segments."""
    y = x.reshape(2, 2) * 2.0
    if x[0] > 0:
        return y, y.T
    if x[1] > 0:
        return x
    z = y.sum(dim=0)
    if x[2] > 0:
        return z, y, z, rt.zeros(2, dtype=rt.float64)
    return z + 1.0


def test_results_of_all_kinds() -> None:
    f = rt.compile(several)
    generator = np.random.default_rng(1)
    for _ in range(40):
        same(f, generator.standard_normal(4))
    y, turned = f(np.ones(4))
    assert np.shares_memory(y, turned)
    x = np.array([-1.0, 1.0, 0.0, 0.0])
    assert f(x) is x
    z, _, again, _ = f(np.array([-1.0, -1.0, 1.0, 1.0]))
    assert np.shares_memory(z, again)
    first = f(-np.ones(4))
    kept = first.copy()
    f(-np.ones(4) * 2)
    np.testing.assert_array_equal(first, kept)  # results are no part of the workspace


def sorts_and_solves(a: Any) -> Any:
    """Operations outside native code between looks."""
    v = rt.ones(3, dtype=rt.float64)
    for _ in range(20):
        w = rt.linalg.solve(a, v) + 0.0 * rt.linalg.pinv(a)[0]
        w = w / w.norm()
        if (w - v).abs().max() < 1e-3:
            break
        v, _ = w.sort()
    c = rt.fft.fft(v)
    if c.real.sum() > 0:
        return c.abs(), v
    return v, c.imag


def test_host_steps_between_looks() -> None:
    f = rt.compile(sorts_and_solves)
    generator = np.random.default_rng(5)
    for _ in range(12):
        same(f, np.eye(3) * 3 + generator.standard_normal((3, 3)))


@pytest.mark.parametrize("numerics", ["default", "strict"])
def test_arrays_are_looked_at(numerics: str) -> None:
    def signs(x: Any) -> Any:
        found = (x > 0).tolist()
        return x.sum() * sum(2.0**k for k, positive in enumerate(found) if positive)

    f = rt.compile(signs, numerics=numerics)
    generator = np.random.default_rng(2)
    for _ in range(30):
        same(f, generator.standard_normal(11) + generator.choice([-2.0, 0.0, 2.0]))


def large_ones(x: Any) -> Any:
    """Looks at arrays of any length, also of none."""
    total = x * 0.5
    for value in (x * 2.0)[x > 1.0].tolist():
        total = total + (1.0 if value > 4.0 else x)
    if total.sum() > 3:
        return total, x * 3.0
    return x + 1.0, total


def test_empty_arrays_are_looked_at() -> None:
    f = rt.compile(large_ones)
    inputs = ([0.0, 0.0], [2.0, 0.0], [0.75, 0.8], [0.0, 0.0], [9.0, 9.0], [3.0, 1.0], [1.5, 3.0])
    for _ in range(2):
        for x in inputs:
            same(f, np.array(x))


def test_an_index_out_of_bounds_is_eager_codes_error() -> None:
    def pick(x: Any, i: Any) -> Any:
        y = x[i]
        while y.sum() < 10.0:
            y = y * 2.0
        return y

    f = rt.compile(pick)
    x = np.arange(1.0, 5.0)
    for i in (np.array([0, 1]), np.array([2, 3]), np.array([0, 1])):
        np.testing.assert_allclose(f(x, i), pick(rt.tensor(x), rt.tensor(i)).numpy())
    with pytest.raises(IndexError):
        f(x, np.array([0, 7]))
    np.testing.assert_allclose(f(x, np.array([0, 1])), pick(rt.tensor(x), rt.tensor([0, 1])).numpy())


# ---- random programs


def program(seed: int) -> Callable[[Any], Any]:
    """Branches on values at random places, between operations on values of any age."""
    choice = random.Random(seed)

    def block(depth: int, known: int) -> list[Any]:
        found: list[Any] = []
        for _ in range(choice.randint(1, 3)):
            found.append(("op", choice.randrange(4), choice.randrange(known), choice.randrange(known)))
            known += 1
        if depth:
            found.append(("if", choice.randrange(known), choice.randrange(4), block(depth - 1, known),
                          block(depth - 1, known)))
        else:
            found.append(("return", [choice.randrange(known) for _ in range(choice.randint(1, 2))]))
        return found

    code = block(4, 1)
    operations = (lambda a, b: a + b, lambda a, b: a * 0.5 - b, lambda a, b: rt.maximum(a, b) - 0.1,
                  lambda a, b: a - b.mean())

    def run(x: Any) -> Any:
        values, place = [x], code
        while True:
            for entry in place:
                if entry[0] == "op":
                    values.append(operations[entry[1]](values[entry[2]], values[entry[3]]))
                elif entry[0] == "if":
                    place = entry[3] if values[entry[1]][entry[2]] > 0 else entry[4]
                else:
                    return tuple(values[i] for i in entry[1])

    return run


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [4, 100])
def test_random_branches(seed: int, size: int) -> None:
    f = rt.compile(program(seed))
    generator = np.random.default_rng(seed)
    for x in generator.standard_normal((40, size)):
        same(f, x)
    for x in generator.standard_normal((40, size)):
        same(f, x)


# ---- threads and processes


def test_walks_while_the_tree_grows() -> None:
    """Some threads walk known paths without end while others bring new ones about."""
    f = rt.compile(early_value, budget=1000)
    generator = np.random.default_rng(7)
    inputs = [generator.standard_normal(4) - 0.2 for _ in range(60)]
    expected = [early_value(rt.tensor(x)).numpy() for x in inputs]
    wrong: list[Any] = []

    def call(seed: int) -> None:
        order = random.Random(seed).choices(range(len(inputs)), k=400)
        wrong.extend(i for i in order if not np.allclose(f(inputs[i]), expected[i], rtol=1e-12))

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.skipif(sys.platform == "darwin", reason="the system's libraries do not survive a fork there")
def test_a_child_walks_and_grows() -> None:
    f = rt.compile(halvings)
    for value in (1.0, 5.0, 1.0):
        same(f, np.full(3, value))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for value in (1.0, 5.0, 800.0, 800.0):
                same(f, np.full(3, value))
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    same(f, np.full(3, 5.0))
