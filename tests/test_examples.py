"""Every example runs, and finds what it should."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str) -> Any:
    return load(name).main()


def test_tutorial(capsys: pytest.CaptureFixture[str]) -> None:
    found = run("tutorial")
    assert found["out"] == 27.0
    assert found["x.grad"].tolist() == [[4.5, 4.5], [4.5, 4.5]]
    assert found["b.grad_fn"].startswith("<MulBackward0")
    assert found["second backward"].startswith(
        "Trying to backward through the graph a second time, but the buffers have already been freed.")
    assert np.allclose(found["vector"].numpy(), [102.4, 1024.0, 0.1024], rtol=1e-6)
    assert found["tracking"] == [True, True, False, False, True]
    assert found["cube"].tolist() == [3.0, 12.0, 27.0]
    printed = capsys.readouterr().out
    for line in ("tensor([[1., 1.],\n        [1., 1.]], requires_grad=True)",
                 "tensor([[3., 3.],\n        [3., 3.]], grad_fn=<AddBackward0>)",
                 "[27., 27.]], grad_fn=<MulBackward0>) tensor(27., grad_fn=<MeanBackward0>)\nFalse\nTrue\n",
                 "tensor([[4.5000, 4.5000],\n        [4.5000, 4.5000]])"):
        assert line in printed


def test_logistic_regression() -> None:
    found = run("logistic_regression")
    assert found["accuracy"] > 0.93
    assert found["eager and compiled apart"] < 1e-12


def test_mlp_digits() -> None:
    found = run("mlp_digits")
    assert found["eager accuracy"] >= 0.95
    assert found["compiled accuracy"] >= 0.95


def test_gaussian_mixture() -> None:
    found = run("gaussian_mixture")
    assert found["eager distance"] < 1e-8
    assert found["compiled distance"] < 1e-8


def test_gaussian_mixture_gradient() -> None:
    import json

    import retape as rt

    example = load("gaussian_mixture")
    expected = json.loads((example.DATA / "expected.json").read_text(encoding="utf-8"))["1k_gmm_d2_K5.txt"]
    gradient = rt.compile(rt.func.grad(example.objective, argnums=(0, 1, 2)))
    problem = example.load(example.DATA / "1k_gmm_d2_K5.txt")
    for _ in range(2):
        packed = np.concatenate([part.ravel() for part in gradient(*problem, -1)])
        assert max(map(example.rho, packed, expected["grad_adbench"])) < 1e-8


def test_curve_fit() -> None:
    found = run("curve_fit")
    assert all(distance < 1e-5 for distance in found.values())


def test_inspect_ir() -> None:
    found = run("inspect_ir")
    assert found["values"] == [0.125, 4.5, 0.125]
    assert found["traces"] == 2
    assert found["same"]
    assert float(found["interpreted"]) == 0.125


def test_every_example_is_tested() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {"tutorial", "logistic_regression", "mlp_digits", "gaussian_mixture", "curve_fit", "inspect_ir"}
