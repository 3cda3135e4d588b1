"""`python -m benchmarks [workload ...] [--cores N] [--quick]`: the table.

Ratios are retape's warm time over the other's, of medians and of the least times: below 1 retape is faster. The least
times are what to look at on a machine that others use at the same time.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.support import agree

ROOT = Path(__file__).resolve().parent.parent
WORKLOADS = sorted(path.stem for path in (ROOT / "benchmarks" / "workloads").glob("[a-z]*.py"))
IMPLEMENTATIONS = ("retape", "retape_eager", "jax", "jax_unrolled", "torch", "numpy")
PEERS = ("jax", "jax_unrolled", "torch")
JUDGES = ("numpy", "torch", "jax", "jax_unrolled", "retape_eager", "retape")  # whose answer the others are held to
TOLERANCE = 1e-8

Row = dict[str, Any]


def environment(cores: int) -> dict[str, str]:
    """The thread pools of every library held to `cores`."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" if cores == 1 else ""
    return {**os.environ, **{name: str(cores) for name in names}, "XLA_FLAGS": flags}


def run(workload: str, implementation: str, options: argparse.Namespace) -> Row:
    """Measure in a new process on the first cores. What went wrong stands under `failed` or `missing`."""
    def pin() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:options.cores]))

    python = options.peer_python if implementation in PEERS else sys.executable
    command = [python, "-m", "benchmarks.measure", workload, implementation, *(["--quick"] if options.quick else [])]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment(options.cores), capture_output=True, text=True, check=False,
            timeout=options.timeout, preexec_fn=pin if os.name == "posix" else None)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {options.timeout:g} s"}
    if done.returncode:
        return {"failed": f"exit status {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}"}
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return found


def judge(results: dict[str, Row], tolerance: float) -> None:
    """Mark every row whose answer isn't that of the first judge that has one."""
    answers = {name: row["answer"] for name, row in results.items() if "answer" in row}
    chosen = next((name for name in JUDGES if name in answers), None)
    if chosen is None:
        return
    for name, answer in answers.items():
        if not agree(answers[chosen], answer, tolerance):
            results[name]["failed"] = f"the answer {answer} is not that of {chosen}, {answers[chosen]}"


def ratio(results: dict[str, Row], other: str, key: str = "warm") -> float:
    """retape's time over the other's; not a number where one of them failed."""
    rows = results.get("retape", {}), results.get(other, {})
    if any("failed" in row or key not in row for row in rows):
        return math.nan
    return float(rows[0][key] / rows[1][key])


def table(workload: str, results: dict[str, Row]) -> str:
    """One workload's rows."""
    lines = [f"{workload:20} {'first ms':>10} {'warm ms':>10} {'least ms':>10} {'peak MB':>8} {'retape/it':>10} "
             f"{'of least':>9}"]
    for name, row in results.items():
        if "failed" in row:
            lines.append(f"  {name:18} failed: {row['failed']}")
        elif "missing" in row:
            lines.append(f"  {name:18} not installed: {row['missing']}")
        else:
            lines.append(f"  {name:18} {row['first'] * 1e3:10.1f} {row['warm'] * 1e3:10.4f} {row['best'] * 1e3:10.4f} "
                         f"{row['peak'] / 1e6:8.0f} {ratio(results, name):10.2f} "
                         f"{ratio(results, name, 'best'):9.2f}")
    return "\n".join(lines)


def summary(everything: dict[str, dict[str, Row]]) -> str:
    """Geometric means of the ratios over the workloads that both have."""
    lines = []
    for name in IMPLEMENTATIONS[1:]:
        found = {workload: r for workload, results in everything.items() if not math.isnan(r := ratio(results, name))}
        if found:
            means = [math.exp(sum(math.log(ratio(everything[w], name, key)) for w in found) / len(found))
                     for key in ("warm", "best")]
            lines.append(f"  retape/{name:12} geometric mean {means[0]:.2f} (of least times {means[1]:.2f}) "
                         f"of {len(found)} workloads, from {min(found.values()):.2f} to {max(found.values()):.2f}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", default=[], help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--only", default=",".join(IMPLEMENTATIONS), help="implementations, separated by commas")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has jax and torch")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: that everything runs, not how fast")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one implementation")
    parser.add_argument("--output", default=str(ROOT / "benchmarks" / "results.json"))
    options = parser.parse_args()
    everything: dict[str, dict[str, Row]] = {}
    for workload in options.workloads or WORKLOADS:
        module = importlib.import_module(f"benchmarks.workloads.{workload}")
        results = {name: run(workload, name, options) for name in options.only.split(",") if hasattr(module, name)}
        judge(results, getattr(module, "TOLERANCE", TOLERANCE))
        everything[workload] = results
        print(table(workload, results), flush=True)
        Path(options.output).write_text(json.dumps({"cores": options.cores, "quick": options.quick, **everything},
                                                   indent=1), encoding="utf-8")
    print(summary(everything))
    return int(any("failed" in row for results in everything.values() for row in results.values()))


if __name__ == "__main__":
    sys.exit(main())
