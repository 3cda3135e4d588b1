"""`python -m benchmarks.throughput [n ...]`: what an operation costs retape itself, before any machine code is made.

Programs of n recorded operations are traced, differentiated and compiled; the table gives microseconds a recorded
operation, so that a row of equal numbers says that the cost is linear. Building kernels (numba, LLVM) is timed apart
and left out of the sum: it depends on how many different kernels there are, not on n. Times are processor time of this
process, the least of some repeats.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any

import numpy as np

SIZES = (1000, 10_000, 100_000)
# label, module and name of the functions that make up a stage; times are those outside of stages within
STAGES = (
    ("share", "retape.ir.passes", "share_views"),
    ("differentiate", "retape.ir.passes", "differentiate"),
    ("partition", "retape.ir.passes", "partition"),
    ("keep", "retape.codegen.program", "prepared"),
    ("lower", "retape.codegen.lower", "lower"),
    ("simplify", "retape.codegen.lower", "simplify"),
    ("collect", "retape.codegen.lower", "collect_embeds"),
    ("fuse", "retape.codegen.lower", "fuse"),
    ("emit", "retape.codegen.reuse", "Emitter.emit"),
    ("plan", "retape.codegen.kept", "_lowered"),
    ("bind", "retape.codegen.program", "Program"),
    ("kernels", "retape.codegen.kernels", "_build"),
)
KERNELS = "kernels"


class Stopwatch:
    """Seconds by stage, each without the stages it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {label: 0.0 for label, _, _ in STAGES}
        self._running: list[float] = []

    def timed(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._running.append(0.0)
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.process_time() - start
                self.seconds[label] += spent - self._running.pop()
                if self._running:
                    self._running[-1] += spent

        return call

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The stages timed while this is entered."""
        places = []
        for label, module, path in STAGES:
            *outer, name = path.split(".")
            places.append((label, reduce(getattr, outer, importlib.import_module(module)), name))
        before = [getattr(owner, name) for _, owner, name in places]
        for (label, owner, name), function in zip(places, before, strict=True):
            setattr(owner, name, self.timed(label, function))
        try:
            yield
        finally:
            for (_, owner, name), function in zip(places, before, strict=True):
                setattr(owner, name, function)


@contextmanager
def nothing_found() -> Iterator[None]:
    """Programs are lowered although earlier ones are on disk."""
    from retape.codegen import kept

    before, kept._found = kept._found, lambda *_: None
    try:
        yield
    finally:
        kept._found = before


def sines(n: int) -> tuple[Callable[[Any], Any], Any]:
    """n sines, one of the other."""
    import retape as rt

    def call(x: Any) -> Any:
        for _ in range(n):
            x = rt.sin(x)
        return x

    return call, np.linspace(0.1, 1.0, 100)


def cells(n: int) -> tuple[Callable[[Any], Any], Any]:
    """Steps of a gated recurrence on slices of one array: 13 operations each, with views and sums among them."""
    import retape as rt

    def call(x: Any) -> Any:
        h, total = x[0], 0.0
        for t in range(n // 13):
            gate = rt.sigmoid(h * x[1] + x[t % 7])
            h = gate * h + (1.0 - gate) * rt.tanh(h * x[2] + 0.5)
            total = total + (h * h).sum()
        return total

    return call, np.random.default_rng(0).standard_normal((8, 20))


def rosenbrock(n: int) -> tuple[Callable[[Any], Any], Any]:
    """Sums of Rosenbrock's function of 100 variables along a line: slices, powers, products."""
    def call(x: Any) -> Any:
        total = 0.0
        for _ in range(n // 13):
            total = total + (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()
            x = x * 0.99
        return total

    return call, np.random.default_rng(0).standard_normal(100)


def steps(n: int) -> tuple[Callable[[Any], Any], Any]:
    """Steps that follow the gradient of a small layer, backward passes within the function: some 20 operations each."""
    import retape as rt

    weights = rt.tensor(np.random.default_rng(1).standard_normal((8, 4)), requires_grad=True)

    def call(x: Any) -> Any:
        for _ in range(n // 20):
            loss = (rt.tanh(x.detach() @ weights) ** 2).mean()
            (slope,) = rt.autograd.grad(loss, weights)
            x = x - 0.1 * ((x @ slope) @ slope.T)
        return x.sum()

    return call, np.random.default_rng(0).standard_normal((16, 8))


PROGRAMS = {"sines": sines, "cells": cells, "rosenbrock": rosenbrock, "steps": steps}


def fastest(call: Callable[[], Any], repeats: int) -> float:
    """The least time of some calls, in seconds."""
    best = float("inf")
    for _ in range(repeats):
        gc.collect()
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def measure(program: str, n: int, repeats: int = 3) -> dict[str, float]:
    """Microseconds a recorded operation: eager, traced, and each stage of the compiler, forward and backward."""
    import retape as rt

    function, array = PROGRAMS[program](n)
    row: dict[str, float] = {}
    for label, given in (("", array), (" with history", rt.tensor(array, requires_grad=True))):
        eager = rt.from_numpy(given) if isinstance(given, np.ndarray) else given
        row[f"eager{label}"] = fastest(lambda eager=eager: function(eager), repeats)
        row[f"traced{label}"] = fastest(lambda given=given: rt.compile(function)(given), repeats)
    best = float("inf")
    for _ in range(repeats):
        compiled = rt.compile(function)
        compiled(given)
        specialization = compiled.specializations[0]
        watch = Stopwatch()
        gc.collect()
        with watch.attached(), nothing_found():
            derivative = specialization.derivative
            assert derivative.forward_program and derivative.backward_program
        total = sum(spent for label, spent in watch.seconds.items() if label != KERNELS)
        if total < best:
            best, stages = total, watch.seconds
    count = len(specialization.graph)
    row |= {**stages, "compiled": best}
    return {"operations": float(count), **{label: seconds / count * 1e6 for label, seconds in row.items()}}


def table(program: str, rows: list[dict[str, float]]) -> str:
    """One column a size."""
    lines = [f"{program:24}" + "".join(f"{int(row['operations']):>12,}" for row in rows)]
    for label in rows[0]:
        if label == "operations":
            continue
        name = f"({label})" if label == KERNELS else label
        lines.append(f"  {name:22}" + "".join(f"{row[label]:12.2f}" for row in rows))
        if label.startswith("traced"):
            eager = label.replace("traced", "eager")
            lines.append(f"  {'  times eager':22}" + "".join(f"{row[label] / row[eager]:12.2f}" for row in rows))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[], help="recorded operations")
    parser.add_argument("--program", choices=sorted(PROGRAMS), action="append")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for program in options.program or PROGRAMS:
        print(table(program, [measure(program, n, options.repeats) for n in options.sizes or SIZES]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
