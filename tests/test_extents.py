"""Extents that depend on values: masks, `nonzero`, `unique`, repetitions, in eager and compiled code alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from worlds import run, same

import retape as rt
from retape.ir import parse


def chained(x: Any) -> Any:
    y = x[x > -1.0]
    z = y[y < 1.0] * 2
    return z * z.sum()


def in_a_loop(x: Any) -> Any:
    total = x.sum() * 0
    for bound in (-0.5, 0.0, 0.5):
        kept = x[x > bound]
        total = total + (kept ** 2).sum() * bound
        x = x * 0.9
    return total


def in_a_branch(x: Any) -> Any:
    kept = x[x > 0]
    if kept.sum() > 1.0:
        return (kept ** 3).sum()
    return x[x <= 0] * kept.sum()


def written(x: Any) -> Any:
    y, mask = x * 2, x > 0.3
    y[mask] = (x * x)[mask]
    y[y < 0] += 1.0
    return y * x


def added(x: Any) -> Any:
    y = x * 1
    y[x > 0] *= x[x > 0]
    return y.sum()


def centred(x: Any) -> Any:
    kept = x[(x > -0.7) & (x < 0.9)]
    return ((kept - kept.mean()) ** 2).mean()


def ranked(x: Any) -> Any:
    values, inverse, counts = rt.unique((x * 2).round(), return_inverse=True, return_counts=True)
    return (values * counts)[inverse] * x


def segments(x: Any) -> Any:
    kept = x[x > 0]
    return rt.logsumexp(kept, 0) + (kept[1:] * kept[:-1]).sum()


def rows(x: Any) -> Any:
    m = x.reshape(2, -1) if x.numel() % 2 == 0 else x.reshape(1, -1)
    return m[m.sum(1) > 0] @ m.T


def plane(x: Any) -> Any:
    m = rt.outer(x, x)
    return m[m > 0.1] * 2


def pairs(x: Any) -> Any:
    m = rt.outer(x, x)
    i, j = rt.nonzero(m > 0.1, as_tuple=True)
    return (m[i, j] * x[i] - x[j]).sum()


def behind(x: Any) -> Any:
    m = rt.outer(x, x + 1)
    return m[:, x > 0] * x[x > 0]


def once(x: Any) -> Any:
    return x[rt.nonzero(x > 0)[:, 0]] ** 2


def chosen(x: Any) -> Any:
    (places,) = rt.where(x > 0)
    return x[places] * places


def repeated(x: Any) -> Any:
    return rt.repeat_interleave(x, (abs(x) * 2).long()) ** 2


def selected(x: Any) -> Any:
    return rt.masked_select(x, x > 0) * 3


def scalar(x: Any) -> Any:
    total = x.sum()
    return total[total > 0] * x


def filled(x: Any) -> Any:
    y = x.clone()
    y[rt.nonzero(x > 0)] = 5.0
    return y * x


PROGRAMS = [chained, in_a_loop, in_a_branch, written, added, centred, ranked, segments, rows, plane, pairs, behind,
            once, chosen, repeated, selected, scalar, filled]


def inputs(seed: int) -> np.ndarray[Any, Any]:
    """All positive, all negative, or mixed; mostly of one shape."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=6)
    return abs(x) if seed % 5 == 1 else -abs(x) if seed % 5 == 3 else x


def derivatives(function: Callable[..., Any], array: Any) -> Any:
    """Result, gradient, and gradient of the gradient's weighted sum; or the error."""
    x = rt.from_numpy(array.copy(), requires_grad=True)
    out = run(function, (x,))
    if isinstance(out, BaseException):
        return out
    weights = rt.from_numpy(np.cos(np.arange(max(out.numel(), 1)) + 0.5)[: out.numel()].reshape(out.shape))
    (first,) = rt.autograd.grad((out * weights).sum(), x, create_graph=True)
    second = None
    if first.requires_grad:
        (second,) = rt.autograd.grad((first * first).sum(), x, allow_unused=True)
    return [out.detach(), first.detach(), second]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_compiled_is_eager(program: Callable[..., Any]) -> None:
    f = rt.compile(program)
    for seed in [*range(10), *range(5)]:
        array = inputs(seed)
        found, wanted = derivatives(f, array), derivatives(program, array)
        if not isinstance(wanted, BaseException) and wanted[2] is None:
            found[2] = None  # compiled code may give zeros where eager code finds no path
        same(found, wanted, f"{program.__name__}, {seed}", 1e-9)
        same(run(f, (array,)), run(program, (rt.from_numpy(array),)) if isinstance(wanted, BaseException)
             else wanted[0]._data[()], f"{program.__name__}, {seed}, arrays", 1e-9)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_look_inside(program: Callable[..., Any]) -> None:
    f, x = rt.compile(program), rt.from_numpy(abs(inputs(0)) + 0.1, requires_grad=True)
    graph = f.specialize(x).graph
    assert str(parse(str(graph))) == str(graph)
    assert graph.guards and any(node.op.name in ("places", "searchsorted") for node in graph.nodes)
    assert rt.compare(program, x).verdict != "WRONG"


def test_rules_against_differences() -> None:
    x = rt.tensor([0.7, -0.4, 0.2, -0.9, 0.55, 1.2], dtype=rt.float64, requires_grad=True)
    for program in PROGRAMS:
        assert rt.autograd.gradcheck(program, (x,)), program
        assert rt.autograd.gradgradcheck(program, (x,), atol=1e-4, rtol=1e-3), program


# ---- extents that were never seen


def with_count(count: int, extent: int = 60) -> Any:
    """Numbers of which so many are positive."""
    x = -np.linspace(0.1, 1.0, extent)
    x[np.random.default_rng(count).permutation(extent)[:count]] *= -1.5
    return x


def test_kernels_do_not_grow_with_extents() -> None:
    from retape.codegen.kernels import _built

    f = rt.compile(centred)

    def call(count: int) -> None:
        x = rt.from_numpy(with_count(count, 200), requires_grad=True)
        for _ in range(2):
            f(x).backward()

    for count in (50, 60, 70):
        call(count)
    known = len(_built)
    for count in range(71, 100):
        call(count)
    assert len(_built) == known
