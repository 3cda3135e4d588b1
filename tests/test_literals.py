"""Steps of an unrolled loop that differ in numbers: how many kernels they take, and that each has its own numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import executions
from test_random_programs import agree

import retape as rt
from retape.codegen import literals
from retape.codegen.lower import KernelStep, lower
from retape.func import value_and_grad

X = np.random.default_rng(0).standard_normal(300)


def forced(x: Any, steps: int) -> Any:
    """A step of time has the time in it."""
    for i in range(steps):
        x = x + 0.01 * (x.roll(1, 0) - x) * math.cos(0.3 * i + 0.1)
    return x


def in_rows(x: Any) -> Any:
    """Factors of both signs, tiny and huge ones, and one that is the same in all rows."""
    given, rows = x.reshape(30, 10), rt.zeros(30, 10, dtype=x.dtype)
    for i in range(30):
        rows[i] = rt.tanh(given[i] * ((-1) ** i * 7.3 ** (i - 15))) * 0.25 + (0.1 * i + 0.3)
    return rows


def kernels(function: Callable[..., Any], *arrays: Any, strict: bool = False) -> list[str]:
    """The texts of all kernels."""
    steps = lower(rt.compile(function).specialize(*arrays).graph, strict).steps
    return list(dict.fromkeys(step.emitted.source for step in steps if isinstance(step, KernelStep)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("function", [lambda x: forced(x, 40), in_rows], ids=["forced", "rows"])
def test_steps_with_numbers_of_their_own_are_one_kernel(function: Any, dtype: Any) -> None:
    x = X.astype(dtype)
    assert len(kernels(function, x)) <= 4
    graph = rt.compile(function).specialize(x).graph
    wanted = function(rt.from_numpy(x))
    for name, (found,) in executions(graph, [x]).items():
        agree(found, wanted, dtype is np.float32, name)


def test_the_number_of_kernels_does_not_depend_on_that_of_steps() -> None:
    few, many = (len(kernels(value_and_grad(lambda x, n=n: (forced(x, n) ** 2).sum()), X)) for n in (20, 60))
    assert few == many <= 10


def test_strict_results_are_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    def f(x: Any) -> Any:
        for i in range(12):
            x = x * (1.0 + 0.1 * i) / (0.7 + 0.01 * i) - x.roll(1, 0) * (0.3 - 1e-9 * i)
        return x

    shared = kernels(f, X, strict=True)
    wanted = f(rt.from_numpy(X)).numpy()
    compiled = rt.compile(f, numerics="strict")
    for _ in range(2):
        np.testing.assert_array_equal(np.asarray(compiled(X)), wanted)
    monkeypatch.setattr(literals, "FEW", 1000)
    assert len(shared) < 4 < len(kernels(f, X, strict=True))


def test_few_texts_keep_their_numbers() -> None:
    texts = kernels(lambda x: [(x.roll(1, 0) * (i + 0.5)).sum() for i in range(2)], X)
    assert not any("number(" in text for text in texts)


def test_numbers_that_are_equal_everywhere_are_one_parameter() -> None:
    def f(x: Any) -> Any:
        for i in range(10):
            a = 0.3 + 0.01 * i
            x = rt.sin(x.roll(1, 0) * a) * 0.5 + rt.cos(x * a)
        return x

    (text,) = (text for text in kernels(f, X) if "number(" in text)
    # at either end of the rolled array, a sine and a cosine
    assert len(re.findall(r"number\(k\d+\)", text)) == 4 and len(set(re.findall(r"number\(k\d+\)", text))) == 1
    assert text.count(" * 0.5") == 2


@pytest.mark.parametrize("text", ["-2.5", "0.1", "1e-05", "1.5e+300", "3.0", "5e-324", "-0.0"])
def test_a_number_is_found_whole(text: str) -> None:
    assert repr(float(text)) == text
    for around in ("v1 = v0 * {}", "v1 = vm_pow_f64(v0, {})", "v1 = to_f32({}) - v0", "v1 = v0 - {}"):
        assert literals._NUMBER.findall(around.format(text)) == [text]


@pytest.mark.parametrize("text", ["v10 = p1[i0 * 12 + k3]", "for i1 in range(0, 1024):", "v1 = to_i64(3) + v2"])
def test_other_numbers_stay(text: str) -> None:
    assert not literals._NUMBER.findall(text)
