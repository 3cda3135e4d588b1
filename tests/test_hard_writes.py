"""Derivatives that are taken inside, and writes in place under control flow."""

from __future__ import annotations

from typing import Any

import pytest
from hard import Room, uniform

import retape as rt

room = Room()


# ---- derivatives inside


@room(uniform((2,), (2,), low=0.3, high=1.0))
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


@room(uniform((2,), low=0.5, high=1.5))
def particle(w: Any) -> Any:
    def potential(p: Any) -> Any:
        return (1 / ((p - 3.0) ** 2).sum().sqrt()) + 1 / ((p + 3.0) ** 2).sum().sqrt()

    position, velocity, step = w, w * 0 + 0.5, 0
    while position[1] > 0 and step < 6:
        velocity = velocity - 0.4 * rt.func.grad(potential)(position) - 0.1
        position = position + 0.4 * velocity
        step += 1
    return position[0] ** 2


@room(uniform((3,)))
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


@room(uniform((3,), grad=False))
def custom_function(x: Any) -> Any:
    v = x.detach().requires_grad_()
    (g,) = rt.autograd.grad((Clipped.apply(v) ** 2).sum(), v)
    return g


@room(uniform((3,), grad=False))
def hooks_inside(x: Any) -> Any:
    v = x.clone().requires_grad_()
    y = v * 2
    y.register_hook(lambda g: g * 3 if g.sum() > 0 else g)
    (y * v).sum().backward()
    return v.grad


@room(uniform((3,), (3,)))
def forward_mode(x: Any, t: Any) -> Any:
    value, tangent = rt.func.jvp(lambda v: v * v if v.sum() > 0 else v.exp(), (x,), (t,))
    return value + tangent


# ---- writes


@room(uniform((6,), grad=False))
def gauss_seidel(x: Any) -> Any:
    while True:
        before = x.clone()
        for i in range(1, 5):
            x[i] = 0.5 * (x[i - 1] + x[i + 1])
        if (x - before).abs().max() < 0.05:
            return x.sum()


@room(uniform((5,), grad=False))
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


@room(uniform((3, 3), grad=False))
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


@room(uniform((4,), (4,), grad=False))
def views_and_branches(x: Any, y: Any) -> Any:
    part = x[1:3]
    part += 1
    if x.sum() > y.sum():
        y[:2] = part
    else:
        x.mul_(y)
    return part * 2, y[0]


@room(uniform((4,)))
def tracked_writes(x: Any) -> Any:
    y = x * 2
    for i in range(4):
        if y[i] > 0:
            y[i] = y[i] * x[0]
    return y


@room(uniform((4,), grad=False))
def cumulative_in_place(x: Any) -> Any:
    for i in range(1, len(x)):
        x[i] += x[i - 1]
        if x[i] > 1.2:
            x[i:] = 0.0
            break
    return x.flip(0)


@pytest.mark.parametrize("name", list(room.programs))
def test_programs(name: str) -> None:
    room.check(name)
