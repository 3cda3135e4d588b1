"""`python -m benchmarks [workload ...]`: measure, print the table, write JSON and the chart.

Every cell is two processes with the same, at first empty, folder for compiled code: the first has a cold cache, the
second a warm one, and warm calls of both are taken together. All implementations of a workload take turns. `merge`
and `--markdown` work on JSON alone.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import report

ROOT = Path(__file__).resolve().parent.parent
WORKLOADS = sorted(path.stem for path in (ROOT / "benchmarks" / "workloads").glob("[a-z]*.py"))
THREADS = ("RETAPE_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
CACHES = ("RETAPE_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR", "NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")

Row = dict[str, Any]


def environment(cores: int, cache: str) -> dict[str, str]:
    """The thread pools of every library held to `cores`, and compiled code kept in `cache`, all of it."""
    return {**os.environ, **dict.fromkeys(THREADS, str(cores)), **dict.fromkeys(CACHES, cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "PYTENSOR_FLAGS": f"base_compiledir={cache}"}


def process(workload: str, implementation: str, cores: int, cache: str, options: argparse.Namespace,
            *extra: str) -> Row:
    """What `benchmarks.measure` prints, on the first `cores` cores. What went wrong stands under `failed`."""
    def pin() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))

    interpreters = dict(option.split("=", 1) for option in options.python)
    python = interpreters.get(implementation.split("_")[0], sys.executable)
    command = [python, "-m", "benchmarks.measure", workload, implementation, *(["--quick"] if options.quick else []),
               "--seconds", str(options.seconds), *extra]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment(cores, cache), capture_output=True, text=True, check=False,
            timeout=options.timeout, preexec_fn=pin if os.name == "posix" else None)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {options.timeout:g} s"}
    if done.returncode:
        return {"failed": f"exit status {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}"}
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return found


def cell(cold: Row, warm: Row) -> Row:
    """One cell of the table out of its two processes: times in seconds, memory in bytes."""
    for row in (cold, warm):
        if "times" not in row:
            return row
    times = cold["times"] + warm["times"]
    return {"cold": cold["first"], "cached": warm["first"], "cold_startup": cold["startup"],
            "startup": warm["startup"], "warm": statistics.median(times), "best": min(times), "samples": len(times),
            "peak": cold["peak"], "peak_cached": warm["peak"], "version": cold["version"]}


def sitting(workload: str, names: list[str], cores: int, options: argparse.Namespace) -> dict[str, Row]:
    """All implementations of one workload, in turns, each answer held to the reference's before it is timed."""
    module = importlib.import_module(f"benchmarks.workloads.{workload}")
    names = [name for name in names if report.offers(module, name)]
    with tempfile.TemporaryDirectory() as folder:
        judge = "numpy" if hasattr(module, "numpy") else "retape_eager"
        reference = process(workload, judge, cores, folder, options, "--answer")
        if "answer" not in reference:
            return {name: {"failed": f"no answer of {judge} to compare with: {reference}"} for name in names}
        rows: dict[str, list[Row]] = {name: [] for name in names}
        for turn in range(2):
            for name in names:
                if turn and "times" not in rows[name][0]:
                    rows[name].append(rows[name][0])
                    continue
                cache = os.path.join(folder, name)
                os.makedirs(cache, exist_ok=True)
                rows[name].append(process(workload, name, cores, cache, options, "--reference",
                                          json.dumps(reference["answer"])))
    return {name: cell(*pair) for name, pair in rows.items()}


def machine() -> dict[str, Any]:
    """What was measured on."""
    info, model = Path("/proc/cpuinfo"), platform.processor()
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {"processor": model, "cores": os.cpu_count(), "system": platform.system(), "machine": platform.machine(),
            "python": platform.python_version()}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", help="all unless named; or `merge FILE ...`, later files win")
    parser.add_argument("--cores", default="1", help="1, 2, or 1,2")
    parser.add_argument("--only", default=",".join(report.IMPLEMENTATIONS), help="implementations, by commas")
    parser.add_argument("--python", action="append", default=[], metavar="LIBRARY=PATH",
                        help="the interpreter that has a library, as in torch=/opt/peers/bin/python; may be repeated")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: that everything runs, not how fast")
    parser.add_argument("--seconds", type=float, default=0.6, help="of warm calls in one process")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one process")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results.json")
    parser.add_argument("--chart", type=Path, help="default: beside the output; its ending says SVG or PNG")
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="put the tables of --output into a page")
    return parser


def save(results: dict[str, Any], output: Path) -> None:
    output.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def write(results: dict[str, Any], output: Path, chart: Path | None) -> None:
    """JSON and the chart."""
    save(results, output)
    print(f"written: {output}")
    try:
        print(f"written: {report.draw(results, chart or output.with_suffix('.svg'))}")
    except ModuleNotFoundError as error:
        print(f"no chart: {error.name} is not installed (pip install retape[bench])")


def main() -> int:
    parser = arguments()
    options = parser.parse_args()
    if options.markdown:
        report.insert(options.markdown, json.loads(options.output.read_text(encoding="utf-8")))
        return 0
    if options.workloads[:1] == ["merge"]:
        read = [json.loads(Path(name).read_text(encoding="utf-8")) for name in options.workloads[1:]]
        write(report.merge(read), options.output, options.chart)
        return 0
    unknown = set(options.workloads) - set(WORKLOADS) | set(options.only.split(",")) - set(report.IMPLEMENTATIONS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: not among the workloads {', '.join(WORKLOADS)}, nor the "
                     f"implementations {', '.join(report.IMPLEMENTATIONS)}")
    cores = options.cores.split(",")
    results: dict[str, Any] = {"machine": machine(), "quick": options.quick, "cores": {n: {} for n in cores}}
    for workload in options.workloads or WORKLOADS:
        for n in cores:
            rows = sitting(workload, options.only.split(","), int(n), options)
            results["cores"][n][workload] = rows
            print(report.text(f"{workload}, {n} core{'s' * (n != '1')}", rows), flush=True)
            save(results, options.output)  # what was measured stays if the run is ended
    print(report.summary(results))
    write(results, options.output, options.chart)
    return int(any("failed" in row for rows in results["cores"].values() for workload in rows.values()
                   for row in workload.values()))


if __name__ == "__main__":
    sys.exit(main())
