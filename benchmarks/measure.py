"""One implementation of one workload in this process: first call, warm median, peak memory, and the answer, as JSON."""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from typing import Any

import numpy as np

REPEATS = 41
SECONDS = 4.0


def peak_bytes() -> int:
    """The largest resident size of this process so far; 0 where the platform doesn't tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def fingerprint(answer: Any) -> list[float]:
    """Numbers by which two implementations' answers are compared: per array its sum and a weighted sum."""
    numbers: list[float] = []
    for part in answer if isinstance(answer, (tuple, list)) else (answer,):
        if isinstance(part, (tuple, list)):
            numbers += fingerprint(part)
            continue
        array = np.asarray(part, np.float64).ravel()
        numbers += [float(array.sum()), float(array @ np.cos(np.arange(array.size)))]
    return numbers


def measure(workload: str, implementation: str) -> dict[str, Any]:
    """Times in seconds. The first call includes tracing and compiling, not imports of the library itself."""
    module = importlib.import_module(f"benchmarks.workloads.{workload}")
    call = getattr(module, implementation)(module.inputs())
    start = time.perf_counter()
    answer = call()
    first = time.perf_counter() - start
    start = time.perf_counter()
    answer = call()
    second = time.perf_counter() - start
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < REPEATS and (len(times) < 7 or time.perf_counter() - begin < SECONDS):
        inner = max(1, int(2e-4 / max(second, 1e-7)))  # short calls: many between two readings of the clock
        start = time.perf_counter()
        for _ in range(inner):
            call()
        times.append((time.perf_counter() - start) / inner)
    return {"first": first + second, "warm": statistics.median(times), "peak": peak_bytes(),
            "answer": fingerprint(answer)}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2])))
