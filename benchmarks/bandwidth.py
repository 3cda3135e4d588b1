"""How near kernels that are bound by memory come to the speed of copying: `python -m benchmarks.bandwidth`.

Each kernel reads and writes arrays of 160 MB; its bytes a second are compared with those of `np.copyto`, taken in turn.
Below stand products with short sums and what reads them: their time in panels and with the product written whole.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np

import retape as rt
from retape.codegen import cache, compile_graph, panels

KERNELS: dict[str, tuple[Callable[..., Any], int]] = {  # a function of two arrays, and how many arrays it moves
    "x * 2 + 1": (lambda x, y: x * 2.0 + 1.0, 2),
    "x * 2 + y": (lambda x, y: x * 2.0 + y, 3),
    "x * y + x, x - y": (lambda x, y: (x * y + x, x - y), 4),
    "exp(-x * x)": (lambda x, y: rt.exp(-x * x), 2),
    "(x * y).sum()": (lambda x, y: (x * y).sum(), 2),
    "x.sum(1)": (lambda x, y: x.sum(1), 1),
    "x - x.mean(1)": (lambda x, y: x - x.mean(1, keepdim=True), 2),
}
PRODUCTS: dict[str, tuple[Callable[..., Any], int, int]] = {  # a function of points and centres; columns and terms
    "tanh(x @ c.T)": (lambda x, c: rt.tanh(x @ c.T), 256, 16),
    "softmax(x @ c.T, 1)": (lambda x, c: rt.softmax(x @ c.T, 1), 256, 64),
    "nearest distance": (lambda x, c: ((c * c).sum(1) - 2.0 * (x @ c.T)).amin(1), 256, 16),
    "exp(-distance) sums": (lambda x, c: rt.exp(2.0 * (x @ c.T) - (c * c).sum(1)).sum(1), 1024, 32),
}


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(rows: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Gigabytes a second of each kernel and of the copies taken between its calls: medians."""
    x, y = np.random.default_rng(0).standard_normal((2, rows, 1000))
    target = np.empty_like(x)
    found = {}
    for name, (function, arrays) in KERNELS.items():
        call = rt.compile(function)
        call(x, y)
        call(x, y)
        pairs = [(seconds(lambda: np.copyto(target, x)), seconds(lambda call=call: call(x, y)))  # type: ignore[misc]
                 for _ in range(repeats)]
        copy, kernel = (median(part) for part in zip(*pairs, strict=True))
        found[name] = (arrays * x.nbytes / kernel / 1e9, 2 * x.nbytes / copy / 1e9)
    return found


def measure_panels(rows: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Milliseconds of each product with its reader, in panels and whole, in turn: medians."""
    found, large = {}, panels.LARGE
    for name, (function, columns, terms) in PRODUCTS.items():
        given = [0.1 * np.random.default_rng(0).standard_normal((n, terms)) for n in (rows, columns)]
        graph = rt.compile(function).specialize(*given).graph
        programs = []
        for least in (large, 1 << 62):
            panels.LARGE = least
            with cache.unused():  # programs are kept by what they compute
                programs.append(compile_graph(graph))
        panels.LARGE = large
        times = [[seconds(partial(program, given)) * 1e3 for program in programs] for _ in range(repeats + 1)]
        joined, whole = (median(part) for part in zip(*times[1:], strict=True))
        found[name] = joined, whole
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bandwidth", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of 1000 doubles (default 20000: 160 MB)")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    rt.set_num_threads(options.threads)
    print(f"{'kernel':20} {'GB/s':>7} {'copy':>7} {'ratio':>6}")
    for name, (kernel, copy) in measure(options.rows, options.repeats).items():
        print(f"{name:20} {kernel:7.2f} {copy:7.2f} {kernel / copy:6.2f}")
    print(f"{'product':20} {'panels':>7} {'whole':>7} {'ratio':>6}  (ms)")
    for name, (joined, whole) in measure_panels(options.rows, options.repeats).items():
        print(f"{name:20} {joined:7.2f} {whole:7.2f} {joined / whole:6.2f}")


if __name__ == "__main__":
    main()
