"""Numbers, names, containers and draws under control flow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hard import Room, uniform

import retape as rt

room = Room()


# ---- numbers, names, containers


@room(lambda rng: (float(rng.uniform(-2, 2)), int(rng.integers(0, 3))))
def numbers_only(a: float, n: int) -> Any:
    while a < 1:
        a = a + 0.7
    return a**n


@room(lambda rng: (rng.uniform(-1, 1, 3), [rng.uniform(-1, 1), {"k": rng.uniform(-1, 1, (2, 3))}]))
def arrays_in_containers(x: Any, parts: Any) -> Any:
    if parts[0] > 0:
        return np.tanh(parts[1]["k"]) @ x
    return {"sum": np.sum(x * parts[1]["k"]), "n": [parts[0], x]}


@room(uniform((3,)))
def generators_and_closures(x: Any) -> Any:
    def steps() -> Any:
        v = x
        while v.sum() < 2:
            v = v + 0.5
            yield v

    return [s * 2 for s in steps()] or x


@room(uniform((3,)))
def looks_of_all_kinds(x: Any) -> Any:
    flag = bool(x[0] > 0)
    size = len(x) + x.numel() + x.dim()
    digits = math.floor(float(x[1]) * 2)
    return x * size if flag else x + digits


@room(uniform((4,), grad=False))
def masks(x: Any) -> Any:
    positive = x > 0
    if positive.sum() > 2:
        x[positive] = 0.5
    return rt.where(positive, x, -x).cumsum(0)


@room(lambda rng: (rt.tensor(rng.integers(-3, 4, 4)),))
def integer_programs(n: Any) -> Any:
    total = 0
    for v in n.tolist():
        total += v if v % 2 else -v
    return n * total, total


@room(uniform((3,)))
def draws_and_branches(x: Any) -> Any:
    kept = [v for v in x if rt.rand() < 0.5]
    noise = rt.randn(3, dtype=rt.float64)
    return (sum(kept) if kept else x.sum()) + noise if noise[0] > 0 else x


@room(uniform((3,)))
def annealing(x: Any) -> Any:
    energy = (x * x).sum()
    for step in range(5):
        proposal = x + rt.randn(3, dtype=rt.float64) * 0.3
        new = (proposal * proposal).sum()
        if new < energy or rt.rand() < 0.3 / (step + 1):
            x, energy = proposal, new
    return x


@pytest.mark.parametrize("name", list(room.programs))
def test_programs(name: str) -> None:
    room.check(name)
