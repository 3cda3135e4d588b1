"""Extents: two traces make one for all, where what the function does depends on them in ways that are known."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import World, agree, same

import retape as rt


def tensor(*shape: int, seed: int = 0, requires_grad: bool = False) -> Any:
    return rt.from_numpy(np.random.default_rng(seed).uniform(0.1, 1.0, shape), requires_grad=requires_grad)


W = tensor(3, 4, seed=1, requires_grad=True)
SIZES = [33, 47, 2, 61, 3, 64, 30, 38, 9, 100, *range(70, 90)]  # above 64 elements kernels serve all extents
SMALL = [2, 3, 0, 5, 1, 4, 0]

UNIFORM: dict[str, Callable[[Any], Any]] = {
    "affine": lambda x: x @ W + 1, "softmax": lambda x: rt.softmax(x @ W, -1), "mean": lambda x: (x * x).mean(),
    "variance": lambda x: (x.var(0), x.std(0)), "outer": lambda x: (x[:, None, :] - x[None, :, :]).pow(2).sum(-1),
    "square": lambda x: (x @ x.T).mean(), "flat": lambda x: x.reshape(-1) * 2, "last": lambda x: x[:, -1],
    "gradient": lambda x: rt.func.grad(lambda v: (rt.tanh(v @ W) ** 2).mean())(x), "transposed": lambda x: (x.T @ x).T,
    "written": lambda x: x.mul_(2).sum(0), "extremes": lambda x: (x.amax(0), x.argmin(1)), "none": lambda x: W * 2,
    "where": lambda x: rt.where(x > 0.5, x, x.mean(1, keepdim=True)), "norm": lambda x: rt.layer_norm(x, (3,)),
    "repeated": lambda x: x[:, :, None].expand(-1, -1, 2).sum((0, 1)), "rows": lambda x: x[:, 1:] - x[:, :-1],
    "columns": lambda x: x / x.sum(0) - x.mean(0), "joined": lambda x: rt.cat([x, x * 2, W.T]).sum(1),
    # the function's own arithmetic on shapes
    "divisor": lambda x: rt.tanh(x @ W).sum() / x.shape[0], "length": lambda x: x.reshape(len(x), -1) * 2,
    "zeros": lambda x: rt.zeros(x.shape[0], 3) + x, "view": lambda x: x.view(x.size(0), 3, 1) * 2,
    "by hand": lambda x: x.sum(0) * (1.0 / len(x)), "counted": lambda x: rt.arange(x.shape[0]) + x[:, 0],
    "shape": lambda x: x * x.shape[0], "numel": lambda x: x.sum() / x.numel(), "even": lambda x: x[::2] * 2,
    "shape returned": lambda x: (x.sum(), x.shape[0] * 2, x.shape), "numpy": lambda x: np.sum(x, 0) / np.shape(x)[0],
    "square root": lambda x: x / x.shape[0] ** 0.5, "rounded": lambda x: x * round(len(x) / 3),
    "unbiased": lambda x: ((x - x.mean(0)) ** 2).sum(0) / (len(x) + 1),
    "identity": lambda x: x.T @ rt.eye(len(x)).double(),
    # parts of the changing dim
    "half": lambda x: x[: len(x) // 2].sum(), "upper half": lambda x: x[-(len(x) // 2):] * 2,
    "first": lambda x: x[0] * 2,
    "middle": lambda x: x[len(x) // 2] * 2, "padded": lambda x: rt.nn.functional.pad(x, (0, 0, 1, 1)),
    "rolled once": lambda x: rt.roll(x, 1, 0), "flipped": lambda x: x.flip(0), "cumulative": lambda x: x.cumsum(0),
    "ends": lambda x: rt.cat([x, x[:1]]), "windows": lambda x: x.unfold(0, 2, 1).sum(-1), "turned": lambda x: x.flip(0),
    "median": lambda x: x.sum(1).sort().values[x.shape[0] // 2], "diagonal": lambda x: (x @ x.T).diagonal(),
    "triangle": lambda x: rt.tril(x @ x.T), "frequencies": lambda x: rt.fft.rfft(x, dim=0).abs(),
    "drawn": lambda x: x + rt.rand(x.shape[0], 1), "dropped": lambda x: rt.nn.functional.dropout(x @ W, 0.5).sum(),
    "attention": lambda x: rt.nn.functional.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True),
    "entropy": lambda x: rt.nn.functional.cross_entropy(x @ W, rt.arange(len(x)) % 4),
    "embedded": lambda x: rt.nn.functional.embedding(rt.arange(len(x)) % 3, W), "set": lambda x: _set(x * 2),
    "hot": lambda x: rt.nn.functional.one_hot(rt.arange(x.shape[0]) % 4, 4).sum(0),
    "chosen": lambda x: x[rt.arange(len(x)), rt.arange(len(x)) % 3], "squares": lambda x: (x.reshape(1, -1) ** 2).sum(),
}
# two traces for one or two of the extents besides: those where something is broadcast, or of the other side
PARTLY: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "differences": (3, lambda x: x[1:] - x[:-1]), "slope": (3, lambda x: _gradient_of_differences(x)),
    "side": (3, lambda x: x * 3 if x.shape[0] > 10 else x * 2), "parity": (3, lambda x: x if len(x) % 2 else -x),
    "quarter": (3, lambda x: x[:4].sum(0)), "least": (3, lambda x: x.sum() / max(len(x), 10)),
    "pairs": (3, lambda x: x[: len(x) // 2 * 2].reshape(len(x) // 2, 2, 3).sum(1)),
    "chunks": (3, lambda x: [c.sum() for c in x.chunk(2)]), "looked": (4, lambda x: x if x.mean() > 0.55 else -x),
    "pooled": (4, lambda x: rt.nn.functional.max_pool1d(x.T[None], 2)), "diff": (3, lambda x: x.T[None].diff(dim=2)),
    "convolved": (3, lambda x: rt.nn.functional.conv1d(x.T[None], rt.ones(2, 3, 2).double())),
}
ANY: dict[str, Callable[[Any], Any]] = {
    "split": lambda x: [c.sum() for c in x.split(4)], "rolled": lambda x: rt.roll(x, 4, 0),
    "loop": lambda x: sum(row * i for i, row in enumerate(x)), "inner": lambda x: x[1:-1] - x[:-2],
    "zipped": lambda x: [a * b for a, b in zip(x, (1, 2, 3), strict=False)], "range": lambda x: sum(
        x[i] * i for i in range(x.shape[0])), "listed": lambda x: x * [1, 2, 3][len(x) % 3],
    "named": lambda x: x * {5: 2, 7: 3}.get(x.shape[0], 4), "told": lambda x: x * len(f"{x.shape[0]}"),
    "bits": lambda x: x * (len(x) & 3), "hashed": lambda x: x * (hash(x.shape) % 7), "kind": lambda x: x * isinstance(
        len(x), int), "counts": lambda x: x * (len(x) in (4, 5, 6)), "floats": lambda x: x * np.sqrt(x.shape[0]),
    "product": lambda x: x.prod(0), "type": lambda x: x * (type(x.shape[0]) is int),
    "interpolated": lambda x: rt.nn.functional.interpolate(x.T[None], scale_factor=2),
}


def _set(x: Any) -> Any:
    x[1:] = 0.5
    return x


def _gradient_of_differences(x: Any) -> Any:
    return rt.func.grad(lambda v: (v[1:] - v[:-1]).pow(2).sum() / len(v))(x)


def over_sizes(function: Any) -> Callable[[], World]:
    return lambda: (function, lambda call: (tensor(SIZES[call], 3, seed=call),), lambda: W)


@pytest.mark.parametrize("name", list(UNIFORM))
def test_thirty_batch_sizes_make_two_traces(name: str) -> None:
    agree(over_sizes(UNIFORM[name]), 30, rtol=1e-10, traces=2)


@pytest.mark.parametrize("name", list(PARTLY))
def test_thirty_batch_sizes_make_a_trace_for_each_side(name: str) -> None:
    most, function = PARTLY[name]
    assert agree(over_sizes(function), 30, rtol=1e-10).traces <= most


@pytest.mark.parametrize("name", [*UNIFORM, *PARTLY, *ANY])
def test_dependence_on_small_extents_is_right(name: str) -> None:
    function = UNIFORM.get(name) or ANY.get(name) or PARTLY[name][1]
    agree(lambda: (function, lambda call: (tensor(SMALL[call], 3, seed=call),), lambda: W), len(SMALL), rtol=1e-10,
          errors=True)


@pytest.mark.parametrize("name", list(ANY))
def test_other_dependence_on_extents_is_right_too(name: str) -> None:
    agree(over_sizes(ANY[name]), 12, rtol=1e-10)


def test_a_loop_over_a_shape_is_specialised() -> None:
    assert agree(over_sizes(ANY["range"]), 12, rtol=1e-10).traces == 12


def test_formulas_that_are_given_up_are_explained() -> None:
    f = rt.compile(lambda x: x.sum() * (2.0 if type(x.shape[0]) is int else 3.0))
    g = rt.compile(lambda x: x.sum() * x.shape[0])
    for n in (4, 5, 6):
        assert float(f(rt.ones(n))) == 2 * n and float(g(rt.ones(n))) == n * n
    assert f.traces == 3 and "plain ints" in f.explain() and "the first trace is another" in f.explain()
    assert g.traces == 2 and "plain ints" not in g.explain()


def test_guards_of_extents_are_explained() -> None:
    @rt.compile
    def f(x: Any) -> Any:
        n = x.shape[0]
        if n > 4:
            return x[: n // 2] / n
        return x

    for n in (3, 7, 9, 12):
        f(tensor(n))
    assert f.traces == 2
    text = f.explain()
    assert "for all n = x.shape[0] >= 2" in text and "| n > 4" in text
    assert any(line.strip().startswith("guard: n > 4 ") for line in text.splitlines()), text
    import sympy

    assert (sympy.Symbol("n", integer=True, nonnegative=True) > 4) in f.specializations[-1].relations


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


def test_the_vocabulary_reads_shapes_where_formulas_are_kept() -> None:
    """`x._data.shape` would be plain ints in a trace for all extents, which nothing guards."""
    root = Path(__file__).resolve().parent.parent / "tracer"
    allowed = {"engine.py", "formulas.py", "gradnode.py", "tracer.py", "transforms.py", "tensor.py", "formatting.py",
               "numbers.py"}
    found = [f"{path.name}: {line}" for path in root.glob("*.py") if path.name not in allowed
             for line in path.read_text(encoding="utf-8").splitlines() if "state.tracer is None" not in line
             and re.search(r"_data\.(shape|size|strides)\b|len\(\w+\._data\)", line)]
    assert not found
