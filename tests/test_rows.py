"""Kernels over rows: how many there are, what they compute, and that random programs survive them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from programs import Program, programs
from support import examples, executions
from test_random_programs import agree, executions_agree

import retape as rt
from retape.codegen import compile_graph, rows
from retape.func import value_and_grad
from retape.ir import verify

X = np.random.default_rng(0).standard_normal((24, 70))


def kernels(function: Callable[..., Any], *arrays: Any) -> list[str]:
    program = compile_graph(rt.compile(function).specialize(*arrays).graph)
    return [kernel.source for kernel in program.kernels]


def normalised(x: Any, weight: Any, bias: Any) -> Any:
    centred = x - x.mean(-1, keepdim=True)
    return centred / rt.sqrt((centred * centred).mean(-1, keepdim=True) + 1e-5) * weight + bias


def log_softmax(x: Any) -> Any:
    shifted = x - x.amax(-1, keepdim=True)
    return shifted - rt.log(rt.exp(shifted).sum(-1, keepdim=True))


def squeezed(x: Any) -> Any:
    """Reduced dims are dropped and put back."""
    return x / (x * x).sum(1).sqrt().reshape(-1, 1)


def per_row(x: Any, scale: Any) -> Any:
    """Numbers per row from elsewhere, and results that are numbers per row."""
    norm = rt.sqrt((x * x).sum(-1)) * scale + scale
    return x * norm.reshape(24, 1), norm, rt.log(norm)


def many_kept(x: Any) -> Any:
    """More values than a kernel keeps of a row are read behind a reduction."""
    parts = [rt.exp(x * float(i)) for i in range(7)]
    total = sum(parts).sum(1, keepdim=True)
    return [part / total for part in parts]


def two_tails(x: Any) -> Any:
    """Reductions over different trailing dims of one space."""
    return x - x.amax((1, 2), keepdim=True) + x.sum(2, keepdim=True)


ONE_KERNEL: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (lambda x: rt.softmax(x, -1), (X,)),
    (lambda x: rt.softmax(x, -1), (X.reshape(4, 6, 70),)),
    (lambda x: x - rt.logsumexp(x, 1, keepdim=True), (X,)),
    (log_softmax, (X,)),
    (normalised, (X, X[0], X[1])),
    (lambda x: x / x.sum((1, 2), keepdim=True), (X.reshape(24, 7, 10),)),
    (lambda x: x / x.sum((1, 2), keepdim=True), (X.reshape(24, 7, 10).transpose(0, 2, 1),)),
    (squeezed, (X,)),
    (per_row, (X, X[:, 3].copy())),
    (many_kept, (X,)),
    (value_and_grad(lambda x: (rt.softmax(x, 1) ** 2).sum()), (X,)),
    (lambda x: rt.softmax(x, 1), (X.astype(np.float32),)),
    (lambda x: (x == x.amax(1, keepdim=True)).sum(1), (X,)),
]


@pytest.mark.parametrize("case", range(len(ONE_KERNEL)))
def test_a_row_stays_in_one_kernel(case: int) -> None:
    function, arrays = ONE_KERNEL[case]
    assert len(kernels(function, *arrays)) == 1


@pytest.mark.parametrize("case", range(len(ONE_KERNEL)))
def test_values_and_gradients(case: int) -> None:
    function, arrays = ONE_KERNEL[case]
    compiled = rt.compile(function)
    tensors = [rt.from_numpy(a) for a in arrays]
    wanted = function(*tensors)
    graph = verify(compiled.specialize(*tensors).graph)
    flat = wanted if isinstance(wanted, (tuple, list)) else [wanted]
    for name, results in executions(graph, list(arrays)).items():
        for found, expected in zip(results, flat, strict=True):
            agree(found, expected, arrays[0].dtype == np.float32, name)


def test_different_tails_are_different_kernels() -> None:
    x = X.reshape(4, 6, 70)
    assert len(kernels(two_tails, x)) == 2
    np.testing.assert_allclose(
        rt.compile(two_tails)(x), x - x.max((1, 2), keepdims=True) + x.sum(2, keepdims=True), 1e-13)


def test_short_few_and_long_rows_are_left_alone() -> None:
    softmax = lambda x: rt.softmax(x, -1)  # noqa: E731
    for shape in ((24, rows.SHORTEST - 1), (rows.FEWEST - 1, 70), (4, rows.LONGEST // 8 + 1)):
        assert len(kernels(softmax, np.ones(shape))) > 1


def test_an_element_that_is_reduced_is_not_computed_twice() -> None:
    """What feeds a maximum and the difference to it is kept, so that both see the same bits."""
    (source,) = kernels(lambda x, w: rt.exp(x * w - (x * w).amax(1, keepdim=True)), X, X[0])
    code = [line for line in source.splitlines() if "#" not in line]
    assert sum("x * w" in line for line in code) == 1
    assert sum("= w0[" in line for line in code) == 1


@contextmanager
def rows_everywhere() -> Iterator[None]:
    with patch.object(rows, "FEWEST", 1), patch.object(rows, "SHORTEST", 1), patch.object(rows, "KEPT", 2), \
            patch("retape.codegen.fuse.KEPT", 2):
        yield


@examples(100)
@given(programs(most=25))
def test_random_programs_over_rows(program: Program) -> None:
    with rows_everywhere():
        executions_agree(program, tiny=False)
