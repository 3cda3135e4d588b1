"""The vocabulary against torch, where torch is installed: values, types, shapes, errors, first and second derivatives.

`python tests/test_torch.py` writes what was found to `docs/torch.md`.
"""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vocabulary import FIXED, SAMPLES, cases, groups, names_in, run, subject

import retape as rt

torch: Any = pytest.importorskip("torch")

# what differs on purpose, or because torch refuses what is well defined
BY_TEXT = {
    "floor_divide": "torch has no derivative; here it is zero, as for `floor`", "//": "as `floor_divide`",
    "heaviside": "torch has no derivative; here it is zero", "cdist": "torch has no second derivative",
    "vander": "torch can't differentiate its own in-place products", "unique": "torch has no derivative",
    "hardsigmoid": "torch has no second derivative", "weight=": "torch has no derivative by the weights of a loss",
    "pos_weight": "torch has no derivative by the weights of a loss", "3 % p": "torch has no derivative",
    "bincount(idx,col": "torch has no derivative by the weights", "L.cond(A,1)": "torch's derivative fails",
    "soft_margin_loss": "torch has no derivative by the target",
    "batch_norm(img,sh": "torch has no derivative by running values",
    "scatter(x,0,gi[:1]": "torch can't differentiate where source and index have different shapes",
    "scatter(x,1,si[:,:3]": "as above", "scatter_add(x,0,gi": "as above", "scatter_(1,si[:,:1],y)": "as above",
    "m.logcumsumexp(x*100": "torch's second derivative is inexact", "T.fft(z)": "torch's library refuses empty tensors",
    "unbind(1)[2];v": "torch forbids writes to several views at once", "split(2,1)[1];v": "as above",
    "m.sinc(odd)": "torch: NaN at zero, second order", "m.abs(odd)": "sign(NaN) is NaN, as in NumPy",
    "m.norm(x*0)": "torch: NaN, second order", "m.var(one)": "torch: 0, second order, of what is NaN",
    "logsigmoid(x*100)": "torch's second derivative is inexact",
    "ldexp(x,i)": "torch's derivative is 0 at negative integers",
    "entr(zeros)": "the derivative at 0 is 0, as of `xlogy`",
    "pdist(": "torch has no second derivative", "multi_margin_loss": "torch has no second derivative",
    "multilabel_margin_loss": "torch has no second derivative",
    "per_sample_weights": "torch has no second derivative",
}


def excused(case: str) -> str:
    """Why a case is known to differ, or nothing."""
    return next((reason for text, reason in BY_TEXT.items() if text in case), "")


def tensor_for(module: Any, name: str, dtype: Any) -> Any:
    """A sample as a leaf of torch's or retape's."""
    array = SAMPLES[name]
    if name not in FIXED and array.dtype.kind in "fc":
        array = array.astype(dtype if array.dtype.kind == "f" else np.result_type(dtype, np.complex64), order="K")
    if module is rt:
        found: Any = rt.from_numpy(array.copy() if array.flags.c_contiguous else array)
    elif name == "xt":
        found = torch.from_numpy(array.T.copy()).T
    else:
        found = torch.from_numpy(np.array(array, order="C"))
    return found.requires_grad_() if array.dtype.kind in "fc" else found


def plain(tensor: Any) -> np.ndarray[Any, Any]:
    if isinstance(tensor, rt.Tensor):
        return tensor._data
    return np.asarray(tensor.detach().resolve_conj().numpy(force=True))


def weights(like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Cotangents: numbers without a pattern."""
    order = np.arange(like.size).reshape(like.shape)
    found = np.cos(order * 1.7 + 0.3)
    return np.asarray(found + 1j * np.sin(order * 0.9) if like.dtype.kind == "c" else found).astype(like.dtype)


def outcome(case: str, module: Any, dtype: Any) -> tuple[Any, dict[str, Any]]:
    """The result of a case (or the error it raises), and its leaves."""
    leaves = {name: tensor_for(module, name, dtype) for name in names_in(case)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run(case, module, dict(leaves)), leaves
    except Exception as error:
        return error, leaves


def gradients(module: Any, out: Any, leaves: dict[str, Any]) -> list[Any]:
    """First derivatives by the leaves, then second ones; zeros where there is no path."""
    inputs = [t for t in leaves.values() if t.requires_grad]
    zeros = [np.zeros(t.shape, plain(t).dtype) for t in inputs]
    if not inputs or not out.requires_grad:
        return [*zeros, *zeros]
    grad, own = (torch.autograd.grad, torch.from_numpy) if module is torch else (rt.autograd.grad, rt.from_numpy)
    first = grad(out, inputs, own(weights(plain(out))), allow_unused=True, create_graph=True)
    terms = [g for g in first if g is not None and g.requires_grad]
    second: Any = [None] * len(inputs)
    if terms:
        total = sum((g.real * g.real + 2 * g.imag * g.imag).sum() if g.is_complex() else (g * g).sum() for g in terms)
        second = grad(total, inputs, allow_unused=True)
    return [zero if g is None else plain(g) for g, zero in zip((*first, *second), (*zeros, *zeros), strict=True)]


def distance(found: Any, wanted: Any, tolerance: float) -> str:
    """What differs: nothing, the shape, the element type or the values."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"{found.dtype}{found.shape} where torch has {wanted.dtype}{wanted.shape}"
    if wanted.dtype.kind not in "fc":
        return "" if np.array_equal(found, wanted) else f"{found}\n{wanted}"
    if wanted.dtype in (np.float32, np.complex64):
        tolerance = max(tolerance, 3e-4)
    finite = np.abs(np.where(np.isfinite(wanted), wanted, 0))
    close = np.allclose(found, wanted, rtol=tolerance, atol=tolerance * max(1.0, finite.max(initial=0)), equal_nan=True)
    return "" if close else f"{found}\n{wanted}"


def difference(case: str, dtype: Any) -> str:
    """How retape and torch differ in a case; nothing where they agree."""
    (found, mine), (wanted, theirs) = outcome(case, rt, dtype), outcome(case, torch, dtype)
    if isinstance(found, Exception) or isinstance(wanted, Exception):
        if not isinstance(found, rt.errors.RetapeError) and isinstance(found, Exception):
            return f"a bare error: {found!r}"
        both = isinstance(found, Exception) and isinstance(wanted, Exception)
        return "" if both else f"retape: {found}\ntorch: {wanted}"
    if not isinstance(wanted, torch.Tensor):
        return "" if str(found).replace("retape", "torch") == str(wanted) else f"{found} where torch has {wanted}"
    problem = distance(plain(found), plain(wanted), 1e-9)
    if problem:
        return problem
    results: list[Any] = []
    for module, out, leaves in ((rt, found, mine), (torch, wanted, theirs)):
        try:
            results.append(gradients(module, out, leaves))
        except Exception as error:
            results.append(error)
    if any(isinstance(r, Exception) for r in results):
        both = all(isinstance(r, Exception) for r in results)
        return "" if both else f"derivative: retape {results[0]}\ntorch {results[1]}"
    for number, (a, b) in enumerate(zip(*results, strict=True)):
        problem = distance(a, b, 1e-7)
        if problem:
            return f"derivative {number}: {problem}"
    return ""


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("group", groups())
def test_agrees_with_torch(group: str, dtype: Any) -> None:
    found = {case: difference(case, dtype) for case in groups()[group]}
    problems = {case: problem for case, problem in found.items() if problem and not excused(case)}
    assert not problems, "\n\n".join(f"{case}\n{problem}" for case, problem in problems.items())


def test_the_excuses_are_needed() -> None:
    """A difference that has gone is struck from the list."""
    needed = {case for case in cases() if excused(case)
              and any(difference(case, dtype) for dtype in (np.float64, np.float32))}
    for text in BY_TEXT:
        assert any(text in case for case in needed), f"{text!r} excuses nothing"


TYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64", "complex64", "complex128"]
PROMOTING = """
    add sub mul div pow floor_divide remainder fmod maximum minimum atan2 hypot logaddexp logaddexp2 eq lt logical_and
    bitwise_and bitwise_or copysign xlogy matmul where fmax float_power lerp
"""


def promoted(module: Any, name: str, left: str, right: str, shapes: Any) -> str:
    """The element type of an operation on two types (or a Python number), or nothing where it is refused."""
    given = [module.ones(shape, dtype=getattr(module, kind)) if kind in TYPES else eval(kind)
             for kind, shape in zip((left, right), shapes, strict=True)]
    more = {"where": [module.ones((2, 2), dtype=module.bool), *given], "lerp": [*given, 0.5]}
    try:
        found = getattr(module, name)(*more.get(name, given))
    except (RuntimeError, TypeError, ValueError, IndexError):
        return ""
    return str(found.dtype).rpartition(".")[2]


@pytest.mark.parametrize("name", PROMOTING.split())
def test_element_types_are_those_of_torch(name: str) -> None:
    """Of every pair of types, with and without dims, and beside Python numbers, wherever torch has a type at all."""
    compared, problems = 0, []
    for left in TYPES:
        for right in (*TYPES, "True", "2", "1.5", "2j"):
            for shapes in (((2, 2), (2, 2)), ((2, 2), ()), ((), (2, 2)), ((), ())):
                wanted = promoted(torch, name, left, right, shapes)
                if wanted and (right in TYPES or shapes[1]):
                    compared += 1
                    found = promoted(rt, name, left, right, shapes)
                    apart = {found, wanted} == {"int8", "bool"}  # NumPy has no powers of truth values
                    if found != wanted and not apart and not (name == "logaddexp" and "complex" in wanted):
                        problems.append(f"{left}{shapes[0]} {right}{shapes[1]}: {found} where torch has {wanted}")
    assert not problems, "\n".join(problems)
    assert compared >= 8


def report() -> str:
    """The table for the documentation."""
    subjects = sorted({subject(case) for case in cases()}, key=str.lower)
    total, agree, notes = Counter[str](), Counter[str](), []
    for case in cases():
        total[subject(case)] += 1
        problem = difference(case, np.float64) or difference(case, np.float32)
        agree[subject(case)] += not problem
        if problem:
            text = case.replace("|", "\\|")
            notes.append(f"| `{text}` | {excused(case) or 'not explained'} |")
    rows = [f"| {name} | {total[name]} | {agree[name]} |" for name in subjects]
    return "\n".join([
        "# Compared with torch", "",
        "Calls of the vocabulary, one text for both, over contiguous, strided, broadcast, 0-dim and empty samples of",
        "float32 and float64 (integers, truth values and complex numbers where they apply). Compared are whether it",
        "raises, element type, shape, value, gradient and second derivative.", "",
        f"With torch {torch.__version__.split('+')[0]}, {agree.total()} of {total.total()} cases agree.", "",
        "Written by `python tests/test_torch.py`; `tests/test_torch.py` holds it wherever torch is installed.", "",
        "## What differs", "", "| case | why |", "|---|---|", *sorted(notes), "",
        "## By operation", "", "| operation | cases | agree |", "|---|---|---|", *rows, ""])


if __name__ == "__main__":
    (Path(__file__).parent.parent / "docs" / "torch.md").write_text(report())
