"""Every workload at tiny size: compiled answers are those of eager code and of NumPy, and the runner's arithmetic.

No times are looked at.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
runner = importlib.import_module("benchmarks.__main__")
support = importlib.import_module("benchmarks.support")
measure = importlib.import_module("benchmarks.measure")
throughput = importlib.import_module("benchmarks.throughput")
sys.path.remove(str(ROOT))


@pytest.mark.parametrize("workload", runner.WORKLOADS)
def test_answers(workload: str) -> None:
    module, call = measure.prepare(workload, "retape", quick=True)
    answers = {"recorded": call(), "compiled": call()}
    for name in ("retape_eager", "numpy"):
        if hasattr(module, name):
            answers[name] = measure.prepare(workload, name, quick=True)[1]()
    assert len(answers) > 2, "nothing to compare with"
    tolerance = getattr(module, "TOLERANCE", runner.TOLERANCE)
    prints = {name: support.fingerprint(answer) for name, answer in answers.items()}
    for name, found in prints.items():
        assert support.agree(prints["compiled"], found, tolerance), (name, found, prints["compiled"])
        if hasattr(module, "check"):
            module.check(answers[name])
    assert {"retape", "jax"} <= set(dir(module))


def test_agreement() -> None:
    one, other = [(2.0, 1.0, 0.5)], [(2.0, 1.0, 0.5 + 1e-7)]
    assert support.agree(one, one, 1e-8)
    assert not support.agree(one, other, 1e-8)
    assert support.agree(one, other, 1e-6)
    assert not support.agree(one, one * 2, 1e-6)
    assert not support.agree([(math.nan, 0.0, 0.0)], [(math.nan, 0.0, 0.0)], 1e-6)


def test_failures_are_shown() -> None:
    good = {"first": 1.0, "warm": 2e-3, "best": 1e-3, "peak": 0, "answer": [[1.0, 1.0, 1.0]]}
    results: dict[str, dict[str, Any]] = {
        "retape": dict(good), "jax": {**good, "warm": 4e-3}, "torch": {**good, "answer": [[1.0, 2.0, 1.0]]},
        "jax_unrolled": {"failed": "ValueError: no"}, "numpy": {**good, "warm": 1e-3}}
    runner.judge(results, 1e-8)
    text = runner.table("one", results)
    assert "jax_unrolled       failed: ValueError: no" in text
    assert "torch              failed: the answer" in text
    assert runner.ratio(results, "jax") == 0.5
    assert math.isnan(runner.ratio(results, "torch"))
    summary = runner.summary({"one": results, "two": {"retape": dict(good), "jax": {**good, "warm": 1e-3}}})
    assert "retape/jax          geometric mean 1.00 (of least times 1.00) of 2 workloads, from 0.50 to 2.00" in summary
    assert "torch" not in summary


def test_bundle_adjustment_without_noise() -> None:
    """Every observation then has the residuals, and the rows of the Jacobian, of ADBench's files."""
    module = importlib.import_module("benchmarks.workloads.bundle")
    given = module.inputs(3, 5, 12, noise=0.0)
    value, (cameras, points) = module.retape(given)()
    e0, e1, g = 0.10133583791446145, -0.06896776592448106, 0.826092651516
    assert math.isclose(float(value), 6 * (e0 * e0 + e1 * e1 + g * g), rel_tol=1e-8)
    focal, depth = (0.2647602492070315, 0.8381960857313306), (3.3402822812990163, -3.2194799516049244)
    assert math.isclose(cameras[:, 6].sum(), 12 * (e0 * focal[0] + e1 * focal[1]), rel_tol=1e-8)
    assert math.isclose(points[:, 2].sum(), 12 * (e0 * depth[0] + e1 * depth[1]), rel_tol=1e-8)


def test_runner(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "rosenbrock", "--quick", "--only", "retape,numpy", "--output",
         str(tmp_path / "results.json")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("rosenbrock")
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert set(found["rosenbrock"]) == {"retape", "numpy"}


def test_an_implementation_that_raises_is_reported() -> None:
    options = argparse.Namespace(cores=1, peer_python=sys.executable, quick=True, timeout=60.0)
    assert runner.run("rosenbrock", "no_such_implementation", options)["failed"].startswith("AttributeError: ")


@pytest.mark.parametrize("program", throughput.PROGRAMS)
def test_throughput(program: str) -> None:
    row = throughput.measure(program, 60, repeats=1)
    stages = {label for label, _, _ in throughput.STAGES}
    assert 50 < row["operations"] < 100
    assert all(row[label] > 0 for label in row if label not in ("collect", "kernels"))
    assert math.isclose(sum(row[label] for label in stages - {"kernels"}), row["compiled"])
    assert f"  {'fuse':22}" in throughput.table(program, [row, row])
