"""The Gaussian mixture of `gmm` with 1000 points in the plane and 5 components: value and gradient, 30 parameters."""

from __future__ import annotations

from typing import Any

from benchmarks.support import ROOT, Array
from benchmarks.workloads import gmm
from benchmarks.workloads.gmm import jax, retape, retape_eager, tiny, torch

__all__ = ["check", "inputs", "jax", "retape", "retape_eager", "tiny", "torch"]
NAME = "1k_gmm_d2_K5.txt"


def inputs() -> tuple[Array, ...]:
    return gmm.read(ROOT / "tests" / "data" / "gmm" / NAME)


def check(answer: Any) -> None:
    gmm.check(answer, NAME)
