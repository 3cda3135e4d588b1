"""Short rows that become one long loop, since what repeats along them is laid out anew."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.codegen import compile_graph

rng = np.random.default_rng(23)
CELLS = rng.standard_normal((40, 31, 11))


def _compiled(function: Any, *given: Any, numerics: str = "default") -> tuple[int, bool]:
    """How many kernels there are, and whether the last has a loop over short rows; results are NumPy's."""
    program = compile_graph(rt.compile(function).specialize(*given).graph, numerics == "strict")
    for _ in range(2):
        np.testing.assert_allclose(program(given)[0], function(*given), rtol=1e-13, atol=1e-300)
    return len(program.kernels), re.search(r"range\(0, \d+\)", program.kernels[-1].source) is not None


@pytest.mark.parametrize("small", [
    rng.standard_normal(11), rng.standard_normal((1, 31, 1)), rng.standard_normal((31, 1)), np.arange(22.0)[::-2],
], ids=["a number a column", "a number a row", "the same in two dims", "backwards, every other"])
@pytest.mark.parametrize("numerics", ["default", "strict"])
def test_what_repeats_is_laid_out_over_two_dims(small: Any, numerics: str) -> None:
    # one kernel over 31 x 11 elements for the operand, one with a loop of 341 in one of 40
    assert _compiled(lambda x, y: np.sqrt(x * x + y * y * x * x), CELLS, small, numerics=numerics)[1] is False
    assert _compiled(lambda x, y: abs(x) * y, CELLS, small, numerics=numerics) == (2, False)


def test_rows_of_a_larger_array_follow_one_another() -> None:
    assert _compiled(lambda x, y: abs(x[1:, 2:-3] - x[:-1, 3:-2]) * y, CELLS, np.arange(11.0)) == (2, False)


def test_two_operands_are_laid_out() -> None:
    assert _compiled(lambda x, y, z: x * y + z, CELLS, np.arange(11.0), np.arange(31.0)[:, None]) == (3, False)


@pytest.mark.parametrize(("function", "other"), [
    (lambda x, y: x[..., 1:] * y, np.arange(10.0)),  # rows with a gap between them
    (lambda x, y: x * y, rng.standard_normal((40, 31, 1))),  # as large as the rows are many
    (lambda x, y: x[:8] * y, np.arange(11.0)),  # too few repeats
], ids=["gaps", "a number for each row", "few"])
def test_other_loops_stay_as_they_are(function: Any, other: Any) -> None:
    assert _compiled(function, CELLS, other) == (1, True)


def test_operands_may_change_between_calls() -> None:
    scaled = rt.compile(lambda x, y: np.exp(x) * y)
    for number in range(4):
        y = np.arange(11.0) + number
        np.testing.assert_allclose(scaled(CELLS, y), np.exp(CELLS) * y, rtol=1e-14)


def test_strided_results() -> None:
    """Every other element of a larger array is written."""
    def write(x: Any, y: Any) -> Any:
        out = rt.zeros(40, 35, 11, 2, dtype=rt.float64)
        out[:, 2:-2, :, 1] = rt.as_tensor(x) * y
        return out

    wanted = np.zeros((40, 35, 11, 2))
    wanted[:, 2:-2, :, 1] = CELLS * np.arange(11.0)
    compiled = rt.compile(write)
    for _ in range(3):
        np.testing.assert_array_equal(compiled(CELLS, np.arange(11.0)), wanted)
