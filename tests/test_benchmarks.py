"""Every workload at tiny size: compiled answers are those of eager code and of NumPy, and the runner's arithmetic.

No times are looked at.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
runner = importlib.import_module("benchmarks.__main__")
report = importlib.import_module("benchmarks.report")
support = importlib.import_module("benchmarks.support")
measure = importlib.import_module("benchmarks.measure")
throughput = importlib.import_module("benchmarks.throughput")
bandwidth = importlib.import_module("benchmarks.bandwidth")
sys.path.remove(str(ROOT))


def installed(implementation: str) -> bool:
    return importlib.util.find_spec(measure.library_of(implementation)) is not None


@pytest.mark.parametrize("workload", runner.WORKLOADS)
def test_answers(workload: str) -> None:
    """Of every implementation whose library is here; torch.compile takes too long for a test of each."""
    module = importlib.import_module(f"benchmarks.workloads.{workload}")
    names = [name for name in report.IMPLEMENTATIONS if report.offers(module, name) and installed(name)
             and name != "torch_compile" and name not in getattr(module, "WITHOUT", {})]
    assert {"retape", "retape_eager"} <= set(names)
    assert hasattr(module, "jax")
    assert set(getattr(module, "WITHOUT", {})) <= set(report.IMPLEMENTATIONS)
    prints = {}
    for name in names:
        _, given, make = measure.prepare(workload, name, quick=True)
        call = make(given)
        for turn in range(2):  # retape records, then compiles
            answer = call()
            if hasattr(module, "check"):
                module.check(answer)
            prints[name, turn] = support.fingerprint(answer)
    tolerance = getattr(module, "TOLERANCE", support.TOLERANCE)
    for name, found in prints.items():
        assert support.agree(prints["retape", 1], found, tolerance), (name, found, prints["retape", 1])


@pytest.mark.parametrize("workload", ["hand_simple", "hand_complicated", "gmm_narrow", "kmeans_direction", "lse"])
def test_known_answers(workload: str) -> None:
    """`check` holds at full size, and is no formality: it refuses an answer that is a little off."""
    module, given, make = measure.prepare(workload, "retape_eager", quick=False)
    if not (support.SHARED / "expected").exists():
        pytest.skip("the reference answers aren't at hand")
    answer = make(given)()
    module.check(answer)
    parts = list(answer) if isinstance(answer, (tuple, list)) else answer
    with pytest.raises(AssertionError):
        module.check([parts[0] * (1 + 1e-6), *parts[1:]] if isinstance(parts, list) else parts * (1 + 1e-6))


def test_jacobi_from_the_published_start() -> None:
    wanted = support.expected("npbench", "jacobi_2d/S")
    if wanted is None:
        pytest.skip("the reference answers aren't at hand")
    i, j = np.ogrid[:150, :150]
    a, b = importlib.import_module("benchmarks.stencils").jacobi(i * (j + 2) / 150, i * (j + 3) / 150, 50)
    support.assert_close("sum of A", a.sum(), wanted["sumA"])
    support.assert_close("sum of B", b.sum(), wanted["sumB"])


def test_agreement() -> None:
    one, other = [(2.0, 1.0, 0.5)], [(2.0, 1.0, 0.5 + 1e-7)]
    assert support.agree(one, one, 1e-8)
    assert not support.agree(one, other, 1e-8)
    assert support.agree(one, other, 1e-6)
    assert not support.agree(one, one * 2, 1e-6)
    assert not support.agree([(math.nan, 0.0, 0.0)], [(math.nan, 0.0, 0.0)], 1e-6)


def row(warm: float, **others: float) -> dict[str, Any]:
    return {"cold": 1.0, "cached": 0.5, "cold_startup": 2.0, "startup": 1.0, "warm": warm, "best": warm / 2,
            "samples": 8, "peak": 3e8, "peak_cached": 2e8, "version": "1.0", **others}


def results(**workloads: Any) -> dict[str, Any]:
    return {"machine": {"processor": "one", "cores": 2, "system": "Linux", "machine": "x86_64", "python": "3.11"},
            "quick": False, "cores": {"1": workloads}}


ONE = {"retape": row(2e-3, cold=3.0), "jax": row(4e-3, cold=2.0), "jax_unrolled": row(8e-3, cold=12.0),
       "torch": {"failed": "AssertionError: the answer is off"}, "pytensor": {"missing": "pytensor is not installed"}}


def test_a_cell_is_two_processes() -> None:
    cold = {"first": 2.0, "startup": 3.0, "times": [1.0, 9.0], "peak": 20, "version": "1"}
    warm = {"first": 0.5, "startup": 0.7, "times": [2.0, 3.0, 4.0], "peak": 10, "version": "1"}
    found = runner.cell(cold, warm)
    assert (found["cold"], found["cached"], found["startup"]) == (2.0, 0.5, 0.7)
    assert (found["warm"], found["best"], found["samples"]) == (3.0, 1.0, 5)
    assert (found["peak"], found["peak_cached"]) == (20, 10)
    assert runner.cell(cold, {"failed": "no"}) == {"failed": "no"}


def test_ratios() -> None:
    """Warm against the faster way to write it in JAX, first calls against the same loop."""
    assert report.against_jax(ONE, "warm") == 0.5
    assert report.against_jax(ONE, "cold") == 0.25
    assert report.against_jax({"retape": ONE["retape"], "jax": ONE["jax"]}, "cold") == 1.5
    assert math.isnan(report.against_jax({"retape": ONE["retape"]}, "warm"))
    text = report.summary(results(one=ONE, two={"retape": row(2e-3), "jax": row(1e-3)}))
    assert "1 core: retape/jax geometric mean 1.00 of 2 workloads, from 0.50 to 2.00 (two)" in text
    assert "retape/torch" not in text


def test_failures_are_shown() -> None:
    text = report.text("one, 1 core", ONE)
    assert "torch                      failed: AssertionError: the answer is off" in text
    assert "pytensor                   not available: pytensor is not installed" in text
    page = report.markdown(results(one=ONE))
    assert "* one, torch eager: AssertionError: the answer is off" in page
    assert "| one | 0.50 | 2 | 4 | 8 |" in page
    assert "| geometric mean | 0.50 |" in page
    assert "| one | 3000 / 12000 **0.25** | 500 / 500 **1.00** |" in page


def test_merging() -> None:
    merged = report.merge([results(one=ONE), results(one={"torch": row(1e-2)}, two={"retape": row(1.0)})])
    assert merged["cores"]["1"]["one"]["torch"]["warm"] == 1e-2
    assert merged["cores"]["1"]["one"]["jax"] == ONE["jax"]
    assert set(merged["cores"]["1"]) == {"one", "two"}
    with pytest.raises(ValueError, match="measure anew on one machine"):
        report.merge([results(one=ONE), {**results(), "machine": {}}])


def test_tables_in_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no lines"):
        report.insert(page, results(one=ONE))
    page.write_text(f"before\n{report.BEGIN}\nstale\n{report.END}\nafter\n", encoding="utf-8")
    report.insert(page, results(one=ONE))
    once = page.read_text(encoding="utf-8")
    assert "stale" not in once
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    report.insert(page, results(one=ONE))
    assert page.read_text(encoding="utf-8") == once


def test_the_page_has_its_markers() -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert text.count(report.BEGIN) == text.count(report.END) == 1


def test_chart(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("chart.svg", "chart.png"):
        assert report.draw(results(one=ONE), tmp_path / name).stat().st_size > 1000
    first = (tmp_path / "chart.svg").read_bytes()
    assert b"same loop" in first
    report.draw(results(one=ONE), tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == first


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


def run(tmp_path: Path, *arguments: str) -> tuple[Any, dict[str, Any]]:
    output = tmp_path / "results.json"
    done = subprocess.run([sys.executable, "-m", "benchmarks", *arguments, "--quick", "--output", str(output)],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    return done, json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}


def test_runner(tmp_path: Path) -> None:
    """Two processes a cell, answers held to the reference's, JSON, and the chart or why there is none."""
    done, found = run(tmp_path, "rosenbrock", "--only", "retape,numpy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("rosenbrock, 1 core")
    rows = found["cores"]["1"]["rosenbrock"]
    assert set(rows) == {"retape", "numpy"}
    assert rows["retape"]["samples"] >= 7
    assert rows["retape"]["peak"] > 0 or sys.platform == "win32"
    assert (tmp_path / "results.svg").exists() or "matplotlib is not installed" in done.stdout


def test_a_wrong_answer_is_not_timed() -> None:
    with pytest.raises(AssertionError, match="isn't the reference"):
        measure.measure("rosenbrock", "numpy", quick=True, reference=[(1.0, 1.0, 1.0), (2.0, 1.0, 1.0)])


def test_what_cannot_run_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, _ = run(tmp_path, "rosenbrok")
    assert done.returncode == 2
    assert "rosenbrok: not among" in done.stderr
    if not installed("pytensor"):
        done, found = run(tmp_path, "rosenbrock", "--only", "pytensor")
        assert done.returncode == 0
        assert found["cores"]["1"]["rosenbrock"]["pytensor"] == {"missing": "pytensor is not installed"}
    monkeypatch.setattr(support.shutil, "which", lambda name: None)
    with pytest.raises(support.Unavailable, match="needs a C\\+\\+ compiler"):
        measure.prepare("rosenbrock", "torch_compile", quick=True)
    with pytest.raises(support.Unavailable, match="take minutes"):
        measure.prepare("lstm", "torch_compile", quick=True)


@pytest.mark.parametrize("program", throughput.PROGRAMS)
def test_throughput(program: str) -> None:
    row = throughput.measure(program, 60, repeats=1)
    stages = {label for label, _, _ in throughput.STAGES}
    assert 50 < row["operations"] < 100
    assert all(row[label] > 0 for label in row if label not in ("collect", "kernels"))
    assert math.isclose(sum(row[label] for label in stages - {"kernels"}), row["compiled"])
    assert f"  {'fuse':22}" in throughput.table(program, [row, row])


def test_bandwidth(capsys: pytest.CaptureFixture[str]) -> None:
    bandwidth.main(["--rows", "8", "--repeats", "1"])
    lines = capsys.readouterr().out.splitlines()
    head = 1 + len(bandwidth.KERNELS)
    assert len(lines) == head + 1 + len(bandwidth.PRODUCTS)
    assert all(float(line.split()[-1]) > 0 for line in (*lines[1:head], *lines[head + 1 :]))
