"""Matrix products: how many calls of BLAS, and how few copies, a program needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.codegen.lower import HostStep, KernelStep, ProductStep, lower
from tests.support import executions

RNG = np.random.default_rng(0)
A, B, C = RNG.standard_normal((3, 4, 5, 6)), RNG.standard_normal((4, 6, 7)), RNG.standard_normal((6, 7))
D, V, W = RNG.standard_normal((3, 1, 6, 7)), RNG.standard_normal((40, 40)), RNG.standard_normal((4, 3, 5, 6))


def steps(function: Callable[..., Any], *arrays: Any) -> tuple[int, int, int]:
    """How many products, kernels and host steps a function takes, after all executions have agreed."""
    graph = rt.compile(function).specialize(*arrays).graph
    found = executions(graph, arrays)
    for name, results in found.items():
        for result, wanted in zip(results, found["interpreter"], strict=True):
            np.testing.assert_allclose(result, wanted, rtol=1e-10, atol=1e-10, err_msg=name)
    kinds = [type(step) for step in lower(graph).steps]
    return kinds.count(ProductStep), kinds.count(KernelStep), kinds.count(HostStep)


@pytest.mark.parametrize(("function", "arrays", "products"), [
    (lambda a, b: a @ b, (A, B), 3),
    (lambda a, b: a @ b, (A, C), 1),
    (lambda a, b: a @ b, (A, D), 3),
    (lambda a, b: b.transpose(-1, -2) @ a.transpose(-1, -2), (A, B), 3),
    (lambda a, b: (a @ b).transpose(-1, -2), (A[0], B), 1),
    (lambda v: v[3:20, 5:9] @ v[30:34, 2:17], (V,), 1),
    (lambda v: v[3:20, 5:9].transpose(0, 1) @ v[3:20, 2:17], (V,), 1),
    (lambda v: v[::2, 5:9] @ v[3:7, 1:4], (V,), 1),
    (lambda v: v[::2, 5] @ v[:20, 3], (V,), 1),
    (lambda v: v[1:] @ v[3, :], (V,), 1),
    (lambda v, w: v[1:, 1:] @ w[3:, 2], (RNG.standard_normal((200, 200)), RNG.standard_normal((202, 4))), 1),
    (lambda a, b: a[:, 1:, 2:] @ b[0, 2:, 1:], (A[0], B), 1),
    (lambda w, b: w.transpose(0, 1) @ b, (W, B), 3),
], ids=range(13))
def test_products_without_copies(function: Any, arrays: Any, products: int) -> None:
    assert steps(function, *arrays) == (products, 0, 0)


@pytest.mark.parametrize(("function", "arrays", "expected"), [
    (lambda v: v[::2, ::3] @ v[3:17, 2:9], (V,), (1, 1, 0)),  # neither rows nor columns are contiguous
    (lambda v: v[:20].flip(0) @ v, (V,), (1, 1, 0)),
    (lambda a, b: a.transpose(0, 1)[:, :, None] @ b, (RNG.standard_normal((9, 9, 5, 4)),
                                                      RNG.standard_normal((2, 4, 5))), (1, 2, 0)),
    (lambda a, b: a[:, :0] @ b[:0], (V, W[0, 0, 0, 0] * V), (0, 0, 1)),
])
def test_products_with_copies(function: Any, arrays: Any, expected: tuple[int, int, int]) -> None:
    assert steps(function, *arrays) == expected


# ---- sums of products


def recurrent(w: Any, u: Any, b: Any, x: Any) -> Any:
    h = x[0] * 0
    for t in range(x.shape[0]):
        h = rt.tanh(x[t] @ u + h @ w + b)
    return (h * h).sum()


def test_the_gradient_of_a_shared_matrix_is_one_product() -> None:
    """30 outer products of W, 30 of U: each sum is one product, of values that lie one below the other."""
    arrays = (RNG.standard_normal((20, 20)) / 9, RNG.standard_normal((20, 20)) / 9, RNG.standard_normal(20),
              RNG.standard_normal((30, 5, 20)))
    graph = rt.compile(rt.func.value_and_grad(recurrent, argnums=(0, 1, 2))).specialize(*arrays).graph
    found = executions(graph, arrays)
    for name, results in found.items():
        for result, wanted in zip(results, found["interpreter"], strict=True):
            np.testing.assert_allclose(result, wanted, rtol=1e-9, atol=1e-9, err_msg=name)
    products = [step for step in lower(graph).steps if isinstance(step, ProductStep)]
    sizes = [(s.arguments["m"], s.arguments["n"], s.arguments["k"]) for s in products]
    # forward 30 and 29 (h starts as x * 0), backward 29 through h
    assert sizes.count((5, 20, 20)) == len(sizes) - 2 <= 89 and sizes.count((20, 20, 150)) == 2
    assert not any(len(step.emitted.views) == 2 and "= v0\n" in step.emitted.source
                   for step in lower(graph).steps if isinstance(step, KernelStep)), "nothing is copied"


def test_sums_keep_the_order_that_was_written_where_they_must() -> None:
    graph = rt.compile(lambda a, b: a @ b + b @ a).specialize(V, V * 2).graph
    kinds = [[type(step) for step in lower(graph, strict).steps] for strict in (False, True)]
    assert kinds == [[ProductStep] * 2, [HostStep] * 2 + [KernelStep]]


@pytest.mark.parametrize(("function", "expected"), [
    (lambda a, b, c: a @ b + b @ c - 2.0 * (c @ a), (3, 0, 0)),
    (lambda a, b, c: a @ b + c + (b @ c).T, (2, 1, 0)),
    (lambda a, b, c: -(a @ b), (1, 0, 0)),
    (lambda a, b, c: rt.exp(a) + a @ b, (1, 1, 0)),
    (lambda a, b, c: rt.cat([a @ b + b @ c, c @ a - a @ c]), (4, 0, 0)),
    (lambda a, b, c: a[:, 1:3] @ b[1:3] + c[:, 2:4] @ b[2:4], (1, 4, 0)),  # thin: copied side by side
])
def test_products_that_add_to_their_result(function: Any, expected: tuple[int, int, int]) -> None:
    assert steps(function, V, V * 2, V[::-1].copy()) == expected


@pytest.mark.parametrize(("function", "shapes", "expected"), [
    (lambda a, b: a @ b, ((50, 4, 4), (50, 4, 4)), (0, 1, 0)),
    (lambda a, b: a @ b, ((50, 4, 4), (4, 3)), (0, 1, 0)),
    (lambda a, b: a.transpose(1, 2) @ b, ((50, 10, 10), (50, 10, 1)), (0, 1, 0)),
    (lambda a, b: rt.exp(a @ b) + 1, ((70, 1), (1, 60)), (0, 1, 0)),  # an outer product is part of a kernel
    (lambda a, b: a @ b, ((5, 4, 4), (5, 4, 4)), (1, 0, 0)),  # too few
    (lambda a, b: a @ b, ((50, 6, 6), (50, 6, 6)), (1, 0, 0)),  # too large
])
def test_batches_of_tiny_products_are_kernels(function: Any, shapes: Any, expected: tuple[int, int, int]) -> None:
    assert steps(function, *map(RNG.standard_normal, shapes)) == expected


@pytest.mark.parametrize("swapped", [False, True])
def test_a_product_that_reads_what_it_is_added_to(swapped: bool) -> None:
    """BLAS would write to a factor while it reads it."""
    x, y = np.random.default_rng(0).normal(size=(2, 200, 200))

    def f(x: Any, y: Any) -> Any:
        t = rt.exp(x * 0.01)
        return t + (y @ t if swapped else t @ y)

    t = np.exp(x * 0.01)
    compiled = rt.compile(f)
    for _ in range(2):
        np.testing.assert_allclose(compiled(x, y), t + (y @ t if swapped else t @ y), rtol=1e-12, atol=1e-12)
