"""Captured arrays of which Python reads values by itself, views of them, and attributes reached by strings."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import operator
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import retape as rt


def surroundings(seed: int) -> SimpleNamespace:
    rng = np.random.default_rng(seed)
    return SimpleNamespace(
        a=rng.normal(size=3), matrix=rng.normal(size=(3, 3)), block=rng.normal(size=(2, 3, 4)),
        mask=rng.normal(size=3) > 0, where=rng.integers(0, 3, size=3), rows=[rng.normal(size=3), rng.normal(size=3)],
        t=rt.tensor(rng.normal(size=3)), k=float(rng.normal()), pairs={"u": rng.normal(size=3)}, w0=rng.normal(size=3),
        w1=rng.normal(size=3), part=SimpleNamespace(k=float(rng.normal()), a=rng.normal(size=3)))


READ = ["x * o.a[0]", "x * float(o.a[1])", "x * o.a.sum()", "x * o.a.tolist()[2]", "x * [*map(float, o.a)][0]",
        "x * (2 if o.mask.any() else 3)", "x * (2 if o.a[0] > 0 else 3)", "x[o.where[0]]", "x * o.matrix[0, 1]",
        "x * np.sum(o.a)", "x * max(o.a)", "x * o.a[0] * o.a", "o.a * x * math.exp(o.a[1])", "x * o.rows[0][1]",
        "x * sum(v for v in o.a)", "x * (lambda a=o.a: a[0])()", "x * helper(o.a)", "x * o.pairs['u'][0]"]
VIEWED = ["x + o.matrix[0]", "x + o.matrix[1:, 1][:1]", "o.matrix.T @ x", "x + o.matrix.T[2]", "x + o.matrix[::-1][0]",
          "x + o.block[1, :, 2]", "x + o.block[0, ::2, ::-1][0, 1:]", "x + o.block.transpose(2, 0, 1)[1, 1]",
          "x * np.broadcast_to(o.a[:1], (3,))", "x + o.matrix.reshape(-1)[2:5]", "x + o.matrix[:, None, 1][:, 0]",
          "x + o.rows[1][::-1]", "x + np.flip(o.a)", "x + o.block.ravel()[5:8]", "sum(x * row for row in o.matrix)"]
REACHED = ["x * getattr(o, 'k')", "x + getattr(o, 't')", "x * vars(o)['k']", "x * o.__dict__['k']",
           "x * operator.attrgetter('k')(o)", "x + getattr(o, 'a')[0]",
           "sum(x * getattr(o, f'w{i}') for i in range(2))",
           "x * getattr(o, 'missing', 2.0)", "scaled(o, x)", "scaled(o.part, x)", "scaled(**{'model': o.part, 'x': x})"]
ASSEMBLED = ["x * rt.tensor(o.rows)[1]", "x * rt.tensor([o.a, o.w0])[0]", "x * rt.tensor([[o.t[0], 1.0, o.k]])",
             "x * copy.deepcopy(o.t)", "x * copy.copy(o.t)", "x + o.t.numpy()", "x + x.numpy()", "x * np.asarray(o.t)"]


def scaled(model: Any, x: Any) -> Any:
    return x * model.k + model.a


def helper(values: Any) -> Any:
    return values[0] if values[1] > 0 else 2 * values[2]


def function(text: str, scope: dict[str, Any]) -> Callable[[Any], Any]:
    exec(compile(f"def f(x):\n    return {text}\n", f"<{text}>", "exec"), scope)
    return scope["f"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("text", [*READ, *VIEWED, *REACHED, *ASSEMBLED])
def test_what_python_reads_is_never_stale(text: str) -> None:
    scope = {"rt": rt, "np": np, "math": math, "operator": operator, "copy": copy, "helper": helper,
             "scaled": scaled, "o": surroundings(0)}
    eager = function(text, scope)
    compiled = rt.compile(eager)
    for call, change in enumerate([0, 0, 1, 1, 2, 0, 3, 3]):
        if call == 4:  # in place
            for array in (scope["o"].a, scope["o"].matrix, scope["o"].block, *scope["o"].rows):
                array *= 1.5
        elif call == 6:  # the same object with other fields
            vars(scope["o"]).update(vars(surroundings(change)))
        elif change:
            scope["o"] = surroundings(change)
        x = rt.tensor(np.random.default_rng(call).normal(size=3))
        found, wanted = compiled(x), eager(x)
        assert found.dtype is wanted.dtype and found.shape == wanted.shape
        np.testing.assert_allclose(found._data, wanted._data, 1e-12, 1e-12, err_msg=f"call {call}")


@pytest.mark.parametrize("text", [*(v for v in VIEWED if "rows" not in v and "np." not in v), "x * o.a",
                                  "np.dot(o.matrix, x)", "x * sine(o.a)", "x + local(o)", "x * o.a.shape[0] * o.a",
                                  "sum(x * row for row in o.rows)", "x + rt.stack([o.a, o.a])[0]"])
def test_arrays_that_are_operands_take_other_values_without_a_trace(text: str) -> None:
    def sine(values: Any) -> Any:
        return rt.sin(values)

    def local(o: Any) -> Any:
        values = o.a
        return rt.exp(values) * values

    scope = {"rt": rt, "np": np, "o": surroundings(0), "sine": sine, "local": local}
    eager = function(text, scope)
    compiled = rt.compile(eager)
    for call in range(5):
        x = rt.tensor(np.random.default_rng(call).normal(size=3))
        np.testing.assert_allclose(compiled(x)._data, eager(x)._data, 1e-12, 1e-12)
        for array in (scope["o"].a, scope["o"].matrix, scope["o"].block, *scope["o"].rows):
            array += 0.5
    assert compiled.traces == 1


def test_large_arrays_that_python_reads_are_compared_as_objects() -> None:
    data = np.arange(10_000.0)
    scope = {"data": data}
    compiled = rt.compile(function("x * data[7]", scope))
    x = rt.ones(3, dtype=rt.float64)
    assert compiled(x).tolist() == compiled(x).tolist() == [7.0] * 3 and compiled.traces == 1
    scope["data"] = data + 1
    assert compiled(x).tolist() == [8.0] * 3 and compiled.traces == 2


def test_numpy_may_write_to_captured_arrays() -> None:
    """The trace of a call in which it does holds for no other, also where the old values come again."""
    counts = np.zeros(1)

    @rt.compile
    def step(x: Any) -> Any:
        counts[0] += 1
        return x * counts[0]

    assert [step(rt.ones(1)).item() for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]
    counts[0] = 0
    assert [step(rt.ones(1)).item() for _ in range(2)] == [1.0, 2.0] and counts[0] == 2


@pytest.mark.parametrize("text", ["float(f'{x[0]:.3f}')", "float('%.3f' % x[0])", "float('{:.2e}'.format(x.sum()))",
                                  "len(f'{x[0].item()}')", "round(x[0].item(), 1)", "max(x)", "sorted(x)[0]"])
def test_texts_of_numbers_are_looks(text: str) -> None:
    eager = function(f"x * {text}", {})
    compiled = rt.compile(eager)
    for call in range(6):
        x = rt.tensor(np.random.default_rng(call % 4).normal(size=3))
        np.testing.assert_allclose(compiled(x)._data, eager(x)._data, 1e-12)


def test_sets_and_deques_are_compared() -> None:
    seen: set[int] = set()
    recent: Any = deque([1.0], maxlen=2)

    def function(x: Any, k: float) -> Any:
        if len(seen) < 3:
            seen.add(len(seen))
        return x * sum(recent) * len(seen)

    f = rt.compile(function)
    x = rt.ones(1)
    assert [f(x, 0.5).item() for _ in range(6)] == [1.0, 2.0, 3.0, 3.0, 3.0, 3.0] and f.traces == 4
    recent.append(2.0)
    seen.clear()
    assert [f(x, 0.5).item() for _ in range(5)] == [3.0, 6.0, 9.0, 9.0, 9.0]


def test_iterators_and_generators_of_numpy_go_on() -> None:
    def world() -> tuple[Any, Any]:
        counter, rng, batches = itertools.count(1), np.random.default_rng(0), (2.0**i for i in range(9))

        def function(x: Any) -> Any:
            return x * next(counter) + rng.random() * next(batches)

        return function, rng

    (eager, _), (body, rng) = world(), world()
    f = rt.compile(body)
    x = rt.ones(2, dtype=rt.float64)
    for _ in range(4):
        np.testing.assert_allclose(f(x)._data, eager(x)._data, 1e-12)

    still = rt.compile(lambda x: x * (2 if rng is not None else 3))  # a generator that isn't drawn from
    assert still(x).tolist() == still(x).tolist() == [2.0, 2.0] and still.traces == 1


def test_numpys_generators_are_loaded_by_who_wants_them() -> None:
    """Loading them is a change of what can be drawn from; a trace that did it itself would be refused."""
    code = ("import sys, numpy as np, retape as rt\nf = rt.compile(lambda x: x * 2 if x.sum() > 0 else x)\n"
            "f(np.ones(3)), f(np.ones(3)), f(-np.ones(3))\nprint('numpy.random' in sys.modules, f.explain())")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("False ")


@pytest.mark.parametrize(("line", "refused"), [
    ("rt.fft.rfft(x).real", False), ("rt.erf(x)", False),  # libraries that load NumPy's generators
    ("x * np.random.rand()", True), ("x + 0 * np.random.rand(312)[0]", True), ("x + (np.random.seed(0) or 0)", True),
])
def test_what_a_library_loads_is_no_draw(line: str, refused: bool) -> None:
    """A process in which nobody has asked for NumPy's generators before the first call."""
    code = ("import sys, numpy as np, retape as rt\nassert 'numpy.random' not in sys.modules\n"
            f"f = rt.compile(lambda x: {line})\ntry: f(np.ones(4)), f(np.ones(4))\n"
            "except rt.codegen.program.RetapeError as error: print(error.code)")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ("RT301" in found.stdout) == refused, found.stdout


class Settings:
    rate = 2.0
    kind = "sum"

    class Inner:
        power = 3.0


class Base:
    gain = 1.5

    def scaled(self, x: Any) -> Any:
        return x * self.gain


class Layer(Base):
    def scaled(self, x: Any) -> Any:
        return super().scaled(x) * OFFSET

    def __bool__(self) -> bool:
        return Settings.rate > 3

    def __init__(self, x: Any) -> None:
        self.y = x * Settings.rate

    def __matmul__(self, other: Any) -> Any:
        return self.y * other * Settings.Inner.power

    def __rsub__(self, other: Any) -> Any:
        return other * getattr(self, "offset", OFFSET)


OFFSET = 1.0
LAYER = Layer(rt.ones(3, dtype=rt.float64))
OF_CLASSES = ["x * Settings.rate", "x * Settings.Inner.power", "Layer(x) @ x", "LAYER @ x", "x - LAYER",
              "x * getattr(Settings, 'rate')", "x * Settings.__dict__['rate']",
              "x * (2 if Settings.kind == 'sum' else 3)",
              "[*map(lambda v: v * Settings.rate, [x])][0]", "x * vars(Settings)['rate']", "LAYER.scaled(x)",
              "x * (5 if LAYER else 7)", "x * (5 if Settings.rate > 3 else 7)",
              "rt.cat([x, x]) if Settings.rate > 3 else x"]


@pytest.mark.parametrize("text", OF_CLASSES)
def test_attributes_of_classes_and_what_syntax_calls(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    eager = function(text, globals())
    compiled = rt.compile(eager)
    x = rt.tensor([1.0, -2.0, 3.0], dtype=rt.float64)
    changes: list[tuple[Any, str, Any]] = [
        (Settings, "rate", 2.0), (Settings, "rate", 4.0), (Settings.Inner, "power", 5.0), (Settings, "kind", "mean"),
        (LAYER, "offset", 7.0), (LAYER, "y", rt.full((3,), 2.5, dtype=rt.float64)), (LAYER, "offset", 8.0),
        (Base, "gain", 4.0), (Base, "gain", 5.0),
        (Settings, "rate", 2.5), (Settings, "rate", 3.5), (Settings, "rate", 1.5), (Base, "gain", 6.0)]
    for target, name, value in changes:
        monkeypatch.setattr(target, name, value, raising=False)
        for _ in range(2):
            np.testing.assert_allclose(compiled(x)._data, eager(x)._data, 1e-12)
    monkeypatch.delattr(LAYER, "offset")
    np.testing.assert_allclose(compiled(x)._data, eager(x)._data, 1e-12)


def test_views_take_part_in_writes() -> None:
    table = np.zeros((2, 3))

    @rt.compile
    def step(x: Any) -> Any:
        rt.from_numpy(table).add_(x)
        return x + table[1]

    other = np.zeros((2, 3))
    for _ in range(4):
        x = rt.tensor([1.0, 2.0, 3.0], dtype=rt.float64)
        other += x.numpy()
        np.testing.assert_array_equal(step(x)._data, x._data + other[1])
    np.testing.assert_array_equal(table, other)


def test_partial_functions_over_arrays() -> None:
    scope = {"rt": rt, "weights": [np.ones(3), np.full(3, 2.0)]}
    compiled = rt.compile(functools.partial(function("weights[0] * x + weights[1][0]", scope)))
    x = rt.ones(3, dtype=rt.float64)
    assert compiled(x).tolist() == compiled(x).tolist() == [3.0] * 3
    scope["weights"][1][0] = 5.0
    assert compiled(x).tolist() == [6.0] * 3
