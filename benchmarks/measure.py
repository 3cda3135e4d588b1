"""One implementation of one workload in this process: first call, warm median, peak memory, and the answer, as JSON.

The first call is everything until results come at full speed: the time of the first two calls, since retape records in
the first and compiles in the second. Imports of the library itself are not counted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from typing import Any

from benchmarks.support import fingerprint

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


def prepare(workload: str, implementation: str, quick: bool) -> tuple[Any, Any]:
    """The module, and the call to be timed."""
    module = importlib.import_module(f"benchmarks.workloads.{workload}")
    return module, getattr(module, implementation)(module.tiny() if quick else module.inputs())


def measure(workload: str, implementation: str, quick: bool = False) -> dict[str, Any]:
    """Times in seconds: first call, median and least of the warm ones."""
    module, call = prepare(workload, implementation, quick)
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    start = time.perf_counter()
    answer = call()
    first += time.perf_counter() - start
    if hasattr(module, "check"):
        module.check(answer)
    start = time.perf_counter()
    answer = call()
    once = time.perf_counter() - start
    times: list[float] = []
    begin = time.perf_counter()
    repeats, inner = (3, 1) if quick else (REPEATS, max(1, int(2e-4 / max(once, 1e-7))))
    while len(times) < repeats and (len(times) < 7 or time.perf_counter() - begin < SECONDS):
        start = time.perf_counter()
        for _ in range(inner):  # short calls: many between two readings of the clock
            call()
        times.append((time.perf_counter() - start) / inner)
    return {"first": first, "warm": statistics.median(times), "best": min(times), "peak": peak_bytes(),
            "answer": fingerprint(answer)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure", description=__doc__)
    parser.add_argument("workload")
    parser.add_argument("implementation")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    try:
        found = measure(options.workload, options.implementation, options.quick)
    except ModuleNotFoundError as error:
        found = {"missing": str(error)}
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        found = {"failed": message.splitlines()[0]}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
