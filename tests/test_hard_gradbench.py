"""GradBench's `particle` and `saddle`, whose derivatives nest, against their reference answers.

Both minimise by a descent that doubles its rate after ten steps and halves it where a step makes things worse. The
loops inside, whose length depends on values, are compiled; the outermost one drives them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import retape as rt

# reference answers of the suite (found with other tools, to the last digits given)
PARTICLE, PARTICLE_VALUE, PARTICLE_SLOPE = 0.207191874648612, 3.1990790025082054, -19.404636450028192
SADDLE = 8.246324826140356e-06


def descend(z: Any, value: Callable[[Any], Any], slope: Callable[[Any], Any]) -> Any:
    """The argument that makes `value` least, from `z` on."""
    rate, steps = 1e-5, 0
    f, g = value(z), slope(z)
    while True:
        if g.norm() <= 1e-5:
            return z
        if steps == 10:
            rate, steps = rate * 2, 0
            continue
        new = z - rate * g
        if (z - new).norm() <= 1e-5:
            return z
        found = value(new)
        if found < f:
            z, f, g, steps = new, found, slope(new), steps + 1
        else:
            rate, steps = rate / 2, 0


def potential(x: Any, w: Any) -> Any:
    first, second = rt.stack([w * 0 + 10.0, 10.0 - w]), rt.stack([w * 0 + 10.0, w * 0])
    return 1.0 / (x - first).norm() + 1.0 / (x - second).norm()


def moved(x: Any, v: Any, w: Any) -> tuple[Any, Any, Any]:
    force = -rt.func.grad(lambda p: potential(p, w))(x)
    return x + 0.1 * v, v + 0.1 * force, x[1] + 0.1 * v[1] <= 0


def landing(w: Any, start: float = 8.0, step: Callable[..., Any] = moved) -> Any:
    """The square of where a charge crosses the axis that falls past two others; `w` places one of them."""
    x, v = rt.stack([w * 0, w * 0 + start]), rt.stack([w * 0 + 0.75, w * 0])
    while True:
        before, (x, v, down) = v, step(x, v, w)
        if down:
            return (x[0] - x[1] / before[1] * before[0]) ** 2


def height(x: Any, y: Any) -> Any:
    return (x * x).sum() - (y * y).sum()


def highest(x: Any) -> Any:
    """What `height` is at most for a given `x`, by descent on its negative."""
    start = rt.ones(2, dtype=rt.float64)
    y = descend(start, lambda v: -height(x, v), lambda v: rt.func.grad(lambda u: -height(x, u))(v))
    return height(x, y)


def test_particle() -> None:
    """Each step is compiled, with the derivative inside; the outer derivative goes through all steps."""
    step = rt.compile(moved)

    def both(w: Any) -> tuple[Any, Any]:
        v = w.detach().requires_grad_()
        value = landing(v, step=step)
        return value.detach(), rt.autograd.grad(value, v)[0]

    value, slope = both(rt.tensor(0.0, dtype=rt.float64))
    np.testing.assert_allclose(float(value), PARTICLE_VALUE, rtol=1e-11)
    np.testing.assert_allclose(float(slope), PARTICLE_SLOPE, rtol=1e-9)
    assert step.traces <= 2  # the first step starts from a leaf
    below, above = (float(both(rt.tensor(PARTICLE + d, dtype=rt.float64))[1]) for d in (-1e-3, 1e-3))
    assert below < 0 < above and float(both(rt.tensor(PARTICLE, dtype=rt.float64))[0]) < 1e-6


@pytest.mark.parametrize("grad", [False, True], ids=["value", "gradient"])
def test_a_short_flight_is_one_function(grad: bool) -> None:
    """The whole loop compiled, from lower starts: values and outer derivatives are those of eager code."""
    f = rt.compile(landing)
    for start in (0.003, 0.02, 0.003, 0.01, 0.02):
        found = []
        for function in (landing, f):
            w = rt.tensor(0.2, dtype=rt.float64, requires_grad=grad)
            value = function(w, start)
            found.append([float(value), float(rt.autograd.grad(value, w)[0]) if grad else 0.0])
        np.testing.assert_allclose(found[1], found[0], rtol=1e-9)
    assert f.traces <= 3


def test_saddle() -> None:
    best = rt.compile(highest)
    start = rt.ones(2, dtype=rt.float64)

    def slope(x: Any) -> Any:
        v = x.detach().requires_grad_()
        (found,) = rt.autograd.grad(best(v), v)
        return found

    x = descend(start, lambda x: best(x.detach().requires_grad_()).detach(), slope)
    inner = rt.compile(lambda x: descend(start, lambda v: -height(x, v),
                                         lambda v: rt.func.grad(lambda u: -height(x, u))(v)))
    for _ in range(3):
        y = inner(x)
        np.testing.assert_allclose(np.stack([x.tolist(), y.tolist()]), SADDLE, rtol=1e-9)
    assert best.traces <= 20
