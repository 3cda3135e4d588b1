"""What compiled functions don't notice, as `docs/semantics.md` says: a test for each, so that the page stays true."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
from worlds import same

import retape as rt

X = rt.tensor([1.0, 2.0], dtype=rt.float64)
BOX = SimpleNamespace(a=1.0)
NAME = "".join(["a"])


def test_what_iterators_give_is_that_of_the_first_call() -> None:
    counter = itertools.count(1)
    f = rt.compile(lambda x: x * next(counter))
    assert [f(X).tolist() for _ in range(3)] == [[1.0, 2.0]] * 3


def test_generators_of_numpy_that_are_captured_are_not_followed() -> None:
    rng = np.random.default_rng(0)
    f = rt.compile(lambda x: x * rng.random())
    assert f(X).tolist() == f(X).tolist() == f(X).tolist()


def test_attributes_with_computed_names_are_not_seen() -> None:
    f = rt.compile(lambda x: x * getattr(BOX, NAME + ""))
    f(X)
    BOX.a = 3.0
    assert f(X).tolist() == [1.0, 2.0]
    BOX.a = 1.0


def test_of_large_captured_arrays_numpys_reads_are_not_seen() -> None:
    table = np.full(5000, 2.0)
    f = rt.compile(lambda x: x * float(table[0]))
    f(X)
    table[0] = 5.0
    assert f(X).tolist() == [2.0, 4.0]


def test_numpys_functions_of_numbers_give_floats() -> None:
    f = rt.compile(lambda x, k: (x * k, np.exp(k)))
    assert type(f(X, 0.5)[1]) is type(f(X, 0.25)[1]) is float and f.traces == 1


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
