"""Programs with hard control flow, state and aliasing: compiled equals eager in value, gradient, effects and errors.

Each program is a function of its arguments, run on first, second and later calls over random inputs; those with state
of their own make it anew for each world. `tests/test_state.py` and `tests/test_effects.py` have more of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from worlds import World, agree

import retape as rt

Program = Callable[..., Any]
PROGRAMS: dict[str, tuple[Program, Callable[[np.random.Generator], tuple[Any, ...]]]] = {}


def uniform(*shapes: tuple[int, ...], low: float = -1.0, high: float = 1.0, grad: bool = True) -> Any:
    """Arguments: one tensor of each shape."""
    return lambda rng: tuple(rt.from_numpy(np.asarray(rng.uniform(low, high, s)), requires_grad=grad) for s in shapes)


def program(arguments: Any) -> Callable[[Program], Program]:
    def enter(function: Program) -> Program:
        PROGRAMS[function.__name__] = (function, arguments)
        return function

    return enter


# ---- iterations to a tolerance


@program(uniform((), low=0.5, high=9.0))
def newton_root(a: Any) -> Any:
    x = a * 0.5 + 0.5
    while abs(x * x - a) > 1e-10:
        x = 0.5 * (x + a / x)
    return x


@program(uniform((), low=0.1, high=2.0))
def bisection(c: Any) -> Any:
    low, high = c * 0, c * 0 + 3.0
    while high - low > 1e-3:
        middle = 0.5 * (low + high)
        if middle**3 > c:
            high = middle
        else:
            low = middle
    return 0.5 * (low + high)


@program(uniform((2,), low=-2.0, high=2.0))
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


@program(uniform((3, 3), (3,)))
def jacobi_until_converged(m: Any, b: Any) -> Any:
    a = m * 0.2 + rt.eye(3, dtype=rt.float64)
    x = b * 0
    for step in range(50):
        new = b - (a - rt.eye(3, dtype=rt.float64)) @ x
        if (new - x).abs().max() < 1e-6:
            return new, step
        x = new
    return x, -1


@program(uniform((4, 4)))
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


@program(uniform((), low=1.0, high=40.0))
def collatz_like(x: Any) -> Any:
    count = 0
    while x > 1.0:
        x = x / 2 if x.floor() % 2 == 0 else (x * 3 + 1) / 7
        count += 1
    return x * count


@program(uniform((), low=0.1, high=1.5))
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


@program(uniform((2,), low=-3.0, high=3.0))
def while_norm(y: Any) -> Any:
    while y.norm() < 1000:
        y = y * 2
    return y


@program(uniform((2,)))
def mandelbrot(c: Any) -> Any:
    x, y = c[0] * 0, c[1] * 0
    for n in range(12):
        x, y = x * x - y * y + c[0] * 2, 2 * x * y + c[1] * 2
        if x * x + y * y > 4:
            return x, n
    return y, 12


@program(uniform((), low=0.5, high=3.0))
def series(x: Any) -> Any:
    term, total, n = x * 0 + 1, x * 0 + 1, 1
    while abs(term) > 1e-3:
        term = term * x / n
        total = total + term
        n += 1
    return total


@program(uniform((), (), low=1.0, high=30.0, grad=False))
def euclid(a: Any, b: Any) -> Any:
    a, b = a.floor(), b.floor()
    while b != 0:
        a, b = b, a % b
    return a


# ---- branches


@program(uniform((8,)))
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


@program(uniform((3,)))
def early_return(x: Any) -> Any:
    if x[0] > 0:
        if x[1] > 0:
            return x * 2
        return x.sum()
    for v in x[1:]:
        if v < -0.5:
            return v
    return {"x": x, "mean": x.mean()}


@program(uniform((3,)))
def python_max(x: Any) -> Any:
    a, b, c = x
    return max(a, b, c) * min(a, b) + sorted([a, b, c], key=float)[1]


@program(uniform((4,)))
def argmax_index(x: Any) -> Any:
    return x[int(x.argmax())] * x[x.argmin()]


@program(uniform((6,), low=0.0, high=3.0))
def bound_from_values(x: Any) -> Any:
    total = x[0] * 0
    for i in range(int(x.sum() / 3)):
        total = total + x[i % 6] ** i
    return total


@program(uniform((3,)))
def chained_comparisons(x: Any) -> Any:
    if -0.5 < x[0] < 0.5 and (x[1] > 0 or not x[2] > 0):
        return x.exp()
    return x if x.any() and x.sum() > 0 else -x


@program(uniform((5,)))
def merge_of_equal_tails(x: Any) -> Any:
    for v in x:
        x = x + 0.1 if v > 0 else x - 0.1
    return x


@program(uniform((), low=-2.0, high=2.0))
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


@program(uniform((3,)))
def raises_on_values(x: Any) -> Any:
    if x.sum() > 0.8:
        raise ValueError(f"too large: {x.sum().item() > 0.8}")
    assert x[0] > -0.95, "first"
    return x.log1p()


@program(uniform((3,)))
def caught_error(x: Any) -> Any:
    try:
        if x[0] > 0:
            raise KeyError("positive")
        return x * 2
    except KeyError:
        return x * 3


@program(uniform((4,), grad=False))
def index_errors(x: Any) -> Any:
    i = (x * 5).floor().long()
    try:
        return x[i]
    except IndexError:
        return x * 0


@program(uniform((3,)))
def with_walrus(x: Any) -> Any:
    if (s := x.sum()) > 0 and (t := (x * x).sum()) > 0.5:
        return s * t
    return s


@program(uniform((2, 2)))
def comprehension_filter(x: Any) -> Any:
    rows = [row * 2 for row in x if row.sum() > 0]
    return sum(rows, x[0] * 0)


@program(uniform((5,)))
def any_all(x: Any) -> Any:
    if any(v > 0.9 for v in x):
        return x * 5
    return x / 2 if all(v < 0.5 for v in x) else x


# ---- recursion


@program(uniform((7,)))
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


@program(uniform((4, 4)))
def determinant_by_minors(m: Any) -> Any:
    return by_minors(m)


@program(uniform((), low=0.2, high=4.0))
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


@program(uniform((8,)))
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


# ---- sequences, search


@program(uniform((5, 3), (3, 3)))
def early_stopped_cell(xs: Any, w: Any) -> Any:
    h = xs[0] * 0
    for t in range(xs.shape[0]):
        gate = rt.sigmoid(xs[t] + w @ h)
        h = gate * h + (1 - gate) * rt.tanh(xs[t])
        if h.abs().max() > 0.55:
            return h, t
    return h, -1


@program(uniform((3, 4)))
def beam_search(scores: Any) -> Any:
    beams: list[tuple[Any, list[int]]] = [(scores[0, 0] * 0, [])]
    for t in range(3):
        grown = [(s + scores[t, k], [*path, k]) for s, path in beams for k in range(4)]
        beams = sorted(grown, key=lambda b: -float(b[0]))[:2]
    return beams[0][0], beams[0][1]


@program(uniform((4,)))
def event_detection(x: Any) -> Any:
    position, speed = x[0] + 2.0, x[1]
    bounces = 0
    for _ in range(12):
        speed = speed - 0.3
        position = position + 0.3 * speed
        if position < 0:
            position, speed, bounces = -position, -0.8 * speed, bounces + 1
    return position, bounces


@program(uniform((6,)))
def longest_run(x: Any) -> Any:
    best = run = 0
    total = x[0] * 0
    for v in x:
        run = run + 1 if v > 0 else 0
        if run > best:
            best, total = run, total + v
    return total, best


@program(uniform((2, 3)))
def nearest_neighbour(x: Any) -> Any:
    distances = ((x[:, None, :] - x[:, :, None]) ** 2).sum(0) + rt.eye(3, dtype=rt.float64) * 9
    visited, here, length = [0], 0, x[0, 0] * 0
    while len(visited) < 3:
        following = min((k for k in range(3) if k not in visited), key=lambda k: float(distances[here, k]))
        length = length + distances[here, following]
        visited.append(following)
        here = following
    return length


@program(uniform((6,)))
def dynamic_programming(x: Any) -> Any:
    table = [x[0], x[0] + x[1]]
    for i in range(2, 6):
        table.append(x[i] + (table[-1] if table[-1] > table[-2] else table[-2]))
    return table[-1]


# ---- derivatives inside


@program(uniform((2,), (2,), low=0.3, high=1.0))
def saddle(x: Any, y: Any) -> Any:
    def f(a: Any, b: Any) -> Any:
        return (a * a).sum() - (b * b).sum() + (a * b).sum()

    def best(a: Any) -> Any:
        b = y
        for _ in range(5):
            b = b + 0.2 * rt.func.grad(lambda v: f(a, v))(b)
        return f(a, b)

    for _ in range(4):
        g = rt.func.grad(best)(x)
        if (g * g).sum() < 1e-3:
            break
        x = x - 0.1 * g
    return x


@program(uniform((2,), low=0.5, high=1.5))
def particle(w: Any) -> Any:
    def potential(p: Any) -> Any:
        return (1 / ((p - 3.0) ** 2).sum().sqrt()) + 1 / ((p + 3.0) ** 2).sum().sqrt()

    position, velocity, step = w, w * 0 + 0.5, 0
    while position[1] > 0 and step < 6:
        velocity = velocity - 0.4 * rt.func.grad(potential)(position) - 0.1
        position = position + 0.4 * velocity
        step += 1
    return position[0] ** 2


@program(uniform((3,)))
def hessian_in_a_loop(x: Any) -> Any:
    for _ in range(2):
        g, = rt.autograd.grad((x**4).sum() + (x.sum()) ** 2, x, create_graph=True)
        h = rt.stack([rt.autograd.grad(g[i], x, create_graph=True)[0] for i in range(3)])
        x = x - (g / (h.diagonal() if hasattr(h, "diagonal") else 12.0)) if g.norm() > 1 else x - 0.1 * g
    return x


class Clipped(rt.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.clamp(-0.5, 0.5)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad * 2 if x.sum() > 0 else grad


@program(uniform((3,), grad=False))
def custom_function(x: Any) -> Any:
    v = x.detach().requires_grad_()
    (g,) = rt.autograd.grad((Clipped.apply(v) ** 2).sum(), v)
    return g


@program(uniform((3,), grad=False))
def hooks_inside(x: Any) -> Any:
    v = x.clone().requires_grad_()
    y = v * 2
    y.register_hook(lambda g: g * 3 if g.sum() > 0 else g)
    (y * v).sum().backward()
    return v.grad


@program(uniform((3,), (3,)))
def forward_mode(x: Any, t: Any) -> Any:
    value, tangent = rt.func.jvp(lambda v: v * v if v.sum() > 0 else v.exp(), (x,), (t,))
    return value + tangent


# ---- writes


@program(uniform((6,), grad=False))
def gauss_seidel(x: Any) -> Any:
    while True:
        before = x.clone()
        for i in range(1, 5):
            x[i] = 0.5 * (x[i - 1] + x[i + 1])
        if (x - before).abs().max() < 0.05:
            return x.sum()


@program(uniform((5,), grad=False))
def bubble_sort(x: Any) -> Any:
    for end in range(4, 0, -1):
        swapped = False
        for i in range(end):
            if x[i] > x[i + 1]:
                a, b = x[i].clone(), x[i + 1].clone()
                x[i], x[i + 1] = b, a
                swapped = True
        if not swapped:
            return x * 1
    return x


@program(uniform((3, 3), grad=False))
def elimination_with_pivots(m: Any) -> Any:
    sign = 1
    for k in range(2):
        pivot = k + int(m[k:, k].abs().argmax())
        if pivot != k:
            row = m[k].clone()
            m[k] = m[pivot]
            m[pivot] = row
            sign = -sign
        for i in range(k + 1, 3):
            m[i] -= m[k] * (m[i, k] / m[k, k])
    return sign * m[0, 0] * m[1, 1] * m[2, 2]


@program(uniform((4,), (4,), grad=False))
def views_and_branches(x: Any, y: Any) -> Any:
    part = x[1:3]
    part += 1
    if x.sum() > y.sum():
        y[:2] = part
    else:
        x.mul_(y)
    return part * 2, y[0]


@program(uniform((4,)))
def tracked_writes(x: Any) -> Any:
    y = x * 2
    for i in range(4):
        if y[i] > 0:
            y[i] = y[i] * x[0]
    return y


@program(uniform((4,), grad=False))
def cumulative_in_place(x: Any) -> Any:
    for i in range(1, len(x)):
        x[i] += x[i - 1]
        if x[i] > 1.2:
            x[i:] = 0.0
            break
    return x.flip(0)


# ---- numbers, names, containers


@program(lambda rng: (float(rng.uniform(-2, 2)), int(rng.integers(0, 3))))
def numbers_only(a: float, n: int) -> Any:
    while a < 1:
        a = a + 0.7
    return a**n


@program(lambda rng: (rng.uniform(-1, 1, 3), [rng.uniform(-1, 1), {"k": rng.uniform(-1, 1, (2, 3))}]))
def arrays_in_containers(x: Any, parts: Any) -> Any:
    if parts[0] > 0:
        return np.tanh(parts[1]["k"]) @ x
    return {"sum": np.sum(x * parts[1]["k"]), "n": [parts[0], x]}


@program(uniform((3,)))
def generators_and_closures(x: Any) -> Any:
    def steps() -> Any:
        v = x
        while v.sum() < 2:
            v = v + 0.5
            yield v

    return [s * 2 for s in steps()] or x


@program(uniform((3,)))
def looks_of_all_kinds(x: Any) -> Any:
    flag = bool(x[0] > 0)
    size = len(x) + x.numel() + x.dim()
    digits = math.floor(float(x[1]) * 2)
    return x * size if flag else x + digits


@program(uniform((4,), grad=False))
def masks(x: Any) -> Any:
    positive = x > 0
    if positive.sum() > 2:
        x[positive] = 0.5
    return rt.where(positive, x, -x).cumsum(0)


@program(lambda rng: (rt.tensor(rng.integers(-3, 4, 4)),))
def integer_programs(n: Any) -> Any:
    total = 0
    for v in n.tolist():
        total += v if v % 2 else -v
    return n * total, total


@program(uniform((3,)))
def draws_and_branches(x: Any) -> Any:
    kept = [v for v in x if rt.rand() < 0.5]
    noise = rt.randn(3, dtype=rt.float64)
    return (sum(kept) if kept else x.sum()) + noise if noise[0] > 0 else x


@program(uniform((3,)))
def annealing(x: Any) -> Any:
    energy = (x * x).sum()
    for step in range(5):
        proposal = x + rt.randn(3, dtype=rt.float64) * 0.3
        new = (proposal * proposal).sum()
        if new < energy or rt.rand() < 0.3 / (step + 1):
            x, energy = proposal, new
    return x


# ---- state


def exponential_average() -> World:
    shadow = {"w": rt.zeros(3, dtype=rt.float64)}

    def step(x: Any) -> Any:
        if x.sum() > 0:
            shadow["w"].mul_(0.9).add_(x.detach() * 0.1)
        else:
            shadow["w"] = shadow["w"] * 0.5
        return x - shadow["w"]

    return step, numbered(uniform((3,))), lambda: shadow


def early_stopping() -> World:
    best = {"loss": rt.tensor(10.0, dtype=rt.float64), "bad": 0}

    def step(x: Any) -> Any:
        loss = (x * x).sum()
        if loss < best["loss"]:
            best["loss"], best["bad"] = loss.detach(), 0
        else:
            best["bad"] += 1
        return loss, best["bad"] > 2

    return step, numbered(uniform((3,))), lambda: best


def normalised() -> World:
    """Batch normalisation with running statistics, and a flag."""
    class Norm:
        def __init__(self) -> None:
            self.mean, self.training = rt.zeros(3, dtype=rt.float64), True
            self.gain = rt.ones(3, dtype=rt.float64).requires_grad_()

        def __call__(self, x: Any) -> Any:
            if self.training:
                centre = x.mean(0)
                with rt.no_grad():
                    self.mean += 0.1 * (centre - self.mean)
            else:
                centre = self.mean
            return (x - centre) * self.gain

    norm = Norm()
    given = numbered(uniform((4, 3)))

    def arguments(call: int) -> tuple[Any, ...]:
        norm.training = call % 3 != 2
        return given(call)

    return (lambda x: norm(x)), arguments, lambda: vars(norm)


def replay_buffer() -> World:
    buffer: list[Any] = [rt.zeros(3, dtype=rt.float64) for _ in range(4)]
    place = [0]

    def step(x: Any) -> Any:
        buffer[place[0]] = x.detach() * 1
        place[0] = (place[0] + 1) % 4
        return sum(buffer) * x

    return step, numbered(uniform((3,))), lambda: [buffer, place]


def conditional_step() -> World:
    """A training step that clips its gradient and skips what isn't finite."""
    w = rt.from_numpy(np.array([0.5, -0.2, 0.1]), requires_grad=True)

    def step(x: Any) -> Any:
        w.grad = None
        loss = ((w * x * 4).exp() - 1).pow(2).mean()
        loss.backward()
        with rt.no_grad():
            norm = w.grad.norm()
            if norm > 1:
                w.grad.mul_(1 / norm)
            if loss < 20:
                w.sub_(0.1 * w.grad)
        return loss.detach()

    return step, numbered(uniform((3,), grad=False)), lambda: w


def numbered(arguments: Any) -> Callable[[int], tuple[Any, ...]]:
    return lambda call: arguments(np.random.default_rng(call // 2))  # each twice in a row


WORLDS = [exponential_average, early_stopping, normalised, replay_buffer, conditional_step]


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_programs(name: str) -> None:
    function, arguments = PROGRAMS[name]
    for start in range(1 if name == "determinant_by_minors" else 2):
        agree(lambda: (function, lambda call: arguments(np.random.default_rng(50 * start + call // 2)), list),  # noqa: B023
              10, rtol=1e-8, errors=name == "raises_on_values")


@pytest.mark.parametrize("make", WORLDS, ids=lambda m: m.__name__)
def test_programs_with_state(make: Callable[[], World]) -> None:
    agree(make, 14, rtol=1e-8)


def test_there_are_enough() -> None:
    assert len(PROGRAMS) + len(WORLDS) >= 60
