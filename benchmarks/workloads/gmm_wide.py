"""The Gaussian mixture of `gmm` with 1000 points in R^64 and 5 components: value and gradient, 10 725 parameters."""

from __future__ import annotations

from typing import Any

from benchmarks.support import SHARED, Array
from benchmarks.workloads import gmm
from benchmarks.workloads.gmm import jax, retape, retape_eager, tiny, torch

__all__ = ["check", "inputs", "jax", "retape", "retape_eager", "tiny", "torch"]
PATH = SHARED / "gmm" / "1k_gmm_d64_K5.txt"


def inputs() -> tuple[Array, ...]:
    return gmm.read(PATH) if PATH.exists() else gmm.drawn(64, 5, 1000)


def check(answer: Any) -> None:
    if PATH.exists():
        gmm.check(answer, PATH.name)
