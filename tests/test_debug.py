"""`rt.debug.print`: the same lines from eager and from compiled code, on first, second and later calls."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from test_branches import tree_of
from worlds import run, same

import retape as rt

WEIGHT = rt.tensor([1.0, -2.0, 0.5], dtype=rt.float64)
TABLE = np.array([1.0, 2.0])


@dataclass
class Point:
    x: Any
    y: float


def values_and_words(x: Any, k: float) -> Any:
    rt.debug.print("plain {{}}")
    rt.debug.print("{} of {name:>6}, {k:.2f} {k}", x, name="x", k=k * 2)
    rt.debug.print("{0.dtype} {0.shape} {1[0]} {1}", x, [x.sum(), {"n": 3, "p": (x[0], None)}])
    rt.debug.print("{:8.3f} {:d} {}", x.sum(), (x > 0).sum(), x > 0)
    return x * k


def before_and_after_a_write(x: Any, k: float) -> Any:
    part = x.detach()[1:]
    rt.debug.print("{} {}", x.detach(), part)
    with rt.no_grad():
        part.mul_(k)
        WEIGHT.add_(1.0)
    rt.debug.print("{} {} {}", x.detach(), part, WEIGHT)
    return part * 1


def in_branches_and_loops(x: Any, k: float) -> Any:
    steps = 0
    while x.norm() < 4:
        x = x * 2 + k
        steps += 1
        rt.debug.print("step {}: {:.4f}", steps, x.norm())
    if x[0] > 0:
        rt.debug.print("positive")
    return x


def in_derivatives(x: Any, k: float) -> Any:
    v = x.detach().requires_grad_()
    v.register_hook(lambda g: rt.debug.print("hook {}", g))
    w = Traced.apply(v) * k
    w.sum().backward()
    rt.debug.print("{}", rt.func.grad(shown_square)(x.sum().detach()))
    return v.grad


class Traced(rt.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        rt.debug.print("backward of {} with {}", x.detach(), grad)
        return 2 * x * grad


def shown_square(v: Any) -> Any:
    rt.debug.print("square of {:.3f}", v)
    return v * v


def draws_and_records(x: Any, k: float) -> Any:
    noise = rt.rand(3, dtype=rt.float64)
    rt.debug.print("{} {}", noise, Point(x.detach(), k))
    rt.debug.print("{}", TABLE)
    return x + noise


def fails_late(x: Any, k: float) -> Any:
    rt.debug.print("about to look at {:.3f}", x.sum())
    if x.sum() > 0:
        rt.debug.print("too large")
        raise ValueError("too large")
    return x * k


def fails_in_compiled_code(x: Any, k: float) -> Any:
    place = (x * 4).round().long().abs()
    rt.debug.print("index {}", place)
    return x[place] * k


PROGRAMS = [values_and_words, before_and_after_a_write, in_branches_and_loops, in_derivatives, draws_and_records,
            fails_late, fails_in_compiled_code]


def lines_of(function: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        result = run(function, arguments)
    return result, out.getvalue()


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("grad", [False, True], ids=["plain", "grad"])
def test_compiled_code_prints_what_eager_code_prints(function: Any, grad: bool) -> None:
    compiled = rt.compile(function)
    printed = 0
    for call in range(8):
        worlds = []
        for f in (function, compiled):
            WEIGHT.copy_(rt.tensor([1.0, -2.0, 0.5 * call], dtype=rt.float64))
            x = rt.from_numpy(np.random.default_rng(call // 2).uniform(-0.6, 0.6, 3), requires_grad=grad)
            rt.manual_seed(call)
            worlds.append(lines_of(f, x * 1 if call % 3 == 2 else x, 0.5 + call))
        (wanted, wanted_lines), (found, lines) = worlds
        assert lines == wanted_lines, f"call {call}"
        assert type(found) is type(wanted), f"call {call}"
        printed += len(lines)
        if isinstance(wanted, rt.Tensor):
            same(found, wanted, f"call {call}", 1e-10)
    assert printed


def test_arrays_are_tensors_inside() -> None:
    f = rt.compile(in_branches_and_loops)
    x = np.array([0.5, 1.0, 2.0])
    assert lines_of(f, x, 0.5)[1] == lines_of(f, x, 0.5)[1] == lines_of(in_branches_and_loops, rt.from_numpy(x), 0.5)[1]


def test_an_aborted_walk_that_is_run_again_prints_once() -> None:
    def steps(x: Any) -> Any:
        rt.debug.print("first {}", x)
        if x.sum() > 0:
            rt.debug.print("second")
            x = x * 2
        return x if x.sum() < 5 else -x

    f = rt.compile(steps)
    for value in (-1.0, 1.0, 9.0, 1.0, -1.0, 9.0):
        x = rt.tensor([value])
        assert lines_of(f, x)[1] == lines_of(steps, x)[1]
    assert f.traces == 3


def test_a_call_that_turns_out_to_be_served_eagerly_prints_once() -> None:
    def shift(x: Any, y: Any) -> Any:
        rt.debug.print("before {}", y)
        x.add_(1.0)
        rt.debug.print("after {}", y * 1)
        return y * 2

    f = rt.compile(shift)
    base = rt.zeros(4)
    for _ in range(3):
        found = lines_of(f, base[:3], base[1:])[1]
        assert found.count("before") == found.count("after") == 1


def test_past_the_budget_it_prints_once() -> None:
    f = rt.compile(lambda x: rt.debug.print("{}", x) or x * int(x.sum()), budget=2)
    with pytest.warns(rt.errors.GuardExplosion):
        for n in range(5):
            assert lines_of(f, rt.tensor([float(n)]))[1] == f"tensor([{n}.])\n"


def test_to_look_at_a_trace_prints_nothing() -> None:
    f = rt.compile(in_branches_and_loops)
    x = rt.tensor([1.0, 2.0])
    assert lines_of(f.specialize, x, 0.5)[1] == ""
    assert lines_of(f, x, 0.5)[1] == lines_of(in_branches_and_loops, x, 0.5)[1]
    assert "prints: step {}: {:.4f}   test_debug.py" in f.explain()


def test_printing_changes_neither_traces_nor_gradients() -> None:
    def body(x: Any) -> Any:
        y = rt.sin(x) * x
        rt.debug.print("{}", y.sum())
        return (y * y).sum()

    f = rt.compile(body)
    for n in range(3, 20):
        x = rt.from_numpy(np.linspace(0.0, 1.0, n), requires_grad=True)
        out, text = lines_of(f, x)
        assert text == lines_of(body, x)[1]
        out.backward()
        wanted = rt.func.grad(lambda v: ((rt.sin(v) * v) ** 2).sum())(x.detach())
        same(x.grad, wanted, str(n), 1e-10)
    assert f.traces <= 2


def test_kernels_do_not_grow_with_lines_in_a_loop() -> None:
    def loop(x: Any) -> Any:
        while x.sum() < 100:
            x = x * 2 + 0.25
            rt.debug.print("{}", x)
        return x

    f = rt.compile(loop)
    for start in (60.0, 30.0, 9.0, 3.0, 1.0, 0.1):
        x = rt.tensor([start], dtype=rt.float64)
        for _ in range(2):
            assert lines_of(f, x)[1] == lines_of(loop, x)[1]
    assert len(tree_of(f).parts) <= f.traces + 2  # each trace has an end of its own, with all its lines


def test_what_it_cannot_show_is_refused_with_the_line() -> None:
    def show(x: Any) -> Any:
        rt.debug.print("{}", object())
        return x

    for f in (show, rt.compile(show)):
        with pytest.raises(TypeError, match=r"RT301.*object") as caught:
            f(rt.ones(2))
        assert "test_debug.py" in str(caught.value)


def test_a_wrong_format_raises_as_in_eager_code() -> None:
    for f in (lambda x: rt.debug.print("{} {}", x), rt.compile(lambda x: rt.debug.print("{} {}", x))):
        with pytest.raises(IndexError):
            f(rt.ones(2))
