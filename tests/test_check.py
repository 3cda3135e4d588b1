"""`RETAPE_CHECK=1`: what compiled calls don't notice is found at the call, and nothing is changed twice."""

from __future__ import annotations

import contextlib
import io
import itertools
import random
import time
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from worlds import run, same

import retape as rt
from retape.check import CheckedFunction
from retape.ir.errors import CheckFailed

Made = tuple[Callable[..., Any], Callable[[], Any]]
X = rt.tensor([1.0, 2.0], dtype=rt.float64)


@pytest.fixture(autouse=True)
def _checking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAPE_CHECK", "1")


# ---- limits: a function, what changes between its calls, and what the error names


def the_time(folder: Path) -> Made:
    return lambda x: x * (time.time() % 1000), lambda: time.sleep(0.001)


def a_file(folder: Path) -> Made:
    path = folder / "scale.txt"
    path.write_text("1")
    return lambda x: x * float(path.read_text()), lambda: path.write_text("2")


def a_computed_name(folder: Path) -> Made:
    box, name = SimpleNamespace(ab=1.0), "a"
    return lambda x: x * getattr(box, name + "b"), lambda: setattr(box, "ab", 2.0)


def an_iterator(folder: Path) -> Made:
    counter = itertools.count(1)
    return lambda x: x * next(counter), lambda: None


def numpys_own_read(folder: Path) -> Made:
    table = np.full(5000, 2.0)
    return lambda x: x * float(table[0]), lambda: np.copyto(table, 3.0)


def a_computed_write(folder: Path) -> Made:
    box, name = SimpleNamespace(ab=1.0), "a"
    return lambda x: (setattr(box, name + "b", getattr(box, name + "b") + 1), x * 2)[1], lambda: None


def an_environment_variable(folder: Path) -> Made:
    import os

    os.environ["RETAPE_TEST_SCALE"] = "1"
    return lambda x: x * float(os.environ["RETAPE_TEST_SCALE"]), lambda: os.environ.update(RETAPE_TEST_SCALE="2")


def the_text_of_a_tensor(folder: Path) -> Made:
    return lambda x: (x * 2, str(x)), lambda: X.copy_(rt.tensor([5.0, 6.0], dtype=rt.float64))


LIMITS = [the_time, a_file, a_computed_name, an_iterator, numpys_own_read,
          a_computed_write, an_environment_variable, the_text_of_a_tensor]


@pytest.mark.parametrize("make", LIMITS, ids=lambda m: m.__name__)
def test_limits_are_found_at_the_call(make: Callable[[Path], Made], tmp_path: Path) -> None:
    X.copy_(rt.tensor([1.0, 2.0], dtype=rt.float64))
    function, change = make(tmp_path)
    f = rt.compile(function)
    with pytest.raises(AssertionError, match="RT506") as caught:
        for _ in range(4):
            f(X)
            change()
    text = str(caught.value)
    assert "test_check.py" in text and "function" in text and "differs" in text and "fix" in text
    assert f.__qualname__ in text


def test_compare_shows_what_changes_by_itself(tmp_path: Path) -> None:
    function, _ = the_time(tmp_path)
    assert rt.compare(rt.compile(function), X).verdict == "WRONG"


# ---- nothing is changed twice


def test_the_distance_and_the_element_are_told(tmp_path: Path) -> None:
    function, change = a_computed_name(tmp_path)
    f = rt.compile(function)
    f(X)
    change()
    with pytest.raises(CheckFailed) as caught:
        f(X)
    facts = dict(caught.value.facts)
    assert facts["differs"].startswith("[1]: eager ") and facts["differs"].endswith("ULP apart")
    assert facts["function"].startswith("test_check.py:")


def worlds() -> Any:
    """A function that changes all there is, and what it changes."""
    rng = np.random.default_rng(1)
    w = rt.from_numpy(rng.uniform(-1, 1, 3), requires_grad=True)
    seen, words, box, count = [rt.zeros(3, dtype=rt.float64)], {"a": 0.5}, SimpleNamespace(m=w.detach() * 0), [0]
    generator = rt.Generator(3)

    def step(x: Any, table: Any, parts: Any) -> Any:
        w.grad = None
        loss = ((w * x + rt.randn(3, dtype=rt.float64)) ** 2).sum() + rt.rand((), generator=generator)
        loss.backward()
        with rt.no_grad():
            w.sub_(0.1 * w.grad)
        box.m = box.m * 0.9 + w.detach()
        seen.append(w.detach() * 1)
        words["a"] = loss.detach()
        table += 1.0
        parts["n"].append(x.sum().detach())
        if loss > 2:
            x.mul_(0.5)
        rt.debug.print("{:.6f}", loss)
        return loss.detach() + x.sum()

    return step, lambda: [w, seen, words, vars(box), count, generator.state.bit_generator.state["state"]["state"]]


def test_a_checked_call_changes_everything_once() -> None:
    step, state = worlds()
    other, wanted_state = worlds()
    f = rt.compile(step)
    assert isinstance(f, CheckedFunction)
    for call in range(6):
        outcomes = []
        for function, there in ((other, wanted_state), (f, state)):
            rt.manual_seed(call)
            rng = np.random.default_rng(call // 2)
            x, table, parts = rt.from_numpy(rng.uniform(-1, 1, 3)), rng.uniform(size=2), {"n": [1.0]}
            out = io.StringIO()
            random.seed(0)
            with contextlib.redirect_stdout(out):
                given = rt.from_numpy(table) if function is other else table
                result = run(function, (x, given, parts))
            outcomes.append([result, x, table, parts, there(), out.getvalue(), rt.rand(1), x._version[0],
                             random.random()])
        same(outcomes[1], outcomes[0], f"call {call}", 1e-10)
    assert f.traces <= 3


def test_errors_are_those_of_eager_execution() -> None:
    def function(x: Any) -> Any:
        x.add_(1)
        if x.sum() > 3:
            raise ValueError("too large")
        return x * 2

    f = rt.compile(function)
    x = rt.zeros(2)
    same(f(x), rt.full((2,), 2.0), "first")
    for _ in range(2):
        with pytest.raises(ValueError, match="too large"):
            f(x)
        assert x.tolist() == [1.0, 1.0] and x._version[0] == 1


def test_histories_outside_are_not_used_up() -> None:
    w = rt.tensor([1.0, 2.0], requires_grad=True)

    def function(v: Any) -> Any:
        (v * v).sum().backward()
        return v.detach() * 1

    f = rt.compile(function)
    for _ in range(3):
        v = w * 2
        w.grad = None
        wanted = run(function, (v,))
        grad = None if w.grad is None else w.grad.tolist()
        w.grad, v = None, w * 2
        found = run(f, (v,))
        if not isinstance(found, rt.errors.UnsupportedOp):
            same(found, wanted, "result")
            assert (None if w.grad is None else w.grad.tolist()) == grad


def test_gradients_are_compared_too() -> None:
    class Wrong(rt.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * box.scale

    box = SimpleNamespace(scale=2.0)
    f = rt.compile(lambda x: (x * x).sum())
    x = rt.tensor([1.0, -2.0], requires_grad=True)
    for _ in range(3):
        f(x).backward()
    assert x.grad.tolist() == [6.0, -12.0]
    inner = rt.compile(lambda v: rt.autograd.grad(Wrong.apply(v).sum(), v)[0])
    same(inner(x), rt.full((2,), 2.0), "through a Function")


def test_sensitivity_to_rounding_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums that cancel to their rounding errors, also where their sign decides."""
    def branches(x: Any) -> Any:
        return (x * 2, 1) if (x * 0.1).sum() - 0.1 * x.sum() > 0 else (x * 3, 2)

    def cancels(x: Any) -> Any:
        return (x * 1e16).sum() - (x * 1e16).flip(0).sum()

    asked = []
    sensitive = CheckedFunction._sensitive

    def counted(self: Any, *arguments: Any) -> bool:
        asked.append(sensitive(self, *arguments))
        return asked[-1]

    monkeypatch.setattr(CheckedFunction, "_sensitive", counted)
    rng = np.random.default_rng(0)
    for function in (branches, cancels):
        f = rt.compile(function)
        before = len(asked)
        for _ in range(40):
            f(rt.from_numpy(rng.uniform(-1, 1, 300)))
        assert len(asked) > before and all(asked), function


def test_functions_that_are_called_inside_run_eagerly_in_the_eager_call() -> None:
    calls: Any = deque()
    inner = rt.compile(lambda x: x * 2 if x.sum() > 0 else x)
    plain = rt.compile(lambda x: inner(x) + 1)
    for value in (1.0, -1.0, 1.0):
        same(plain(rt.tensor([value])), rt.tensor([3.0 if value > 0 else 0.0]), "nested")
    assert inner.traces == 0 and not calls


def test_methods_are_checked() -> None:
    class Model:
        def __init__(self) -> None:
            self.w = rt.ones(2)
            self.scale = {"ab": 1.0}

        @rt.compile
        def forward(self, x: Any) -> Any:
            return x * self.w * self.scale["a" + "b"]

    model = Model()
    model.forward(rt.ones(2))
    model.scale["ab"] = 2.0  # entries are followed, however they are named
    same(model.forward(rt.ones(2)), rt.full((2,), 2.0), "followed")


def test_past_the_budget_calls_are_eager() -> None:
    f = rt.compile(lambda x: x * int(x.sum()), budget=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in range(6):
            same(f(rt.tensor([float(n)])), rt.tensor([float(n * n)]), str(n))


def test_without_the_variable_nothing_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "0"):
        monkeypatch.setenv("RETAPE_CHECK", value)
        assert type(rt.compile(lambda x: x)) is rt.CompiledFunction
