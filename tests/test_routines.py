"""Operations with kernels of their own: running sums, searches, and the linear algebra of small matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.codegen import program, stops
from retape.codegen.lower import HostStep, KernelStep, lower
from retape.ir.errors import InvalidOperands
from retape.ir.interpreter import run_nodes
from tests.support import executions

RNG = np.random.default_rng(0)
A = RNG.standard_normal((2, 3, 5, 5)) + 3.0 * np.eye(5)
B = RNG.standard_normal((2, 3, 5, 4))
S = A @ np.swapaxes(A, -1, -2)
ROW = np.sort(np.round(RNG.standard_normal(40), 1))


def hosts(function: Callable[..., Any], *arrays: Any, strict: bool = False) -> int:
    """How many steps of a function run outside native code, after all executions have agreed."""
    graph = rt.compile(function).specialize(*arrays).graph
    found = executions(graph, arrays)
    for name, results in found.items():
        for result, wanted in zip(results, found["interpreter"], strict=True):
            np.testing.assert_allclose(result, wanted, rtol=1e-9, atol=1e-9, err_msg=name)
    return sum(isinstance(step, HostStep) for step in lower(graph, strict).steps)


@pytest.mark.parametrize("function", [
    lambda a, b: rt.linalg.solve(a, b),
    lambda a, b: rt.linalg.solve(a[0, 0], b[1, 2, :, 0]),  # other places in memory than its beginning
    lambda a, b: rt.linalg.solve(a.transpose(-1, -2).transpose(0, 1), b.transpose(0, 1)),
    lambda a, b: rt.linalg.solve(a[:, :1], b[1:, :, :, 1:]),  # a batch that is broadcast
    lambda a, b: rt.linalg.solve(a[0, 0, :2, :2], b[..., :2, :]),
    lambda a, b: rt.linalg.solve(a.flip(0), b.flip(3)),
    lambda a, b: rt.linalg.solve_triangular(a, b, upper=False),
    lambda a, b: rt.linalg.solve_triangular(a.transpose(-1, -2)[1:], b[:, 1:2], upper=True),
    lambda a, b: rt.linalg.cholesky(a @ a.transpose(-1, -2) + 0.0)[..., 1:],
    lambda a, b: rt.linalg.slogdet(a.transpose(0, 1).flip(2)),
    lambda a, b: rt.linalg.inv(a[..., 1:, 1:]) + rt.linalg.det(a)[..., None, None],
], ids=range(11))
def test_small_matrices_are_factored_by_kernels(function: Callable[..., Any]) -> None:
    assert hosts(function, A, B) == 0
    assert hosts(function, A, B, strict=True) > 0  # LAPACK's own bits


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_running_sums_are_kernels(dim: int) -> None:
    x = RNG.standard_normal((6, 7, 8))
    for given in (x, np.round(x).astype(np.int32), x.astype(np.float32), x > 0):
        assert hosts(lambda x: (rt.cumsum(x, dim), rt.cumsum(x.permute(2, 0, 1).flip(dim)[1:], dim)), given) == 0
    assert np.array_equal(rt.compile(lambda x: rt.cumsum(x, dim), numerics="strict")(x), np.cumsum(x, dim))
    assert hosts(rt.func.grad(lambda x: (rt.cumsum(x, dim) ** 2).sum()), x) == 0


@pytest.mark.parametrize("right", [False, True])
def test_searches_are_kernels(right: bool) -> None:
    values = np.concatenate([ROW, RNG.standard_normal(30), [np.nan, np.inf, -np.inf]])
    behind = np.append(ROW, [np.nan, np.nan])
    for row in (ROW, behind, ROW[:1], np.repeat(ROW, 2)[::2]):
        for given in (values, values[::-1], values[:4].reshape(2, 2).T, np.float64(0.3)):
            assert hosts(lambda row, v: rt.searchsorted(row, v, right=right), row, np.asarray(given)) == 0
    for count in (0, 1, 2, 3, 4, 5, 31, 32, 33):  # every way in which a row is halved
        row = np.arange(count) // 2 * 1.0
        found = rt.compile(lambda row, v: rt.searchsorted(row, v, right=right), numerics="strict")
        for _ in range(2):
            given = np.append(np.arange(-1.0, 18.0, 0.5), np.nan)
            np.testing.assert_array_equal(found(row, given), np.searchsorted(row, given, "right" if right else "left"))
    numbers = np.array([3, 3, 5, 9])
    assert hosts(lambda row, v: rt.searchsorted(row, v, right=right), numbers, np.arange(12)) == 0


def test_matrices_beyond_a_size_are_lapacks() -> None:
    large = RNG.standard_normal((65, 65)) + 20.0 * np.eye(65)
    assert hosts(rt.linalg.solve, large, large[:, :2]) == 1
    assert hosts(rt.linalg.solve, large[:64, :64], large[:64, :2]) == 0


def test_what_cannot_be_solved_is_an_error_of_the_users_line() -> None:
    @rt.compile
    def solved(a: Any, b: Any) -> Any:
        return rt.linalg.solve(a * 2.0, b)

    good, bad, right = np.eye(3), np.ones((3, 3)), np.ones(3)
    for _ in range(2):
        np.testing.assert_array_equal(solved(good, right), right / 2.0)
    with pytest.raises(InvalidOperands, match=r"test_routines\.py.*rt\.linalg\.solve"):
        solved(bad, right)
    np.testing.assert_array_equal(solved(good, right), right / 2.0)
    factor = rt.compile(rt.linalg.cholesky)
    for _ in range(2):
        factor(good)
    with pytest.raises(np.linalg.LinAlgError):
        factor(-good)
    lower = rt.compile(lambda a, b: rt.linalg.solve_triangular(a, b, upper=False))
    for _ in range(2):
        lower(good, right[:, None])
    with pytest.raises(InvalidOperands):
        lower(np.diag([1.0, 0.0, 2.0]), right[:, None])


@rt.compile
def relaxed(x: Any, a: Any) -> Any:
    """Writes to an argument in place."""
    x += rt.linalg.solve(a, x)
    return x.sum(0)


def test_a_call_that_fails_changes_nothing() -> None:
    """What is written in place is written behind the last matrix that is factored."""
    x = rt.from_numpy(np.ones((3, 100)))
    for _ in range(3):
        relaxed(x, rt.from_numpy(np.eye(3)))
    assert bool((x == 8.0).all())
    with pytest.raises(InvalidOperands):
        relaxed(x, rt.from_numpy(np.zeros((3, 3))))
    assert bool((x == 8.0).all())


def test_a_pivot_that_only_a_kernel_finds_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's results are those of the call then: outputs, and what effects write."""
    one, none = rt.from_numpy(np.eye(3)), rt.from_numpy(np.zeros((3, 3)))
    x = rt.from_numpy(np.ones((3, 100)))
    for _ in range(2):
        relaxed(x, one)
    monkeypatch.setattr(program, "run_nodes", lambda graph, arrays: run_nodes(
        graph, tuple(np.eye(3) if array.shape == (3, 3) else array for array in arrays)))
    assert relaxed(x, none).tolist() == [24.0] * 100 and bool((x == 8.0).all())
    solved = rt.compile(rt.linalg.solve)
    for matrix in (np.eye(3), np.eye(3), np.zeros((3, 3))):
        assert solved(matrix, np.arange(3.0)).tolist() == [0.0, 1.0, 2.0]


def test_a_loop_that_looks_at_values_stays_in_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newton's method with a system in each step."""
    @rt.compile
    def root(x: Any) -> Any:
        while True:
            r = rt.stack([x[0] ** 2 + x[1] - 3.0, x[0] - x[1] ** 2])
            if r.abs().max() < 1e-12:
                return x
            one = rt.ones_like(x[0])
            j = rt.stack([rt.stack([2.0 * x[0], one]), rt.stack([one, -2.0 * x[1]])])
            x = x - rt.linalg.solve(j, r)

    start = np.array([1.5, 1.5])
    expected = root(start)
    monkeypatch.setattr(stops.Host, "act", None)  # no step may run outside native code
    for _ in range(3):
        np.testing.assert_allclose(root(start), expected, rtol=1e-14)
    assert root.traces == 1


@pytest.mark.parametrize("function", [
    lambda a: rt.linalg.slogdet(a),  # parts of one array
    lambda a: (a * 2.0)[:, ::2].T,
    lambda a: ((a + 1.0).flip(0), (a + 1.0)[1:, 0], (a + 1.0)[:0]),
    lambda a: rt.linalg.qr(a)[1],  # outside native code
    lambda a: (a[0], a * 1.0, a),
], ids=range(5))
def test_the_short_way_in_gives_views_and_what_host_steps_make(function: Callable[..., Any]) -> None:
    compiled = rt.compile(function)
    a = A[0, 0].copy()
    compiled(a)
    general = compiled(a)
    assert compiled._entry is not None
    for given in (a, a * 2.0):
        short, eager = compiled._entry((given,), {}), function(rt.from_numpy(given))
        leaves = zip(*(found if isinstance(found, tuple) else (found,) for found in (short, eager)), strict=True)
        for one, other in leaves:
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-12)
            assert type(one) is (np.float64 if other.ndim == 0 else np.ndarray)
            assert np.shares_memory(one, given) == np.shares_memory(other.numpy(), given)
    assert type(general) is type(short)


TIES = np.round(2.0 * RNG.standard_normal((5, 48, 40)))
TIES[:, ::7, 3] = np.nan
TIES[0, 1] = np.nan
TIES[1, 2, ::3], TIES[1, 2, 1::3], TIES[1, 3] = np.inf, -np.inf, -0.0


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_the_first_of_many_are_found_without_sorting(dim: int, largest: bool) -> None:
    rising = np.sort(TIES, 1)
    for x in (TIES, rising, TIES.astype(np.float32), np.nan_to_num(TIES, nan=0.0, posinf=9.0, neginf=-9.0).astype(int)):
        for given in (x, np.moveaxis(x, 1, dim), np.moveaxis(x, 1, dim)[::-1, ::2, ::-1]):
            count = max(given.shape[dim] // 8, 1)
            for k in {1, count} if given.shape[dim] >= 8 else ():
                assert hosts(lambda x, k=k: tuple(rt.topk(x, k, dim, largest)), given) == 0
                assert hosts(lambda x, k=k: tuple(rt.kthvalue(x, k, dim)), given, strict=True) == 0
                order = np.argsort(given, dim, kind="stable")
                if largest:
                    order = given.shape[dim] - 1 - np.flip(np.argsort(np.flip(given, dim), dim, kind="stable"), dim)
                for function in (rt.topk, rt.compile(rt.topk)):
                    for _ in range(2):
                        found = function(given, k, dim, largest).indices
                        np.testing.assert_array_equal(found, np.take(order, range(k), dim))


def test_rows_are_sorted_by_kernels_where_few_or_small() -> None:
    row = TIES[0, :, 3]
    assert hosts(lambda x: (rt.sort(x), rt.argsort(x, descending=True)), row) == 0
    assert hosts(lambda x: rt.topk(x, 7).indices, TIES) == 1  # more than an eighth: whole rows are sorted
    assert hosts(lambda x: rt.topk(x, 5).indices, TIES) == 0
    assert hosts(rt.func.grad(lambda x: (rt.topk(x, 5, 1).values ** 2).sum()), rising := np.sort(TIES[1:2, 5:], 1)) == 0
    assert rising.shape == (1, 43, 40)


def test_the_first_of_many_are_shared_among_threads() -> None:
    x = RNG.standard_normal((400, 300))
    graph = rt.compile(lambda x: rt.topk(x, 3).indices).specialize(x).graph
    (step,) = lower(graph).steps
    assert step.emitted.extent == 400 and 0 < step.emitted.division.grain < 400


def _first_largest(x: Any, dim: int | None) -> Any:
    """NumPy's answer."""
    return np.argmax(x) if dim is None else np.argmax(x, dim)


@pytest.mark.parametrize("dim", [None, 0, 1, 2, -1])
@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 20, 18), (40, 5, 6), (1, 1, 7), (6, 1, 9)])
def test_places_of_largest_elements_are_kernels(shape: tuple[int, ...], dim: int | None) -> None:
    ties = np.round(2.0 * np.random.default_rng(1).standard_normal(shape))
    broken = np.where(np.random.default_rng(2).random(shape) < 0.1, np.nan, ties)
    edges = np.where(ties > 2, np.inf, np.where(ties < 0, -np.inf, -0.0 * ties))
    for x in (ties, broken, edges, np.full(shape, np.nan), np.full(shape, -np.inf), ties.astype(np.float32),
              ties.astype(np.int64), ties.astype(np.int32), (ties + 9).astype(np.uint8)):
        def both(x: Any) -> Any:
            return rt.argmax(x, dim), rt.argmin(x, dim), rt.argmax(x, dim, keepdim=True)

        assert hosts(both, x) == hosts(both, x, strict=True) == 0
        compiled = rt.compile(both, numerics="strict")
        for _ in range(2):
            most, least, kept = compiled(x)
            np.testing.assert_array_equal(most, _first_largest(x, dim))
            np.testing.assert_array_equal(kept.ravel(), np.ravel(most))
            np.testing.assert_array_equal(least, _first_largest(-x if x.dtype.kind == "f" else ~x, dim))
    assert hosts(lambda x: rt.max(x, dim if dim is not None else 0).values, ties) == 0


def test_long_rows_in_memory_are_numpys() -> None:
    x = RNG.standard_normal((200, 64))
    assert hosts(lambda x: rt.argmax(x, 1), x) == 1
    assert hosts(lambda x: rt.argmax(x, 0), x) == hosts(lambda x: rt.argmax(x[:, 1:], 1), x) == 0
    assert hosts(lambda x: rt.argmax(2.0 * x, 1), x) == 0  # computed on the way
    assert hosts(lambda x: rt.argmax(2.0 * x), x) == 1  # would need as many indices


def test_a_nearest_point_is_found_where_distances_are_computed() -> None:
    points, centres = RNG.standard_normal((300, 4)), RNG.standard_normal((20, 4))

    def nearest(points: Any, centres: Any) -> Any:
        return rt.argmin((points ** 2).sum(1)[:, None] - 2.0 * points @ centres.T + (centres ** 2).sum(1), 1)

    steps = lower(rt.compile(nearest).specialize(points, centres).graph).steps
    kernels = [step for step in steps if isinstance(step, KernelStep)]
    assert len(kernels) == len(steps) - 1  # the product is the other step
    assert any("rmax" in kernel.emitted.source and "rmin" in kernel.emitted.source for kernel in kernels)
    wanted = ((points[:, None] - centres) ** 2).sum(2).argmin(1)
    compiled = rt.compile(nearest)
    for _ in range(2):
        np.testing.assert_array_equal(compiled(points, centres), wanted)


@pytest.mark.parametrize("shape", [(4, 6), (50, 12), (50, 40), (12, 50), (3000,), (5, 5000)])
@pytest.mark.parametrize("dim", [0, -1])
def test_products_that_are_read_elsewhere_do_not_hide_the_largest(shape: tuple[int, ...], dim: int) -> None:
    """A product may be rounded once with the sum that reads it in one kernel, and twice in another."""
    x, y, z = (RNG.standard_normal(shape) for _ in range(3))
    functions: list[Callable[..., Any]] = [
        lambda x, y, z: (x * y, rt.argmax(x * y - z, dim)),
        lambda x, y, z: ((x * 3.1).sum(dim), rt.argmax(x * 3.1 + 0.7, dim)),
        lambda x, y, z: (rt.argmax(x * 3.1 + 0.7, dim), rt.max(x * 3.1 + 0.7, dim).values),
        lambda x, y, z: (rt.argmin(x * y - z, dim), (x * y - z).sum(dim), rt.exp(x * y - z)),
        lambda x, y, z: rt.argmax(x * y + z * rt.roll(x, 1, -1), dim),
        lambda x, y, z: (rt.argmin(rt.tanh(x) * y + z, dim), rt.tanh(x) * y),
    ]
    if len(shape) == 2 and x.size < 1000:  # what may round in two ways isn't computed twice
        assert hosts(functions[0], x, y, z) == hosts(functions[5], x, y, z) == 1
        assert hosts(lambda x, y, z: rt.argmin(x * y - z, dim), x, y, z) == 0
    for function in functions:
        compiled = rt.compile(function)
        eager, _, found = function(*map(rt.tensor, (x, y, z))), compiled(x, y, z), compiled(x, y, z)
        for e, f in zip(*((r if isinstance(r, tuple) else (r,)) for r in (eager, found)), strict=True):
            np.testing.assert_allclose(f, e.numpy(), rtol=1e-12, atol=1e-12)
