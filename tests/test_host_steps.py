"""Programs with operations that run outside kernels take the short way in, too, and give what eager code gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.codegen.lowered import HostStep
from retape.codegen.program import Program, compile_graph
from retape.ir.errors import InvalidOperands

N = 60  # larger systems than kernels solve
G = np.random.default_rng(0)
A = G.normal(size=(N, N))
SPD = A @ A.T + N * np.eye(N)
B = G.normal(size=N)


def posterior(k: Any, y: Any) -> Any:
    low = rt.linalg.cholesky(k * 1.5)
    half = rt.linalg.solve_triangular(low, y[:, None], upper=False)
    return (half ** 2).sum() + 2 * rt.log(rt.diagonal(low)).sum(), low


def many(k: Any, y: Any) -> Any:
    """More operands of a run of kernels than are named one by one, some of which host steps make."""
    rows = [rt.linalg.solve(k + float(i), y) for i in range(2)]
    parts = [rt.sin(y * (i + 2.0)) + rows[i % 2] for i in range(300)]
    return tuple(parts)


PROGRAMS = {
    "result of a host step": lambda k, y: rt.linalg.cholesky(k),
    "its reshape": lambda k, y: rt.linalg.solve(k, y),
    "two of them": lambda k, y: (rt.linalg.solve(k, y[:, None]), rt.linalg.solve(k, y * 2.0)),
    "views of inputs": lambda k, y: rt.linalg.solve(k[1::2, 1::2], y[::2]),
    "transposed": lambda k, y: rt.linalg.solve_triangular(k.T, y[:, None], upper=True),
    "kernels between": posterior,
    "an input beside": lambda k, y: (y, rt.linalg.inv(k)),
    "a number": lambda k, y: (rt.argmax(k), rt.sin(y) + rt.linalg.inv(k).argmax()),
    "many": many,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_short_way_in_gives_what_the_long_one_gives(name: str, monkeypatch: Any) -> None:
    function = PROGRAMS[name]
    compiled = rt.compile(function, numerics="strict")
    program = compile_graph(compiled.specialize(SPD, B).graph, strict=True)
    assert any(isinstance(part, HostStep) for part in program._plan)
    short = program.direct()
    for shift in (0.0, 0.5, 1.0):
        k, y = SPD + shift * np.eye(N), B + shift
        for found, expected in zip(short(k, y), program([k, y]), strict=True):
            np.testing.assert_array_equal(found, expected)
            assert found.shape == expected.shape
        eager: Any = function(rt.tensor(k), rt.tensor(y))
        found = compiled(k, y)
        for e, f in zip(eager, found, strict=True) if isinstance(eager, tuple) else [(eager, found)]:
            np.testing.assert_allclose(f, e.numpy(), rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(Program, "__call__", None)
    compiled(SPD, B)  # so does a call


def test_results_of_calls_have_memory_of_their_own() -> None:
    compiled = rt.compile(lambda k: rt.linalg.cholesky(k))
    found = [compiled(SPD * c) for c in (1.0, 1.0, 4.0, 9.0)]
    for c, low in zip((1.0, 1.0, 2.0, 3.0), found, strict=True):
        np.testing.assert_allclose(low, np.linalg.cholesky(SPD) * c, rtol=1e-9)


def test_a_host_step_that_fails_says_where_and_the_next_call_is_right() -> None:
    compiled = rt.compile(lambda a, b: rt.linalg.solve(a * 2.0, b) + 1.0)
    for _ in range(3):
        np.testing.assert_allclose(compiled(SPD, B), np.linalg.solve(SPD * 2, B) + 1, rtol=1e-13)
        with pytest.raises(InvalidOperands, match=r"(?s)singular.*rt\.linalg\.solve"):
            compiled(np.zeros((N, N)), B)


def test_an_index_out_of_bounds_is_found_beside_host_steps() -> None:
    compiled = rt.compile(lambda a, i: rt.linalg.inv(a)[i] * 2.0)
    i = np.array([4, 0])
    for _ in range(3):
        np.testing.assert_allclose(compiled(SPD, i), np.linalg.inv(SPD)[i] * 2, rtol=1e-13)
    with pytest.raises(IndexError):
        compiled(SPD, np.array([N, 0]))
    np.testing.assert_allclose(compiled(SPD, i), np.linalg.inv(SPD)[i] * 2, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("lead", [(), (2, 3)])
def test_triangular_systems(dtype: Any, upper: bool, lead: tuple[int, ...]) -> None:
    a = (G.normal(size=(*lead, 4, 4)) + 4 * np.eye(4)).astype(dtype)
    c = G.normal(size=(4, 3)).astype(dtype)
    full = np.triu(a) if upper else np.tril(a)
    found = rt.linalg.solve_triangular(rt.tensor(a), rt.tensor(c), upper=upper)
    np.testing.assert_allclose(found.numpy(), np.linalg.solve(full, np.broadcast_to(c, (*lead, 4, 3))),
                               rtol=1e-4 if dtype == np.float32 else 1e-12)
    a[..., 2, 2] = 0
    with pytest.raises(InvalidOperands, match="singular"):
        rt.linalg.solve_triangular(rt.tensor(a), rt.tensor(c), upper=upper)
