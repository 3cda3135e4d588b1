"""One implementation of one workload in this process: first calls, warm times, peak memory, as JSON on the last line.

The clock starts before the library is imported, NumPy with it. `first` is the time of the calls until the first result
that compiled code has made: two calls of retape, which records in the first and compiles in the second, one of every
other library. `startup` adds the import of the library and what it does before the first call (moving arguments to a
device, say), but not the making of the data. Then the answer is checked, and only then are warm calls timed.

Peak memory is the largest resident size of the process, data and imported libraries included.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

LIBRARIES = ("retape", "jax", "torch", "pytensor", "numba", "numpy")
REPEATS = 41
LEAST = 4  # of samples, however long one takes; a cell is made of two processes
SAMPLE = 2e-4  # seconds: shorter calls are timed many at once


def library_of(implementation: str) -> str:
    """`jax_unrolled` is JAX."""
    return next(name for name in LIBRARIES if implementation.split("_")[0] == name)


def peak_bytes() -> int:
    """The largest resident size of this process so far; 0 where the platform doesn't tell.

    Linux counts the parent's pages in `ru_maxrss` until the program is loaded, but not in `VmHWM`.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def prepare(workload: str, implementation: str, quick: bool) -> tuple[Any, Any, Any]:
    """The module, the data, and what makes the call to be timed from it.

    `torch_compile` is `torch` with its function compiled. Raises `support.Unavailable` with the reason where an
    implementation can't run here.
    """
    from benchmarks import support

    module = importlib.import_module(f"benchmarks.workloads.{workload}")
    reason = getattr(module, "WITHOUT", {}).get(implementation)
    if reason:
        raise support.Unavailable(reason)
    support.compiles_torch(implementation == "torch_compile")
    make = getattr(module, "torch" if implementation == "torch_compile" else implementation)
    return module, module.tiny() if quick else module.inputs(), make


def samples(call: Any, seconds: float) -> list[float]:
    """Times of one call, each the mean over a short run of calls."""
    start = time.perf_counter()
    call()
    inner = max(1, int(SAMPLE / max(time.perf_counter() - start, 1e-7)))
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < LEAST or (len(times) < REPEATS and time.perf_counter() - begin < seconds):
        start = time.perf_counter()
        for _ in range(inner):
            call()
        times.append((time.perf_counter() - start) / inner)
    return times


def measure(workload: str, implementation: str, quick: bool = False, reference: Any = None,
            seconds: float = 0.6) -> dict[str, Any]:
    """Times in seconds, of a process that has imported nothing yet. Raises where the answer is wrong."""
    start = time.perf_counter()
    library = importlib.import_module(library_of(implementation))
    imported = time.perf_counter() - start

    from benchmarks import support

    module, given, make = prepare(workload, implementation, quick)
    start = time.perf_counter()
    call = make(given)
    built = time.perf_counter()
    for _ in range(2 if implementation == "retape" else 1):
        answer = call()
    first = time.perf_counter() - built
    startup = imported + time.perf_counter() - start
    if hasattr(module, "check"):
        module.check(answer)
    found = support.fingerprint(answer)
    support.assert_agree(found, reference, getattr(module, "TOLERANCE", support.TOLERANCE))
    return {"first": first, "startup": startup, "times": samples(call, 0.0 if quick else seconds),
            "peak": peak_bytes(), "version": getattr(library, "__version__", "")}


def answer(workload: str, implementation: str, quick: bool) -> dict[str, Any]:
    """What other implementations are held to; itself checked against the known answer, where there is one."""
    from benchmarks import support

    module, given, make = prepare(workload, implementation, quick)
    found = make(given)()
    if hasattr(module, "check"):
        module.check(found)
    return {"answer": support.fingerprint(found)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure", description=__doc__)
    parser.add_argument("workload")
    parser.add_argument("implementation")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.6, help="of warm calls")
    parser.add_argument("--reference", type=json.loads, help="the answer's fingerprint")
    parser.add_argument("--answer", action="store_true", help="print the answer's fingerprint alone")
    options = parser.parse_args()
    try:
        if options.answer:
            found = answer(options.workload, options.implementation, options.quick)
        else:
            found = measure(options.workload, options.implementation, options.quick, options.reference,
                            options.seconds)
    except ModuleNotFoundError as error:
        found = {"missing": f"{error.name} is not installed"}
    except Exception as error:
        kind = type(error).__name__
        found = {"missing" if kind == "Unavailable" else "failed":
                 (str(error) if kind == "Unavailable" else f"{kind}: {error}").strip().splitlines()[0]}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
