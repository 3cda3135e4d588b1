"""What compiled functions don't notice, as `docs/semantics.md` says: a test for each, so that the page stays true."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from worlds import same

import retape as rt

X = rt.tensor([1.0, 2.0], dtype=rt.float64)
BOX = SimpleNamespace(a=1.0)
NAME = "".join(["a"])


def test_what_the_properties_of_a_metaclass_read_is_not_followed() -> None:
    box = SimpleNamespace(rate=2.0)

    class Kind(type):
        @property
        def rate(cls) -> float:
            return box.rate

    class Layer(metaclass=Kind):
        pass

    f = rt.compile(lambda x: x * Layer.rate)
    f(X)
    box.rate = 3.0
    assert f(X).tolist() == [2.0, 4.0]


def test_attributes_with_computed_names_are_not_seen() -> None:
    f = rt.compile(lambda x: x * getattr(BOX, NAME + ""))
    f(X)
    BOX.a = 3.0
    assert f(X).tolist() == [1.0, 2.0]
    BOX.a = 1.0


def test_what_eval_and_globals_reach_is_not_seen() -> None:
    for text in ("eval('BOX.a')", "globals()['BOX'].a"):
        scope: dict[str, Any] = {"BOX": SimpleNamespace(a=2.0)}
        exec(f"def function(x):\n    return x * {text}", scope)
        f = rt.compile(scope["function"])
        f(X)
        scope["BOX"].a = 3.0
        assert f(X).tolist() == [2.0, 4.0], text


def test_of_large_captured_arrays_numpys_reads_are_not_seen() -> None:
    table = np.full(5000, 2.0)
    f = rt.compile(lambda x: x * float(table[0]))
    f(X)
    table[0] = 5.0
    assert f(X).tolist() == [2.0, 4.0]


def test_numpys_functions_of_numbers_give_floats() -> None:
    f = rt.compile(lambda x, k: (x * k, np.exp(k), rt.tensor([np.exp(k)])))
    for k in (0.5, 0.25):
        _, number, tensor = f(X, k)
        assert type(number) is float and tensor.dtype is rt.float32
    assert f.traces == 1


def test_a_number_that_the_function_counts_takes_two_traces() -> None:
    box = SimpleNamespace(step=0)

    def function(x: Any) -> Any:
        box.step += 1
        return x * box.step

    f = rt.compile(function)
    for step in range(1, 5):
        same(f(X), X * step, str(step))
    assert f.traces == 2


def test_results_that_are_views_count_their_own_writes() -> None:
    f = rt.compile(lambda x: x[1:])
    x = rt.tensor([1.0, 2.0])
    f(x)
    view = f(x)
    x[1] = 5.0
    assert view.tolist() == [5.0]
    assert view._version[0] == 0 and x._version[0] == 1


def test_views_of_what_is_written_are_views() -> None:
    f = rt.compile(lambda x: x.add_(1.0)[1:])
    for _ in range(3):
        x = rt.tensor([1.0, 2.0])
        view = f(x)
        x[1] = 5.0
        assert view.tolist() == [5.0]
