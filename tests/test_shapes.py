"""Extents: two traces make one for all, where what the function does depends on them in ways that are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from worlds import World, agree, same

import retape as rt


def tensor(*shape: int, seed: int = 0, requires_grad: bool = False) -> Any:
    return rt.from_numpy(np.random.default_rng(seed).uniform(0.1, 1.0, shape), requires_grad=requires_grad)


W = tensor(3, 4, seed=1, requires_grad=True)
SIZES = [5, 7, 2, 11, 3, 64, 4, 8, 9, 100, *range(12, 32)]
SMALL = [2, 3, 4, 5, 8, 12, 6, 9, 7, 16, 24, 1]

UNIFORM: dict[str, Callable[[Any], Any]] = {
    "affine": lambda x: x @ W + 1, "softmax": lambda x: rt.softmax(x @ W, -1), "mean": lambda x: (x * x).mean(),
    "variance": lambda x: (x.var(0), x.std(0)), "columns": lambda x: x / x.sum(0) - x.mean(0),
    "outer": lambda x: (x[:, None, :] - x[None, :, :]).pow(2).sum(-1), "square": lambda x: (x @ x.T).mean(),
    "joined": lambda x: rt.cat([x, x * 2, W.T]).sum(1), "flat": lambda x: x.reshape(-1) * 2, "last": lambda x: x[:, -1],
    "gradient": lambda x: rt.func.grad(lambda v: (rt.tanh(v @ W) ** 2).mean())(x), "transposed": lambda x: (x.T @ x).T,
    "written": lambda x: x.mul_(2).sum(0), "extremes": lambda x: (x.amax(0), x.argmin(1)), "none": lambda x: W * 2,
    "where": lambda x: rt.where(x > 0.5, x, x.mean(1, keepdim=True)), "norm": lambda x: rt.layer_norm(x, (3,)),
    "repeated": lambda x: x[:, :, None].expand(-1, -1, 2).sum((0, 1)), "rows": lambda x: x[:, 1:] - x[:, :-1],
}
ANY: dict[str, Callable[[Any], Any]] = {
    "shape": lambda x: x * x.shape[0], "chunks": lambda x: [c.sum() for c in x.chunk(2)],
    "split": lambda x: [c.sum() for c in x.split(4)], "half": lambda x: x[: len(x) // 2].sum(),
    "first": lambda x: x[0] * 2, "rolled": lambda x: rt.roll(x, 4, 0), "pooled": lambda x: x.T[None].diff(dim=2),
    "loop": lambda x: sum(row * i for i, row in enumerate(x)), "branch": lambda x: x if x.shape[0] > 10 else x * 2,
    "inner": lambda x: x[1:-1] - x[:-2], "zipped": lambda x: [a * b for a, b in zip(x, (1, 2, 3), strict=False)],
    "median": lambda x: x.sum(1).sort().values[x.shape[0] // 2], "quarter": lambda x: x[:4].sum(0),
    "cumulative": lambda x: x.cumsum(0), "counted": lambda x: rt.arange(x.shape[0]) + x[:, 0], "drawn": lambda x:
        x + rt.rand(x.shape[0], 1), "looked": lambda x: x if x.sum() > 3 else -x,
    "numel": lambda x: x.sum() / x.numel(), "diagonal": lambda x: (x @ x.T).diagonal(),
}


def over_sizes(function: Any) -> Callable[[], World]:
    return lambda: (function, lambda call: (tensor(SIZES[call], 3, seed=call),), lambda: W)


@pytest.mark.parametrize("name", list(UNIFORM))
def test_thirty_batch_sizes_make_two_traces(name: str) -> None:
    agree(over_sizes(UNIFORM[name]), 30, rtol=1e-10, traces=2)


@pytest.mark.parametrize("name", list(ANY))
def test_other_dependence_on_extents_is_right_too(name: str) -> None:
    agree(over_sizes(ANY[name]), 12, rtol=1e-10)
    agree(lambda: (ANY[name], lambda call: (tensor(SMALL[call], 3, seed=call),), lambda: W), 12, rtol=1e-10)


def test_training_over_batch_sizes() -> None:
    def make() -> World:
        w = tensor(3, 4, seed=1, requires_grad=True)

        def step(x: Any, y: Any, rate: float) -> Any:
            w.grad = None
            loss = ((x @ w - y) ** 2).mean()
            loss.backward()
            with rt.no_grad():
                w.sub_(rate * w.grad)
            return loss.detach()

        def arguments(call: int) -> tuple[Any, ...]:
            n = SIZES[call]
            return tensor(n, 3, seed=call), tensor(n, 4, seed=call + 1), 0.1 / (call + 1)

        return step, arguments, lambda: w

    agree(make, 30, traces=2)


def test_two_extents() -> None:
    def make() -> World:
        return (lambda x, y: (x @ y).mean(0) + y.sum()), \
            lambda call: (tensor(SIZES[call], 3), tensor(3, SIZES[-call - 1])), lambda: None

    agree(make, 25, traces=2)


def test_an_extent_of_one_is_broadcast_and_so_traced() -> None:
    f = rt.compile(lambda x, y: x + y)
    for a, b in ((4, 4), (6, 6), (1, 6), (6, 1), (1, 1), (9, 9), (2, 2)):
        x, y = tensor(a, 2), tensor(b, 2, seed=1)
        same(f(x, y), x + y, f"{a}, {b}")
    assert f.traces == 5


def test_errors_of_shapes_are_those_of_eager_code() -> None:
    f = rt.compile(lambda x, y: x * y)
    for n in (4, 5, 6):
        f(tensor(n), tensor(n, seed=1))
    for a, b in ((4, 5), (7, 3)):
        with pytest.raises(RuntimeError, match="RT201"):
            f(tensor(a), tensor(b))


def test_a_changed_number_gives_new_templates() -> None:
    def make() -> World:
        scale = [1.0]

        def arguments(call: int) -> tuple[Any, ...]:
            scale[0] = 1.0 + call // 8
            return (tensor(SIZES[call], 3),)

        return (lambda x: x * scale[0]), arguments, lambda: scale

    agree(make, 24)


def test_a_hundred_learning_rates_make_one_trace() -> None:
    f = rt.compile(lambda x, rate: x - rate * x.sin())
    x = tensor(5)
    for k in range(100):
        rate = 0.01 * k + 0.001
        same(f(x, rate), x - rate * x.sin(), str(k))
    assert f.traces == 1
