"""Branches and recursion on values, early returns, errors raised on values."""

from __future__ import annotations

from typing import Any

import pytest
from hard import Room, uniform

import retape as rt

room = Room()


# ---- branches


@room(uniform((8,)))
def tokeniser(x: Any) -> Any:
    tokens, mode = [], "start"
    for v in x:
        if mode == "start" and v > 0:
            mode, current = "word", v
        elif mode == "word" and v > -0.3:
            current = current + v
        elif mode == "word":
            tokens.append(current)
            mode = "start"
    return rt.stack(tokens) if tokens else x.sum()


@room(uniform((3,)))
def early_return(x: Any) -> Any:
    if x[0] > 0:
        if x[1] > 0:
            return x * 2
        return x.sum()
    for v in x[1:]:
        if v < -0.5:
            return v
    return {"x": x, "mean": x.mean()}


@room(uniform((3,)))
def python_max(x: Any) -> Any:
    a, b, c = x
    return max(a, b, c) * min(a, b) + sorted([a, b, c], key=float)[1]


@room(uniform((4,)))
def argmax_index(x: Any) -> Any:
    return x[int(x.argmax())] * x[x.argmin()]


@room(uniform((6,), low=0.0, high=3.0))
def bound_from_values(x: Any) -> Any:
    total = x[0] * 0
    for i in range(int(x.sum() / 3)):
        total = total + x[i % 6] ** i
    return total


@room(uniform((3,)))
def chained_comparisons(x: Any) -> Any:
    if -0.5 < x[0] < 0.5 and (x[1] > 0 or not x[2] > 0):
        return x.exp()
    return x if x.any() and x.sum() > 0 else -x


@room(uniform((5,)))
def merge_of_equal_tails(x: Any) -> Any:
    for v in x:
        x = x + 0.1 if v > 0 else x - 0.1
    return x


@room(uniform((), low=-2.0, high=2.0))
def piecewise(x: Any) -> Any:
    match int(x.floor()):
        case -2:
            return x**2
        case -1:
            return -x
        case 0:
            return x * 3
        case _:
            return x.exp()


@room(uniform((3,)), errors=True)
def raises_on_values(x: Any) -> Any:
    if x.sum() > 0.8:
        raise ValueError(f"too large: {x.sum().item() > 0.8}")
    assert x[0] > -0.95, "first"
    return x.log1p()


@room(uniform((3,)))
def caught_error(x: Any) -> Any:
    try:
        if x[0] > 0:
            raise KeyError("positive")
        return x * 2
    except KeyError:
        return x * 3


@room(uniform((4,), grad=False))
def index_errors(x: Any) -> Any:
    i = (x * 5).floor().long()
    try:
        return x[i]
    except IndexError:
        return x * 0


@room(uniform((3,)))
def with_walrus(x: Any) -> Any:
    if (s := x.sum()) > 0 and (t := (x * x).sum()) > 0.5:
        return s * t
    return s


@room(uniform((2, 2)))
def comprehension_filter(x: Any) -> Any:
    rows = [row * 2 for row in x if row.sum() > 0]
    return sum(rows, x[0] * 0)


@room(uniform((5,)))
def any_all(x: Any) -> Any:
    if any(v > 0.9 for v in x):
        return x * 5
    return x / 2 if all(v < 0.5 for v in x) else x


# ---- recursion


@room(uniform((7,)))
def tree_recursion(x: Any) -> Any:
    def walk(i: int) -> Any:
        if i >= 7:
            return x[0] * 0
        left, right = 2 * i + 1, 2 * i + 2
        return walk(left) * x[i] + 1 if x[i] > 0 else walk(right) - x[i]

    return walk(0)


def minor(m: Any, i: int) -> Any:
    rows = [rt.cat([r[:i], r[i + 1:]]) for r in m[1:]]
    return rt.stack(rows)


def by_minors(m: Any) -> Any:
    if m.shape[0] == 1:
        return m[0, 0]
    return sum((-1) ** i * m[0, i] * by_minors(minor(m, i)) for i in range(m.shape[0]))


@room(uniform((4, 4)), starts=1)
def determinant_by_minors(m: Any) -> Any:
    return by_minors(m)


@room(uniform((), low=0.2, high=4.0))
def adaptive_quadrature(x: Any) -> Any:
    def f(v: Any) -> Any:
        return rt.sin(v * v)

    def area(a: Any, b: Any, depth: int) -> Any:
        middle = (a + b) / 2
        whole = (b - a) / 6 * (f(a) + 4 * f(middle) + f(b))
        coarse = (b - a) / 2 * (f(a) + f(b))
        if depth == 0 or abs(whole - coarse) < 0.3:
            return whole
        return area(a, middle, depth - 1) + area(middle, b, depth - 1)

    return area(x * 0, x, 3)


@room(uniform((8,)))
def merge_sort(x: Any) -> Any:
    def sort(v: list[Any]) -> list[Any]:
        if len(v) < 2:
            return v
        a, b = sort(v[: len(v) // 2]), sort(v[len(v) // 2:])
        out = []
        while a and b:
            out.append(a.pop(0) if a[0] <= b[0] else b.pop(0))
        return out + a + b

    return rt.stack(sort(list(x[:4])))


@pytest.mark.parametrize("name", list(room.programs))
def test_programs(name: str) -> None:
    room.check(name)
