"""Arrays read piece by piece, sums in the order of their terms, values computed again: kernels, bytes, results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from programs import Program, programs
from support import examples, executions
from test_random_programs import agree, executions_agree

import retape as rt
from retape.codegen import compile_graph, moved, pieces
from retape.codegen.lower import lower
from retape.func import value_and_grad
from retape.ir import Graph, verify
from retape.ir.passes import MARKERS, simplify

X = np.random.default_rng(0).standard_normal((12, 40))
V = np.random.default_rng(1).standard_normal(3000)


def program(function: Callable[..., Any], *arrays: Any) -> Any:
    return compile_graph(rt.compile(function).specialize(*arrays).graph)


def rows(function: Callable[..., Any], *arrays: Any) -> int:
    return len(lower(rt.compile(function).specialize(*arrays).graph).steps)


def in_pieces(function: Callable[..., Any], *arrays: Any) -> Graph:
    return pieces.read_in_pieces(simplify(rt.compile(function).specialize(*arrays).graph, MARKERS))


def shifted(x: Any) -> Any:
    return x * rt.cat([x[:1], x[:-1]])


def padded(x: Any) -> Any:
    zero = rt.zeros(12, 1, dtype=rt.float64)
    return rt.exp(rt.cat([zero, x[:, 2:], zero], 1)) + x


def laplacian(x: Any) -> Any:
    return x[2:, 1:-1] + x[:-2, 1:-1] + x[1:-1, 2:] + x[1:-1, :-2] - 4.0 * x[1:-1, 1:-1]


def rolled(x: Any) -> Any:
    """Cut along both dims, and summed in blocks and by rows."""
    moved = rt.cat([x[:, 5:], x[:, :5]], 1) * rt.cat([x[3:], x[:3]], 0)
    return moved.sum(1), moved.sum(), moved.sum(0)


def softmax_of_pieces(x: Any) -> Any:
    return rt.softmax(rt.cat([x[:, 20:], x[:, :20]], 1) * x, 1)


ONE_KERNEL: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (shifted, (V,)),
    (padded, (X,)),
    (softmax_of_pieces, (X,)),
    (lambda x: rt.cat([x[:1000], x[1000:2000], x[2000:]])[None] * x, (V,)),
]


@pytest.mark.parametrize("case", range(len(ONE_KERNEL)))
def test_pieces_are_read_where_they_are(case: int) -> None:
    function, arrays = ONE_KERNEL[case]
    assert rows(function, *arrays) == 1


def test_a_stencil_and_its_gradient_are_a_kernel_each() -> None:
    assert rows(laplacian, X) == 1
    step = value_and_grad(lambda x: (laplacian(x) ** 2).sum())
    assert rows(step, X) <= 4
    copy = program(step, X)
    assert copy.workspace_bytes < 4 * X.nbytes


@pytest.mark.parametrize("function", [
    shifted, padded, laplacian, rolled, softmax_of_pieces,
    value_and_grad(lambda x: (shifted(x) ** 2).sum()), value_and_grad(lambda x: (laplacian(x) ** 2).sum()),
    value_and_grad(lambda x: rolled(x)[0].exp().sum() + rolled(x)[2].sum()),
])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_values(function: Callable[..., Any], dtype: Any) -> None:
    for array in (X.astype(dtype), np.asfortranarray(X.astype(dtype)), X.astype(dtype)[:, ::-1]):
        if function is shifted:
            array = array[:, 3]
        call = rt.compile(function)
        wanted = function(rt.from_numpy(array.copy(order="K")))
        graph = verify(call.specialize(array).graph)
        flat = [part._data if isinstance(part, rt.Tensor) else part for part in
                (wanted if isinstance(wanted, tuple) else (wanted,))]
        for name, results in executions(graph, [array]).items():
            for found, expected in zip(results, flat, strict=True):
                agree(found, expected, dtype is np.float32, name)


def test_what_other_steps_read_is_put_together() -> None:
    for function in (lambda x: rt.cat([x[5:], x[:5]]) @ x.T, lambda x: rt.cat([x[5:], x[:5]])):
        names = [node.op.name for node in in_pieces(function, X).nodes]
        assert "pieces" not in names and "cat" in names


@pytest.mark.parametrize(("count", "expected"), [(6, 6), (30, 0)])
def test_a_loop_that_goes_through_a_dim_does_not_cut_it_everywhere(count: int, expected: int) -> None:
    def many(x: Any) -> Any:
        total = x
        for i in range(1, count + 1):
            total = total + rt.cat([x[i:], x[:i]])
        return total

    graph = in_pieces(many, V)
    assert sum(node.op.name == "pieces" for node in graph.nodes) == expected
    np.testing.assert_allclose(rt.compile(many)(V), many(rt.from_numpy(V)).numpy())


def test_not_too_many_parts() -> None:
    def many(x: Any) -> Any:
        total = x
        for i in range(1, 9):
            total = total + rt.cat([x[i:], x[:i]]) + rt.cat([x[:, i:], x[:, :i]], 1)
        return total

    graph = in_pieces(many, X)
    assert 4 < sum(node.op.name == "pieces" for node in graph.nodes) < 16
    np.testing.assert_allclose(rt.compile(many)(X), many(rt.from_numpy(X)).numpy())


def test_long_sums_are_added_as_terms_are_ready() -> None:
    """A term a step, the last step's first: the terms needn't all be kept."""
    def f(x: Any, w: Any) -> Any:
        states = [x]
        for _ in range(20):
            states.append(rt.sin(states[-1]).roll(1, 0) + x)
        total = states[-1] * w
        for state in reversed(states[:-1]):
            total = total + state * w
        return total

    found = program(f, V, V)
    assert found.workspace_bytes <= 6 * V.nbytes
    np.testing.assert_allclose(rt.compile(f)(V, V), f(rt.from_numpy(V), rt.from_numpy(V)).numpy(), 1e-12)


def test_multiples_of_stored_values_are_computed_again() -> None:
    def f(x: Any) -> Any:
        y = rt.exp(x)
        z = y * 2.0
        return y, (z.sum(0) + z).sum()

    sources = [kernel.source for kernel in program(f, X).kernels]
    assert sum(source.count("p_mul") for source in sources) == 0


@examples(80)
@given(programs(most=25))
def test_random_programs_in_pieces(program: Program) -> None:
    with patch.object(pieces, "MOST", 10), patch.object(pieces, "PARTS", 40), \
            patch.object(pieces, "ALONG", 20):
        executions_agree(program, tiny=False)


# ---- pieces that are computed where they are read


ONE = np.ones(1)


def stages_of(x: Any, one: Any, y: Any, steps: int = 8) -> Any:
    """Runge-Kutta of a chain: each stage reads the last one shifted."""
    def f(y: Any) -> Any:
        return x * rt.cat([one, y[:-1]])

    for _ in range(steps):
        a = f(y)
        b = f(y + 0.05 * a)
        c = f(y + 0.05 * b)
        y = y + 0.1 / 6 * (a + 2 * b + 2 * c + f(y + 0.1 * c))
    return y


def slanted(x: Any, steps: int = 3) -> Any:
    """Shifted along both dims, there and back."""
    side, top = x[:, :1] * 0.0, x[:1]
    for _ in range(steps):
        a = x * rt.cat([side, (x + 1.5)[:, :-1]], 1)
        x = x - 0.1 * rt.cat([(a - x)[1:], top], 0)
    return x


def test_a_step_of_stages_is_a_kernel_each_way() -> None:
    assert rows(stages_of, V, ONE, V) == 8
    gradient = value_and_grad(lambda x, one, y: stages_of(x, one, y).sum())
    assert rows(gradient, V, ONE, V) <= 2 * 8 + 2
    kept = program(gradient, V, ONE, V)
    assert kept.workspace_bytes <= 3 * 8 * V.nbytes  # no stages, which would be four a step
    assert sum("select(i" in kernel.text or "select(h" in kernel.text for kernel in kept.kernels) > 0


@pytest.mark.parametrize(("function", "arrays"), [
    (stages_of, (V[:50], ONE, V[50:100])), (stages_of, (V[:9], ONE, V[50:59])), (slanted, (X,)),
    (slanted, (X[:3, :4],)),
    (value_and_grad(lambda x, one, y: (stages_of(x, one, y, 3) ** 2).sum()), (V[:50], ONE, V[50:100])),
    (value_and_grad(lambda x: (slanted(x) ** 2).sum()), (X,)),
    (lambda x: slanted(x).sum(0), (X,)), (lambda x: rt.softmax(slanted(x), 1), (X,)),
])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_computed_pieces(function: Callable[..., Any], arrays: tuple[Any, ...], dtype: Any) -> None:
    given_arrays = [array.astype(dtype) for array in arrays]
    call = rt.compile(function)
    wanted = function(*map(rt.from_numpy, given_arrays))
    graph = verify(call.specialize(*given_arrays).graph)
    for name, results in executions(graph, given_arrays).items():
        for found, expected in zip(results, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
            agree(found, expected.numpy(), dtype is np.float32, name)


@pytest.mark.parametrize("function", [
    lambda x: rt.cat([x[:5], rt.exp(x)[:-5]]) + x,  # costs too much
    lambda x: rt.cat([x[:5], (x + 1)[:-5]]) + rt.cat([x[:7], (x + 1)[:-7]]),  # read at two places
    lambda x: (rt.cat([x[:5], (x + 1)[:-5]]) * x, x + 1),  # in memory anyhow
    lambda x: rt.cat([x[:5], rt.where(x > 0, x, 0.0)[:-5]]) + x,  # jumps
])
def test_what_is_read_from_memory(function: Callable[..., Any]) -> None:
    graph = moved.compute_pieces(in_pieces(function, V))
    assert all(node.op.kind != "moved" for node in graph.nodes)
    assert any(node.op is pieces.PIECES for node in graph.nodes)


@examples(80)
@given(programs(most=25))
def test_random_programs_in_computed_pieces(program: Program) -> None:
    with patch.object(pieces, "MOST", 10), patch.object(pieces, "PARTS", 40), \
            patch.object(moved, "WORK", 60), patch.object(moved, "SOURCES", 20):
        executions_agree(program, tiny=False)


def test_the_gradient_of_new_dims_takes_no_copy() -> None:
    """Distances of all pairs: a kernel for the distances, one for what is made of them, one for both gradients."""
    def kernel_sums(a: Any, b: Any) -> Any:
        return rt.exp(-((a[:, None] - b[None]) ** 2).sum(-1)).sum()

    step, a, b = value_and_grad(kernel_sums, argnums=(0, 1)), X[:, :8].copy(), X[:5, 8:16].copy()
    assert rows(step, a, b) == 3
    difference = a[:, None] - b
    weight = np.exp(-(difference**2).sum(-1))
    value, (slope_a, slope_b) = [rt.compile(step)(a, b) for _ in range(2)][1]
    np.testing.assert_allclose(value, weight.sum(), 1e-12)
    np.testing.assert_allclose(slope_a, (-2.0 * difference * weight[..., None]).sum(1), 1e-10, 1e-14)
    np.testing.assert_allclose(slope_b, (2.0 * difference * weight[..., None]).sum(0), 1e-10, 1e-14)


def test_bools_are_counted_in_the_kernel_that_makes_them() -> None:
    def count(x: Any) -> Any:
        return (x > 0).sum(1), (x > 0.5).sum(), x.sum()

    program = compile_graph(rt.compile(count).specialize(X).graph)
    assert len(lower(program.graph).steps) <= 2 and program.workspace_bytes == 0
    for found, wanted in zip(program((X,)), ((X > 0).sum(1), (X > 0.5).sum(), X.sum()), strict=True):
        np.testing.assert_allclose(found, wanted, 1e-13)
