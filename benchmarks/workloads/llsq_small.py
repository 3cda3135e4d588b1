"""The least squares of `llsq` with 16 points: 128 short operations one after the other."""

from __future__ import annotations

from benchmarks.support import Array
from benchmarks.workloads import llsq
from benchmarks.workloads.llsq import check, jax, jax_unrolled, numba, numpy, retape, retape_eager, tiny, torch

__all__ = ["check", "inputs", "jax", "jax_unrolled", "numba", "numpy", "retape", "retape_eager", "tiny", "torch"]


def inputs() -> tuple[Array, Array, Array]:
    return llsq.inputs(16)
