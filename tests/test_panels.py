"""Products in panels: which products and kernels take turns, what memory that saves, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.codegen import compile_graph, kept, panels
from retape.codegen.lower import lower
from retape.codegen.lowered import KernelStep, PanelStep, ProductStep
from tests.support import executions

rng = np.random.default_rng(11)
X, C, W = rng.standard_normal((1000, 20)), rng.standard_normal((48, 20)), rng.standard_normal((20, 48))
ROW, COLUMN = rng.standard_normal(48), rng.standard_normal((1000, 1))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Panels of 64 rows, for products of 128 kB and more."""
    before = rt.get_num_threads()
    monkeypatch.setattr(panels, "LARGE", 128 << 10)
    monkeypatch.setattr(panels, "PANEL", 1)
    monkeypatch.setattr(kept, "sources", lambda: f"{panels.LARGE} {panels.PANEL}")  # which programs are kept
    yield
    rt.set_num_threads(before)


def _graph(function: Callable[..., Any], *arrays: Any) -> Any:
    return rt.compile(function).specialize(*arrays).graph


def _kinds(graph: Any, strict: bool = False) -> tuple[int, int, int]:
    """How many steps are panels, products and kernels by themselves."""
    kinds = [type(step) for step in lower(graph, strict).steps]
    return kinds.count(PanelStep), kinds.count(ProductStep), kinds.count(KernelStep)


def _square_distances(x: Any, c: Any) -> Any:
    return (x * x).sum(1)[:, None] - 2.0 * (x @ c.T) + (c * c).sum(1)


JOINED: dict[str, tuple[Callable[..., Any], tuple[Any, ...], int]] = {  # and the kernels besides
    "activation": (lambda x, w: rt.tanh(x @ w), (X, W), 0),
    "f32": (lambda x, w: rt.tanh(x @ w), (X.astype("f"), W.astype("f")), 0),
    "bias and scale": (lambda x, w, b, s: (x @ w + b) * s, (X, W, ROW, COLUMN), 0),
    "right operand transposed": (lambda x, c: rt.exp(-(x @ c.T)), (X, C), 0),
    "left operand transposed": (lambda x, w: rt.exp(-(x.T @ w)), (np.asfortranarray(X).T.copy(), W), 0),
    "both transposed": (lambda x, c: rt.exp(-(x.T @ c.T)), (X.T.copy(), C), 0),
    "parts of larger arrays": (lambda x, w: rt.sin(x[3:, 2:9] @ w[4:11, 1:]), (X, W), 0),
    "part of the product": (lambda x, w: rt.sin((x @ w)[:, 3:40]), (X, W), 0),
    "every other column": (lambda x, w: rt.sin((x @ w)[:, ::2]), (X, W), 0),
    "two parts of the product": (lambda x, w: (x @ w)[:, 1:] * (x @ w)[:, :-1], (X, W), 0),
    "softmax": (lambda x, c: rt.softmax(x @ c.T, 1), (X, C), 0),
    "logsumexp": (lambda x, c: rt.logsumexp(x @ c.T, 1), (X, C), 0),
    "nearest": (lambda x, c: _square_distances(x, c).amin(1), (X, C), 2),
    "two results": (lambda x, w: (rt.sin(x @ w), (x @ w).sum(1)), (X, W), 0),
    "a batch that is one matrix": (lambda x, w: rt.sin(x @ w), (X.reshape(4, 250, 20), W), 0),
    "residual": (lambda x, w: x + rt.tanh(x @ w), (X @ W, W.T @ W), 0),
    "scaled": (lambda x, w: rt.sin(2.0 * (x @ w)), (X, W), 0),
}


@pytest.mark.parametrize("name", JOINED)
def test_a_kernel_takes_turns_with_a_product(name: str) -> None:
    function, arrays, kernels = JOINED[name]
    graph = _graph(function, *arrays)
    assert _kinds(graph) == (1, 0, kernels)
    found = executions(graph, arrays)
    tolerance = 2e-5 if arrays[0].dtype == np.float32 else 1e-10
    for results in found.values():
        for result, wanted in zip(results, found["interpreter"], strict=True):
            np.testing.assert_allclose(result, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("extent", [342, 384, 385, 447, 449])
def test_the_last_panel_may_be_shorter(extent: int) -> None:
    x = rng.standard_normal((extent, 9))
    w = rng.standard_normal((9, 48))
    graph = _graph(lambda x, w: rt.maximum(x @ w, 0.0), x, w)
    (step,) = lower(graph).steps
    assert isinstance(step, PanelStep) and step.rows == 64
    np.testing.assert_allclose(compile_graph(graph)((x, w))[0], np.maximum(x @ w, 0.0), rtol=1e-12, atol=1e-12)


def test_the_product_is_never_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = _graph(lambda x, c: _square_distances(x, c).amin(1), X, C)
    rt.set_num_threads(1)
    one = compile_graph(graph).workspace_bytes
    rt.set_num_threads(3)
    three = compile_graph(graph).workspace_bytes
    monkeypatch.setattr(panels, "LARGE", 1 << 60)
    whole = compile_graph(graph).workspace_bytes
    panel, product = 64 * 48 * 8, 1000 * 48 * 8
    assert whole - one == product - panel
    assert three - one == 2 * panel


def test_chunks_are_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that adds up all rows has chunks, each with a partial result: these are the panels."""
    monkeypatch.setattr(panels, "PANEL", 1 << 20)
    x, c = rng.standard_normal((9000, 8)), rng.standard_normal((40, 8))
    call = rt.func.value_and_grad(lambda c, x: _square_distances(x, c).amin(1).sum())
    graph = _graph(call, c, x)
    (step,) = (step for step in lower(graph).steps if isinstance(step, PanelStep))
    assert step.kernel.chunks is not None and step.kernel.chunks.size == step.rows
    value, slope = compile_graph(graph)((c, x))
    nearest = np.argmin(((x[:, None] - c) ** 2).sum(2), 1)
    np.testing.assert_allclose(value, ((x - c[nearest]) ** 2).sum(), rtol=1e-10)
    wanted = np.zeros(c.shape)
    np.add.at(wanted, nearest, 2 * (c[nearest] - x))
    np.testing.assert_allclose(slope, wanted, rtol=1e-9, atol=1e-9)


def test_results_do_not_depend_on_the_threads() -> None:
    x, c = rng.standard_normal((20000, 16)), rng.standard_normal((64, 16))
    for function in (lambda x, c: rt.softmax(x @ c.T, 1), lambda x, c: _square_distances(x, c).amin(1)):
        graph, results = _graph(function, x, c), []
        for threads in (1, 2, 3, 5):
            rt.set_num_threads(threads)
            program = compile_graph(graph)
            for now in (1, 4):  # a program may meet another number than it was made for
                rt.set_num_threads(now)
                results += [program((x, c))[0] for _ in range(3)]
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])


APART: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "the product is a result": (lambda x, w: (x @ w, rt.sin(x @ w)), (X, W)),
    "another kernel reads it": (lambda x, w: (rt.sin(x @ w), (x @ w)[:, 1:].sum(0)), (X, W)),
    "across its rows": (lambda x, w: rt.sin((x @ w).T.contiguous()), (X, W)),
    "its rows shifted": (lambda x, w: (x @ w)[1:] - (x @ w)[:-1], (X, W)),
    "backwards": (lambda x, w: rt.sin((x @ w).flip(0)), (X, W)),
    "long sums": (lambda x, w: rt.sin(x @ w), (rng.standard_normal((1000, 65)), rng.standard_normal((65, 48)))),
    "few columns": (lambda x, w: rt.sin(x @ w), (rng.standard_normal((6000, 9)), rng.standard_normal((9, 31)))),
    "small": (lambda x, w: rt.sin(x @ w), (X[:300], W)),
    "a product of it": (lambda x, w, v: (x @ w) @ v, (X, W, rng.standard_normal((48, 3)))),
    "a batch": (lambda x, w: rt.sin(x @ w), (X.reshape(4, 250, 20), rng.standard_normal((4, 20, 48)))),
    "added to another": (lambda x, w, v: rt.sin(x @ w + (2.0 * x) @ v), (X, W, 3.0 * W)),
}


@pytest.mark.parametrize("name", APART)
def test_other_products_stay_whole(name: str) -> None:
    function, arrays = APART[name]
    graph = _graph(function, *arrays)
    assert _kinds(graph)[:2] in ((0, 1), (0, 2), (0, 4))
    found = executions(graph, arrays)
    for result, wanted in zip(found["compiled"], found["interpreter"], strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-10, atol=1e-10)


def test_strict_numerics_leave_products_to_eager_execution() -> None:
    assert _kinds(_graph(lambda x, w: rt.maximum(x @ w, 0.0), X, W), strict=True) == (0, 0, 1)


def test_operands_are_not_written_before_they_are_read() -> None:
    """The result lies where an operand of the product does."""
    def update(x: Any, w: Any) -> Any:
        y = rt.as_tensor(x) * 2.0
        y[:, :] = rt.tanh(y @ w)
        return y

    square = rng.standard_normal((40, 40))
    x = rng.standard_normal((900, 40))
    assert _kinds(_graph(update, x, square)) == (0, 1, 2)
    compiled = rt.compile(update)
    for _ in range(3):
        np.testing.assert_allclose(compiled(x, square), np.tanh(2.0 * x @ square), rtol=1e-10)


def test_gradients_through_panels() -> None:
    slope = rt.compile(rt.func.grad(lambda w, x: rt.logsumexp(x @ w, 1).sum()))
    x, w = rng.standard_normal((2000, 20)), W
    e = np.exp(x @ w)
    for _ in range(3):
        np.testing.assert_allclose(slope(w, x), x.T @ (e / e.sum(1, keepdims=True)), rtol=1e-9, atol=1e-9)


def test_errors_in_a_panel_are_those_of_the_whole() -> None:
    pick = rt.compile(lambda x, w, i: (x @ w).gather(1, i))
    index = np.zeros((1000, 1), np.int64)
    for _ in range(2):
        np.testing.assert_allclose(pick(X, W, index), (X @ W)[:, :1])
    index[700] = 48
    with pytest.raises(IndexError):
        pick(X, W, index)
