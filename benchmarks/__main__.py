"""`python -m benchmarks [workload ...] [--cores N]`: the table."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORKLOADS = sorted(path.stem for path in (ROOT / "benchmarks" / "workloads").glob("[a-z]*.py"))
IMPLEMENTATIONS = ("retape", "retape_eager", "jax", "torch", "numpy")
TOLERANCE = 1e-8


def environment(cores: int) -> dict[str, str]:
    """The thread pools of every library held to `cores`."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" if cores == 1 else ""
    return {**os.environ, **{name: str(cores) for name in names}, "XLA_FLAGS": flags}


def run(workload: str, implementation: str, cores: int, python: str) -> dict[str, Any] | None:
    """Measure in a new process on the first `cores` cores; None where the implementation isn't installed."""
    def pin() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))

    done = subprocess.run(
        [python, "-m", "benchmarks.measure", workload, implementation], cwd=ROOT, env=environment(cores),
        capture_output=True, text=True, check=False, preexec_fn=pin if os.name == "posix" else None)
    if done.returncode:
        if "ModuleNotFoundError" in done.stderr:
            return None
        raise RuntimeError(f"{workload}/{implementation} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def agree(a: list[float], b: list[float], tolerance: float) -> bool:
    return len(a) == len(b) and all(abs(x - y) / max(1.0, abs(x) + abs(y)) < tolerance
                                    for x, y in zip(a, b, strict=True))


def table(workload: str, results: dict[str, dict[str, Any]]) -> str:
    """One workload's rows; ratios are retape's warm time over the other's."""
    lines = [f"{workload:20} {'first ms':>10} {'warm ms':>10} {'peak MB':>9} {'retape/it':>10}"]
    for name, row in results.items():
        ratio = results["retape"]["warm"] / row["warm"] if "retape" in results else float("nan")
        lines.append(f"  {name:18} {row['first'] * 1e3:10.1f} {row['warm'] * 1e3:10.4f} {row['peak'] / 1e6:9.0f} "
                     f"{ratio:10.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", default=[], help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--only", default=",".join(IMPLEMENTATIONS), help="implementations, separated by commas")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has jax and torch")
    parser.add_argument("--output", default=str(ROOT / "benchmarks" / "results.json"))
    options = parser.parse_args()
    everything: dict[str, Any] = {"cores": options.cores}
    for workload in options.workloads or WORKLOADS:
        module = importlib.import_module(f"benchmarks.workloads.{workload}")
        results: dict[str, dict[str, Any]] = {}
        for name in options.only.split(","):
            if hasattr(module, name):
                python = options.peer_python if name in ("jax", "torch") else sys.executable
                found = run(workload, name, options.cores, python)
                if found is not None:
                    results[name] = found
        first = next(iter(results.values()))["answer"]
        for name, row in results.items():
            if not agree(first, row["answer"], getattr(module, "TOLERANCE", TOLERANCE)):
                raise RuntimeError(f"{workload}: {name} gives another answer: {row['answer']} against {first}")
        everything[workload] = results
        print(table(workload, results), flush=True)
    Path(options.output).write_text(json.dumps(everything, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
