"""Iterations to a tolerance, and sequences that are searched: how long they take depends on values."""

from __future__ import annotations

from typing import Any

import pytest
from hard import Room, uniform

import retape as rt

room = Room()


# ---- iterations to a tolerance


@room(uniform((), low=0.5, high=9.0))
def newton_root(a: Any) -> Any:
    x = a * 0.5 + 0.5
    while abs(x * x - a) > 1e-10:
        x = 0.5 * (x + a / x)
    return x


@room(uniform((), low=0.1, high=2.0))
def bisection(c: Any) -> Any:
    low, high = c * 0, c * 0 + 3.0
    while high - low > 1e-3:
        middle = 0.5 * (low + high)
        if middle**3 > c:
            high = middle
        else:
            low = middle
    return 0.5 * (low + high)


@room(uniform((2,), low=-2.0, high=2.0))
def line_search(x: Any) -> Any:
    def loss(v: Any) -> Any:
        return (1 - v[0]) ** 2 + 5.0 * (v[1] - v[0] ** 2) ** 2

    for _ in range(3):
        (g,) = rt.autograd.grad(loss(x), x, create_graph=True)
        rate = 1.0
        while loss(x - rate * g) > loss(x) - 0.1 * rate * (g * g).sum() and rate > 1e-4:
            rate *= 0.5
        x = x - rate * g
    return x


@room(uniform((3, 3), (3,)))
def jacobi_until_converged(m: Any, b: Any) -> Any:
    a = m * 0.2 + rt.eye(3, dtype=rt.float64)
    x = b * 0
    for step in range(50):
        new = b - (a - rt.eye(3, dtype=rt.float64)) @ x
        if (new - x).abs().max() < 1e-6:
            return new, step
        x = new
    return x, -1


@room(uniform((4, 4)))
def power_iteration(m: Any) -> Any:
    a = m @ m.T + rt.eye(4, dtype=rt.float64)
    v = rt.ones(4, dtype=rt.float64)
    old = 0.0
    for _ in range(30):
        v = a @ v
        v = v / v.norm()
        value = v @ a @ v
        if abs(value.item() - old) < 1e-2:
            break
        old = value.item()
    return value


@room(uniform((), low=1.0, high=40.0))
def collatz_like(x: Any) -> Any:
    count = 0
    while x > 1.0:
        x = x / 2 if x.floor() % 2 == 0 else (x * 3 + 1) / 7
        count += 1
    return x * count


@room(uniform((), low=0.1, high=1.5))
def adaptive_rk(y0: Any) -> Any:
    def f(y: Any) -> Any:
        return -3.0 * y + rt.sin(y)

    t, h, y = 0.0, 0.4, y0
    while t < 1.0:
        h = min(h, 1.0 - t)
        k1 = f(y)
        k2 = f(y + h * k1)
        full, half = y + h * k1, y + h * 0.5 * (k1 + k2)
        if abs(full - half) > 1e-1:
            h *= 0.5
            continue
        t, y = t + h, half
        h *= 1.2
    return y


@room(uniform((2,), low=-3.0, high=3.0))
def while_norm(y: Any) -> Any:
    while y.norm() < 1000:
        y = y * 2
    return y


@room(uniform((2,)))
def mandelbrot(c: Any) -> Any:
    x, y = c[0] * 0, c[1] * 0
    for n in range(12):
        x, y = x * x - y * y + c[0] * 2, 2 * x * y + c[1] * 2
        if x * x + y * y > 4:
            return x, n
    return y, 12


@room(uniform((), low=0.5, high=3.0))
def series(x: Any) -> Any:
    term, total, n = x * 0 + 1, x * 0 + 1, 1
    while abs(term) > 1e-3:
        term = term * x / n
        total = total + term
        n += 1
    return total


@room(uniform((), (), low=1.0, high=30.0, grad=False))
def euclid(a: Any, b: Any) -> Any:
    a, b = a.floor(), b.floor()
    while b != 0:
        a, b = b, a % b
    return a


# ---- sequences, search


@room(uniform((5, 3), (3, 3)))
def early_stopped_cell(xs: Any, w: Any) -> Any:
    h = xs[0] * 0
    for t in range(xs.shape[0]):
        gate = rt.sigmoid(xs[t] + w @ h)
        h = gate * h + (1 - gate) * rt.tanh(xs[t])
        if h.abs().max() > 0.55:
            return h, t
    return h, -1


@room(uniform((3, 4)))
def beam_search(scores: Any) -> Any:
    beams: list[tuple[Any, list[int]]] = [(scores[0, 0] * 0, [])]
    for t in range(3):
        grown = [(s + scores[t, k], [*path, k]) for s, path in beams for k in range(4)]
        beams = sorted(grown, key=lambda b: -float(b[0]))[:2]
    return beams[0][0], beams[0][1]


@room(uniform((4,)))
def event_detection(x: Any) -> Any:
    position, speed = x[0] + 2.0, x[1]
    bounces = 0
    for _ in range(12):
        speed = speed - 0.3
        position = position + 0.3 * speed
        if position < 0:
            position, speed, bounces = -position, -0.8 * speed, bounces + 1
    return position, bounces


@room(uniform((6,)))
def longest_run(x: Any) -> Any:
    best = run = 0
    total = x[0] * 0
    for v in x:
        run = run + 1 if v > 0 else 0
        if run > best:
            best, total = run, total + v
    return total, best


@room(uniform((2, 3)))
def nearest_neighbour(x: Any) -> Any:
    distances = ((x[:, None, :] - x[:, :, None]) ** 2).sum(0) + rt.eye(3, dtype=rt.float64) * 9
    visited, here, length = [0], 0, x[0, 0] * 0
    while len(visited) < 3:
        following = min((k for k in range(3) if k not in visited), key=lambda k: float(distances[here, k]))
        length = length + distances[here, following]
        visited.append(following)
        here = following
    return length


@room(uniform((6,)))
def dynamic_programming(x: Any) -> Any:
    table = [x[0], x[0] + x[1]]
    for i in range(2, 6):
        table.append(x[i] + (table[-1] if table[-1] > table[-2] else table[-2]))
    return table[-1]


@pytest.mark.parametrize("name", list(room.programs))
def test_programs(name: str) -> None:
    room.check(name)
