"""Every case of the vocabulary: derivatives against differences, and compiled code against eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from vocabulary import FIXED, SAMPLES, groups, names_in, run

import retape as rt
from retape.ir.errors import RetapeError

# shapes that depend on values: eager only
KINKS = {"odd", "ties", "zeros", "i", "f32"}  # samples at which differences mean nothing
# derivatives that differences don't give: second ones beyond a rule's reach, or functions with jumps
STEEP = ("x*1000", "softmax(odd", "isclose", "allclose", "L.cond", "m.var(one)", "m.std(one)", "x*0", "*100", "A[0]*0",
         "F.l1_loss(x,x)", "cholesky(", "eigh(spd)", "eigvalsh", "x ** p", "m.mean(z)", "logsumexp(z", "padding_idx",
         "abs(T.rfft", "sqrt_(", "log1p_(", "q=r.exp()")


def leaves(case: str, dtype: Any = np.float64) -> list[rt.Tensor]:
    """The samples of a case, those of floats and complex numbers requiring grad."""
    found = []
    for name in names_in(case):
        array = SAMPLES[name]
        if array.dtype == np.float64 and name not in FIXED:
            array = array.astype(dtype, order="K") if dtype is not np.float64 else array
        found.append(rt.from_numpy(array.copy() if array.flags.c_contiguous else array,
                                   requires_grad=array.dtype.kind in "fc"))
    return found


def function(case: str) -> Callable[..., Any]:
    """A case as a function of its samples."""
    names = names_in(case)
    return lambda *given: run(case, rt, dict(zip(names, given, strict=True)))


def result(case: str) -> Any:
    """What a case gives, or None where it is an error (or no tensor)."""
    try:
        out = function(case)(*leaves(case))
    except RetapeError:
        return None
    return out if isinstance(out, rt.Tensor) else None


def smooth(case: str) -> bool:
    return not KINKS.intersection(names_in(case)) and not any(text in case for text in STEEP)


@pytest.mark.parametrize("group", groups())
def test_derivatives_against_differences(group: str) -> None:
    checked = 0
    for case in groups()[group]:
        out = result(case)
        if out is None or not out.requires_grad or out.dtype.itemsize not in (8, 16) or not smooth(case):
            continue
        given = leaves(case)
        options = {"atol": 1e-5, "rtol": 1e-4}
        assert rt.autograd.gradcheck(function(case), given, **options), case
        assert rt.autograd.gradgradcheck(function(case), given, atol=1e-4, rtol=1e-3), case
        checked += 1
    assert checked > 8 or group == "creation"


def near(found: Any, wanted: Any, what: str) -> None:
    found, wanted = (np.zeros(()) if t is None else t._data for t in (found, wanted))
    single = wanted.dtype in (np.float32, np.complex64)
    if found.shape and wanted.shape:
        assert found.dtype == wanted.dtype and found.shape == wanted.shape, what
    np.testing.assert_allclose(found, wanted, 1e-5 if single else 1e-8, 1e-6 if single else 1e-10, err_msg=what)


@pytest.mark.parametrize("group", groups())
def test_compiled_code_agrees_with_eager(group: str) -> None:
    for case in groups()[group]:
        if result(case) is None or not names_in(case):
            continue
        compiled = rt.compile(function(case))
        compiled(*leaves(case))
        mine, theirs = leaves(case), leaves(case)
        found, wanted = compiled(*mine), function(case)(*theirs)
        near(found, wanted, case)
        if not wanted.requires_grad or "q=r.exp()" in case:  # whose eager derivative is an error
            continue
        ct = np.cos(np.arange(wanted.numel()) * 1.7 + 0.3).reshape(wanted.shape).astype(wanted._data.dtype)
        gradients = [rt.autograd.grad(out, [t for t in given if t.requires_grad], rt.from_numpy(ct), allow_unused=True)
                     for out, given in ((found, mine), (wanted, theirs))]
        for a, b in zip(*gradients, strict=True):
            near(a, b, f"{case}, derivative")


def test_wrong_calls_are_located_errors() -> None:
    """A call that is an error names the user's line, the reason and a remedy."""
    wrong = 0
    for case in (case for group in groups().values() for case in group):
        try:
            function(case)(*leaves(case))
        except RetapeError as error:
            text = str(error)
            assert "why" in text and "fix" in text, text
            wrong += 1
    assert wrong > 30
