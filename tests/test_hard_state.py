"""Programs with state of their own, made anew for each world: what a call changes is what eager code changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import test_hard_branches
import test_hard_containers
import test_hard_iterations
import test_hard_writes
from hard import numbered, uniform
from worlds import World, agree

import retape as rt


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


WORLDS = [exponential_average, early_stopping, normalised, replay_buffer, conditional_step]


@pytest.mark.parametrize("make", WORLDS, ids=lambda m: m.__name__)
def test_programs_with_state(make: Callable[[], World]) -> None:
    agree(make, 14, rtol=1e-8)


def test_there_are_enough() -> None:
    rooms = (test_hard_branches, test_hard_containers, test_hard_iterations, test_hard_writes)
    assert sum(len(r.room.programs) for r in rooms) + len(WORLDS) >= 60
