"""Extents that depend on values: masks, `nonzero`, `unique`, repetitions, in eager and compiled code alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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


LINES = {  # how many looks at extents, then the function
    "squares": lambda x: (x[x > 0] ** 2).sum(),
    "mean": lambda x: x[x > 0].sum() / len(x[x > 0]),
    "shape": lambda x: x[x > 0].reshape(1, -1) * (x > 0).sum() + x[x > 0].shape[0],
    "chained": chained, "loop": in_a_loop, "written": written, "added": added, "centred": centred, "plane": plane,
    "pairs": pairs, "behind": behind, "repeated": repeated, "unique": ranked, "halves": lambda x: x[x > 0][::2] * 2,
    "matrix": lambda x: rt.outer(x[x > 0], x[x <= 0]).softmax(1), "doubled": lambda x: rt.cat([x[x > 0], x[x > 0]]),
    "empty": lambda x: rt.zeros(len(x[x > 0]), 2, dtype=x.dtype) + x[x > 0].unsqueeze(1),
}


@pytest.mark.parametrize("name", LINES)
def test_two_traces_serve_all_extents(name: str) -> None:
    """Beside those for 0 and 1, which broadcast otherwise."""
    function = LINES[name]
    f = rt.compile(function)
    for count in [7, 9, *range(2, 30, 3), *range(55, 40, -4), 9, 7]:
        array = with_count(count)
        found, wanted = derivatives(f, array), derivatives(function, array)
        same(found[:2], wanted[:2], f"{name}, {count}", 1e-9)
        same(f(array), wanted[0]._data[()], f"{name}, {count}, arrays", 1e-9)
    assert f.traces <= 4, f.explain()  # two where a gradient may be asked for, two for arrays
    for count in (0, 1, 60, 0, 1, 60):
        x = rt.from_numpy(with_count(count))
        same(run(f, (x,)), run(function, (x,)), f"{name}, {count}", 1e-9)


def test_fifty_masks_take_at_most_three_traces() -> None:
    f = rt.compile(lambda x, mask: ((x[mask] - x[mask].mean()) ** 2).sum())
    x = rt.from_numpy(np.linspace(-1.0, 2.0, 60))
    for count in np.random.default_rng(1).permutation(np.arange(2, 52)):
        mask = np.zeros(60, bool)
        mask[np.random.default_rng(count).permutation(60)[:count]] = True
        part = x._data[mask]
        np.testing.assert_allclose(float(f(x, rt.from_numpy(mask))), ((part - part.mean()) ** 2).sum(), 1e-12)
    assert f.traces <= 3


def test_kernels_do_not_grow_with_extents() -> None:
    from retape.codegen.kernels import _built

    f = rt.compile(centred)

    def call(count: int) -> None:
        x = rt.from_numpy(with_count(count, 200), requires_grad=True)
        f(x).backward()

    for count in (50, 60, 70):
        call(count)
    known = len(_built)
    for count in range(71, 100):
        call(count)
    assert len(_built) == known


def test_branches_behind_masks_are_shared_by_all_extents() -> None:
    def function(x: Any) -> Any:
        kept = x[x > 0]
        if kept.sum() > 20:
            return kept * 2
        if kept.amax() > 1.2:
            return (kept ** 3).sum()
        return kept.mean() * x

    f = rt.compile(function)
    for count in [*range(5, 59, 2), *range(6, 58, 3)]:
        x = rt.from_numpy(with_count(count))
        same(f(x), function(x), str(count))
    assert f.traces <= 6


def test_looks_at_an_extent_part_it() -> None:
    """What Python asks of an extent holds for those for which it holds."""
    def function(x: Any) -> Any:
        kept = x[x > 0]
        if len(kept) > 10:
            return kept.sum()
        return kept[:3].sum() * kept.shape[0]

    f = rt.compile(function)
    for count in [*range(3, 40, 3), *range(4, 40, 5)]:
        x = rt.from_numpy(with_count(count))
        same(f(x), function(x), str(count))
    assert f.traces <= 5


def test_batches_and_masks_vary_together() -> None:
    f = rt.compile(lambda x, t: ((x[t > 0] * t[t > 0]) ** 2).mean())
    rng = np.random.default_rng(0)
    for batch in [*range(20, 50, 3), *range(21, 50, 4)]:
        x, t = rng.normal(size=(2, batch))
        same(f(x, t), np.mean((x[t > 0] * t[t > 0]) ** 2), str(batch))
    assert f.traces <= 4


def test_what_grew_is_dropped_where_it_becomes_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    from retape import group

    monkeypatch.setattr(group, "KEPT", 2**21)
    f = rt.compile(chained)
    sizes = []
    for count in [*range(3, 50), *range(50, 3, -1)]:
        x = rt.from_numpy(with_count(count))
        same(f(x), chained(x), str(count))
        (known,) = next(iter(f._known.values()))
        sizes.append(len(known.branches.owner))
    assert f.traces == 2 and max(sizes) < 200 and any(b < a for a, b in itertools.pairwise(sizes))


def test_threads_grow_one_tree() -> None:
    f = rt.compile(chained)
    for count in (5, 20, 35):
        f(rt.from_numpy(with_count(count)))

    def call(count: int) -> None:
        x = rt.from_numpy(with_count(count))
        same(f(x), chained(x), str(count))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, [count for count in range(3, 50) for _ in range(4)]))
    assert f.traces == 2


def world() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    w = rt.from_numpy(rng.normal(size=5), requires_grad=True)
    momentum = rt.zeros(5, dtype=rt.float64)

    def step(x: Any, target: Any, mask: Any) -> Any:
        pred = x @ w
        loss = ((pred[mask] - target[mask]) ** 2).mean()
        loss.backward()
        with rt.no_grad():
            momentum.mul_(0.9).add_(w.grad)
            w.sub_(momentum * 0.1)
            target[mask] = pred[mask]
            w.grad = None
        return loss

    return (w, momentum), step


def test_a_training_step_over_masks() -> None:
    (mine, step), (theirs, eager) = world(), world()
    f = rt.compile(step)
    rng = np.random.default_rng(1)
    for number in range(40):
        x, target, mask = rng.normal(size=(30, 5)), rng.normal(size=30), rng.random(30) < 0.1 + 0.8 * rng.random()
        mask[:2] = True
        given = [tuple(map(rt.from_numpy, (x.copy(), target.copy(), mask))) for _ in range(2)]
        same(f(*given[0]), eager(*given[1]), str(number), 1e-9)
        same([*mine, *given[0]], [*theirs, *given[1]], f"state {number}", 1e-9)
    assert f.traces <= 3


def test_wrong_selections_raise_what_eager_code_raises() -> None:
    def assigned(x: Any) -> Any:
        y = x.clone()
        y[x > 0] = rt.tensor([1.0, 2.0])
        return y

    for function in (assigned, lambda x: x[x > 0].max(), lambda x: x[x > 0] + x, lambda x: x[x[:2] > 0],
                     lambda x: rt.repeat_interleave(x, x.long())):
        f = rt.compile(function)
        for values in ([1.0, -1, 2], [1.0, 2, 3], [-1.0, -1, -1], [1.0, -1, 2], [1.0, 2, 3], [1.0, -1, -1]):
            x = rt.tensor(values)
            same(run(f, (x,)), run(function, (x,)), str(values))


# ---- random programs

MASKS: list[Callable[[Any], Any]] = [
    lambda v: v > 0, lambda v: v <= 0.5, lambda v: (v > -1) & (v < 1), lambda v: v != v, lambda v: v == v,
    lambda v: v > v.sum(), lambda v: ~(v * v > 0.3)]
STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "selected": lambda v, m: v[m],
    "counted": lambda v, m: v * m.sum(),
    "filled": lambda v, m: assigned(v, m, 0.5),
    "doubled": lambda v, m: assigned(v, m, v[m] * 2),
    "places": lambda v, m: v[rt.nonzero(m)[:, 0]] * 1.5,
    "joined": lambda v, m: rt.cat([v[m], v[~m] * 3]),
    "shifted": lambda v, m: v + v[m].sum(),
    "branched": lambda v, m: v * 2 if len(v[m]) > 3 else v - v[m].sum(),
    "looked at": lambda v, m: -v if v[m].sum() > 1 else v,
    "repeated": lambda v, m: rt.repeat_interleave(v, m.long() + 1),
    "outer": lambda v, m: rt.outer(v[m], v).sum(0),
    "rows": lambda v, m: rt.stack([v, v * v], 1)[m].sum(1),
    "plane": lambda v, m: rt.outer(v, v)[rt.outer(v, v) > 0.2] if len(v) < 12 else v,
    "distinct": lambda v, m: rt.unique(v.round()) * v.sum(),
    "skipped": lambda v, m: v[m][::2],
    "sorted": lambda v, m: rt.sort(v[m]).values,
}


def assigned(v: Any, m: Any, value: Any) -> Any:
    out = v * 1
    out[m] = value
    return out


@settings(max_examples=25)
@given(st.data())
def test_random_programs(data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, len(MASKS) - 1)), min_size=1,
                               max_size=4))

    def program(x: Any) -> Any:
        for name, mask in steps:
            x = STEPS[name](x, MASKS[mask](x))
        return x * x

    f = rt.compile(program)
    for seed in range(data.draw(st.integers(4, 7))):
        array = np.random.default_rng(seed).normal(size=7 + 2 * (seed % 2))
        found, wanted = derivatives(f, array), derivatives(program, array)
        if not isinstance(wanted, BaseException) and wanted[2] is None:
            found[2] = None
        same(found, wanted, f"{steps}, {seed}", 1e-7)
