"""The table of operations is up to date, and true of what the compiler does.

`python tests/test_reference.py` writes `docs/ops.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import all_ops, graph_of, samples

import retape as rt
from retape.codegen.lower import HostStep, lower
from retape.ir import CATALOGUE, Op, f64, i64
from retape.ir.ops.elementwise import function
from retape.ir.passes import MARKERS
from retape.tracer import reference, surface
from retape.tracer.apply import apply

DOCUMENT = Path(__file__).parent.parent / "docs" / "ops.md"


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == reference.markdown(), "run `python tests/test_reference.py`"


@pytest.mark.parametrize("op", [op for op in all_ops() if op.name not in MARKERS], ids=lambda op: op.name)
def test_how_an_operation_is_compiled(op: Op) -> None:
    """The table's word for it is what lowering does with operands of float64 (or int64)."""
    dtype = i64 if reference.element_types(op) == "integers" else f64
    cases = [s for s in samples(op, dtype) if s.arrays and all(a.size for a in s.arrays)] if op.kind != "source" else []
    for sample in cases[:3]:
        steps = lower(graph_of(op, sample.operands, sample.attrs)).steps
        host = any(isinstance(step, HostStep) for step in steps)
        told = reference.compiled(op)
        if told != "kernel for integers, host step for floats" or all(a.dtype.kind == "f" for a in sample.arrays):
            assert ("host step" in told) if host else told != "host step", f"{op.name} {sample.label}: {steps}"


@pytest.fixture
def new_op() -> Any:
    """An operation that is in the catalogue for one test."""
    op = function("cotangent", lambda x: 1.0 / np.tan(x),
                  lambda b, ct, out: b.neg(b.mul(ct, b.add(b.mul(out, out), 1.0))), form="cot(x)",
                  kernel="to_{t}(1.0) / vm_tan_{t}({x})", domain=(0.3, 1.2), doc="One over the tangent.")
    known = dict(surface._cache)
    yield op
    del CATALOGUE["cotangent"], rt.Tensor.cotangent, rt.cotangent
    surface._cache.clear()
    surface._cache.update(known)


def test_one_entry_makes_function_method_row_gradient_and_kernel(new_op: Op) -> None:
    x = np.linspace(0.4, 1.1, 6)
    leaf = rt.from_numpy(x, requires_grad=True)
    np.testing.assert_allclose(rt.cotangent(leaf)._data, 1 / np.tan(x), rtol=1e-15)
    np.testing.assert_allclose(leaf.cotangent()._data, 1 / np.tan(x), rtol=1e-15)
    assert rt.autograd.gradcheck(rt.cotangent, [leaf]) and rt.autograd.gradgradcheck(rt.cotangent, [leaf])
    assert "cotangent" in dir(rt) and repr(rt.cotangent(leaf).grad_fn).startswith("<CotangentBackward0")
    assert "`cotangent(x)`" in reference.row(new_op) and "One over the tangent." in reference.markdown()
    compiled = rt.compile(lambda t: rt.cotangent(t).sum())
    for _ in range(2):
        total = compiled(leaf)
        np.testing.assert_allclose(float(total), (1 / np.tan(x)).sum(), rtol=1e-14)
        (gradient,) = rt.autograd.grad(total, leaf)
        np.testing.assert_allclose(gradient._data, -1 / np.sin(x) ** 2, rtol=1e-13)
    assert "vm_tan" in compiled.specialize(leaf).kernels[0].source
    four = samples(new_op)
    assert four and apply(new_op, (leaf,)).shape == (6,)


if __name__ == "__main__":
    DOCUMENT.write_text(reference.markdown())
