"""Numerical care: stable forms, conventions at kinks, empty and singular operands; eager and compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import retape as rt
from retape.codegen import compile_graph

F = rt.nn.functional
INF, NAN = math.inf, math.nan

# (what, function, operand, value, gradient)
CASES: list[tuple[str, Callable[[Any], Any], list[float], list[float], list[float]]] = [
    ("softplus", F.softplus, [-800.0, 0.0, 800.0], [0.0, math.log(2), 800.0], [0.0, 0.5, 1.0]),
    ("logsigmoid", F.logsigmoid, [-800.0, 0.0, 800.0], [-800.0, -math.log(2), 0.0], [1.0, 0.5, 0.0]),
    ("logsumexp", lambda x: rt.logsumexp(x, 0, True), [1000.0, 1000.0], [1000.0 + math.log(2)], [0.5, 0.5]),
    ("logsumexp of -inf", lambda x: rt.logsumexp(x, 0, True), [-INF, 0.0], [0.0], [0.0, 1.0]),
    ("logaddexp", lambda x: rt.logaddexp(x, x - 1000.0), [1000.0, -1000.0], [1000.0, -1000.0], [1.0, 1.0]),
    ("softmax", lambda x: rt.softmax(x, 0), [1e4, 0.0], [1.0, 0.0], [0.0, 0.0]),
    ("log_softmax", lambda x: rt.log_softmax(x, 0), [1e4, 0.0], [0.0, -1e4], [-1.0, 1.0]),
    ("sigmoid", rt.sigmoid, [-1e4, 1e4], [0.0, 1.0], [0.0, 0.0]),
    ("xlogy at 0", lambda x: rt.xlogy(rt.zeros_like(x), x), [0.0, 2.0], [0.0, 0.0], [0.0, 0.0]),
    ("sinc at 0", rt.sinc, [0.0, 1.0], [1.0, 0.0], [0.0, -1.0]),
    ("norm at 0", lambda x: rt.norm(x, 2, 0, True), [0.0, 0.0], [0.0], [0.0, 0.0]),
    ("std of equals", lambda x: rt.std(x, 0, keepdim=True), [3.0, 3.0], [0.0], [0.0, 0.0]),
    ("sqrt at 0", rt.sqrt, [0.0, 4.0], [0.0, 2.0], [INF, 0.25]),
    ("relu", rt.relu, [-1.0, 0.0, 2.0], [0.0, 0.0, 2.0], [0.0, 0.0, 1.0]),
    ("abs", abs, [-1.0, 0.0, 2.0], [1.0, 0.0, 2.0], [-1.0, 0.0, 1.0]),
    ("clamp", lambda x: rt.clamp(x, 0.0, 1.0), [-1.0, 0.0, 1.0, 2.0], [0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]),
    ("hardtanh", F.hardtanh, [-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], [0.0, 1.0, 0.0]),
    ("amax ties", lambda x: x.amax(0, True), [1.0, 1.0, 0.0], [1.0], [0.5, 0.5, 0.0]),
    ("max ties", lambda x: x.max(0, True)[0], [1.0, 1.0, 0.0], [1.0], [1.0, 0.0, 0.0]),
    ("pool ties", lambda x: F.max_pool1d(x[None], 2)[0], [0.0, 0.0, 1.0, 2.0], [0.0, 2.0], [1.0, 0.0, 0.0, 1.0]),
    ("cumprod of 0", lambda x: rt.cumprod(x, 0), [2.0, 0.0, 3.0], [2.0, 0.0, 0.0], [1.0, 8.0, 0.0]),
    ("elu", F.elu, [-1e4, 1e4], [-1.0, 1e4], [0.0, 1.0]),
    ("cross entropy", lambda x: F.cross_entropy(x[None], rt.tensor([0]))[None], [0.0, 1e4], [1e4], [-1.0, 1.0]),
    ("with logits", lambda x: F.binary_cross_entropy_with_logits(x, rt.ones_like(x), reduction="none"), [-1e4, 1e4],
     [1e4, 0.0], [-1.0, 0.0]),
    ("cbrt", rt.cbrt, [-27.0, 8.0], [-3.0, 2.0], [1 / 27, 1 / 12]),
    ("hypot", lambda x: rt.hypot(x, x), [1e200, 1e-200], [math.sqrt(2) * 1e200, math.sqrt(2) * 1e-200],
     [math.sqrt(2)] * 2),
    ("copysign", lambda x: rt.copysign(x, -0.0), [1.0, -2.0], [-1.0, -2.0], [-1.0, 1.0]),
    ("nan_to_num", rt.nan_to_num, [NAN, 1.0], [0.0, 1.0], [0.0, 1.0]),
    ("guarded log", lambda x: rt.where(x > 0, rt.log(rt.where(x > 0, x, 1.0)), 0.0), [-1.0, 1.0], [0.0, 0.0],
     [0.0, 1.0]),
]


@pytest.mark.parametrize(("function", "operand", "value", "gradient"), [c[1:] for c in CASES],
                         ids=[c[0] for c in CASES])
def test_values_and_derivatives(function: Any, operand: Any, value: Any, gradient: Any) -> None:
    for run in (function, rt.compile(function)):
        for _ in range(2):
            x = rt.tensor(operand, dtype=rt.float64, requires_grad=True)
            out = run(x)
            np.testing.assert_allclose(out._data, value, rtol=1e-14, atol=1e-16 * (0.5 < max(operand) < 2))
            if out.requires_grad:
                out.backward(rt.ones_like(out))
                assert x.grad is not None
                np.testing.assert_allclose(x.grad._data, gradient, rtol=1e-13, atol=1e-300)


def test_empty_operands() -> None:
    """What has an answer for no elements gives it; the others say why not."""
    z = rt.zeros(0, 3)
    assert z.sum().item() == 0 and z.prod().item() == 1 and not z.any().item() and z.all().item()
    assert math.isnan(z.mean().item()) and z.amax(1).shape == (0,) and rt.softmax(z, 1).shape == (0, 3)
    assert rt.cat([z, z]).shape == (0, 3) and (z @ rt.zeros(3, 2)).shape == (0, 2) and z.cumsum(0).shape == (0, 3)
    assert rt.linalg.solve(rt.zeros(0, 2, 2), rt.zeros(0, 2, 1)).shape == (0, 2, 1) and rt.sort(z, 0)[0].shape == (0, 3)
    for wrong in (lambda: z.amax(0), lambda: z.argmax(0), lambda: z.median(), lambda: rt.cat([]),
                  lambda: rt.topk(z, 1, 0)):
        with pytest.raises(rt.errors.RetapeError, match="fix"):
            wrong()


@pytest.mark.parametrize("name", ["float16", "bfloat16", "half"])
def test_half_precision_is_refused(name: str) -> None:
    for wrong in (lambda: getattr(rt, name), lambda: rt.ones(2).to(name), lambda: rt.ones(2).half(),
                  lambda: rt.from_numpy(np.ones(2, np.float16)), lambda: rt.ones(2).bfloat16()):
        with pytest.raises(TypeError, match=r"(?s)float16.*(?:why|is not supported).*float32"):
            wrong()


def test_singular_matrices_are_located_errors() -> None:
    a = rt.zeros(2, 2, requires_grad=True)
    for wrong in (lambda: rt.linalg.inv(a), lambda: rt.linalg.solve(a, rt.ones(2)),
                  lambda: rt.linalg.cholesky(-rt.eye(2))):
        with pytest.raises(rt.errors.InvalidOperands, match="where"):
            wrong()
    assert rt.linalg.det(a).item() == 0 and rt.linalg.pinv(a).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_dropped_graph_returns_its_memory() -> None:
    """Nodes hang from their result alone: when it goes, they go."""
    import gc

    from retape.tracer.gradnode import GradNode

    def living() -> int:
        return sum(issubclass(type(o), GradNode) for o in gc.get_objects())

    x = rt.ones(8, requires_grad=True)
    gc.collect()
    before = living()
    y = F.cross_entropy(F.layer_norm(rt.stack([x.sin(), x.cumsum(0)]), (8,)), rt.tensor([1, 2]))
    assert living() > before + 10
    gc.disable()
    try:
        del y
        assert living() == before
    finally:
        gc.enable()


@pytest.mark.parametrize(("function", "divides"), [
    (lambda x: rt.tanh(x / 0.1) + 1.0, False),
    (lambda x: rt.floor(x / 0.1) + x, True),  # a rounding more would make 3.0 of 0.3 / 0.1
    (lambda x: rt.where(x / 0.1 < 3.0, x, 0.0), True),
    (lambda x: x / 0.1, True),
    (lambda x: rt.floor((x / 0.1).reshape(-1, 1)), True),
    (lambda x: rt.tanh(x / 1e-310) + 1.0, True),  # its reciprocal is infinite
])
def test_a_quotient_is_a_product_where_rounding_makes_no_jump(function: Callable[[Any], Any], divides: bool) -> None:
    x = np.linspace(-1.0, 2.0, 3001)
    for numerics, expected in (("default", divides), ("strict", True)):
        call = rt.compile(function, numerics=numerics)
        sources = [k.text for k in compile_graph(call.specialize(x).graph, numerics == "strict").kernels]
        assert any(" / " in source for source in sources) == expected
        np.testing.assert_allclose(call(x), function(rt.from_numpy(x)).numpy(), 1e-12, 1e-14)
