"""`seidel`, differentiated: the sum of the end state, and its gradient with respect to the start."""

from __future__ import annotations

from typing import Any

from benchmarks import support
from benchmarks.stencils import jax_seidel, seidel
from benchmarks.support import Call
from benchmarks.workloads.seidel import WITHOUT, inputs, tiny

__all__ = ["WITHOUT", "inputs", "jax", "retape", "retape_eager", "tiny", "torch"]


def retape(given: Any) -> Call:
    import retape as rt

    steps, a = given
    return support.retape(lambda a: seidel(a.clone(), steps, rt.stack).sum(), (a,))


def retape_eager(given: Any) -> Call:
    import retape as rt

    steps, a = given
    return support.retape_eager(lambda a: seidel(a.clone(), steps, rt.stack).sum(), (a,))


def jax(given: Any) -> Call:
    steps, a = given
    return support.jax(lambda a: jax_seidel(a, steps).sum(), (a,))


def torch(given: Any) -> Call:
    import torch as library

    steps, a = given
    return support.torch(lambda a: seidel(a.clone(), steps, library.stack).sum(), (a,))
