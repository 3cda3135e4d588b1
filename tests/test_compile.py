"""`@rt.compile`: compiled equals eager in value and gradient, and never answers from a stale trace."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import warnings
from collections import deque, namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import loops_only

import retape as rt
from retape.codegen import native, program
from retape.codegen.lower import lower
from retape.codegen.lowered import KernelStep
from retape.entry import MISS
from retape.ir.errors import GuardExplosion, UnsupportedOp

RNG = np.random.default_rng(0)
GLOBAL_SCALE = 2.0
GLOBAL_TENSOR = rt.tensor([1.0, 2.0, 3.0])
GLOBAL_TABLE = {"gain": 1.5, "weights": [rt.tensor(2.0), rt.tensor(3.0)]}


def tensor(*shape: int, dtype: Any = np.float64, seed: int = 0, requires_grad: bool = True) -> Any:
    data = np.asarray(np.random.default_rng(seed).uniform(-1.5, 1.5, shape)).astype(dtype)
    return rt.from_numpy(data, requires_grad=requires_grad)


def total(result: Any) -> Any:
    """A number that depends on every float tensor of a result."""
    if isinstance(result, rt.Tensor):
        return (result * rt.cos(result)).sum() if result.requires_grad else None
    parts = result.values() if isinstance(result, dict) else result if isinstance(result, (tuple, list)) else ()
    found = [t for t in map(total, parts) if t is not None]
    return sum(found[1:], found[0]) if found else None


def same(found: Any, wanted: Any, rtol: float = 1e-12) -> None:
    assert type(found) is type(wanted), (found, wanted)
    if isinstance(wanted, rt.Tensor):
        assert found.dtype is wanted.dtype and found.shape == wanted.shape
        assert found.requires_grad == wanted.requires_grad
        np.testing.assert_allclose(found._data, wanted._data, 1e-5 if wanted.dtype is rt.float32 else rtol, 1e-14)
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key, part in wanted.items():
            same(found[key], part)
    elif isinstance(wanted, (tuple, list)):
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            same(a, b)
    elif isinstance(wanted, (np.ndarray, np.generic)):
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol, 1e-14)
    else:
        assert found == wanted


# ---- forty programs


def newton(x: Any) -> Any:
    guess = x * 0 + 1.0
    for _ in range(5):
        guess = guess - (guess * guess - abs(x)) / (2 * guess)
    return guess


def while_norm(x: Any) -> Any:
    while x.norm() > 0.5:
        x = x * 0.5
    return x


def branch(x: Any) -> Any:
    if x.sum() > 0:
        return x * 2
    return rt.exp(x)


def nested_branches(x: Any) -> Any:
    y = rt.sin(x)
    if y.mean() > 0:
        y = y + 1
        if y.amax() > 1.9:
            return y.sum()
    elif y.amin() < -5:
        return y * 3
    return y * y


def in_place(x: Any) -> Any:
    y = x * 2
    y += 1
    y[0] = 5.0
    y.mul_(3.0)
    y[1:] = y[1:] * 2
    return y


def scan(x: Any) -> Any:
    state = x[0] * 0
    outputs = []
    for t in range(x.shape[0]):
        state = rt.tanh(state * 0.5 + x[t])
        outputs.append(state)
    return rt.stack(outputs)


def helper(x: Any, *, gain: float = 2.0) -> Any:
    return x * gain


PROGRAMS: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
    ("affine", lambda x: x * 2 + 1, (tensor(3, 4),)),
    ("mean", lambda x: ((x + 2) ** 2 * 3).mean(), (tensor(2, 2),)),
    ("broadcast", lambda x, y: x * y + y, (tensor(3, 4), tensor(4, seed=1))),
    ("outer", lambda x, y: x[:, None] - y[None, :], (tensor(3), tensor(4, seed=1))),
    ("matmul", lambda x, y: rt.tanh(x @ y), (tensor(3, 4), tensor(4, 2, seed=1))),
    ("matvec", lambda x, y: x @ y, (tensor(3, 4), tensor(4, seed=1))),
    ("transposes", lambda x: x.T @ x + (x.T @ x).T, (tensor(3, 4),)),
    ("batched", lambda x, y: x @ y, (tensor(2, 3, 4), tensor(2, 4, 3, seed=1))),
    ("softmax", lambda x: rt.softmax(x, -1), (tensor(3, 4),)),
    ("log_softmax", lambda x: rt.log_softmax(x, 0), (tensor(3, 4),)),
    ("logsumexp", lambda x: rt.logsumexp(x, 1), (tensor(3, 4),)),
    ("layer_norm", lambda x: rt.layer_norm(x, (4,)), (tensor(3, 4),)),
    ("variance", lambda x: (x.var(0), x.std(1)), (tensor(3, 4),)),
    ("norms", lambda x: [rt.norm(x), rt.norm(x, 1, 0), rt.norm(x, math.inf)], (tensor(3, 4),)),
    ("extrema", lambda x: (x.max(1).values, x.amin(0), x.max()), (tensor(3, 4),)),
    ("indices", lambda x: (x.argmax(1), x.argmin()), (tensor(3, 4),)),
    ("clamp", lambda x: x.clamp(-0.5, 0.5), (tensor(3, 4),)),
    ("where", lambda x: rt.where(x > 0, x, rt.exp(x)), (tensor(3, 4),)),
    ("cat", lambda x, y: rt.cat([x, y, x], 1), (tensor(3, 4), tensor(3, 2, seed=1))),
    ("stack", lambda x, y: rt.stack((x, y), -1), (tensor(3), tensor(3, seed=1))),
    ("slices", lambda x: x[1:, ::2] * x[0, -1], (tensor(3, 4),)),
    ("flips", lambda x: x.flip(0) + x.flip((0, 1)), (tensor(3, 4),)),
    ("reshape", lambda x: x.reshape(2, 6).T.reshape(-1), (tensor(3, 4),)),
    ("permute", lambda x: x.permute(2, 0, 1).sum(0), (tensor(2, 3, 4),)),
    ("expand", lambda x: x.expand(3, 4) * x.unsqueeze(0).squeeze(), (tensor(4),)),
    ("repeat", lambda x: x.repeat(2, 2), (tensor(2, 3),)),
    ("split", lambda x: [p * i for i, p in enumerate(x.split(2, 1))], (tensor(3, 5),)),
    ("unbind", lambda x: sum(x), (tensor(3, 4),)),
    ("cumsum", lambda x: x.cumsum(1), (tensor(3, 4),)),
    ("gather", lambda x: x.gather(1, rt.tensor([[0], [2], [1]])), (tensor(3, 4),)),
    ("index_select", lambda x: x[rt.tensor([0, 2, 0])], (tensor(3, 4),)),
    ("prod", lambda x: x.prod(1), (tensor(3, 4),)),
    ("tril", lambda x: rt.tril(x) + rt.triu(x, 1), (tensor(4, 4),)),
    ("powers", lambda x: abs(x) ** 0.5 + x**3 + 2.0**x + (x * x) ** (x * 0.1), (tensor(3),)),
    ("activations", lambda x: rt.relu(x) + rt.sigmoid(x) + rt.erf(x) + rt.gelu(x) + rt.silu(x), (tensor(5),)),
    ("losses", lambda x: rt.cross_entropy(x, rt.tensor([0, 2, 1])) + rt.mse_loss(x, x.detach() + 1), (tensor(3, 4),)),
    ("casts", lambda x: (x.float(), x.double() * 2, (x * 3).long()), (tensor(3),)),
    ("creation", lambda x: x + rt.arange(3) + rt.ones(3) * rt.eye(3)[1] + rt.linspace(0, 1, 3), (tensor(3),)),
    ("newton", newton, (tensor(3),)),
    ("while", while_norm, (tensor(4),)),
    ("branch", branch, (tensor(3),)),
    ("nested_branches", nested_branches, (tensor(3),)),
    ("in_place", in_place, (tensor(4),)),
    ("scan", scan, (tensor(6, 3),)),
    ("helper", lambda x: helper(x) + helper(x, gain=0.5), (tensor(3),)),
    ("logic", lambda x: ((x > 0) & (x < 1)) | ~(x > -1), (tensor(5),)),
    ("no_grad", lambda x: x * rt.no_grad()(lambda: x * 2)(), (tensor(3),)),
    ("detach", lambda x: x * x.detach() + x.data, (tensor(3),)),
    ("float32", lambda x: rt.tanh(x) * 2.5 + 1, (tensor(3, dtype=np.float32),)),
    ("mixed", lambda x, y: x * y + 1.5, (tensor(3, dtype=np.float32), tensor(3))),
    ("integers", lambda x, n: x * n + n // 2 + n % 3, (tensor(4), rt.arange(4))),
    ("scalar", lambda x: x * x + 1, (tensor(),)),
    ("empty", lambda x: (x * 2, x.sum(), x.sum(0)), (tensor(0, 3),)),
    ("constants", lambda x: (x, 3, None, "text", {"a": x * 2}), (tensor(3),)),
    ("inner_grad", lambda x: rt.autograd.grad((x**3).sum(), x)[0], (tensor(3),)),
]


@pytest.mark.parametrize("form", ["tiny", "loops"])
@pytest.mark.parametrize(("function", "arguments"), [p[1:] for p in PROGRAMS], ids=[p[0] for p in PROGRAMS])
def test_compiled_equals_eager(function: Any, arguments: Any, form: str) -> None:
    with loops_only() if form == "loops" else contextlib.nullcontext():
        _compiled_equals_eager(function, arguments)


def _compiled_equals_eager(function: Any, arguments: Any) -> None:
    compiled = rt.compile(function)

    def run(f: Any) -> tuple[Any, list[Any]]:
        given = [rt.from_numpy(a._data.copy(), requires_grad=a.requires_grad) for a in arguments]
        result = f(*given)
        loss = total(result)
        if loss is not None and loss.requires_grad:
            loss.backward()
        return result, [g.grad for g in given]

    wanted, gradients = run(function)
    for _ in range(3):
        found, parts = run(compiled)
        same(found, wanted)
        for part, gradient in zip(parts, gradients, strict=True):
            same(part, gradient)
    assert compiled.traces == 1
    if "autograd" not in function.__code__.co_names:  # which needs recording
        with rt.no_grad():
            for _ in range(2):
                same(compiled(*arguments), function(*arguments))


# ---- control flow on values


def test_a_second_path_is_traced_once() -> None:
    f = rt.compile(branch)
    for sign in (1.0, 1.0, -1.0, -1.0, 1.0, -1.0):
        x = rt.tensor([sign, 0.5 * sign], requires_grad=True)
        same(f(x), branch(x))
    assert f.traces == 2
    assert len(f.specializations) == 2


def test_loops_with_data_dependent_trip_counts() -> None:
    f = rt.compile(while_norm)
    for scale in (0.1, 1.0, 5.0, 1.0, 5.0, 0.1):
        x = rt.tensor([scale, scale], dtype=rt.float64, requires_grad=True)
        y = f(x)
        (g,) = rt.autograd.grad(y.sum(), x)
        same(y, while_norm(x))
        assert g.tolist() == [float(y._data[0]) / scale] * 2
    assert f.traces == 3


@pytest.mark.parametrize("look", [float, int, bool, lambda x: x.item(), lambda x: x.tolist(),
                                  lambda x: f"{x.item():.3f}",
                                  lambda x: float(x) > 1, complex, lambda x: x.numpy().sum()])
def test_every_look_is_a_guard(look: Any) -> None:
    def g(x: Any) -> Any:
        return x * 2, look(x)

    f = rt.compile(g)
    for value in (0.0, 1.5, 1.5, 3.0, 0.0):
        x = rt.tensor(value, dtype=rt.float64)
        (a, b), (c, d) = f(x), g(x)
        same(a, c)
        assert b == d and type(b) is type(d)


def test_looks_at_whole_vectors_and_lengths() -> None:
    def g(x: Any) -> Any:
        return x * sum(x.tolist()) + len(x) + x.shape[0]

    f = rt.compile(g)
    for values in ([1.0, 2.0], [1.0, 2.0], [3.0, 2.0], [1.0], [1.0, 2.0]):
        same(f(rt.tensor(values)), g(rt.tensor(values)))
    assert f.traces == 2


def test_looking_at_nan_does_not_retrace() -> None:
    f = rt.compile(lambda x: (x * 2, x.item()))
    for _ in range(3):
        value, seen = f(rt.tensor(math.nan))
        assert math.isnan(seen) and math.isnan(value.item())
    assert f.traces == 1


def test_looks_distinguish_zeros_of_both_signs() -> None:
    f = rt.compile(lambda x: (x + 1, math.copysign(1.0, x.item())))
    for value in (0.0, -0.0, 0.0, -0.0):
        assert f(rt.tensor(value))[1] == math.copysign(1.0, value)


def test_an_iteration_over_values() -> None:
    def g(x: Any) -> Any:
        return [row for row in x if row.sum() > 0]

    f = rt.compile(g)
    for seed in range(4):
        x = tensor(3, 2, seed=seed)
        same(f(x), g(x))


def test_the_budget_ends_in_eager_execution_with_one_warning() -> None:
    def g(x: Any) -> Any:
        return x * float(x[0])

    f = rt.compile(budget=3)(g)
    for value in (1.0, 2.0, 3.0):
        same(f(rt.tensor([value, 1.0])), g(rt.tensor([value, 1.0])))
    with pytest.warns(GuardExplosion, match=r"RT401.*budget of 3 traces") as seen:
        same(f(rt.tensor([4.0, 1.0])), g(rt.tensor([4.0, 1.0])))
    assert len(seen) == 1 and seen[0].filename == __file__
    text = str(seen[0].message)
    assert "test_compile.py:" in text and "why" in text and "fix" in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (5.0, 1.0, 6.0):
            same(f(rt.tensor([value, 1.0])), g(rt.tensor([value, 1.0])))
        same(f(rt.tensor([value, 1.0, 2.0])), g(rt.tensor([value, 1.0, 2.0])))  # another signature is compiled
    assert f.traces == 4


# ---- what a function sees besides its arguments


def test_a_rebound_global_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def g(x: Any) -> Any:
        return x * GLOBAL_SCALE + GLOBAL_TENSOR

    f = rt.compile(g)
    x = tensor(3)
    for _ in range(2):
        same(f(x), g(x))
    assert f.traces == 1
    monkeypatch.setitem(globals(), "GLOBAL_SCALE", 5.0)
    same(f(x), g(x))
    same(f(x), g(x))
    assert f.traces == 2
    monkeypatch.setitem(globals(), "GLOBAL_TENSOR", rt.tensor([7.0, 8.0, 9.0]))
    same(f(x), g(x))
    monkeypatch.setitem(globals(), "GLOBAL_SCALE", 2.0)
    same(f(x), g(x))


def test_a_global_that_changes_its_type() -> None:
    space = {"rt": rt, "K": 2}
    exec("def g(x):\n    return x * K", space)
    f = rt.compile(space["g"])
    x = rt.tensor([1, 2])
    for value in (2, 2.0, True, 2, np.float64(2.0)):
        space["K"] = value
        same(f(x), space["g"](x))


def test_captured_tensors_changed_in_place_and_rebound() -> None:
    weight = rt.tensor([1.0, 2.0, 3.0], dtype=rt.float64, requires_grad=True)

    def g(x: Any) -> Any:
        return x * weight

    f = rt.compile(g)
    x = tensor(3)
    for _ in range(3):
        same(f(x), g(x))
        with rt.no_grad():
            weight += 1.0
    assert f.traces == 1
    f(x).sum().backward()
    np.testing.assert_array_equal(weight.grad._data, x._data)
    weight = rt.tensor([5.0, 6.0, 7.0], dtype=rt.float64)
    same(f(x), g(x))
    weight = rt.tensor([5.0], dtype=rt.float32)
    same(f(x), g(x))


def test_captured_tensors_that_change_what_they_are() -> None:
    weight = rt.tensor([1.0, 2.0], dtype=rt.float64)

    def g(x: Any) -> Any:
        return x * weight

    f = rt.compile(g)
    x = tensor(2)
    same(f(x), g(x))
    weight.requires_grad_()
    for _ in range(2):
        same(f(x), g(x))
        (wanted,) = rt.autograd.grad(g(x).sum(), weight)
        (found,) = rt.autograd.grad(f(x).sum(), weight)
        same(found, wanted)
    weight.requires_grad_(False)
    same(f(x), g(x))
    weight.data = rt.tensor([4.0, 5.0], dtype=rt.float64)
    same(f(x), g(x))
    weight.data = rt.tensor(3.0, dtype=rt.float64)
    same(f(x), g(x))


def test_captured_arrays() -> None:
    table = np.array([1.0, 2.0, 3.0])

    def g(x: Any) -> Any:
        return x * rt.from_numpy(table) + table

    f = rt.compile(g)
    x = tensor(3)
    for _ in range(3):
        same(f(x), g(x))
        table += 0.5
    assert f.traces == 1
    table = np.array([3.0, 4.0, 5.0])
    same(f(x), g(x))
    table = np.array([3.0, 4.0, 5.0, 6.0, 7.0, 8.0])[::2]
    same(f(x), g(x))


def test_changed_scalars_in_closures_and_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    rate, flag = 0.5, True
    settings = {"rate": 2.0, "layers": [1, 2]}

    def g(x: Any) -> Any:
        for layer in settings["layers"]:
            x = x * layer
        return x * rate * settings["rate"] if flag else x

    f = rt.compile(g)
    x = tensor(3)
    same(f(x), g(x))
    rate = 0.25
    same(f(x), g(x))
    settings["rate"] = 3.0
    same(f(x), g(x))
    settings["layers"].append(3)
    same(f(x), g(x))
    settings["layers"][0] = 4
    same(f(x), g(x))
    settings["layers"] = [1]
    same(f(x), g(x))
    flag = False
    same(f(x), g(x))


def test_tensors_in_global_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    def g(x: Any) -> Any:
        first, second = GLOBAL_TABLE["weights"]
        return x * GLOBAL_TABLE["gain"] * first + second

    f = rt.compile(g)
    x = tensor(3)
    same(f(x), g(x))
    same(f(x), g(x))
    assert f.traces == 1
    monkeypatch.setitem(GLOBAL_TABLE, "weights", [rt.tensor(5.0), rt.tensor(6.0)])
    same(f(x), g(x))
    GLOBAL_TABLE["weights"][1] = rt.tensor(-1.0)
    same(f(x), g(x))


class Layer:
    """A small module with fields, a method and a property."""

    def __init__(self, size: int) -> None:
        self.weight = tensor(size, size, seed=3)
        self.bias = tensor(size, seed=4)
        self.gain = 1.5
        self.parts: list[Any] = [tensor(size, seed=5)]

    @property
    def scaled(self) -> Any:
        return self.weight * self.gain

    def inner(self, x: Any) -> Any:
        return x @ self.scaled + self.bias

    @rt.compile
    def __call__(self, x: Any) -> Any:
        y = self.inner(x)
        for part in self.parts:
            y = y * part
        return y

    @rt.compile
    def forward(self, x: Any) -> Any:
        return self.inner(x)


def test_methods_and_attributes_of_self() -> None:
    layer, other = Layer(3), Layer(3)
    other.bias = tensor(3, seed=9)
    x = tensor(2, 3)

    def wanted(o: Layer) -> Any:
        return o.inner(x)

    for _ in range(2):
        same(layer.forward(x), wanted(layer))
        same(other.forward(x), wanted(other))
    layer.gain = 3.0
    same(layer.forward(x), wanted(layer))
    layer.bias = tensor(3, seed=11)
    same(layer.forward(x), wanted(layer))
    with rt.no_grad():
        layer.weight *= 2
    same(layer.forward(x), wanted(layer))
    layer.forward(x).sum().backward()
    assert layer.weight.grad is not None and layer.bias.grad.tolist() == [2.0, 2.0, 2.0]
    assert "forward" in repr(Layer.forward)


def test_compiled_call_of_an_object_with_parts() -> None:
    layer = Layer(3)
    x = tensor(2, 3)

    def wanted() -> Any:
        y = layer.inner(x)
        for part in layer.parts:
            y = y * part
        return y

    same(layer(x), wanted())
    same(layer(x), wanted())
    layer.parts.append(tensor(3, seed=6))
    same(layer(x), wanted())
    layer.parts[0] = tensor(3, seed=7)
    same(layer(x), wanted())


def test_objects_as_arguments() -> None:
    def g(layer: Any, x: Any) -> Any:
        return layer.inner(x)

    f = rt.compile(g)
    first, second = Layer(3), Layer(3)
    x = tensor(2, 3)
    for layer in (first, second, first):
        same(f(layer, x), g(layer, x))
    assert f.traces == 2
    first.gain = 4.0
    same(f(first, x), g(first, x))
    first.weight = tensor(3, 3, seed=12)
    same(f(first, x), g(first, x))


def test_a_redefined_helper_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def g(x: Any) -> Any:
        return helper(x)

    f = rt.compile(g)
    x = tensor(3)
    same(f(x), g(x))
    monkeypatch.setitem(globals(), "helper", lambda x: x + 100)
    same(f(x), g(x))


def test_changed_defaults_are_arguments() -> None:
    offset = rt.tensor([1.0, 2.0])

    def g(x: Any, y: Any = offset, *, scale: float = 2.0) -> Any:
        return x * scale + y

    f = rt.compile(g)
    x = rt.tensor([1.0, 1.0])
    same(f(x), g(x))
    same(f(x, scale=3.0), g(x, scale=3.0))
    same(f(x, x), g(x, x))
    same(f(x=x), g(x=x))
    offset += 1
    same(f(x), g(x))


def test_an_unknown_captured_tensor_raises_and_changes_nothing() -> None:
    hidden = [rt.tensor([1.0])]

    def source() -> Any:
        return iter(hidden).__next__()

    class Opaque:
        __slots__ = ("value",)

    box = Opaque()
    box.value = rt.tensor([1.0, 2.0, 3.0])

    @rt.compile
    def f(x: Any) -> Any:
        return x * getattr(box, chr(118) + "alue")

    x = tensor(3)
    with pytest.raises(UnsupportedOp, match="origin") as caught:
        f(x)
    assert "test_compile.py:" in str(caught.value) and "fix" in str(caught.value)
    assert x._traced is None and box.value._traced is None and f.traces == 0
    same(x * 2, x * 2)


# ---- scalars


def test_floats_never_retrace_and_ints_once() -> None:
    def g(x: Any, k: Any) -> Any:
        return x * k + k

    f = rt.compile(g)
    x = tensor(3)
    for value in (1.0, 2.5, -3.0, 0.0, -0.0, math.inf, math.nan, 1e-300):
        with np.errstate(all="ignore"):
            same(f(x, value), g(x, value))
    assert f.traces == 1
    for number in (1, 2, 3):
        same(f(x, number), g(x, number))
    assert f.traces == 3
    same(f(x, True), g(x, True))
    same(f(x, 1), g(x, 1))
    same(f(x, np.float64(0.5)), g(x, 0.5))
    same(f(x, np.float32(0.5)), g(x, 0.5))


def test_floats_stay_weak() -> None:
    def g(x: Any, k: float) -> Any:
        return x * k, x + k * 2, rt.maximum(x, k), k * 3 + 1

    f = rt.compile(g)
    x = tensor(3, dtype=np.float32)
    n = rt.tensor([1, 2, 3])
    for value in (0.1, 0.7):
        for given in (x, n):
            a, b, c, d = f(given, value)
            wanted = g(given, value)
            same(a, wanted[0])
            same(b, wanted[1])
            same(c, wanted[2])
            assert float(d) == pytest.approx(value * 3 + 1, rel=1e-12)
    assert f.traces == 2


def test_a_look_at_a_float_argument_is_a_guard() -> None:
    def g(x: Any, k: float) -> Any:
        return x * 2 if k > 0.5 else x * k

    f = rt.compile(g)
    x = tensor(3)
    for value in (0.1, 0.2, 0.9, 0.8, 0.3):
        same(f(x, value), g(x, value))
    assert f.traces == 2


def test_math_functions_on_float_arguments() -> None:
    def g(x: Any, k: float) -> Any:
        return x * math.sqrt(k) + round(k) + int(k)

    f = rt.compile(g)
    x = tensor(3)
    for value in (4.0, 9.0, 4.0):
        same(f(x, value), g(x, value))


def test_strings_and_none_select_paths() -> None:
    def g(x: Any, mode: Any = None) -> Any:
        return x.sum() if mode == "sum" else x.mean() if mode == "mean" else x

    f = rt.compile(g)
    x = tensor(3)
    for mode in ("sum", "mean", None, "sum", "mean"):
        same(f(x, mode), g(x, mode))
    same(f(x), g(x))
    assert f.traces == 3


@pytest.mark.parametrize("written", [0, 256])
def test_operands_of_a_call_are_named_or_picked(written: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "WRITTEN", written)

    def g(x: Any, w: Any) -> Any:
        return (x @ w).exp() + x.sum(), w.T * 2.0, x

    f = rt.compile(g)
    a, b = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 30, 30))
    for _ in range(3):
        for found, wanted in zip(f(a, b), g(rt.tensor(a), rt.tensor(b)), strict=True):
            np.testing.assert_allclose(found, wanted._data, 1e-12)


# ---- NumPy in, NumPy out; pytrees; signatures


def test_numpy_in_numpy_out() -> None:
    def g(x: Any, y: Any) -> Any:
        return {"product": x * y, "sum": (x.sum(), 3)}

    f = rt.compile(g)
    a, b = np.arange(3.0), np.ones(3)
    for _ in range(3):
        found = f(a, b)
        assert type(found["product"]) is np.ndarray and isinstance(found["sum"][0], np.float64)
        assert found["sum"][1] == 3
        np.testing.assert_array_equal(found["product"], a * b)
    assert f.traces == 1
    assert isinstance(f(rt.tensor(a), b)["product"], rt.Tensor)
    found32 = f(a.astype(np.float32), b.astype(np.float32))
    assert found32["product"].dtype == np.float32
    assert float(f(np.array(2.0), 3.0)["product"]) == 6.0


def test_numpy_functions_inside() -> None:
    def g(x: Any) -> Any:
        return np.sum(np.exp(x) * np.sin(x), axis=0)

    f = rt.compile(g)
    x = np.linspace(0, 1, 5)
    for _ in range(3):
        np.testing.assert_allclose(f(x), g(x), rtol=1e-14)
    np.testing.assert_allclose(rt.func.grad(f)(x), np.exp(x) * (np.sin(x) + np.cos(x)), rtol=1e-13)


def test_arrays_of_every_kind() -> None:
    f = rt.compile(lambda x: x + x)
    for array in (np.arange(6).reshape(2, 3), np.arange(6.0)[::-2], np.arange(6.0).reshape(2, 3).T, np.array(2.0),
                  np.zeros((0, 2)), np.array([True, False]), np.arange(4, dtype=np.int8),
                  np.array([1 + 2j]), np.broadcast_to(np.arange(3.0), (2, 3)), np.arange(3.0).view(np.recarray)):
        for _ in range(2):
            found = f(array)
            wanted = np.asarray(array) + np.asarray(array)
            assert type(found) is np.ndarray or np.ndim(wanted) == 0
            np.testing.assert_array_equal(found, wanted)


Pair = namedtuple("Pair", ["left", "right"])


def test_containers_as_arguments_and_results() -> None:
    def g(params: Any, pair: Any) -> Any:
        left = params["w"] * pair.left
        return Pair(left, [params["b"] + left, (pair.right, {"deep": left.sum()})])

    f = rt.compile(g)
    params = {"w": tensor(3), "b": tensor(3, seed=1)}
    pair = Pair(tensor(3, seed=2), 2.0)
    for _ in range(3):
        found, wanted = f(params, pair), g(params, pair)
        assert type(found) is Pair and found.right[1][0] == 2.0
        same(found.left, wanted.left)
        same(found.right[0], wanted.right[0])
        same(found.right[1][1]["deep"], wanted.right[1][1]["deep"])
        assert float(f(params, Pair(pair.left, 7.5)).right[1][0]) == 7.5
    assert f.traces == 1
    f({**params, "extra": 1}, pair)
    assert f.traces == 2


def test_kwargs_and_varargs() -> None:
    def g(x: Any, /, *rest: Any, scale: Any = 1.0, **others: Any) -> Any:
        for r in rest:
            x = x + r
        for key in sorted(others):
            x = x * others[key]
        return x * scale

    f = rt.compile(g)
    x, y = tensor(3), tensor(3, seed=1)
    calls = [((x,), {}), ((x, y), {}), ((x, y, y), {"scale": 2.0}), ((x,), {"a": y, "b": 2.0}),
             ((x, y), {"b": y, "a": x})]
    for _ in range(2):
        for args, kwargs in calls:
            same(f(*args, **kwargs), g(*args, **kwargs))
    assert f.traces == 5
    with pytest.raises(TypeError):
        f()
    assert f.__name__ == "g" and f.__wrapped__ is g


def test_partial_and_callable_objects() -> None:
    def g(k: float, x: Any) -> Any:
        return x * k

    class Doubler:
        def __call__(self, x: Any) -> Any:
            return x * 2

    x = tensor(3)
    for compiled, wanted in ((rt.compile(functools.partial(g, 3.0)), x * 3), (rt.compile(Doubler()), x * 2)):
        for _ in range(2):
            same(compiled(x), wanted)
        assert repr(compiled) and compiled.explain()


def test_nested_compiled_functions() -> None:
    inner = rt.compile(lambda x: rt.sin(x) * 2)

    @rt.compile
    def outer(x: Any) -> Any:
        return inner(x) + inner(x * 2)

    x = tensor(3)
    for _ in range(3):
        same(outer(x), rt.sin(x) * 2 + rt.sin(x * 2) * 2)
    assert outer.traces == 1 and inner.traces == 0  # inlined
    inner(x)
    assert inner.traces == 1


def test_recursion() -> None:
    @rt.compile
    def power(x: Any, n: int) -> Any:
        return x if n == 1 else x * power(x, n - 1)

    x = tensor(3)
    same(power(x, 4), x * (x * (x * x)))
    same(power(x, 4), x * (x * (x * x)))


# ---- aliasing


def test_the_same_tensor_twice() -> None:
    def g(x: Any, y: Any) -> Any:
        return x * 2 + y * x

    f = rt.compile(g)
    x, y = tensor(3), tensor(3, seed=1)
    for a, b in ((x, x), (x, y), (y, y), (y, x), (x, x)):
        found = rt.autograd.grad(f(a, b).sum(), {id(a): a, id(b): b}.values())
        wanted = rt.autograd.grad(g(a, b).sum(), {id(a): a, id(b): b}.values())
        for p, q in zip(found, wanted, strict=True):
            same(p, q)
    assert f.traces == 2


def test_overlapping_arrays() -> None:
    f = rt.compile(lambda x, y: x * 2 + y)
    base = np.arange(6.0)
    for _ in range(2):
        np.testing.assert_array_equal(f(base[:4], base[2:]), base[:4] * 2 + base[2:])


def test_a_returned_input_is_the_input() -> None:
    f = rt.compile(lambda x: (x, x * 2))
    x = tensor(3)
    for _ in range(3):
        assert f(x)[0] is x


@pytest.mark.parametrize("view", [lambda x: x[1:], lambda x: x.T, lambda x: x.reshape(-1), lambda x: x.expand(2, 3, 2),
                                  lambda x: x.detach(), lambda x: x[::2]],
                         ids=["slice", "transpose", "reshape", "expand", "detach", "step"])
def test_returned_views_share_memory_as_eager_ones_do(view: Any) -> None:
    f = rt.compile(view)
    for number in range(3):
        x = tensor(3, 2, requires_grad=False)
        assert np.shares_memory(view(x)._data, x._data)
        y = f(x)
        assert np.shares_memory(y._data, x._data), f"call {number}"
        with rt.no_grad():
            x += 1
        same(y, view(x))


@pytest.mark.parametrize("copy", [lambda x: x.clone(), lambda x: x * 1, lambda x: x + 0, lambda x: x.T.clone(),
                                  lambda x: x[1:] * 1.0, lambda x: rt.cat([x]), lambda x: x.double(),
                                  lambda x: x.neg().neg(),
                                  lambda x: x**1, lambda x: x.reshape(6).clone().reshape(3, 2), lambda x: x / 1,
                                  lambda x: rt.where(rt.tensor(True), x, 0.0), lambda x: x - 0,
                                  lambda x: x.T.reshape(6), lambda x: x[rt.tensor([0, 1, 2])]])
def test_returned_results_are_fresh(copy: Any) -> None:
    """What eager execution computes into new memory, compiled code does too, whatever it simplifies."""
    f = rt.compile(copy)
    x = tensor(3, 2, dtype=np.float32, requires_grad=False)
    before = x._data.copy()
    results = [f(x) for _ in range(4)]
    wanted = copy(x)
    for number, y in enumerate(results):
        assert y is not x
        if not np.shares_memory(wanted._data, x._data):
            assert not np.shares_memory(y._data, x._data), f"call {number}"
        y += 100.0 * (number + 1)
    if not np.shares_memory(wanted._data, x._data):
        np.testing.assert_array_equal(x._data, before)
    for number, y in enumerate(results):
        np.testing.assert_array_equal(y._data, wanted._data + 100.0 * (number + 1))
    same(f(x), copy(x))


def test_results_of_one_call_do_not_share_unless_eager_ones_do() -> None:
    def g(x: Any) -> Any:
        y = x * 2
        return y, y.clone(), y + 0, y[1:], x * 2

    f = rt.compile(g)
    x = tensor(4, requires_grad=False)
    for _ in range(3):
        found, wanted = f(x), g(x)
        for i in range(5):
            for j in range(5):
                assert np.shares_memory(found[i]._data, found[j]._data) == np.shares_memory(
                    wanted[i]._data, wanted[j]._data), (i, j)


def test_constant_results_are_fresh() -> None:
    f = rt.compile(lambda x: (rt.zeros(3), rt.tensor([1.0, 2.0]), x * 0 + rt.ones(3)))
    x = tensor(3, requires_grad=False)
    for _ in range(3):
        zeros, numbers, ones = f(x)
        assert zeros.tolist() == [0.0] * 3 and numbers.tolist() == [1.0, 2.0] and ones.tolist() == [1.0] * 3
        for result in (zeros, numbers, ones):
            result += 5.0


def test_numpy_results_are_fresh() -> None:
    f = rt.compile(lambda x: (x, x.reshape(2, 2), x * 2))
    x = np.arange(4.0)
    for _ in range(3):
        a, b, c = f(x)
        np.testing.assert_array_equal(a, x)
        np.testing.assert_array_equal(b, x.reshape(2, 2))
        np.testing.assert_array_equal(c, x * 2)


def test_a_captured_constant_array_result_is_not_the_array_of_later_calls() -> None:
    f = rt.compile(lambda x: rt.arange(3) + 0)
    first = f(tensor(2))
    first += 7
    assert f(tensor(2)).tolist() == [0, 1, 2]


# ---- layouts, shapes


def test_non_contiguous_inputs() -> None:
    def g(x: Any, y: Any) -> Any:
        return rt.tanh(x) @ y + x.sum(0)[: y.shape[1]]

    f = rt.compile(g)
    base = np.random.default_rng(3).uniform(-1, 1, (8, 8))
    for x in (base[:4, :4], base[::2, ::2], base.T[:4, 4:], base[3::-1, :4], np.broadcast_to(base[:1, :4], (4, 4)),
              np.asfortranarray(base[:4, :4])):
        for y in (base[:4, :3], base[4:, ::3], base.T[4:, 1:4]):
            tx, ty = rt.from_numpy(x, requires_grad=True), rt.from_numpy(y, requires_grad=True)
            wanted = rt.autograd.grad(g(tx, ty).sum(), (tx, ty))
            for _ in range(2):
                same(f(tx, ty), g(tx, ty))
                for a, b in zip(rt.autograd.grad(f(tx, ty).sum(), (tx, ty)), wanted, strict=True):
                    same(a, b)


def test_each_signature_is_its_own() -> None:
    def g(x: Any) -> Any:
        return (x * 2).sum(0)

    f = rt.compile(g)
    shapes: list[tuple[int, ...]] = [(3,), (4,), (3, 2), (0,), (1, 5), (3,), (4,)]
    for shape in shapes:
        for dtype in (np.float32, np.float64, np.int64):
            x = tensor(*shape, dtype=dtype, requires_grad=False)
            same(f(x), g(x))
    assert f.traces == 15
    x = tensor(3, requires_grad=True)
    same(f(x), g(x))
    with rt.no_grad():
        same(f(x), g(x))


def test_empty_and_scalar_reductions() -> None:
    def g(x: Any) -> Any:
        return x.sum(), x.prod(), x.sum(0, keepdim=True), x.mean()

    f = rt.compile(g)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for x in (rt.zeros(0), rt.zeros(0, 3), rt.tensor(2.5)):
            for _ in range(2):
                for a, b in zip(f(x), g(x), strict=True):
                    assert a.shape == b.shape
                    np.testing.assert_array_equal(a._data, b._data)


# ---- gradients through compiled calls


def test_backward_accumulates_and_chains() -> None:
    f = rt.compile(lambda x: rt.sin(x).sum())
    x = tensor(3)
    for _ in range(3):
        (f(x * 2) * 3).backward()
    np.testing.assert_allclose(x.grad._data, 3 * 6 * np.cos(2 * x._data), rtol=1e-12)
    y = f(x)
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_outputs_that_need_no_gradient_have_none() -> None:
    def g(x: Any, y: Any) -> Any:
        return x * 2, y * 2, x.detach() * 3, (x > 0), x.argmax()

    f = rt.compile(g)
    x, y = tensor(3), tensor(3, requires_grad=False)
    for _ in range(3):
        assert [o.requires_grad for o in f(x, y)] == [True, False, False, False, False]
        assert all((o.grad_fn is None) != o.requires_grad for o in f(x, y))


def test_gradient_of_one_of_several_outputs() -> None:
    f = rt.compile(lambda x, y: (x * y, x + y, y * 3))
    x, y = tensor(3), tensor(3, seed=1)
    for _ in range(3):
        a, b, c = f(x, y)
        (g,) = rt.autograd.grad(b.sum(), x, retain_graph=True)
        assert g.tolist() == [1.0] * 3
        (h,) = rt.autograd.grad((a * c).sum(), y)
        np.testing.assert_allclose(h._data, 6 * x._data * y._data)
    unused = rt.autograd.grad(f(x, y)[2].sum(), x, allow_unused=True)
    assert unused == (None,) or not np.any(unused[0]._data)


def test_an_argument_changed_before_backward_is_noticed() -> None:
    f = rt.compile(lambda x, y: (x * y).sum())
    x, y = tensor(3), tensor(3, seed=1, requires_grad=False)
    for number in range(3):
        out = f(x, y)
        y += 1
        with pytest.raises(RuntimeError, match="in place") as caught:
            out.backward()
        assert "test_compile.py:" in str(caught.value), f"call {number}"
        assert x.grad is None


def test_hooks_and_retained_gradients_on_compiled_results() -> None:
    f = rt.compile(lambda x: x * 2)
    x = tensor(3)
    f(x)
    y = f(x)
    y.retain_grad()
    seen: list[Any] = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.sum().backward()
    assert seen == [[1.0] * 3] and y.grad.tolist() == [1.0] * 3 and x.grad.tolist() == [2.0] * 3


def test_value_and_grad_compiled_whole() -> None:
    def loss(params: Any, x: Any, y: Any) -> Any:
        hidden = rt.tanh(x @ params["w1"] + params["b1"])
        return ((hidden @ params["w2"] - y) ** 2).mean()

    rng = np.random.default_rng(0)
    params = {"w1": rng.standard_normal((3, 4)), "b1": np.zeros(4), "w2": rng.standard_normal((4, 2))}
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    eager = rt.func.value_and_grad(loss)
    f = rt.compile(eager)
    for step in range(5):
        (value, gradient), (wanted, wanted_gradient) = f(params, x, y), eager(params, x, y)
        np.testing.assert_allclose(value, wanted, rtol=1e-12)
        for key in params:
            assert type(gradient[key]) is np.ndarray
            np.testing.assert_allclose(gradient[key], wanted_gradient[key], rtol=1e-10, atol=1e-14)
            params[key] = params[key] - 0.1 * gradient[key]
        assert f.traces == 1, step


def test_backward_inside_a_compiled_function() -> None:
    def g(x: Any) -> Any:
        y = x.detach().clone().requires_grad_()
        (y**3).sum().backward()
        return y.grad

    f = rt.compile(g)
    x = tensor(3)
    for _ in range(3):
        same(f(x), g(x))
    assert f.traces == 1


def test_custom_functions_inside() -> None:
    class Double(rt.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (x,) = ctx.saved_tensors
            return grad * 2 + x * 0

    def g(x: Any) -> Any:
        y = x.detach().requires_grad_()
        return rt.autograd.grad(Double.apply(y * y).sum(), y)[0]

    f = rt.compile(g)
    x = tensor(3)
    for _ in range(3):
        same(f(x), g(x))


# ---- effects and failures


CAPTURED = lambda x, w: w.mul_(2)  # noqa: E731


@pytest.mark.parametrize("effect", [
    lambda x, w: x.add_(1), lambda x, w: x.__setitem__(0, 1.0), CAPTURED, lambda x, w: (w * x).sum().backward(),
    lambda x, w: setattr(w, "grad", x * 1), lambda x, w: setattr(w, "data", x * 1), lambda x, w: x.data.add_(1),
    lambda x, w: x.detach().mul_(2), lambda x, w: x[0].add_(1), lambda x, w: x.zero_(), lambda x, w: x.copy_(w),
], ids=["add_", "setitem", "captured", "backward", "grad", "data", "data.add_", "detach.mul_", "view", "zero_",
        "copy_"])
def test_effects_on_the_outside_are_carried_out_or_refused(effect: Any) -> None:
    """Either a call changes the outside exactly as eager execution does, or it is refused and changes nothing."""
    def world() -> tuple[Any, Any, Any]:
        w = tensor(3, seed=1)

        def g(x: Any) -> Any:
            effect(x, w)
            return x * 2

        return tensor(3, requires_grad=False), w, g

    def shown(x: Any, w: Any) -> Any:
        return [t.tolist() if t is not None else None for t in (x, w, x.grad, w.grad)]

    x, w, g = world()
    a, b, eager = world()
    f = rt.compile(g)
    for _ in range(3):
        before = shown(x, w)
        try:
            with rt.no_grad() if effect is CAPTURED else rt.enable_grad():
                found = f(x)
        except (RuntimeError, TypeError) as error:
            assert "RT301" in str(error) and "test_compile.py:" in str(error) and "fix" in str(error)
            assert shown(x, w) == before
            assert x._version[0] == 0 and w._version[0] == 0
        else:
            with rt.no_grad() if effect is CAPTURED else rt.enable_grad():
                same(found, eager(a))
            assert shown(x, w) == shown(a, b)
        assert x._traced is None and w._traced is None
    same(x * w, x * w)


def test_draws_from_foreign_generators_are_refused() -> None:
    import random

    for draw in (random.random, np.random.rand):
        f = rt.compile(lambda x, draw=draw: x + draw())
        with pytest.raises(UnsupportedOp, match="own generator"):
            f(tensor(3))


def test_exceptions_of_the_function_pass_through() -> None:
    class Own(Exception):
        pass

    @rt.compile
    def f(x: Any) -> Any:
        y = x * 2
        if y.sum() > 0:
            raise Own("positive")
        return y

    for _ in range(2):
        with pytest.raises(Own, match="positive"):
            f(rt.tensor([1.0]))
        same(f(rt.tensor([-1.0])), rt.tensor([-2.0]))
    assert f.traces == 1
    assert rt.is_grad_enabled()
    x = rt.tensor([1.0], requires_grad=True)
    with pytest.raises(ZeroDivisionError):
        rt.compile(lambda t: t * (1 / 0))(x)
    assert x._traced is None


def test_an_interrupted_trace_leaves_nothing_behind() -> None:
    armed = [True]

    def g(x: Any) -> Any:
        y = x + 1
        if armed[0]:
            raise KeyboardInterrupt
        return y

    f = rt.compile(g)
    x = tensor(3)
    with pytest.raises(KeyboardInterrupt):
        f(x)
    armed[0] = False
    same(f(x), x + 1)
    same(f(x), x + 1)


def test_a_tensor_kept_from_a_trace_is_refused() -> None:
    kept: Any = deque()  # a kind of object that no call can repeat a change of

    def g(x: Any) -> Any:
        y = x * 2
        kept.append(y)
        return y + 1

    f = rt.compile(g)
    f(tensor(3))
    with pytest.raises(RuntimeError, match="RT302") as caught:
        kept[0] + 1
    text = str(caught.value)
    assert "test_compile.py:" in text and "fix" in text and "x * 2" in text


def test_the_body_is_not_entered_on_a_known_path() -> None:
    entered = bytearray()  # a kind of object that isn't looked into

    def g(x: Any) -> Any:
        entered.append(1)
        return x * 2 if x.sum() > 0 else x * 3

    f = rt.compile(g)
    for value, count in ((1.0, 1), (2.0, 1), (-1.0, 2), (-2.0, 2), (1.0, 2)):
        f(rt.tensor([value]))
        assert len(entered) == count, value


def test_a_function_that_changes_what_it_depends_on() -> None:
    calls: list[int] = []

    def g(x: Any) -> Any:
        calls.append(1)
        return x * len(calls)

    f = rt.compile(g)
    for count in range(1, 5):
        same(f(tensor(3)), tensor(3) * count)
        assert calls == [1] * count


def test_index_errors_in_compiled_code() -> None:
    f = rt.compile(lambda x, i: x[i] * 2)
    x = tensor(4)
    same(f(x, rt.tensor([0, 3])), x[rt.tensor([0, 3])] * 2)
    same(f(x, rt.tensor([1, -1])), x[rt.tensor([1, -1])] * 2)
    with pytest.raises(IndexError, match="RT204") as caught:
        f(x, rt.tensor([1, 4]))
    assert "test_compile.py:" in str(caught.value)
    same(f(x, rt.tensor([1, 2])), x[rt.tensor([1, 2])] * 2)


# ---- threads, sharing, looking


def test_threads_call_one_function_at_once() -> None:
    @rt.compile
    def f(x: Any, k: float) -> Any:
        y = rt.tanh(x * k) @ x.T
        if y.sum() > 0:
            return y.sum(0)
        return y.mean(1) * 2

    def reference(x: np.ndarray[Any, Any], k: float) -> Any:
        y = np.tanh(x * k) @ x.T
        return y.sum(0) if y.sum() > 0 else y.mean(1) * 2

    failures: list[Any] = []
    barrier = threading.Barrier(6)

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        barrier.wait()
        try:
            for _ in range(60):
                n = int(rng.integers(2, 5))
                x, k = rng.standard_normal((n, n)), float(rng.uniform(-1, 1))
                np.testing.assert_allclose(f(x, k), reference(x, k), rtol=1e-9, atol=1e-12)
                t = rt.from_numpy(x, requires_grad=True)
                f(t, k).sum().backward()
                assert t.grad is not None and np.all(np.isfinite(t.grad._data))
        except BaseException as error:  # reported in the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


def test_a_trace_in_one_thread_is_invisible_in_another() -> None:
    started, go_on = threading.Event(), threading.Event()

    def g(x: Any) -> Any:
        started.set()
        go_on.wait(10)
        return x * 2

    f = rt.compile(g)
    x, results = tensor(3), []
    thread = threading.Thread(target=lambda: results.append(f(x)))
    thread.start()
    started.wait(10)
    other = rt.tensor([1.0]) + 1
    y = other * 3
    go_on.set()
    thread.join()
    assert other._traced is None and y.tolist() == [6.0]
    assert len(f.specialize(x).graph) == 1
    same(results[0], x * 2)


def test_equal_kernels_are_built_once() -> None:
    from retape.codegen import kernels

    def unrolled(count: int) -> Any:
        def g(x: Any) -> Any:
            for _ in range(count):
                x = rt.sin(x * 0.37) @ w
            return x

        return rt.compile(g)

    w = tensor(20, 20, seed=1, requires_grad=False) * 0.2
    x = tensor(20, 20, requires_grad=False)
    few, many = unrolled(2), unrolled(40)
    few(x)
    few.specialize(x)._code.program  # noqa: B018  (builds it)
    before = len(kernels._built)
    many(x)
    program = many.specialize(x)._code.program
    assert len(kernels._built) == before, "forty steps need no kernel that two don't"
    assert len(program.kernels) == len(few.specialize(x)._code.program.kernels)
    np.testing.assert_allclose(many(x)._data, unrolled(40).function(x)._data, rtol=1e-12)


def test_specialize_explain_and_report_what_was_traced() -> None:
    def g(x: Any) -> Any:
        y = rt.exp(x) * GLOBAL_SCALE
        return y if y.sum() > 0 else -y

    f = rt.compile(g)
    x = tensor(3)
    s = f.specialize(x)
    assert f.traces == 1 and f.specialize(x) is s and f.specializations == [s]
    assert [node.op.name for node in s.graph.nodes][:2] == ["exp", "mul"]
    assert len(s.guards) == 1 and s.guards[0].value is True
    assert s.forward.kind == "forward" and s.backward.kind == "backward"
    text = f.explain()
    assert "1 trace(s)" in text and "GLOBAL_SCALE" in text and "guard" in text and "test_compile.py:" in text
    sources = "\n".join(k.source for k in s.kernels)
    assert "rt.exp(x) * GLOBAL_SCALE" in sources and "vm_exp_f64" in sources
    assert "define" in s.kernels[0].llvm and s.kernels[0].asm.strip()
    assert s.memory["outputs"] == 24 + 1  # and the guarded value
    assert s.memory["peak"] == sum(s.memory[kind] for kind in ("workspace", "outputs", "constants"))
    same(f(x), g(x))


def test_results_of_large_programs() -> None:
    """More operations than fit one kernel, and values that live across many steps."""
    def g(x: Any) -> Any:
        values = [x]
        for i in range(400):
            values.append(values[-1] * 0.9 + values[len(values) // 2] * 0.1 + i * 1e-3)
        return values[-1] + values[7] * values[200]

    f = rt.compile(g)
    x = tensor(5)
    wanted = rt.autograd.grad(g(x).sum(), x)[0]
    for _ in range(2):
        same(f(x), g(x), 1e-10)
        same(rt.autograd.grad(f(x).sum(), x)[0], wanted, 1e-10)
    assert f.traces == 1


# ---- the ways in: whatever the last call was like, the next one is answered for its own arguments


def test_any_order_of_signatures() -> None:
    """Calls that differ in kind, type, layout, aliasing, scalars, grad mode and surroundings, in random order."""
    gain = 1.0

    def g(x: Any, y: Any, k: Any = 2.0) -> Any:
        return {"a": x * k + y * gain, "b": [y - x]}

    f = rt.compile(budget=100)(g)
    rng = np.random.default_rng(0)
    base = rng.uniform(-1, 1, (6, 6))

    def array() -> Any:
        return [base[:3, :3].copy(), base[::2, ::2], base.T[:3, 1:4], np.asfortranarray(base[:3, :3]), base[2::-1, :3],
                base[:3, :3].astype(np.float32), np.arange(9).reshape(3, 3), base[:1, :3].copy(), np.float64(0.5),
                np.broadcast_to(base[0, :3], (3, 3)), base[:3, :3].copy().view(np.recarray)][rng.integers(11)]

    def operand(kind: int) -> Any:
        data = array()
        if kind == 0 or isinstance(data, np.generic):
            return data
        return rt.from_numpy(np.asarray(data), requires_grad=kind == 2 and data.dtype.kind == "f")

    def plain(value: Any) -> Any:
        return rt.from_numpy(np.asarray(value)) if isinstance(value, np.ndarray) else value

    for number in range(400):
        kinds = rng.integers(0, 3, 2)
        x, y = operand(kinds[0]), operand(kinds[1])
        if rng.integers(5) == 0:
            y = x
        k = [2.0, -0.5, 2, 3, True, None, np.float64(1.5)][rng.integers(7)]
        if rng.integers(20) == 0:
            gain = float(rng.integers(1, 4))
        if k is None:
            args, kwargs = (x, y), {}
        elif rng.integers(3) == 0:
            args, kwargs = (x,), {"y": y, "k": k}
        else:
            args, kwargs = (x, y, k), {}
        with rt.set_grad_enabled(bool(rng.integers(4))):
            found = f(*args, **kwargs)
            wanted = g(*map(plain, args), **{key: plain(v) for key, v in kwargs.items()})
        tensors = any(isinstance(a, rt.Tensor) for a in (x, y))
        for a, b in ((found["a"], wanted["a"]), (found["b"][0], wanted["b"][0])):
            what = f"call {number}: {type(x)}, {type(y)}, {k!r}"
            if isinstance(b, rt.Tensor):
                assert isinstance(a, rt.Tensor) == tensors, what
                assert not tensors or a.requires_grad == b.requires_grad, what
                a, b = (a._data if tensors else a), b._data
            assert np.asarray(a).dtype == np.asarray(b).dtype, what
            np.testing.assert_allclose(a, b, 1e-6 if np.asarray(b).dtype == np.float32 else 1e-12, err_msg=what)


def test_a_short_way_in_still_notices_everything() -> None:
    """A function without guards, called often enough to be entered directly."""
    shift = rt.tensor([1.0, 1.0, 1.0])

    def g(x: Any) -> Any:
        return x + shift

    f = rt.compile(g)
    x = rt.tensor([1.0, 2.0, 3.0])
    for _ in range(4):
        assert f(x).tolist() == g(x).tolist()
    with rt.no_grad():
        shift += 1
    assert f(x).tolist() == [3.0, 4.0, 5.0]
    shift.requires_grad_()
    assert f(x).requires_grad and f(x).grad_fn is not None
    shift.requires_grad_(False)
    x.requires_grad_()
    assert f(x).requires_grad
    f(x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]
    x.requires_grad_(False)
    assert not f(x).requires_grad
    x.data = rt.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).view(2, 3)
    assert f(x).shape == (2, 3)
    x.data = rt.ones(3, dtype=rt.float64)
    assert f(x).dtype is rt.float64
    shift = rt.tensor([5.0])
    assert f(x).tolist() == [6.0, 6.0, 6.0]
    read_only = np.ones(3)
    read_only.flags.writeable = False
    for _ in range(3):
        np.testing.assert_array_equal(f(read_only), np.full(3, 6.0))
    outer = rt.compile(lambda t: f(t) * 2)
    for _ in range(3):
        assert outer(x).tolist() == [12.0, 12.0, 12.0]


def test_results_outlive_the_call_and_its_inputs() -> None:
    f = rt.compile(lambda x: (x * 2, x.T * 3, (x * 5)[1:]))
    results = [f(np.full((2, 2), float(i))) for i in range(6)]
    for i, (a, b, c) in enumerate(results):
        np.testing.assert_array_equal(a, np.full((2, 2), 2.0 * i))
        np.testing.assert_array_equal(b, np.full((2, 2), 3.0 * i))
        np.testing.assert_array_equal(c, np.full((1, 2), 5.0 * i))


def test_a_tracing_call_and_a_compiled_call_return_the_same_kinds() -> None:
    def g(x: Any) -> Any:
        return x.sum(), x.argmax(), x > 0, x * 2, x.shape[0], x.dtype, (x.sum(),)

    f = rt.compile(g)
    for argument in (np.arange(3.0), rt.arange(3.0), np.arange(3.0, dtype=np.float32)):
        first, *others = [f(argument) for _ in range(3)]
        for other in others:
            assert [type(part) for part in other] == [type(part) for part in first]
            assert str(other) == str(first)


def test_arguments_that_are_returned_take_the_short_way() -> None:
    same = rt.compile(lambda x: x)
    both = rt.compile(lambda x, y: (y, x + y, x))
    x, y = np.ones(10), np.arange(10.0)
    same(x)
    both(x, y)
    for _ in range(3):
        assert same(x) is x
        a, total, b = both(x, y)
        assert a is y and b is x and (total == x + y).all()
    assert same._entry is not None and both._entry is not None
    t = rt.ones(3)
    assert all(same(t) is t for _ in range(3))


def test_any_number_of_arguments_take_the_short_way() -> None:
    total = rt.compile(lambda x, *rest: x + sum(rest))
    scaled = rt.compile(lambda x, *rest, factor=1.0: (x + sum(rest)) * factor)
    x, y, z = np.arange(10.0), np.ones(10), np.full(10, 3.0)
    for _ in range(3):
        for given in ((x, y), (x, y, z), (x, y, 2.0), (x,)):
            np.testing.assert_array_equal(total(*given), sum(given))
            np.testing.assert_array_equal(scaled(*given, factor=3.0), 3.0 * sum(given))
            np.testing.assert_array_equal(scaled(*given), sum(given))
    assert total._entry is not None and total._entry((x,), {}) is not MISS
    assert scaled._entry is not None


@pytest.mark.parametrize("numba", [False, True])
def test_truth_values_are_joined_in_the_kernel_that_compares(numba: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if numba:
        monkeypatch.setattr(native, "build_directly", lambda *arguments, **options: None)

    @rt.compile
    def marks(x: rt.Tensor) -> rt.Tensor:
        return rt.where((x < -1.0) | rt.maximum(x > 1.0, x == 0.5) | ~rt.minimum(x > -2.0, x < 2.0), x, 0.0)

    x = np.array([-3.0, -1.5, -0.5, 0.5, 0.75, 1.5, 3.0, np.nan])
    want = np.where((x < -1) | (x > 1) | (x == 0.5) | ~((x > -2) & (x < 2)), x, 0.0)
    assert np.array_equal(marks(rt.tensor(x)).numpy(), want, equal_nan=True)
    assert np.array_equal(marks(rt.tensor(x)).numpy(), want, equal_nan=True)
    (step,) = lower(marks.specialize(rt.tensor(x)).graph).steps
    assert isinstance(step, KernelStep)
