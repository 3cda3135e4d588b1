"""`f.explain()` tells, with the line, what happens during tracing only and what later calls don't see anew."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import retape as rt

HERE = Path(__file__).name
LINES = Path(__file__).read_text(encoding="utf-8").splitlines()
SEEN: set[int] = set()
HISTORY: Any = deque(maxlen=3)
LISTED: list[Any] = []
COUNTER = itertools.count()
RNG = np.random.default_rng(0)
clock = time.perf_counter


def prints(x: Any) -> Any:
    print("in", x)  # here
    return x * 2


def prints_in_a_helper(x: Any) -> Any:
    return prints(x) + 1


class Model:
    def __init__(self) -> None:
        self.losses: Any = deque()

    def __call__(self, x: Any) -> Any:
        self.losses.append(1)  # here
        return x * 2


MODEL = Model()


def adds_to_a_set(x: Any) -> Any:
    SEEN.add(len(SEEN))  # here
    return x * 2


def adds_to_a_deque(x: Any) -> Any:
    HISTORY.append(object())  # here
    return x * 2


def reads_the_time(x: Any) -> Any:
    return x * time.time()  # here


def reads_a_clock(x: Any) -> Any:
    return x * clock()  # here


def reads_the_environment(x: Any) -> Any:
    return x * len(os.environ["PATH"])  # here


def writes_a_file(x: Any) -> Any:
    with open(os.devnull, "w") as file:  # here
        file.write("x")
    return x


CASES: list[tuple[Callable[[Any], Any], str, str]] = [
    (prints, "`print`", "use `rt.debug.print`"), (prints_in_a_helper, "`print`", "use `rt.debug.print`"),
    (lambda x: MODEL(x), "the deque `losses`", "return what is to be kept"),
    (adds_to_a_set, "the set `SEEN`", "return what is to be kept"),
    (adds_to_a_deque, "the deque `HISTORY`", "return what is to be kept"),
    (reads_the_time, "`time.time`", "pass it as an argument"), (reads_a_clock, "`clock`", "pass it as an argument"),
    (reads_the_environment, "`os.environ`", "pass it as an argument"),
    (writes_a_file, "`open`", "outside the function"),
]


@pytest.mark.parametrize(("function", "what", "fix"), CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_what_only_tracing_does_is_told_with_its_line(function: Any, what: str, fix: str) -> None:
    f = rt.compile(function)
    f(rt.ones(2))
    f(rt.ones(2))
    (note,) = {line.strip() for line in f.explain().splitlines() if line.strip().startswith("note: ")}
    assert what in note and fix in note
    place = note.split(f"{HERE}:")[1]
    number = int("".join(itertools.takewhile(str.isdigit, place)))
    assert LINES[number - 1].endswith("# here")


def test_iterators_and_generators_that_are_captured() -> None:
    f = rt.compile(lambda x: x * next(COUNTER) + RNG.random())
    f(rt.ones(2))
    assert "the count `COUNTER` goes on, so that each call is traced" in f.explain()
    assert "the Generator `RNG` goes on, so that each call is traced" in f.explain()


def test_what_is_repeated_is_not_told() -> None:
    def function(x: Any, items: Any) -> Any:
        LISTED.append(x.sum())
        items.append(1)
        local: Any = deque()
        local.append(x)
        local_print = [].append
        local_print(2)
        rt.debug.print("{}", x.sum())
        return sum(next(iter([v])) for v in local)

    f = rt.compile(function)
    f(rt.ones(2), [])
    assert "note:" not in f.explain()
    LISTED.clear()


def test_a_name_that_hides_a_builtin_is_not_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "print", lambda *_: None)
    f = rt.compile(prints)
    f(rt.ones(2))
    assert "`print`" not in f.explain()


def test_tracing_patches_nothing() -> None:
    """Neither builtins nor the standard streams are touched while a trace is taken, so other threads see no change."""
    import builtins

    before = builtins.print, sys.stdout, sys.stdout.write if hasattr(sys.stdout, "write") else None
    seen: list[bool] = []

    def function(x: Any) -> Any:
        thread = threading.Thread(target=lambda: seen.append((builtins.print, sys.stdout) == before[:2]))
        thread.start()
        thread.join()
        return x * 2

    rt.compile(function)(rt.ones(2))
    assert seen == [True]
