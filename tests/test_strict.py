"""Strict numerics: the bits of eager execution, values and gradients, wherever no transcendental function is called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from programs import Program, programs
from support import examples

import retape as rt

TRANSCENDENTAL = {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "cumsum", "digamma", "erf",
    "erfc", "exp", "exp2", "expm1", "hypot", "lgamma", "log", "log10", "log1p", "log2", "pow", "sigmoid", "sin", "sinh",
    "softplus", "tan", "tanh",
}


def bits(found: Any, wanted: Any, what: str) -> None:
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.dtype == wanted.dtype and found.shape == wanted.shape, what
    same = np.array_equal(found, wanted, equal_nan=found.dtype.kind in "fc")
    assert same and np.array_equal(np.signbit(found[found == 0]), np.signbit(wanted[wanted == 0])), what


def strict(function: Any) -> Any:
    return rt.compile(function, numerics="strict")


@pytest.mark.parametrize("n", [1, 3, 7, 8, 9, 127, 128, 129, 1000, 4097, 100_003])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums(n: int, dtype: Any) -> None:
    x = (np.random.default_rng(n).standard_normal(n) * 1e3).astype(dtype)
    call = strict(lambda x: ((x * 1.5 + 2.0).sum(), (x * x - x).mean(), (x * 1e-3 + 1.0).prod()))
    eager = [(x * dtype(1.5) + dtype(2)).sum(), (x * x - x).mean(), (x * dtype(1e-3) + dtype(1)).prod()]
    for _ in range(2):
        for found, wanted in zip(call(x), eager, strict=True):
            bits(found, wanted, f"{n}")


@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), None])
def test_sums_over_axes_of_transposed_arrays(axis: Any) -> None:
    x = np.random.default_rng(0).standard_normal((7, 130, 9))

    def f(x: Any) -> Any:
        return (x.permute(2, 0, 1) * 3.0 + 1.0).sum(axis)

    wanted = f(rt.from_numpy(x))
    call = strict(f)
    call(x)
    bits(call(x), wanted._data, str(axis))


def test_no_contraction() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 5000))
    call = strict(lambda x, y: x * y + x)
    call(x, y)
    bits(call(x, y), x * y + x, "contracted")
    assert "contract" not in call.specialize(x, y).kernels[0].llvm


def test_products_and_their_gradients() -> None:
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((60, 40)), rng.standard_normal((40, 30)), rng.standard_normal(30)
    step = rt.func.value_and_grad(lambda w, b, x: (rt.relu(x @ w + b) ** 2).mean(), argnums=(0, 1))
    call = strict(step)
    call(w, b, x)
    value, parts = call(w, b, x)
    wanted, eager = step(w, b, x)
    bits(value, wanted, "value")
    for found, part in zip(parts, eager, strict=True):
        bits(found, part, "gradient")


def test_compare_tells_sensitive_functions_from_wrong_kernels() -> None:
    """Contraction changes a bit, and the function all digits."""
    x, y = np.random.default_rng(0).standard_normal((2, 1000))
    found = rt.compare(lambda x, y: rt.sin((x * y + y) * 1e15), x, y)
    assert found.verdict == "ROUNDING" and found.ulp > 1e12


def test_unknown_numerics() -> None:
    with pytest.raises(ValueError, match="'default' or 'strict', not 'fast'"):
        rt.compile(lambda x: x, numerics="fast")


@examples(80)
@given(programs(most=20))
def test_random_programs(program: Program) -> None:
    tensors = program.tensors(requires_grad=True)
    call = strict(lambda *inputs: program(*inputs))
    graph = call.specialize(*tensors).graph
    assume(not any(node.op.name in TRANSCENDENTAL for node in graph.nodes))
    rng = np.random.default_rng(1)
    weights: list[Any] = []

    def run(function: Any) -> list[Any]:
        outputs = function(*tensors)
        found = [out._data for out in outputs]
        live = [out for out in outputs if out.requires_grad]
        while len(weights) < len(live):
            weights.append(rt.from_numpy(np.asarray(rng.standard_normal(live[len(weights)].shape),
                                                    live[len(weights)]._data.dtype)))
        if live:
            wrt = [t for t in tensors if t.requires_grad]
            parts = rt.autograd.grad(live, wrt, weights[: len(live)], allow_unused=True)
            found += [part._data for part in parts if part is not None]
        return found

    for found, wanted in zip(run(call), run(program), strict=True):
        bits(found, wanted, str(graph))
